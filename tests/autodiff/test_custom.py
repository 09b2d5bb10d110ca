"""Gradients of the user's own."""

from __future__ import annotations

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
