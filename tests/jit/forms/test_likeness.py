"""Groups that are alike share a kernel; those that are not do not."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core.context import using
from dualflow.core.op import registry
from dualflow.tracing.trace import Trace
from jit import compile as compiled
from jit import planner


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(planner, "_kernels", {})


def run(f, *arrays):
    """The results of a function's graph, and its launches."""
    trace = Trace("f")
    tensors = trace.arguments([df.asarray(x) for x in arrays])
    with df.no_grad(), using(trace=trace):
        trace.graph.outputs = [trace.value_of(y) for y in f(*tensors)]
    executable = compiled(trace.graph, ops=registry)
    trace.release()
    return executable(list(arrays)), executable.code.plan.program.steps


def array(*shape, dtype="float32"):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def kernels(f, *arrays):
    """How many kernels the launches of a function have."""
    found, steps = run(f, *arrays)
    cold = planner._kernels.copy()
    planner._kernels.clear()
    again, _ = run(f, *arrays)
    planner._kernels.update(cold)
    assert [x.tobytes() for x in found] == [x.tobytes() for x in again]
    return len({id(step.kernel) for step in steps})


def unrolled(x, w, b):
    h = df.zeros((4, 8))
    for k in range(6):
        h = df.tanh(x[k] @ w + h @ w + b)
    return [h]


def test_the_steps_of_a_loop_are_alike():
    arrays = array(6, 4, 8), array(8, 8), array(8)
    found, steps = run(unrolled, *arrays)
    x, w, b = (a.astype("float64") for a in arrays)
    h = np.zeros((4, 8))
    for k in range(6):
        h = np.tanh(x[k] @ w + h @ w + b)
    np.testing.assert_allclose(found[0], h, rtol=1e-4)
    assert len(steps) >= 12
    assert kernels(unrolled, *arrays) < len(steps) / 2


def test_the_next_graph_finds_what_the_last_one_had():
    run(lambda x: [df.exp(x) + 1.0], array(50))
    known = len(planner._kernels)
    run(lambda y: [df.exp(y) + 1.0], array(50))
    assert len(planner._kernels) == known


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: [df.exp(x).sum(), df.exp(y).sum(axis=0)],
        lambda x, y: [x * 0.0 + df.tanh(x), y * -0.0 + df.tanh(y)],
        lambda x, y: [df.cumulative_sum(x, axis=0) + 1.0, (y + 1.0).sum(axis=1)],
        lambda x, y: [x @ y.T, x.T @ y],
        lambda x, y: [x - y, y.astype(df.float64) - 1.0],
        lambda x, y: [x * y, x * x],
        lambda x, y: [df.max(x, axis=1), df.argmax(y, axis=1)],
        lambda x, y: [df.maximum(x[1:], 0.0) * y[:-1], df.maximum(x[:-1], 0.0) * y[1:]],
    ],
)
def test_what_differs_is_told_apart(f):
    x, y = array(40, 40), array(40, 40) + 1
    found, _ = run(f, x, y)
    planner._kernels.clear()
    first, _ = run(lambda *z: f(*z)[:1], x, y)
    planner._kernels.clear()
    second, _ = run(lambda *z: f(*z)[1:], x, y)
    assert [v.tobytes() for v in found] == [v.tobytes() for v in (*first, *second)]


def test_index_tables_are_not_looked_for():
    x, i = array(5, 3), np.array([4, 0, 2])
    (found,), _ = run(lambda x, i: [df.take(x, i, axis=0) * 2.0], x, i)
    np.testing.assert_array_equal(found, x[i] * 2)
    assert not planner._kernels


def test_kernels_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(planner, "KEPT", 3)
    for n in range(2, 12):
        run(lambda x: [df.exp(x)], array(n))
        assert len(planner._kernels) <= 3


def test_signs_of_zero_are_told_apart_in_one_kernel():
    x = array(9)
    (a, b, c), steps = run(lambda x: [x * 0.0, x * -0.0, df.where(x > 0.0, x, x * -0.0)], x)
    assert len({id(step.kernel) for step in steps}) == 1
    assert [v.tobytes() for v in (a, b)] == [(x * np.float32(z)).tobytes() for z in (0.0, -0.0)]
    assert c.tobytes() == np.where(x > 0, x, x * np.float32(-0.0)).tobytes()
