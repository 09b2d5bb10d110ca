"""Transformations of functions of nests and of several arguments, which may return more."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DTypeError, TapeError

A = np.array([[1.0, 2.0], [3.0, 5.0]])
X, B = np.array([0.5, -1.5]), np.array([2.0, 0.25])
MODES = pytest.mark.parametrize("in_mode", [lambda f: f, df.function], ids=["eager", "graph"])


def quadratic(p, b):
    """x A x + (b x)^2 of p = {"x": x, "more": (s,)}, times s."""
    return ((p["x"] * (df.asarray(A) @ p["x"])).sum() + (b * p["x"]).sum() ** 2) * p["more"][0]


def point():
    return {"x": df.asarray(X), "more": (df.asarray(3.0, dtype="float64"),)}, df.asarray(B)


@MODES
def test_jacobian_of_nests_by_several_arguments(in_mode):
    def f(p, b):
        return {"product": p["x"] * b, "sum": [p["x"].sum() * p["more"][0]]}

    found = in_mode(df.jacobian(f, argnums=(0, 1)))(*point())
    by_p, by_b = found["product"]
    np.testing.assert_array_equal(by_p["x"].numpy(), np.diag(B))
    np.testing.assert_array_equal(by_p["more"][0].numpy(), np.zeros(2))
    np.testing.assert_array_equal(by_b.numpy(), np.diag(X))
    by_p, by_b = found["sum"][0]
    np.testing.assert_array_equal(by_p["x"].numpy(), [3.0, 3.0])
    assert by_p["more"][0].item() == X.sum()
    np.testing.assert_array_equal(by_b.numpy(), np.zeros(2))


@MODES
def test_hessian_of_nests_is_the_matrix_of_its_blocks(in_mode):
    found = in_mode(df.hessian(quadratic, argnums=(0, 1)))(*point())
    by_p, by_b = found
    np.testing.assert_allclose(by_p["x"][0]["x"].numpy(), 3 * (A + A.T + 2 * np.outer(B, B)))
    np.testing.assert_allclose(by_p["x"][1].numpy(), by_b[0]["x"].numpy().T)
    np.testing.assert_allclose(by_b[1].numpy(), 6 * np.outer(X, X))
    scale = by_p["x"][0]["more"][0].numpy()
    np.testing.assert_allclose(scale, by_p["more"][0][0]["x"].numpy())
    np.testing.assert_allclose(scale, (A + A.T) @ X + 2 * (B @ X) * B)


@MODES
def test_directions_of_nests(in_mode):
    p, b = point()
    t = {"x": b, "more": (p["more"][0],)}
    still = df.zeros_like(b)

    y, moved = in_mode(lambda: df.jvp(quadratic, (p, b), (t, still)))()
    slope = df.grad(quadratic)(p, b)
    assert y.item() == quadratic(p, b).item()
    wanted = (slope["x"] * b).sum() + slope["more"][0] * p["more"][0]
    assert moved.item() == pytest.approx(wanted.item())
    curved = in_mode(lambda: df.hvp(quadratic, (p, b), (t, still))[0]["x"])()
    rows = df.hessian(quadratic)(p, b)["x"]
    wanted = rows["x"] @ b + rows["more"][0] * p["more"][0]
    np.testing.assert_allclose(curved.numpy(), wanted.numpy())


@MODES
def test_what_else_a_function_returns(in_mode):
    def f(x):
        return x * x, {"twice": x + x}

    x = df.asarray(3.0)
    found = in_mode(
        lambda x: (
            df.jvp(f, [x], [x], has_aux=True),
            df.jacobian(f, has_aux=True)(x),
            df.grad(f, has_aux=True)(x),
            df.vjp(f, x, has_aux=True)[2],
        )
    )(x)
    values = df.tree.tree_map(lambda t: t.item(), found)
    more = {"twice": 6.0}
    assert values == ((9.0, 18.0, more), (6.0, more), (6.0, more), more)


@MODES
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: df.jvp(df.square, [df.asarray(2)], [df.asarray(1)]), DTypeError, "int64"),
        (lambda x: df.jvp(df.add, [x, x], [x]), TapeError, "2 primals and 1 tangents"),
        (lambda x: df.grad(df.square, argnums=2)(x), IndexError, "argnums=2, but there are 1"),
        (lambda x: df.jacobian(df.square, argnums=-2)(x), IndexError, "jacobian: argnums=-2"),
        (lambda x: df.grad(df.square, has_aux=True)(x), TypeError, "a pair"),
    ],
)
def test_refused(in_mode, call, error, words):
    with pytest.raises(error, match=words):
        in_mode(call)(df.asarray(2.0))
