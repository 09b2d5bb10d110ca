"""Functions in, functions of derivatives out: grad, value_and_grad, vjp, jacobian, hessian."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import ShapeError
from tests.modes import in_mode


def cubes(x):
    return (x * x * x).sum()


X = np.array([1.0, -2.0])


def test_orders_one_to_three(mode):
    g = cubes
    for expected in (3 * X**2, 6 * X, np.full(2, 6.0)):
        g = df.grad(lambda x, g=g: g(x).sum())
        f = in_mode(mode, g)
        for _ in range(3):
            np.testing.assert_allclose(f(df.asarray(X)).numpy(), expected)


def test_value_and_grad_with_aux_and_argnums():
    def f(a, b, c):
        return (a * b).sum(), {"seen": c}

    (value, aux), (ga, gb) = df.value_and_grad(f, argnums=(0, 1), has_aux=True)(
        df.asarray([1.0, 2.0]), df.asarray([3.0, 4.0]), "c"
    )
    assert (value.item(), aux) == (11.0, {"seen": "c"})
    assert (ga.tolist(), gb.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    g, aux = df.grad(f, has_aux=True)(df.asarray([1.0]), df.asarray([3.0]), None)
    assert (g.tolist(), aux) == ([3.0], {"seen": None})


def test_grad_by_a_nest_and_by_numbers():
    def f(parameters, x):
        return (parameters["w"] * x + parameters["b"][0]).sum()

    g = df.grad(f)({"w": df.asarray([2.0, 3.0]), "b": [df.asarray(1.0)]}, df.asarray([5.0, 7.0]))
    assert g["w"].tolist() == [5.0, 7.0]
    assert g["b"][0].item() == 2.0
    assert df.grad(lambda x: x * x)(3.0).item() == 6.0
    assert df.grad(lambda x: (x * x).sum())(np.array([3.0])).tolist() == [6.0]


def test_an_argument_that_is_not_used_gets_zeros():
    assert df.grad(lambda a, b: (a * a).sum(), argnums=1)(
        df.asarray([1.0]), df.asarray([2.0, 3.0])
    ).tolist() == [0, 0]


def test_the_argument_is_watched_for_this_call_only():
    """The same tensor closed over by the function is another place."""
    x = df.asarray(3.0)
    assert df.grad(lambda z: z * x)(x).item() == 3.0
    assert x.record is None


def test_grad_by_a_variable_leaves_the_variable_alone():
    w = df.Variable(3.0)
    assert df.grad(lambda v: v * v)(w).item() == 6.0
    assert w.grad is None


def test_only_scalars_have_a_gradient():
    with pytest.raises(ShapeError, match=r"grad: the function returned \(2,\)"):
        df.grad(lambda x: x)(df.asarray([1.0, 2.0]))
    with pytest.raises(ShapeError, match="grad: the function returned float"):
        df.grad(lambda x: 1.0)(df.asarray([1.0, 2.0]))


def test_vjp_may_be_pulled_again_and_again():
    y, pull = df.vjp(lambda a, b: {"p": a * b, "s": a + b}, df.asarray(2.0), df.asarray(3.0))
    assert (y["p"].item(), y["s"].item()) == (6.0, 5.0)
    for _ in range(2):
        a, b = pull({"p": df.asarray(10.0), "s": df.asarray(1.0)})
        assert (a.item(), b.item()) == (31.0, 21.0)


def test_jacobian_and_hessian():
    a = np.array([[1.0, 2.0], [3.0, 5.0]])
    found = df.jacobian(lambda x: df.asarray(a) @ x)(df.asarray(X))
    np.testing.assert_array_equal(found.numpy(), a)
    h = df.hessian(lambda x: (x * (df.asarray(a) @ x)).sum())(df.asarray(X))
    np.testing.assert_allclose(h.numpy(), a + a.T)


def test_grad_inside_of_a_tape():
    x = df.asarray(2.0)
    with df.GradientTape() as tape:
        tape.watch(x)
        slope = df.grad(lambda z: z * z * z)(x)
    assert tape.gradient(slope, x).item() == 12.0


def test_gradients_of_both_arguments_of_nested_grads():
    """d/da (d/db a b^2) = 2 b, where the inner function closes over the outer argument."""

    def outer(a):
        return df.grad(lambda b: a * b * b)(df.asarray(3.0))

    assert df.grad(outer)(df.asarray(7.0)).item() == 6.0
