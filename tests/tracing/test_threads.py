"""Threads: functions recorded and run at the same time stay right afterwards."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

import dualflow as df
from dualflow.core.context import context
from tests.modes import graphs_only
from tests.tracing.both import vector


@pytest.fixture(autouse=True)
def _switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*works):
    """Runs callables in threads that start together; raises what one of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work):
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def adding(v):
    """A function that reads and assigns a Variable many times."""

    def f(x):
        for _ in range(8):
            v.assign_add(x)
        return v * 1.0

    return df.function(f, strict=True)


def test_recordings_that_share_a_variable_freeze_nothing():
    for _ in range(15):
        v = df.Variable([0.0, 0.0, 0.0])
        fs = [adding(v) for _ in range(4)]
        at_once(*(lambda f=f: f(df.ones(3)) for f in fs))
        for f in fs:
            for start in (0.0, 5.0):
                v.assign(np.full(3, start, np.float32))
                assert f(df.ones(3)).tolist() == [start + 8.0] * 3 == v.tolist()


@graphs_only
def test_an_assignment_between_is_no_path():
    """Another thread assigns while a call is recorded: its value is not the graph's."""
    v = df.Variable([1.0])

    def f(x):
        y = v * x
        if context.trace is not None and not f_recorded:
            f_recorded.append(True)
            at_once(lambda: v.assign([5.0]))
        return y + v

    f_recorded: list[bool] = []
    g = df.function(f, strict=True)
    assert g(vector(1)).tolist() == [6.0]
    assert g.graphs == []
    for value in (2.0, 3.0):
        v.assign([value])
        assert g(vector(1)).tolist() == [2.0 * value]
    assert g.from_graph == 1


@graphs_only
def test_one_function_in_many_threads_records_each_path_once():
    f = df.function(lambda x: x * 2.0 if x.sum() > 3 else -x, strict=True)

    def work(seed):
        for k in np.random.default_rng(seed).integers(1, 7, size=20):
            x = np.arange(k, dtype=np.float32)
            wanted = x * 2.0 if x.sum() > 3 else -x
            assert f(df.asarray(x)).tolist() == wanted.tolist()

    at_once(*(lambda k=k: work(k) for k in range(4)))
    # One for size 1, one for the first of the others, two paths for all others.
    assert (len(f.explain().traces), len(f.graphs)) == (3, 4)


def test_tapes_and_explanations_while_others_work():
    f = df.function(lambda x: x * 2.0, on_limit="grow", strict=True)

    def differentiate():
        for _ in range(100):
            w = df.Variable([1.0, 2.0])
            with df.GradientTape() as tape:
                y = (w * w).sum()
            assert tape.gradient(y, w).tolist() == [2.0, 4.0]
            (w * w).sum().backward()

    def look():
        for _ in range(50):
            assert f.explain().name == "<lambda>"
            assert "Function" in df.status()

    at_once(differentiate, differentiate, look, lambda: [f(df.ones(k)) for k in range(1, 40)])
