"""Progress of compilations: who observes is told of every phase, item by item."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby

import numpy as np
import pytest

import jit
from jit import progress
from jit.config import configure
from jit.errors import GraphError
from jit.types import TensorType, float32
from tests.jit.toy import apply

PHASES = ["passes over the graph", "lowering ops", "planning launches", "compiling kernels"]


@pytest.fixture
def observed():
    """The compilations: name, what was told of it, and how often it was over."""
    found = []

    @contextmanager
    def observe(name):
        items, ends = [], []
        found.append((name, items, ends))
        try:
            yield lambda *item: items.append(item)
        finally:
            ends.append(len(items))

    before = progress.observe(observe)
    yield found
    progress.observe(before)


def chain(length):
    graph = jit.Graph("chain")
    x = y = graph.input(TensorType((5,), float32), "x")
    for k in range(length):
        y = apply(graph, "multiply" if k % 2 else "subtract", y, x)
    graph.outputs = [y]
    return graph


@pytest.mark.parametrize("length", [1, 7, 40])
def test_r33_each_phase_is_told_from_its_first_item_to_its_last(observed, length, tmp_path):
    with configure(cache=tmp_path):
        jit.compile(chain(length))
    ((name, items, ends),) = observed
    assert (name, ends) == ("chain", [len(items)])
    phases = [(phase, [*told]) for phase, told in groupby(items, key=lambda item: item[0])]
    assert [phase for phase, _ in phases] in (PHASES, PHASES[:-1])  # its kernel may be known
    for _, told in phases:
        total = told[0][2]
        assert [item[1:] for item in told] == [(k, total) for k in range(total)]
    assert dict(phases)["lowering ops"][0][2] == length


def test_a_compilation_that_fails_is_over_too(observed):
    graph = chain(2)
    graph.outputs = [chain(1).outputs[0]]
    with configure(check=True), pytest.raises(GraphError):
        jit.compile(graph)
    ((_, items, ends),) = observed
    assert ends == [len(items)]


def test_nobody_is_told_outside_of_compilations_nor_where_nobody_asks(observed):
    items = [1, 2, 3]
    assert progress.each("phase", items) is items
    progress.observe(None)
    with progress.compilation("graph"):
        assert progress.each("phase", items) is items
    assert observed == []


def test_items_come_as_they_are_and_inner_compilations_are_of_the_outer(observed):
    with progress.compilation("outer"):
        for item, wanted in zip(progress.each("a", "xyz"), "xyz", strict=True):
            assert item == wanted
            with progress.compilation("inner"):
                assert [*progress.each("b", "uv")] == ["u", "v"]
    ((name, items, ends),) = observed
    assert (name, ends) == ("outer", [9])
    inner = [("b", 0, 2), ("b", 1, 2)]
    assert items == [x for k in range(3) for x in (("a", k, 3), *inner)]


def test_who_is_told_may_end_a_compilation(observed):
    def stop(phase, done, total):
        if (phase, done) == ("lowering ops", 3):
            raise InterruptedError

    with progress.telling(stop), pytest.raises(InterruptedError):
        jit.compile(chain(9))
    assert observed == []
    x = np.ones(5, np.float32)
    assert jit.compile(chain(1))([x])[0].tolist() == [0.0] * 5
