"""Long scans: recording one takes one row, and steps with a loop of their own run as code."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.ops.rows import end_row, rows
from dualflow.tracing.control import looped, loops
from tests.modes import compiled_only, graphs_only, in_mode
from tests.tracing.both import agree

LONG = 150  # steps, of which code is made that serves one


def values(*shape, seed=0):
    return df.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


# ----- one row and the rest -----


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(1,), (4,), (3, 2)])
def test_an_end_and_the_rest_are_all_rows(shape, last, mode):
    x = values(*shape)
    f = in_mode(mode, lambda x: end_row(x, last=last))
    for _ in range(2):
        row, rest = f(x)
        other = [rest[k] for k in range(shape[0] - 1)]
        wanted = [y.tolist() for y in rows(x)]
        assert [y.tolist() for y in ([*other, row] if last else [row, *other])] == wanted


@pytest.mark.parametrize("last", [False, True])
def test_gradients_and_batches_of_an_end(last):
    def mixed(x):
        row, rest = end_row(x, last=last)
        return row * row * 2.0 + df.sum(rest**3, axis=0)

    def indexed(x):
        row, rest = (x[-1], x[:-1]) if last else (x[0], x[1:])
        return row * row * 2.0 + df.sum(rest**3, axis=0)

    df.testing.check_gradients(mixed, values(3, 2))
    xs = values(4, 3, 2)
    assert df.vmap(mixed)(xs).tolist() == df.vmap(indexed)(xs).tolist()
    wanted = df.vmap(df.grad(lambda x: indexed(x).sum()))(xs).tolist()
    assert df.vmap(df.grad(lambda x: mixed(x).sum()))(xs).tolist() == wanted


@compiled_only
@pytest.mark.parametrize("reverse", [False, True])
def test_recording_a_scan_takes_no_rows_but_one(reverse, monkeypatch):
    def summed(xs):
        def step(total, x):
            return total + x, total * x

        total, products = df.scan(step, df.zeros(2), xs, reverse=reverse)
        return total.sum() + products.sum()

    xs = values(20, 2)
    wanted = df.grad(summed)(xs)

    def taken(x):
        raise AssertionError("all rows are taken")

    monkeypatch.setattr(loops, "rows", taken)
    f = df.function(df.grad(summed))
    assert f(xs).tolist() == f(xs).tolist() == wanted.tolist()


# ----- steps that no loop of native code can hold -----


def until_small(w):
    """A step with a loop of which nobody knows how long it is."""

    def step(c, x):
        c = df.while_loop(
            lambda s: df.sum(s * s) > df.abs(x) + 1.0,
            lambda s: df.sin(s @ w) * 0.5,
            c + x,
            maximum_iterations=6,
        )
        return c + df.exp(c * 0.01), df.tanh(c)

    return step


def inverted(w):
    """A step with something that Python does."""

    def step(c, x):
        return df.linalg.inv(df.eye(3) + 0.1 * df.tanh(c @ w))[0] * x, c

    return step


def looked_up(w):
    """A step that raises if it is told to."""

    def step(c, x):
        c = df.while_loop(lambda s: s.sum() > 0.1, lambda s: s * 0.5, df.tanh(c @ w))
        return c + w[df.astype(x, df.int64)], c

    return step


@pytest.mark.parametrize("kind", [until_small, inverted])
@pytest.mark.parametrize("count", [3, LONG])
@pytest.mark.parametrize("reverse", [False, True])
def test_steps_with_loops_and_host_steps_are_those_of_eager_in_every_bit(kind, count, reverse):
    def loss(xs, w):
        c, y = df.scan(kind(w), df.ones(3), xs, reverse=reverse)
        return df.sum(c * c) + df.sum(y)

    calls = [(values(count), 0.5 * values(3, 3, seed=seed)) for seed in (1, 1, 2)]
    agree(lambda: (df.value_and_grad(loss, argnums=(0, 1)), ()), calls)


@graphs_only
def test_each_of_many_steps_is_one_call_of_code(monkeypatch):
    f = df.function(lambda xs, w: df.scan(until_small(w), df.ones(3), xs))
    xs, w = values(LONG), 0.5 * values(3, 3)
    for _ in range(2):
        f(xs, w)
    ran = []
    by_op = looped.op_by_op
    monkeypatch.setattr(looped, "op_by_op", lambda *given: ran.append(1) or by_op(*given))
    f(xs, w)
    assert not ran
    assert [part.label for part in f.explain().host_steps] == ["loop"]


@pytest.mark.parametrize("count", [5, LONG])
def test_what_a_step_raises_is_told_as_in_eager_mode(count):
    xs = np.zeros(count, np.float32)
    wrong = xs.copy()
    wrong[count - 2] = 7
    calls = [(df.asarray(x), 0.1 * df.ones((3, 3))) for x in (xs, xs, wrong, xs)]
    agree(lambda: (lambda xs, w: df.scan(looked_up(w), df.ones(3), xs)[1], ()), calls)
