# SPDX-License-Identifier: MIT
"""A small text grammar: sentences with choices and slots, written out with a seeded generator.

    {a|b|c}      one of the parts, which may hold choices themselves; {a|} is "a" or nothing
    $h           slot h; $h.pet is its attribute; a capital ($H, $h.Pet) makes the result start
                 with one
    @rule        a line of RULES["rule"]; a document does not use the same line twice while others
                 are left

Everything random goes through the Random object of the writer, so equal seeds give equal bytes.
"""

import re

RULES = {}

SLOT = re.compile(r"\$([A-Za-z]\w*)((?:\.[A-Za-z_]+)*)")
RULE = re.compile(r"@([a-z_]+)")
# "a" before a vowel letter, except where the word is spoken with a consonant.
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!one\b|once\b|use|uni|eu)")
ARTICLE_H = re.compile(r"\b([Aa]) (?=hour|honest)")
SENTENCE_START = re.compile(r"(^|[.?!] |\n)([a-z])")


def rules(**lists):
    """Adds named rules; each is a text with one alternative a line."""
    for name, text in lists.items():
        RULES[name] = [line.strip() for line in text.strip().split("\n") if line.strip()]


def capital(text):
    return text[:1].upper() + text[1:]


def listing(parts, last="and"):
    """["a", "b", "c"] -> "a, b and c"."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + " " + last + " " + parts[-1]


def tidy(text):
    """Spaces, articles and capitals at the start of sentences."""
    text = re.sub(r" +", " ", text)
    text = re.sub(r" ([,.;:?!])", r"\1", text)
    text = re.sub(r" ?\n ?", "\n", text).strip()
    text = ARTICLE.sub(lambda m: m.group(1) + "n ", text)
    text = ARTICLE_H.sub(lambda m: m.group(1) + "n ", text)
    return SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


class Writer:
    """Builds one document. Call it with sentences; text() gives the result."""

    def __init__(self, rng):
        self.rng = rng
        self.slots = {}
        self.parts = []
        self.used = {}

    def set(self, **slots):
        self.slots.update(slots)

    def pick(self, items):
        return self.rng.choice(list(items))

    def some(self, items, count):
        items = list(items)
        return self.rng.sample(items, min(count, len(items)))

    def chance(self, probability):
        return self.rng.random() < probability

    def _alternatives(self, text, start):
        """Parts of the choice whose '{' stands at start, and the position after its '}'."""
        parts, depth, begin = [], 0, start + 1
        for i in range(start, len(text)):
            if text[i] == "{":
                depth += 1
            elif text[i] == "}":
                depth -= 1
                if depth == 0:
                    parts.append(text[begin:i])
                    return parts, i + 1
            elif text[i] == "|" and depth == 1:
                parts.append(text[begin:i])
                begin = i + 1
        raise ValueError("unbalanced braces in: " + text)

    def _slot(self, match):
        names = [match.group(1)] + match.group(2).split(".")[1:]
        wants_capital = any(name[0].isupper() for name in names)
        names = [name[0].lower() + name[1:] for name in names]
        value = self.slots[names[0]]
        for name in names[1:]:
            value = getattr(value, name)
        value = self.expand(str(value))
        return capital(value) if wants_capital else value

    def _rule(self, match):
        name = match.group(1)
        lines = RULES[name]
        used = self.used.setdefault(name, set())
        if len(used) >= len(lines):
            used.clear()
        left = [i for i in range(len(lines)) if i not in used]
        index = self.rng.choice(left)
        used.add(index)
        return self.expand(lines[index])

    def expand(self, text):
        """The text with all choices, rules and slots resolved."""
        out, i = [], 0
        while i < len(text):
            c = text[i]
            if c == "{":
                parts, i = self._alternatives(text, i)
                out.append(self.expand(self.rng.choice(parts)))
            elif c in "$@":
                match = (SLOT if c == "$" else RULE).match(text, i)
                out.append(self._slot(match) if c == "$" else self._rule(match))
                i = match.end()
            else:
                out.append(c)
                i += 1
        return "".join(out)

    def line(self, text):
        """One expanded, tidied piece of text that is not added to the document."""
        return tidy(self.expand(text))

    def __call__(self, text, **slots):
        """Adds whole sentences: what the text expands to starts with a capital."""
        self.set(**slots)
        text = self.expand(text).strip()
        start = 1 if text[:1] == '"' else 0
        self.parts.append(text[:start] + capital(text[start:]))

    def one(self, *lines):
        """Adds one of the lines."""
        self(self.pick(lines))

    def maybe(self, text, probability=0.5):
        if self.chance(probability):
            self(text)

    def paragraph(self):
        if self.parts and self.parts[-1] != "\n":
            self.parts.append("\n")

    def text(self):
        return tidy(" ".join(self.parts))
