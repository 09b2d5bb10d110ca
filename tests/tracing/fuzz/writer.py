"""Writes programs by chance: a scene, functions, and steps that call them and change the scene.

A program has a few groups of rules at its disposal, others than the next one: with all of them at
once hardly any program would be free of effects, or of exceptions.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

FOLDER = Path(__file__).parent
SCENE = (FOLDER / "scene.txt").read_text(encoding="utf-8")
CALLS = "# ----- steps -----"  # between definitions and steps

# How often a program has a group.
COMMON: dict[str, float] = dict.fromkeys("branch loop while list state number choice".split(), 0.6)
USUAL = dict.fromkeys(
    "early try variable closure helper inner array shape text shapes matrix passed".split(), 0.3
)
RARE = dict.fromkeys(
    """raise random layer recursive jitted method lambda gradient backward generator index walrus
    match none kept dtypes outer tape given twice same""".split(),
    0.15,
)
SELDOM = dict.fromkeys(
    """config mode tuples dynamic property slots derived cached local methods holder ints bools take
    ragged numpy slopes draws learn comprehension arguments library ladder contexts errors loops
    cells generators dicts slices names shelf gate uslice shared unpack operators made dispatch
    iterators inplace finals patterns coroutines""".split(),
    0.09,
)
EFFECTS = dict.fromkeys(
    ["objects out", "kept out", *"print log table count box closure kept".split()], 0.4
)
ESCAPES = dict.fromkeys("escape impure arraywrite".split(), 0.3)

# The functions that a program may have beside `f`; they call none of each other.
HELPERS = {
    "helper": "def helper(x, k=1):\n    <start>\n    <block>\n    return <vec>",
    "recursive": (
        "def recursive(x, k=2):\n    <start>\n    if k <= 0 or <truth>:\n        return <vec>\n"
        "    <block>\n    return recursive(<vec>, k - 1)"
    ),
    "generator": (
        "def chain(x, k=2):\n    <start>\n    for i in range(k):\n        yield s * i\n"
        "        <body>\n    yield <scal>"
    ),
    "jitted": "@function\ndef jitted(x, k=1):\n    <start>\n    <block>\n    return <vec>",
}
INNER = """def inner(x):
    <globals>
    nonlocal n, s, parts
    a, b, c = x, x * 0.5, x + 1.0
    <block>
    return <vec>
"""
OPERANDS = ("vec", "scal", "num", "small", "truth")
ONLY_IN_F = {"closure", "inner", "method", "passed", "given", "twice", "cells", *HELPERS}
# What stands for what a call may be given, if it is not.
PASSED = {
    "passed": """bag = {"v": s, "n": k} if bag is None else bag
rows = [] if rows is None else rows
""",
    "given": "p = Point(s) if p is None else p\n",
    "twice": "y = x if y is None else y\n",
}
BAGS = ("hand", '{"v": df.asarray(0.5), "n": 2}', '{"v": df.asarray(-1.0), "n": 1, "c": 0.5}')
POINTS = ("point", "Point(df.asarray(0.5))", "Point(df.asarray(-1.0), 2, [df.asarray(1.5)])")
ROWS = ("heap", "[]", "[df.asarray(0.5)]", "[df.asarray(1.5), df.asarray(-0.5)]")
GLOBALS = "global count, limit, word, log, made, w, u, point, mode, config, pair, table, z"
START = (
    GLOBALS
    + """
a, b, c, s, n, parts = x, x * 0.5, 1.0 - x, x.sum(), 0, []"""
)
FIXED = {"start": START, "globals": GLOBALS}
NUMBERS = (1, 2, 3, 5, 0.5, 2.5, -1, True)
VALUES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, -0.5, -1.0, -2.0)
DTYPES = ("float64", "int64", "float32", "int32", "float16", "bool")
HOLE = re.compile(r"<(\w[\w ]*)>")


class Rule(NamedTuple):
    """What may stand for a name, and the group that it belongs to."""

    group: str
    text: str


def read() -> dict[str, list[Rule]]:
    """The rules of all grammars, by name."""
    grammar: dict[str, list[Rule]] = {}
    texts = [path.read_text("utf-8") for path in sorted(FOLDER.glob("grammar*.txt"))]
    for section in [x for text in texts for x in re.split(r"^## ", text, flags=re.M)[1:]]:
        heading, _, body = section.partition("\n")
        name, _, blocks = heading.partition(" ")
        rules = body.strip().split("\n\n" if blocks else "\n")
        if name == "function":
            rules = re.split(r"\n\n(?=\w+ \| )", body.strip())
        found = grammar.setdefault(name, [])
        found += [Rule(*rule.split(" | ", 1)) for rule in rules]
    return grammar


GRAMMAR = read()


class Writer:
    """Writes one program.

    Args:
        random: What it leaves to chance.

    Attributes:
        used: How often each group was used.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.used: Counter[str] = Counter()
        self.groups = self._drawn_groups()
        self._names = 0
        self._room = 0  # for statements
        self._in_f = True

    def program(self) -> str:
        """The text of a program."""
        helpers = [self._helper(text) for name, text in HELPERS.items() if name in self.groups]
        main = self._function()
        parts = [ast.unparse(ast.parse(part)) for part in (*helpers, main)]
        return "\n".join([SCENE, *[f"{part}\n" for part in parts], CALLS, *self.steps()]) + "\n"

    def _drawn_groups(self) -> set[str]:
        chances = COMMON | USUAL | RARE | SELDOM
        if self.random.random() < 0.4:
            chances |= EFFECTS
        if self.random.random() < 0.15:
            chances |= ESCAPES
        groups = {name for name, chance in chances.items() if self.random.random() < chance}
        if "method" in groups:
            groups.discard("closure")
        if groups & {"loop", "while", "loops"}:
            groups.add("control")
        return {"basic", *groups}

    # ----- functions -----

    def _helper(self, text: str) -> str:
        groups, self.groups, self._in_f = self.groups, self.groups - ONLY_IN_F, False
        self._room = self.random.randint(1, 5)
        written = self.fill(text, 0)
        self.groups, self._in_f = groups, True
        return written

    def _function(self) -> str:
        kinds = [rule for rule in GRAMMAR["function"] if rule.group in self.groups]
        return self.fill(kinds[-1].text, 0)

    def _body(self) -> str:
        inner = self._helper(INNER) if "inner" in self.groups else ""
        self._room = self.random.randint(2, 12)
        above = "".join(text for group, text in PASSED.items() if group in self.groups)
        return above + inner + self.fill("<block>\n<block>\nreturn <result>", 0)

    # ----- rules -----

    def fill(self, text: str, depth: int) -> str:
        """Puts something by chance in the place of each `<name>`."""
        self._names += 1
        number = self._names

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            line = text[text.rfind("\n", 0, match.start()) + 1 :]
            indent = " " * (len(line) - len(line.lstrip(" ")))
            written = f"{name}{number}" if name in ("i", "j") else self.write(name, depth + 1)
            return written.replace("\n", "\n" + indent)

        return HOLE.sub(filled, text)

    def write(self, name: str, depth: int) -> str:
        """Something by chance for a name."""
        if name in FIXED:
            return FIXED[name]
        if name == "body of f":
            return self._body()
        if name in ("block", "body"):
            return self._block("statement" if name == "block" else "turn", depth)
        if name == "result" and not self._in_f:
            name = "vec"
        rule = self._rule(name, deep=depth > 5 or self.random.random() < 0.15 * depth)
        self.used[rule.group] += 1
        written = self.fill(rule.text, depth)
        return f"({written})" if name in OPERANDS else written

    def _rule(self, name: str, *, deep: bool) -> Rule:
        rules = [rule for rule in GRAMMAR[name] if self._has(rule.group)]
        if deep:
            least = min(len(HOLE.findall(rule.text)) for rule in rules)
            rules = [rule for rule in rules if len(HOLE.findall(rule.text)) == least]
        group = self.random.choice(sorted({rule.group for rule in rules}))
        return self.random.choice([rule for rule in rules if rule.group == group])

    def _has(self, group: str) -> bool:
        """Whether rules of a group may be used; `out` stands for all effects."""
        if group == "out":
            return any(rule.group in self.groups for rule in GRAMMAR["out"])
        return group in self.groups

    def _block(self, name: str, depth: int) -> str:
        count = self.random.choice((1, 1, 2, 2, 3))
        written = []
        for _ in range(count):
            self._room -= 1
            if self._room < 0 or depth > 4:
                written.append(self.fill("<target> = <vec>", 4))
                break
            written.append(self.write(name, max(depth - 2, 0)))
        return "\n".join(written)

    # ----- steps -----

    def steps(self) -> list[str]:
        """Calls, mostly like earlier ones, with changes between."""
        calls = [self._call() for _ in range(self.random.choice((1, 2, 2, 3)))]
        changes = [self.write("change", 0) for _ in range(self.random.choice((0, 1, 2)))]
        steps = [calls[0]]
        for _ in range(self.random.randint(8, 11)):
            if changes and self.random.random() < 0.15:
                steps.append(self.random.choice(changes))
            if self.random.random() < 0.1:
                calls.append(self._call())
            steps.append(self.random.choice(calls))
        return steps

    def _call(self) -> str:
        x = self._tensor()
        more = [str(self.random.choice(NUMBERS))] if "number" in self.groups else []
        named = []
        if "passed" in self.groups:
            named += [f"bag={self.random.choice(BAGS)}", f"rows={self.random.choice(ROWS)}"]
        if "given" in self.groups:
            named.append(f"p={self.random.choice(POINTS)}")
        if "twice" in self.groups:
            x, y = self.random.choice(((x, self._tensor()), ("z", "z"), (x, "z"), (x, "kept[0]")))
            named.append(f"y={y}")
        named = self.random.sample(named, self.random.randint(0, len(named)))
        given = ", ".join([x, *more, *named])
        if "outer" in self.groups:
            goes_back = self.groups & {"variable", "backward", "tape", "learn"}
            how = self.random.choice(("slopes", "slopes", "backward" if goes_back else "silent"))
            return f"{how}(f, {given})"
        return f"f({given})"

    def _tensor(self) -> str:
        size = self.random.randint(1, 4) if "shapes" in self.groups else 2
        if "ragged" in self.groups:
            size = self.random.randint(0, 3)
        values = [str(self.random.choice(VALUES)) for _ in range(size)]
        if "dtypes" in self.groups:
            values.append(f"dtype=df.{self.random.choice(DTYPES)}")
        return f"t({', '.join(values)})"
