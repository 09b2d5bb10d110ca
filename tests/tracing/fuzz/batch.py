"""One program of many: written from its number, run, made small if its modes differ."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple

from tests.tracing.fuzz.shrink import shrunk
from tests.tracing.fuzz.sides import run
from tests.tracing.fuzz.writer import Writer


class Found(NamedTuple):
    """What became of one program.

    Attributes:
        number: Of the program.
        counts: Of its calls.
        used: How often it uses each group of rules.
        text: The program, where its modes differ.
        difference: What differs, in words.
    """

    number: int
    counts: dict[str, int]
    used: Counter[str]
    text: str = ""
    difference: str = ""


def tried(number: int) -> Found:
    """Writes the program of a number, and runs it."""
    writer = Writer(Random(number))
    text = writer.program()
    report = run(text)
    if report.difference is None:
        return Found(number, report.counts(), writer.used)
    return Found(number, report.counts(), writer.used, text, str(report.difference))


def smaller(text: str) -> str:
    """The program without what its difference does not need."""

    def differs(candidate: str) -> str | None:
        try:
            difference = run(candidate, seconds=3).difference
        except SyntaxError:
            return None
        return None if difference is None else difference.what

    what = differs(text)

    return shrunk(text, lambda candidate: differs(candidate) == what)
