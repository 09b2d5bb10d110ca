"""Forward mode: tangents pushed along, alone and mixed with the reverse mode."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import TapeError
from tests.modes import in_mode


def f(x, w):
    return df.tanh(x @ w) * x.sum()


def case():
    generator = np.random.default_rng(0)
    shapes = ((2, 3), (3, 4))
    return [[df.asarray(generator.normal(size=s)) for s in shapes] for _ in range(2)]


def test_jvp_is_the_central_difference(mode):
    primals, tangents = case()
    push = in_mode(mode, lambda p, t: df.jvp(f, p, t))
    for _ in range(2):
        y, t = push(primals, tangents)
        up = f(*(p + 1e-6 * d for p, d in zip(primals, tangents, strict=True)))
        down = f(*(p - 1e-6 * d for p, d in zip(primals, tangents, strict=True)))
        np.testing.assert_allclose(t.numpy(), ((up - down) / 2e-6).numpy(), rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(y.numpy(), f(*primals).numpy())


def test_jvp_and_vjp_are_adjoint():
    primals, tangents = case()
    y, t = df.jvp(f, primals, tangents)
    g = df.asarray(np.random.default_rng(1).normal(size=y.shape))
    cotangents = df.vjp(f, *primals)[1](g)
    right = sum((c * d).sum().item() for c, d in zip(cotangents, tangents, strict=True))
    np.testing.assert_allclose((g * t).sum().item(), right, rtol=1e-12)


def test_forward_over_reverse_and_reverse_over_forward():
    """Both give the product of the Hessian with a vector."""

    def cubes(x):
        return (x * x * x).sum()

    x, v = df.asarray([1.0, 2.0]), df.asarray([1.0, 10.0])
    assert df.jvp(df.grad(cubes), [x], [v])[1].tolist() == [6.0, 120.0]
    assert df.grad(lambda x: df.jvp(cubes, [x], [v])[1])(x).tolist() == [6.0, 120.0]


def test_forward_twice():
    x, one = df.asarray(2.0), df.asarray(1.0)
    assert (
        df.jvp(lambda x: df.jvp(lambda z: z * z * z, [x], [one])[1], [x], [one])[1].item() == 12.0
    )


def test_what_does_not_move_gets_zeros_and_nests_come_back():
    x = df.asarray([1.0, 2.0])
    y, t = df.jvp(lambda x: {"a": x * x, "b": [df.full((3,), 1.0)]}, [x], [df.asarray([1.0, 1.0])])
    assert t["a"].tolist() == [2.0, 4.0]
    assert t["b"][0].tolist() == [0.0, 0.0, 0.0]
    assert y["b"][0].tolist() == [1.0, 1.0, 1.0]


def test_a_stretched_tangent():
    """x + row: the tangent of the row has the shape of the sum."""
    row, m = df.asarray([1.0, 2.0]), df.full((3, 2), 1.0)
    assert df.jvp(lambda r: m + r, [row], [df.asarray([1.0, 5.0])])[1].tolist() == [[1.0, 5.0]] * 3


def test_jvp_leaves_no_trace_of_itself():
    x = df.asarray(2.0)
    _, t = df.jvp(lambda z: z * z, [x], [df.asarray(1.0)])
    assert x.record is None
    assert not (t * 2.0).requires_grad


def test_a_tangent_of_another_shape():
    with pytest.raises(TapeError, match=r"a tangent of shape \(3,\) for a primal of \(2,\)"):
        df.jvp(lambda x: x, [df.asarray([1.0, 2.0])], [df.asarray([1.0, 2.0, 3.0])])
