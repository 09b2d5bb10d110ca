"""Kinds of calls that come once each: code of a new one is made when it comes again."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from dualflow.core.context import context
from dualflow.tracing.arrivals import FEW
from dualflow.tracing.path import Path
from tests.modes import compiled_only
from tests.tracing.both import vector

pytestmark = [
    compiled_only,  # of calls from graphs
    pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning"),
]


def of_lists():
    """A step whose calls are of one kind for each length of a list, and what it has added up."""
    total = df.Variable([0.0])

    def step(xs):
        with df.GradientTape() as tape:
            tape.watch(xs[0])
            loss = sum((x * x).sum() for x in xs)
        total.assign_add(loss * df.ones(1))
        return loss, tape.gradient(loss, xs[0])

    return step, total


def lists(count):
    """Of one tensor, of two, and so on."""
    return [[vector(k + 1.0, 2.0) for k in range(n)] for n in range(1, count + 1)]


def test_a_kind_that_came_once_among_others_is_compiled_when_it_comes_again():
    step, total = of_lists()
    f = df.function(step, strict=True)
    given = lists(FEW + 3)
    for xs in given:
        f(xs)
    made = [len(entry.paths) for entry in f.entries.values()]
    assert made == [1] * FEW + [0] * 3
    assert (f.recordings, f.from_graph) == (FEW + 3, 0)
    assert f.mode == "compiled"
    assert str(f.explain()).count("0 paths, compiled when it comes again") == 3
    f(given[-1])
    made = [len(entry.paths) for entry in f.entries.values()]
    assert made == [1] * FEW + [0, 0, 1]
    assert (f.recordings, f.from_graph) == (FEW + 3, 1)
    expected, eager = of_lists()
    for xs in [*given, given[-1]]:
        expected(xs)
    assert total.numpy().tobytes() == eager.numpy().tobytes()


def test_results_of_all_calls_are_those_of_eager_mode():
    (step, total), (expected, eager) = of_lists(), of_lists()
    f = df.function(step, strict=True)
    for xs, others in zip(lists(FEW + 2) * 3, lists(FEW + 2) * 3, strict=True):
        for found, right in zip(f(xs), expected(others), strict=True):
            assert np.asarray(found).tobytes() == np.asarray(right).tobytes()
        assert total.numpy().tobytes() == eager.numpy().tobytes()
    assert f.from_graph == 2 * (FEW + 2)


def test_once_a_kind_has_come_again_the_first_call_makes_code():
    step, _ = of_lists()
    f = df.function(step, strict=True)
    given = lists(FEW + 2)
    for xs in given[:FEW]:
        f(xs)
    f(given[FEW - 1])
    for xs in given[FEW:]:
        f(xs)
    assert all(entry.paths for entry in f.entries.values())


def test_who_looks_at_graphs_or_waits_finds_all_of_them():
    for look in (lambda f: f.graphs, lambda f: f.wait()):
        step, _ = of_lists()
        f = df.function(step, strict=True)
        for xs in lists(FEW + 2):
            f(xs)
        look(f)
        assert len(f.graphs) == FEW + 2
        assert "comes again" not in str(f.explain())
        assert sum(entry.paths[0].hits for entry in f.entries.values()) == 0


def test_extents_that_vary_are_one_kind():
    f = df.function(lambda x: (x * x).sum(), strict=True)
    for n in range(2, 12):
        f(df.ones(n))
    assert all(entry.paths for entry in f.entries.values())


def test_a_call_that_is_stopped_while_code_is_made_is_recorded_again(monkeypatch):
    step, _ = of_lists()
    f = df.function(step, strict=True)
    given = lists(FEW + 1)
    for xs in given:
        f(xs)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "__init__", stopped)
        with pytest.raises(KeyboardInterrupt):
            f(given[-1])
    assert context.trace is None
    before = f.recordings
    f(given[-1])
    f(given[-1])
    f(given[-1])
    assert f.recordings == before + 1
    assert f.from_graph >= 1


def test_meanwhile_calls_of_other_threads_run_in_python(monkeypatch):
    step, _ = of_lists()
    f = df.function(step, strict=True)
    given = lists(FEW + 1)
    for xs in given:
        f(xs)
    gate, begun, make = threading.Event(), threading.Event(), Path.__init__

    def held(path, recorded):
        begun.set()
        assert gate.wait(60)
        make(path, recorded)

    monkeypatch.setattr(Path, "__init__", held)
    first = threading.Thread(target=f, args=(given[-1],))
    first.start()
    try:
        assert begun.wait(60)
        f(given[-1])
        assert f.from_graph == 0
        assert f.mode == "compiled and compiling"
    finally:
        gate.set()
        first.join()
    assert f.from_graph == 1
    assert f.recordings == FEW + 1
