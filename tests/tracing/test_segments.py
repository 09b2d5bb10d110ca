"""Segment mode: Python runs at each call, and what it computes in between has eager's bits."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.tracing import segments
from dualflow.tracing.segments import in_segments
from tests.modes import graphs_only
from tests.tracing.both import vector
from tests.tracing.test_random_programs import STEPS, program

pytestmark = pytest.mark.filterwarnings("ignore:.*runs in segments")


@pytest.fixture(autouse=True)
def _nothing_known():
    segments.forget()


def compiled():
    """How many segments are."""
    return sum(code is not None for code in segments._known.values())


def net():
    """A training step that looks at its loss, decides by it, and keeps a log."""
    generator = np.random.default_rng(0)
    x, y = (df.asarray(generator.standard_normal(s, dtype="f")) for s in ((8, 5), (8, 3)))
    w, b = df.Variable(np.full((5, 3), 0.1, "f")), df.Variable(np.zeros(3, "f"))
    optimiser, log = df.optim.Adam([w, b], lr=0.1), []

    def step():
        with df.GradientTape() as tape:
            loss = ((df.tanh(x @ w) + b - y) ** 2).mean()
        log.append(float(loss))
        optimiser.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
        if loss > 0.5:
            b.assign_sub(0.01 * b)
        return loss

    return step, log, [w, b]


@graphs_only
def test_a_step_that_looks_at_its_loss():
    (eager, log, state), (python, other_log, other) = net(), net()
    step = df.function(python)
    for _ in range(30):
        assert step().tolist() == eager().tolist()
    assert log == other_log
    for a, b in zip(state, other, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    assert step.mode.startswith("segments (a value leaves for Python through float()")
    assert 2 <= compiled() <= 6


def test_a_segment_is_compiled_when_it_comes_again():
    def f(x):
        y = df.tanh(x) * 2.0 + 1.0
        return y.tolist()

    wanted = f(vector(1, 2))
    for count in (0, 1, 1):
        assert in_segments(f, (vector(1, 2),), {}) == wanted
        assert compiled() == count


def test_numbers_that_change_are_one_segment():
    for k in range(1, 6):
        found = in_segments(lambda x, k=k: (x * float(k) + k).tolist(), (vector(1, 2),), {})
        assert found == [2.0 * k, 3.0 * k]
    assert len(segments._known) == 1


def test_nothing_waits_beyond_the_call():
    v = df.Variable(df.zeros(2))
    kept = []

    def f(x):
        v.assign(x * 2.0)
        kept.append(x + 1.0)
        return x * 3.0

    for k in range(3):
        result = in_segments(f, (vector(k, 1),), {})
        assert all(t.raw is not None and t.symbol is None for t in (result, kept[-1], v.tensor))
        assert (result.tolist(), kept[-1].tolist()) == ([3.0 * k, 3.0], [k + 1.0, 2.0])
        assert v.tolist() == [2.0 * k, 2.0]


def test_an_error_leaves_what_eager_leaves():
    v = df.Variable([1.0, 2.0, 3.0])

    def f(i):
        v.assign(v * 2.0)
        y = v[i]
        v.assign(v * 0.0)
        return y

    for _ in range(3):
        in_segments(f, (df.asarray(0),), {})
        v.assign([1.0, 2.0, 3.0])
        with pytest.raises(IndexError, match="index 7"):
            in_segments(f, (df.asarray(7),), {})
        assert v.tolist() == [2.0, 4.0, 6.0]


def test_an_error_by_types_comes_at_its_line():
    with pytest.raises(df.errors.ShapeError, match="matmul"):
        in_segments(lambda x: (x + 1.0) @ df.ones((5, 5)), (vector(1, 2),), {})


def test_arrays_and_randomness_are_read_at_every_call():
    array = np.ones(2, np.float32)
    for k in range(4):
        array[:] = k
        assert in_segments(lambda x: (x + array).tolist(), (vector(1, 2),), {}) == [
            1.0 + k,
            2.0 + k,
        ]
    draws = {in_segments(lambda: float(df.asarray(np.random.rand())), (), {}) for _ in range(4)}
    assert len(draws) == 4


def test_a_tape_outside_sees_a_segment_inside():
    w = df.Variable([3.0])
    for _ in range(3):
        with df.GradientTape() as tape:
            y = in_segments(lambda: w * w * (2.0 if float(w) > 0 else 1.0), (), {})
        assert tape.gradient(y, w).tolist() == [12.0]


def test_other_threads_see_no_waiting_values():
    v = df.Variable(df.zeros(2))
    stop, seen = threading.Event(), set()

    def look():
        while not stop.is_set():
            seen.add(float(v.tensor.raw[0]))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for k in range(200):
            in_segments(lambda k=k: v.assign(df.ones(2) * float(k)), (), {})
    finally:
        stop.set()
        watcher.join()
    assert seen <= set(map(float, range(200)))


def test_what_came_too_often_is_forgotten(monkeypatch):
    monkeypatch.setattr(segments, "KEPT", 4)
    monkeypatch.setattr(segments, "KINDS", 8)
    for k in range(1, 30):
        for _ in range(3):
            found = in_segments(lambda x: (x * 2.0 + 1.0).sum().item(), (df.ones(k),), {})
            assert found == 3.0 * k
    assert len(segments._known) <= 4
    assert len(segments._kinds) <= 9


@graphs_only
def test_the_limit_of_traces_leads_here():
    f = df.function(lambda x, k: x * k, max_traces=2)
    for _ in range(3):
        for word in ("a", "b", "c", "d"):
            assert f(vector(1), len(word)).item() == 1.0
    g = df.function(lambda x, word: x * len(word), max_traces=2)
    for _ in range(3):
        for word in ("a", "bb", "ccc", "dddd"):
            assert g(vector(1), word).item() == len(word)
    assert g.mode.startswith("segments (limit")


@given(STEPS, st.integers(0, 3))
def test_random_programs(steps, seed):
    x = df.asarray(np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32))
    (eager, v), (python, w) = program(steps), program(steps)
    for _ in range(3):
        wanted, found = eager(x), in_segments(python, (x,), {})
        for a, b in zip((*wanted, v), (*found, w), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


@graphs_only
def test_a_variable_of_a_value_that_is_put_off_is_differentiated():
    @df.function
    def f(x):
        x = x + float(np.random.rand())  # Python runs at each call
        w = df.Variable(df.random.uniform((3,)) * 2.0)
        with df.GradientTape() as tape:
            loss = (x * w).sum()
            return w.read_value(), tape.gradient(loss, w)

    with pytest.warns(df.errors.FunctionWarning):
        f(df.ones(3))
    for _ in range(2):
        w, slope = f(df.ones(3))
        assert w.shape == (3,)
        assert len(set(slope.tolist())) == 1
