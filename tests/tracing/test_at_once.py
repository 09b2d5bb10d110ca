"""Calls that are served at once give what others give; other calls are left to others."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, compiled_only, graphs_only
from tests.tracing.both import vector

X, Y = vector(1, 2), vector(3, 4)
WEIGHT = df.Variable([0.5, 2.0])
FACTORS = {"now": 2.0}
MATRIX = df.asarray(np.arange(4, dtype=np.float32).reshape(2, 2))


def function(python=lambda x, y: x * y + MATRIX @ x, **options):
    return df.function(python, **{"strict": True, **options})


def warm(f, *args):
    """A function that has been called so often that it knows the quickest way."""
    for _ in range(4):
        f(*args)
    return f


def is_served(f):
    """Whether calls like the last one are served at once."""
    return f.entries.recent is not None and f.entries.recent.at_once is not None


@compiled_only
@pytest.mark.parametrize(
    "python",
    [
        lambda x, y: x + y,
        lambda x, y: (x + y, x - y),
        lambda x, y: [x * y],
        lambda x, y: {"sum": (x + y, x * 2.0), "product": MATRIX @ y},
    ],
)
def test_results_are_those_of_python(python):
    f = warm(function(python), X, Y)
    assert is_served(f)
    for args in ((X, Y), (Y, X), (X * 3.0, Y - 1.0)):
        found, wanted = f(*args), python(*args)
        assert df.tree.flatten(found)[1] == df.tree.flatten(wanted)[1]
        pairs = zip(df.tree.flatten(found)[0], df.tree.flatten(wanted)[0], strict=True)
        assert all(bits(a) == bits(b) and a.record is None for a, b in pairs)


@compiled_only
def test_each_call_counts_once():
    f = warm(function(), X, Y)
    for _ in range(10):
        f(X, Y)
    (trace,) = f.explain().traces
    assert (f.calls, f.from_graph, trace.hits) == (14, 13, 13)


@compiled_only
@pytest.mark.parametrize(
    "args",
    [
        (vector(1, 2, 3), vector(1, 2, 3)),
        (X, X),
        (X, df.asarray([1, 2])),
        (df.asarray(np.arange(8, dtype=np.float32))[::4], Y),
        (X, 2.0),
        (X, np.array([1.0, 2.0], np.float32)),
        (X, WEIGHT),
        (X, WEIGHT * 1.0),
    ],
)
def test_other_calls_are_not(args):
    def python(x, y):
        return x * y + 1.0

    f = warm(function(python), X, Y)
    assert f.entries.recent.at_once(args) is None
    assert bits(f(*args)) == bits(python(*args))
    assert bits(f(X, Y)) == bits(python(X, Y))


@compiled_only
def test_gradients_flow_through_calls_that_want_them():
    f = warm(function(), X, Y)

    def gradient(python):
        x = X * 2.0
        with df.GradientTape() as tape:
            tape.watch(x)
            return tape.gradient(python(x, Y), x)

    assert bits(gradient(f)) == bits(gradient(f.python))
    assert is_served(warm(f, X, Y))
    assert bits(f(X, WEIGHT * 1.0)) == bits(f.python(X, WEIGHT * 1.0))
    assert f(X, WEIGHT * 1.0).requires_grad


@graphs_only
def test_what_is_in_force_counts():
    f = warm(function(), X, Y)
    with df.no_grad():
        f(X, Y)
    with df.set_mode("eager"):
        f(X, Y)
    with df.autocast("float16"):
        assert bits(f(X, Y)) == bits(f.python(X, Y))
    outer = df.function(lambda x, y: f(x, y) * 2.0, strict=True)
    assert bits(outer(X, Y)) == bits(f.python(X, Y) * 2.0)
    assert bits(f(X, Y)) == bits(f.python(X, Y))


@compiled_only
def test_state_that_is_read_counts():
    model = df.Variable([1.0, 2.0], trainable=False)
    f = warm(function(lambda x: x * model * FACTORS["now"]), X)
    assert is_served(f)
    model.assign([3.0, 4.0])
    assert f(X).tolist() == [6.0, 16.0]
    try:
        FACTORS["now"] = 3.0
        assert f(X).tolist() == [9.0, 24.0]
    finally:
        FACTORS["now"] = 2.0


@compiled_only
def test_weights_are_read_where_nothing_is_recorded():
    f = function(lambda x: x * WEIGHT)
    with df.no_grad():
        warm(f, X)
        assert is_served(f)
        assert f(X).tolist() == [0.5, 4.0]
    assert f(X).requires_grad


@compiled_only
@pytest.mark.parametrize(
    "python",
    [
        lambda x: (x, x * 2.0),
        lambda x: (x.shape[0], x * 2.0),
        lambda x: 1.0,
        lambda x: None,
        lambda x: df.random.normal((2,)) + x,
        lambda x: x * WEIGHT,
    ],
)
def test_calls_that_do_more_are_served_as_before(python):
    f = df.function(python)
    for _ in range(4):
        df.random.seed(0)
        found = f(X)
        df.random.seed(0)
        wanted = python(X)
        pairs = zip(df.tree.flatten(found)[0], df.tree.flatten(wanted)[0], strict=True)
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    assert not is_served(f)


@compiled_only
def test_an_update_is_served_as_before():
    state = df.Variable([0.0, 0.0], trainable=False)

    def step(x):
        state.assign_add(x)
        return state * 2.0

    f = warm(function(step), X)
    assert state.tolist() == [4.0, 8.0]
    assert not is_served(f)


@compiled_only
def test_several_threads_call_at_once():
    f, wrong = warm(function(), X, Y), []

    def work(scale):
        x, y = X * scale, Y * scale
        wanted = bits(x * y + MATRIX @ x)
        for _ in range(300):
            if bits(f(x, y)) != wanted:
                wrong.append(scale)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
