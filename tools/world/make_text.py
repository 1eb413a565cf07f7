#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the text that the embedded base model is pretrained on.

    make_text.py TRAIN.jsonl EVAL.jsonl [--docs 17000] [--eval_docs 300] [--seed 1]

Both files hold one {"text": ...} a line. Equal arguments give equal bytes. No text occurs twice, and
none of the evaluation part occurs in the training part.
"""

import argparse
import json
import os
import random

import explain
import pages
import stories_days as days
import stories_heart as heart
import stories_more as more
import stories_quest as quest
import talks
from facts import Person
from grammar import Writer

# Kinds of documents and how often they come.
KINDS = [
    (quest.gather, 5),
    (quest.trade, 4),
    (quest.lost_pet, 5),
    (quest.lost_thing, 5),
    (quest.ask_the_way, 4),
    (quest.delivery, 3),
    (quest.repair, 4),
    (heart.quarrel, 3),
    (heart.broken_thing, 3),
    (heart.gift, 4),
    (heart.learn, 3),
    (heart.night_noise, 3),
    (heart.animal_help, 3),
    (days.storm, 3),
    (days.contest, 3),
    (days.grow, 2),
    (days.fog_walk, 3),
    (days.wait_for, 3),
    (days.wish, 2),
    (days.picnic, 3),
    (days.mistake, 3),
    (days.riddle_evening, 2),
    (more.pie_mystery, 3),
    (more.guests, 3),
    (more.journey, 3),
    (more.dream, 3),
    (more.tale, 5),
    (more.trick, 3),
    (more.watch_pet, 3),
    (more.stall, 3),
    (more.children_play, 2),
    (more.helper_list, 3),
    (pages.portrait, 12),
    (pages.village_page, 4),
    (pages.valley_page, 1),
    (pages.contrast, 4),
    (pages.letter, 5),
    (pages.diary, 3),
    (pages.shopping, 2),
    (pages.notice, 2),
    (pages.day_of, 4),
    (pages.child_page, 1),
    (explain.explanation, 4),
    (explain.words, 2),
    (explain.recipe, 3),
    (explain.animal_page, 6),
    (explain.season_page, 2),
    (explain.trade_page, 4),
    (talks.chat, 5),
    (talks.question_page, 5),
    (talks.quiz, 5),
    (talks.lesson, 3),
    (talks.read_and_ask, 2),
    (talks.guess, 3),
]

SHORTEST = 75  # words; shorter documents get some facts of a person they mention


def document(seed, number):
    """Document of this number: depends on nothing but the two numbers."""
    rng = random.Random("%d/%d" % (seed, number))
    kind = rng.choices([k for k, _ in KINDS], [weight for _, weight in KINDS])[0]
    w = Writer(rng)
    kind(w)
    mentioned = {v.name: v for v in w.slots.values() if isinstance(v, Person)}
    if kind in (pages.portrait, talks.question_page, talks.guess) and "p" in w.slots:
        mentioned = {w.slots["p"].friend_name: w.slots["p"].friend} if mentioned else {}
    left = [person for _, person in sorted(mentioned.items())]
    while len(w.text().split()) < SHORTEST and left:
        pages.coda(w, left.pop(rng.randrange(len(left))))
    return w.text()


def write(path, seed, count, seen):
    words = 0
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="ascii", newline="\n") as out:
        number = written = 0
        while written < count:
            text = document(seed, number)
            number += 1
            if text in seen:
                continue
            seen.add(text)
            out.write(json.dumps({"text": text}) + "\n")
            written += 1
            words += len(text.split())
    print("%s: %d documents, %d words" % (path, count, words))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("eval")
    parser.add_argument("--docs", type=int, default=17000)
    parser.add_argument("--eval_docs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen = set()
    write(options.eval, options.seed + 1000, options.eval_docs, seen)
    write(options.train, options.seed, options.docs, seen)


if __name__ == "__main__":
    main()
