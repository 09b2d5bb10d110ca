"""recompute: the same results and gradients, in less memory, and Python runs once."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.comparison import peak_bytes
from tests.modes import bits, compiled_only, in_mode
from tests.tracing.both import agree

WIDTH, ROWS, BLOCKS = 8, 40, 4


def weights():
    rng = np.random.default_rng(0)
    return [
        df.Variable((rng.normal(size=(WIDTH, WIDTH)) / 3).astype(np.float32)) for _ in range(BLOCKS)
    ]


def rows(count=ROWS):
    return df.asarray(np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32))


def block(x, w):
    for _ in range(3):
        x = df.tanh(x @ w + df.sin(x))
    return {"x": x, "none": None}


def network(wrap, ws):
    """Gradients of several blocks, each of which is wrapped."""

    def run(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = x
            for w in ws:
                y = wrap(block)(y, w)["x"]
            loss = (y * y).mean() + (ws[0] * ws[0]).sum()
        return tape.gradient(loss, [x, *ws])

    return run


def nested(f):
    """Both halves of a block by themselves, and the block."""
    inner = df.recompute(f)
    return df.recompute(lambda x, w: inner(inner(x, w)["x"] * 0.5, w))


def test_gradients_are_the_same_in_every_bit():
    x, ws = rows(), weights()[:2]
    wanted = [bits(g) for g in network(lambda f: f, ws)(x)]
    assert [bits(g) for g in network(df.recompute, ws)(x)] == wanted
    f = agree(lambda: (network(df.recompute, ws), ()), [(x,), (x,)])
    assert [bits(g) for g in f(x)] == wanted
    agree(lambda: (network(nested, ws[:1]), ()), [(x,), (x,)])


@compiled_only
@pytest.mark.parametrize(
    "style", ["eager", "compiled", pytest.param("outside", marks=pytest.mark.slow)]
)
def test_less_memory_is_needed(style):
    x, ws = rows(10_000), weights()

    def outside(wrap):
        f = df.function(lambda x: network_value(wrap, ws, x))

        def run():
            with df.GradientTape() as tape:
                loss = f(x)
            return tape.gradient(loss, ws)

        return run

    def peak(wrap):
        run = outside(wrap)
        if style != "outside":
            f = in_mode(style, network(wrap, ws))

            def run():
                return f(x)

        for _ in range(3):
            run()
        return peak_bytes(lambda: run, warmup=1)

    assert peak(df.recompute) < 0.7 * peak(lambda f: f)


def network_value(wrap, ws, x):
    for w in ws:
        x = wrap(block)(x, w)["x"]
    return (x * x).mean()


def test_second_order_tangents_and_batches():
    def f(x):
        return df.recompute(lambda x: (df.tanh(x) * df.sin(x)).sum())(x * 2.0)

    x = df.asarray([0.5, -1.0, 2.0])
    for python in (f, df.function(f)):
        df.testing.check_gradients(python, x)
    plain = df.vmap(df.grad(lambda x: (df.tanh(x * 2.0) * df.sin(x * 2.0)).sum()))
    np.testing.assert_allclose(df.vmap(df.grad(f))(x[:, None]), plain(x[:, None]), rtol=1e-6)


def test_random_numbers_repeat_and_state_moves_once():
    total = df.Variable(0.0)

    def noisy(x):
        total.assign_add(1.0)
        return (x * df.nn.functional.dropout(x * x, 0.5)).sum()

    def program():
        total.assign(0.0)
        df.random.seed(7)

        def f(x):
            return df.grad(df.recompute(noisy))(x), df.random.uniform((2,))

        return f, total

    x = rows()[0]
    total.assign(0.0)
    df.random.seed(7)
    wanted = [df.grad(noisy)(x), df.random.uniform((2,))]
    for mode in ("eager", "compiled"):
        f, _ = program()
        found = in_mode(mode, f)(x)
        assert [bits(y) for y in found] == [bits(y) for y in wanted]
        assert total.item() == 1.0


def test_python_runs_once_and_decides():
    ran = []

    def f(x):
        def inner(x):
            ran.append(1)
            return x * 2 if x.sum() > 0 else x * x

        return df.grad(lambda x: df.recompute(inner)(x).sum())(x)

    x = df.asarray([1.0, 2.0])
    assert (f(x).tolist(), f(-x).tolist(), len(ran)) == ([2.0, 2.0], [-2.0, -4.0], 2)
    ran.clear()
    compiled = df.function(f)
    assert [compiled(y).tolist() for y in (x, -x, x)] == [[2.0, 2.0], [-2.0, -4.0], [2.0, 2.0]]
    assert len(ran) == 3


def test_a_gradient_of_its_own_counts():
    @df.custom_gradient
    def clipped(x):
        return x * 1.0, lambda g: df.clip(g, -1.0, 1.0)

    f = df.grad(df.recompute(lambda x: clipped(x * 3.0) * 100))
    assert f(df.asarray(1.0)).item() == df.function(f)(df.asarray(1.0)).item() == 3.0


def test_what_is_passed_on_and_what_needs_no_gradient():
    def inner(x, k):
        return x, k, df.argmax(x), df.stop_gradient(x * 2), [x * 3, None, "text"]

    def f(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            same, k, at, cut, (y, *_) = df.recompute(inner)(x, 2)
            loss = (same * k + cut + y).sum() + df.astype(at, df.float32)
        return tape.gradient(loss, x), loss

    agree(lambda: (f, ()), [(df.asarray([1.0, 3.0, 2.0]),)] * 2)
    assert f(df.asarray([1.0]))[0].tolist() == [5.0]


def test_loops_inside_and_around():
    w = weights()[0]

    def step(h, x):
        return df.recompute(lambda h: df.tanh(h @ w + x))(h), h

    def f(xs):
        whole = df.recompute(lambda h: df.scan(step, h, xs))
        return df.grad(lambda h: whole(h)[1].sum())(xs[0])

    agree(lambda: (f, ()), [(rows()[:5],)] * 2)
