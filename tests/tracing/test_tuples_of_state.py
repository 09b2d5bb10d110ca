"""Tuples that Python keeps: the state of a recurrent net, pairs of counters, named tuples."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree, outcome, snapshot, vector


class Kept:
    """Something with attributes."""

    now: Any
    other: Any = None


class Carry(NamedTuple):
    """A state with names."""

    h: Any
    steps: int = 0
    more: Any = None

    def grown(self, x):
        return self._replace(h=self.h * 0.5 + x, steps=self.steps + 1)


def replaced(kept, x):
    h, n = kept.now
    kept.now = h * 0.5 + x, n + 1
    return h.sum() * n


def by_halves(kept, x):
    kept.now = x, kept.now[1]
    return kept.now[1] * 2.0 + kept.now[0]


def exchanged(kept, x):
    kept.now = kept.now[::-1] if isinstance(kept.now[0], df.Tensor) else (x, 1)
    return x


def in_a_branch(kept, x):
    if kept.now[0].sum() < 5.0:
        kept.now = kept.now[0] + x, kept.now[1] + 1
    return kept.now[0]


def in_a_loop(kept, x):
    while kept.now[0].sum() < 40.0:
        kept.now = kept.now[0] * 2.0 + x * x + 1.0, kept.now[1] + 1
    h, n = kept.now
    kept.now = h * 0.1, n
    return n


def what_was(kept, x):
    before = kept.now
    kept.now = kept.now[0] + x, kept.now[1] + 1
    return before, before[0]


def grown_by_a_method(kept, x):
    if not isinstance(kept.now, Carry):
        kept.now = Carry(*kept.now)
    kept.now = kept.now.grown(x)
    return kept.now.h, kept.now.steps


def nested(kept, x):
    if kept.other is None:
        kept.other = ((x, 0), (None, 1.5))
    (h, n), (_, rate) = kept.other
    kept.other = ((h * rate + x, n + 1), (None, rate * 0.5))
    return h * n


@graphs_only
@pytest.mark.parametrize(
    ("python", "least"),
    [
        (replaced, 9),
        (by_halves, 9),
        (exchanged, 0),
        (in_a_branch, 4),
        (in_a_loop, 4),
        (what_was, 9),
        (grown_by_a_method, 8),
        (nested, 9),
    ],
)
def test_r9_a_tuple_that_differs_from_call_to_call(python, least):
    def program():
        kept = Kept()
        kept.now = vector(1.0, 2.0), 2
        return lambda x: python(kept, x), vars(kept)

    calls = [(vector(k, 1.0),) for k in range(12)]
    f = agree(program, calls, strict=False)
    assert f.from_graph >= least


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("python", [replaced, by_halves, what_was, grown_by_a_method])
def test_r9_others_change_the_tuple_too(python):
    """Its items, what kind they are, and how many."""
    other = [
        (vector(5.0, 5.0), 7),
        (vector(5.0), 7),
        (vector(5.0), 7.5),
        (df.asarray([5]), 7),
        (vector(1.0, 2.0), 1, 3),
        [vector(1.0, 2.0), 1],
        (vector(1.0, 2.0), 1),
    ]

    results = []
    for decorate in (lambda f: f, df.function):
        kept = Kept()
        kept.now = vector(1.0, 2.0), 2
        f = decorate(lambda x, kept=kept: python(kept, x))
        told = []
        for now in other:
            for k in range(4):
                told.append((outcome(f, (vector(k),)), snapshot(vars(kept))))
            kept.now = now
        results.append(told)
    assert results[0] == results[1]


@graphs_only
def test_r9_what_is_returned_is_the_tuple_that_lies_there():
    kept = Kept()
    kept.now = vector(1.0), 2
    f = df.function(lambda x: (kept.now, x * kept.now[0]), strict=True)

    def step(x):
        kept.now = kept.now[0] + x, kept.now[1] + 1
        return kept.now[0]

    g = df.function(step, strict=True)
    for k in range(6):
        assert f(vector(1.0))[0] is kept.now
        assert g(vector(1.0)) is kept.now[0]
        assert type(kept.now[1]) is int
        assert kept.now[1] == 3 + k
    assert min(f.from_graph, g.from_graph) >= 3


@graphs_only
@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("place", ["the result", "another attribute", "a list"])
def test_r9_a_new_tuple_that_is_in_two_places_is_one(place):
    kept = Kept()
    kept.now, kept.log = (vector(1.0), 2), []

    def python(x):
        kept.now = kept.now[0] + x, kept.now[1] + 1
        if place == "another attribute":
            kept.other = kept.now
        elif place == "a list":
            kept.log.append(kept.now)
        return kept.now if place == "the result" else x

    f = df.function(python)
    for _ in range(8):
        given = f(vector(1.0))
        there = {"the result": given, "another attribute": kept.other}
        assert there.get(place, [*kept.log, None][-2 if kept.log else -1]) is kept.now


@graphs_only
def test_r9_a_recurrent_net_keeps_its_state():
    cell = df.nn.LSTMCell(2, 3)

    def program():
        kept = Kept()
        kept.now = None

        def f(x):
            if kept.now is None:
                kept.now = df.zeros((1, 3)), df.zeros((1, 3))
            kept.now = cell(x, kept.now)
            return kept.now[0].sum()

        return f, vars(kept)

    f = agree(program, [(df.ones((1, 2)) * k,) for k in range(8)], strict=True)
    assert f.from_graph >= 5
