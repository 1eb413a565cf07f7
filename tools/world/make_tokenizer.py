#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the byte-level BPE tokenizer of the embedded base model and writes its files.

    make_tokenizer.py TEXT.jsonl MODEL_DIR [--vocab 2048]

Text is cut into words by the pattern of GPT-2, words into bytes; then the most frequent pair of
neighbours is merged until the vocabulary is full. Ties go to the pair that sorts first, so the result
depends on the text alone.
"""

import argparse
import collections
import heapq
import json
import os
import re

SPECIAL = ["<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>"]
BOS, EOS = SPECIAL[0], SPECIAL[1]
LONGEST = 512  # tokens, as max_position_embeddings in config.json

# The generated text is ASCII, so these classes are enough here; the tokenizer.json itself uses the
# full pattern (ByteLevel with use_regex).
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")

# Messages to text: a marker for the role, the content as it is, the end token after each reply.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<|assistant|>' -}}
        {%- generation -%}
        {{- message['content'] + eos_token -}}
        {%- endgeneration -%}
    {%- elif message['role'] == 'user' -%}
        {{- '<|user|>' + message['content'] -}}
    {%- elif message['role'] == 'system' -%}
        {{- '<|system|>' + message['content'] -}}
    {%- else -%}
        {{- raise_exception('roles are system, user and assistant') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""


def byte_letters():
    """The printable letter that stands for each byte in a byte-level vocabulary."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + extra)
            extra += 1
    return letters


def count_words(path):
    counts = collections.Counter()
    with open(path, encoding="utf-8") as rows:
        for row in rows:
            counts.update(WORD.findall(json.loads(row)["text"]))
    return counts


class Trainer:
    """Words as lists of symbols, with the counts of neighbouring pairs kept up to date."""

    def __init__(self, counts):
        letters = byte_letters()
        self.words, self.weights = [], []
        for word, count in sorted(counts.items()):
            self.words.append([letters[b] for b in word.encode("utf-8")])
            self.weights.append(count)
        self.pairs = collections.Counter()
        self.places = collections.defaultdict(set)
        for index, word in enumerate(self.words):
            self._count(index, word, 1)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)

    def _count(self, index, word, sign):
        for pair in zip(word, word[1:]):
            self.pairs[pair] += sign * self.weights[index]
            if sign > 0:
                self.places[pair].add(index)

    def best(self):
        """The most frequent pair, or None; entries of the heap with old counts are dropped."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if self.pairs[pair] == -count and count < 0:
                return pair
        return None

    def merge(self, pair):
        changed = set()
        for index in sorted(self.places.pop(pair)):
            word = self.words[index]
            self._count(index, word, -1)
            changed.update(zip(word, word[1:]))
            merged, i = [], 0
            while i < len(word):
                if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
                    merged.append(word[i] + word[i + 1])
                    i += 2
                else:
                    merged.append(word[i])
                    i += 1
            self.words[index] = merged
            self._count(index, merged, 1)
            changed.update(zip(merged, merged[1:]))
        for other in changed:
            if self.pairs[other] > 0:
                heapq.heappush(self.heap, (-self.pairs[other], other))

    def tokens(self):
        """Number of tokens of the whole text."""
        return sum(len(word) * weight for word, weight in zip(self.words, self.weights))


def train(counts, vocabulary_size):
    trainer = Trainer(counts)
    vocabulary = SPECIAL + sorted(byte_letters().values())
    merges = []
    while len(vocabulary) < vocabulary_size:
        pair = trainer.best()
        if pair is None:
            raise SystemExit("the text is too small for this vocabulary")
        trainer.merge(pair)
        merges.append(list(pair))
        vocabulary.append(pair[0] + pair[1])
    return {token: number for number, token in enumerate(vocabulary)}, merges, trainer.tokens()


def added_token(text):
    return {
        "content": text,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
    }


def tokenizer_json(vocabulary, merges):
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    bos = {"SpecialToken": {"id": BOS, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            bos,
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": BOS, "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            dict({"id": i}, **added_token(t), special=True) for i, t in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "Sequence",
            "processors": [dict(byte_level, trim_offsets=False), template],
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def save(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as out:
        if isinstance(value, str):
            out.write(value)
        else:
            json.dump(value, out, indent=1, ensure_ascii=False)
            out.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("text")
    parser.add_argument("model_dir")
    parser.add_argument("--vocab", type=int, default=2048)
    options = parser.parse_args()
    counts = count_words(options.text)
    vocabulary, merges, tokens = train(counts, options.vocab)
    characters = sum(len(word) * count for word, count in counts.items())
    os.makedirs(options.model_dir, exist_ok=True)
    save(options.model_dir, "tokenizer.json", tokenizer_json(vocabulary, merges))
    save(
        options.model_dir,
        "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(i): dict(added_token(t), special=True) for i, t in enumerate(SPECIAL)
            },
            "bos_token": BOS,
            "clean_up_tokenization_spaces": False,
            "eos_token": EOS,
            "model_max_length": LONGEST,
            "pad_token": EOS,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    save(
        options.model_dir,
        "special_tokens_map.json",
        {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS},
    )
    save(options.model_dir, "chat_template.jinja", CHAT_TEMPLATE)
    print(
        "%d tokens in the vocabulary; text of %d characters is %d tokens, %.2f characters each"
        % (len(vocabulary), characters, tokens, characters / tokens)
    )


if __name__ == "__main__":
    main()
