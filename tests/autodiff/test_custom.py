"""Gradients of the user's own."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import TapeError
from tests.modes import graphs_only, in_mode


@df.custom_gradient
def cube_but_times_hundred(x):
    """x^3 with a derivative of 100 x^2, so that its own rule is told from the natural one."""
    return x * x * x, lambda g: g * 100.0 * x * x


def test_the_rule_is_used_in_both_modes(mode):
    slope = in_mode(mode, df.grad(cube_but_times_hundred))
    for _ in range(3):
        assert slope(df.asarray(2.0)).item() == 400.0


def test_the_rule_is_differentiated_itself(mode):
    curvature = in_mode(mode, df.grad(df.grad(cube_but_times_hundred)))
    for _ in range(3):
        assert curvature(df.asarray(2.0)).item() == 400.0


def test_values_that_the_rule_closes_over_carry_gradients():
    @df.custom_gradient
    def log1pexp(x):
        e = df.exp(x)
        return df.log(1.0 + e), lambda g: g * (1.0 - 1.0 / (1.0 + e))

    x = df.asarray(0.5)
    s = 1.0 / (1.0 + df.exp(-x).item())
    assert df.grad(log1pexp)(x).item() == pytest.approx(s, rel=1e-6)
    assert df.grad(df.grad(log1pexp))(x).item() == pytest.approx(s * (1 - s), rel=1e-6)


def test_several_arguments_and_outputs():
    @df.custom_gradient
    def swap(a, b):
        return (b * 1.0, a * 1.0), lambda ga, gb: (10.0 * ga, None)

    a, b = df.asarray(2.0), df.asarray(3.0)
    with df.GradientTape() as tape:
        tape.watch([a, b])
        first, second = swap(a, b)
        y = first * 5.0 + second * 7.0
    assert (first.item(), second.item()) == (3.0, 2.0)
    found = tape.gradient(y, [a, b], unconnected_gradients="none")
    assert found[0].item() == 50.0
    assert found[1] is None


def test_identity_with_a_rule_does_not_touch_its_argument():
    @df.custom_gradient
    def clipped(x):
        return x, lambda g: df.clip(g, -1.0, 1.0)

    w = df.Variable([1.0, 2.0])
    (clipped(w) * 100.0).sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]
    w.grad = None
    (w * 100.0).sum().backward()
    assert w.grad.tolist() == [100.0, 100.0]


def test_a_rule_that_gives_too_few_gradients():
    @df.custom_gradient
    def product(a, b):
        return a * b, lambda g: g

    with pytest.raises(TapeError, match="product gave 1 gradients for 2 tensors"):
        df.grad(product)(df.asarray(1.0), df.asarray(2.0))


@graphs_only
def test_backward_around_a_compiled_call():
    """A graph does not show the rule, so such a call is not taken from the graph."""
    w = df.Variable(2.0)
    f = df.function(lambda: cube_but_times_hundred(w))
    with pytest.warns(df.errors.FunctionWarning, match="custom_gradient of cube_but_times_hundred"):
        f()
    for _ in range(2):
        w.grad = None
        f().backward()
        assert w.grad.item() == 400.0


def test_backward_inside_a_compiled_call(mode):
    w = df.Variable(2.0)

    def step():
        w.grad = None
        y = cube_but_times_hundred(w)
        y.backward()
        return w.grad * 1.0

    run = in_mode(mode, step)
    for _ in range(3):
        assert run().item() == 400.0


# ----- tangents -----


@df.custom_jvp
def sine_but_times_hundred(x):
    """sin(x) with a derivative of 100 cos(x)."""
    return df.sin(x), lambda t: 100.0 * t * df.cos(x)


def test_tangents_of_the_users_own_serve_every_mode_and_order(mode):
    x = df.asarray([0.5, -1.0])
    f = sine_but_times_hundred
    slope = 100.0 * df.cos(x)
    calls = {
        "forward": lambda x: df.jvp(f, [x], [df.ones_like(x)])[1],
        "reverse": df.grad(lambda x: f(x).sum()),
        "batch": df.vmap(df.grad(f)),
    }
    for name, call in calls.items():
        run = in_mode(mode, call)
        for _ in range(3):
            np.testing.assert_allclose(run(x).numpy(), slope.numpy(), rtol=1e-6, err_msg=name)
    curvature = in_mode(mode, df.grad(lambda x: df.grad(lambda x: f(x).sum())(x).sum()))
    along = in_mode(mode, lambda x: df.hvp(lambda x: f(x).sum(), [x], [df.ones_like(x)])[0])
    for _ in range(3):
        for run in (curvature, along):
            np.testing.assert_allclose(run(x).numpy(), (-100.0 * df.sin(x)).numpy(), rtol=1e-6)


def test_the_transpose_of_a_rule_is_the_forward_mode(mode):
    push = in_mode(mode, lambda x: df.jvp(cube_but_times_hundred, [x], [df.asarray(3.0)])[1])
    for _ in range(3):
        assert push(df.asarray(2.0)).item() == 1200.0


def test_tangents_of_several_arguments_and_results():
    @df.custom_jvp
    def rotated(a, b, label="x"):
        return (a + b, a - b), lambda ta, tb: (2 * ta + tb, ta - 3 * tb)

    a, b, zero = df.asarray(2.0), df.asarray(3.0), df.asarray(0.0)
    for k, (ta, tb) in enumerate([(zero + 1, zero), (zero, zero + 1)]):
        tangents = df.jvp(rotated, [a, b], [ta, tb])[1]
        assert tuple(t.item() for t in tangents) == [(2.0, 1.0), (1.0, -3.0)][k]
    pull = df.vjp(rotated, a, b)[1]
    assert [g.item() for g in pull((zero + 1, zero))] == [2.0, 1.0]
    assert [g.item() for g in pull((zero, zero + 1))] == [1.0, -3.0]


def test_a_push_that_gives_too_few_tangents():
    @df.custom_jvp
    def both(a):
        return (a, a), lambda t: t

    with pytest.raises(TapeError, match="both gave 1 tangents for 2 results"):
        df.jvp(both, [df.asarray(1.0)], [df.asarray(1.0)])
    with pytest.raises(TapeError, match="custom_jvp: bare returned a Tensor"):
        df.custom_jvp(bare)(df.ones(2))


def bare(x):
    """A function without a rule."""
    return x
