"""Programs by chance do the same with and without the decorator: `python -m tests.tracing.fuzz`."""

from __future__ import annotations

import functools
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.modes import graphs_only
from tests.tracing.fuzz.batch import smaller, tried
from tests.tracing.fuzz.sides import run
from tests.tracing.fuzz.writer import CALLS, GRAMMAR, Writer

pytestmark = graphs_only  # of calls from graphs

LOGGED = f"""
log = []
other = 1.0

def noted(x):
    log.append(x)

@function
def f(x):
    if other:
        for k in range(3):
            noted(x)
    print(x)
    return {{"a": 1 // x}}

{CALLS}
f(1.0)
other = 2.0
f(0.0)
f(2.0)
"""


def alike(number):
    """How a program has run, in which the modes do not differ."""
    found = tried(number)
    assert not found.text, f"{found.difference}\nin program {number}:\n{found.text}"
    return found.counts


def test_programs_are_alike_in_both_modes():
    counts: Counter[str] = Counter()
    for number in range(12, 24):
        counts.update(alike(number))
    assert counts["from a graph"] > counts["calls"] / 4
    assert counts["raised"] < counts["calls"] / 3


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(phases=[Phase.generate])  # the number of a program says nothing of its size
def test_many_programs_are_alike_in_both_modes(number):
    alike(number)


def test_every_rule_is_used():
    used: Counter[str] = Counter()
    for number in range(600):
        writer = Writer(Random(number))
        writer.program()
        used += writer.used
    assert {rule.group for rules in GRAMMAR.values() for rule in rules} <= {*used}


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("result", lambda python, x: {"a": -python(x)["a"]}),
        ("result", lambda python, x: {"b": python(x)["a"]}),
        ("output", lambda python, x: (print(), python(x))[1]),
        ("state", lambda python, x: (python(x), python.__globals__["log"].reverse())[0]),
        ("state", lambda python, x: (python(x), python.__globals__.update(more=1))[0]),
        ("error", lambda python, x: python(x or 1.0)),
    ],
)
def test_a_difference_is_found_and_made_small(what, wrong, monkeypatch):
    """Instead of a Function: what does something else than the function that it is made of."""

    def function(python):
        f: Any = functools.partial(wrong, python)
        f.calls = f.from_graph = f.recordings = 0
        f.mode, f.python = "wrong", python
        return f

    monkeypatch.setattr("dualflow.function", function)
    difference = run(LOGGED).difference
    assert difference is not None
    assert difference.what == what
    small = smaller(LOGGED)
    assert run(small).difference is not None
    assert len(small) < 0.7 * len(LOGGED)


def test_what_is_left_in_an_argument_is_compared(monkeypatch):
    def function(python):
        f: Any = functools.partial(lambda python, x: python([*x]), python)
        f.calls = f.from_graph = f.recordings = 0
        f.mode, f.python = "wrong", python
        return f

    monkeypatch.setattr("dualflow.function", function)
    text = f"@function\ndef f(x):\n    x.append(1)\n{CALLS}\nf([])\n"
    difference = run(text).difference
    assert difference is not None
    assert difference.what == "arguments"


def test_what_hangs_is_told_unless_python_hangs_too():
    endless = f"def f():\n    while True: pass\n{CALLS}\nf()\n"
    assert run(endless, seconds=0.1).difference is None
    decorated = "@function\ndef f():\n    while made: pass\nmade = hasattr(f, 'recordings')\n"
    report = run(f"{decorated}{CALLS}\nf()\n", seconds=2)
    assert report.difference is not None
    assert report.difference.what == "hangs"
