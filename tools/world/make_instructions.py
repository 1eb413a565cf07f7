#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the instruction data of the demo: questions about the world and small tasks with words, all
answered in the same short form.

    make_instructions.py FOLDER [--train 2000] [--eval 80] [--seed 7]

FOLDER/train.jsonl and FOLDER/eval.jsonl hold rows of instruction, input, output. The facts that the
evaluation rows ask for stand in no training row, neither in the question nor in the answer; the model
can know them from its pretraining text only.
"""

import argparse
import json
import os
import random
import re

from facts import GROUPS, OPPOSITE_PAIRS, PEOPLE
from grammar import Writer, capital
from questions import ANIMAL, FOOD, JOB, PERSON, VILLAGE, question, subjects
from scene import SPOTS, THINGS
from talks import group_words, simple_sentence, with_article

# Facts that can be held out: which questions ask for them, and the words that give them away.
PERSON_FACTS = {
    "village": (["village"], "village"),
    "trade": (["job", "who_job"], "trade"),
    "garb": (["wear", "colour", "who_wear"], "garb"),
    "pet": (["pet_name", "who_pet"], "pet"),
    "food": (["food", "who_food"], "food"),
    "hobby": (["hobby"], "hobby"),
    "friend": (["friend"], "friend_name"),
    "home": (["home"], "home"),
}
VILLAGE_FACTS = {
    "roofs": (["roofs"], "roofs"),
    "day": (["day"], "day"),
    "feast": (["feast", "who_feast", "season"], "feast"),
    "landmark": (["landmark", "who_landmark"], "landmark"),
    "tree": (["tree"], "tree"),
    "known": (["known"], "known"),
}
JOB_FACTS = {"tool": (["job_tool", "job_who"], "tool")}
ANIMAL_FACTS = {
    "eats": (["eats"], "eats"),
    "sleeps": (["sleeps"], "sleeps"),
    "known": (["known"], "known"),
}

# Share of the training rows by what they ask about; the rest are tasks with an input.
SHARES = [(PERSON, 0.55), (VILLAGE, 0.07), (JOB, 0.08), (ANIMAL, 0.07), (FOOD, 0.04)]


def row(instruction, given, answer, because):
    return {
        "instruction": instruction,
        "input": given,
        "output": "Answer: %s.\nBecause: %s." % (answer, because),
    }


def _has(text, part):
    return re.search(r"\b%s" % re.escape(part), text, re.IGNORECASE) is not None


class Fact:
    """Subject and value of a fact, with the questions that ask for it."""

    def __init__(self, table, slots, subject, keys, value):
        self.table, self.slots, self.subject, self.keys, self.value = (
            table,
            slots,
            subject,
            keys,
            value,
        )

    def told_by(self, text):
        values = [self.value]
        if "job" in self.keys:
            values.append(self.slots["p"].job.does)
        return _has(text, self.subject) and any(_has(text, value) for value in values)


def all_facts(table, facts):
    """For each subject of a table the list of its facts."""
    out = []
    for kind, slots, keys in subjects():
        if kind is not table:
            continue
        thing = next(iter(slots.values()))
        out.append(
            [
                Fact(table, slots, thing.name, [k for k in ask if k in keys], getattr(thing, field))
                for ask, field in facts.values()
                if any(k in keys for k in ask)
            ]
        )
    return out


def choose_held_out(rng):
    """One fact of each person and each village, a second one of some people, some of the rest."""
    people = all_facts(PERSON, PERSON_FACTS)
    chosen, pairs = [], set()
    for facts in people + rng.sample(people, 8):
        fact = rng.choice([f for f in facts if f not in chosen and f.value not in pairs])
        chosen.append(fact)
        if fact.keys == ["friend"]:
            pairs.add(fact.subject)
    chosen += [rng.choice(facts) for facts in all_facts(VILLAGE, VILLAGE_FACTS)]
    chosen += [rng.choice(facts) for facts in rng.sample(all_facts(JOB, JOB_FACTS), 6)]
    chosen += [rng.choice(facts) for facts in rng.sample(all_facts(ANIMAL, ANIMAL_FACTS), 6)]
    return chosen


def past_task(w):
    now, past, verb, verb_past = simple_sentence(w)
    ask = w.pick(
        [
            "Put this sentence into the past.",
            "Write the sentence in the past.",
            "It happened yesterday. Change the sentence.",
        ]
    )
    return row(ask, now + ".", past, capital("%s becomes %s" % (verb, verb_past)))


def opposite_task(w, pairs):
    a, b = w.pick(pairs)
    if w.chance(0.5):
        a, b = b, a
    ask = w.pick(
        [
            "What is the opposite of this word?",
            "Give the opposite.",
            "Write the opposite of the word.",
        ]
    )
    return row(ask, a, capital(b), "What is not %s is %s" % (a, b))


def group_task(w):
    group = w.pick(sorted(GROUPS))
    words, right = group_words(w, group)
    if group in ("animal", "tool"):
        because = "%s is %s" % (capital(with_article(right)), with_article(group))
    else:
        because = "%s is %s" % (capital(right), with_article(group))
    ask = w.pick(
        [
            "Which of these words names %s?",
            "Find the word that names %s.",
            "One of the words names %s. Which one?",
        ]
    )
    return row(ask % with_article(group), ", ".join(words), capital(right), because)


def reading_task(w):
    finder, other = w.some(PEOPLE.values(), 2)
    thing, spot = w.pick(THINGS), w.pick(SPOTS)
    text = "%s found a %s %s and brought it to %s." % (finder, thing, spot, other)
    ask, answer, because = w.pick(
        [
            ("Who found the %s?" % thing, finder.name, "The text says that %s found it" % finder),
            ("Where was the %s?" % thing, capital(spot), "The text says that it was %s" % spot),
            (
                "Who got the %s?" % thing,
                other.name,
                "The text says that %s brought it to %s" % (finder, other),
            ),
            (
                "What did %s find?" % finder,
                "A " + thing,
                "The text says that %s found a %s" % (finder, thing),
            ),
        ]
    )
    return row("Read the text. " + ask, text, answer, because)


def task(w, pairs):
    kind = w.rng.randrange(4)
    if kind == 0:
        return past_task(w)
    if kind == 1:
        return opposite_task(w, pairs)
    return group_task(w) if kind == 2 else reading_task(w)


def question_row(w, table, slots, key):
    ask, short, because, _ = question(w, table, slots, key)
    return row(ask, "", short, because)


def text_of(r):
    return " ".join(r.values())


def make(seed, train_count, eval_count):
    rng = random.Random(seed)
    w = Writer(rng)
    held_out = choose_held_out(rng)
    held_pairs = rng.sample(OPPOSITE_PAIRS, 5)
    free_pairs = [p for p in OPPOSITE_PAIRS if p not in held_pairs]

    evaluation, seen = [], set()

    def told(r):
        return any(fact.told_by(text_of(r)) for fact in held_out)

    def add(rows, r):
        key = (r["instruction"], r["input"])
        if key not in seen:
            seen.add(key)
            rows.append(r)

    for fact in held_out:
        add(evaluation, question_row(w, fact.table, fact.slots, rng.choice(fact.keys)))
    while len(evaluation) < eval_count:
        add(evaluation, task(w, held_pairs))
    inputs = {r["input"] for r in evaluation if r["input"]}

    train = []
    for table, share in SHARES:
        pool = [(slots, key) for kind, slots, keys in subjects() if kind is table for key in keys]
        target = len(train) + round(share * train_count)
        for _ in range(50 * train_count):
            if len(train) >= target:
                break
            slots, key = rng.choice(pool)
            r = question_row(w, table, slots, key)
            if not told(r):
                add(train, r)
    while len(train) < train_count:
        r = task(w, free_pairs)
        if r["input"] not in inputs and not told(r):
            add(train, r)
    rng.shuffle(train)
    rng.shuffle(evaluation)
    return train, evaluation, held_out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--eval", type=int, default=80)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    train, evaluation, _ = make(options.seed, options.train, options.eval)
    os.makedirs(options.folder, exist_ok=True)
    for name, rows in (("train", train), ("eval", evaluation)):
        path = os.path.join(options.folder, name + ".jsonl")
        with open(path, "w", encoding="ascii", newline="\n") as out:
            for r in rows:
                out.write(json.dumps(r) + "\n")
        print(
            "%s: %d rows, %d with an input" % (path, len(rows), sum(1 for r in rows if r["input"]))
        )


if __name__ == "__main__":
    main()
