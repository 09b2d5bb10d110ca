"""Jacobians by tape: of nests, of batches, differentiable again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.comparison import peak_bytes
from dualflow.errors import TapeError


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_jacobian_is_central_differences(m, n, seed):
    generator = np.random.default_rng(seed)
    a, x0 = generator.normal(size=(m, n)), generator.normal(size=(n,))

    def f(x):
        return df.tanh(df.asarray(a) @ x) * x.sum()

    x = df.asarray(x0)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    found = tape.jacobian(y, x)
    columns = [
        (f(df.asarray(x0 + d)).numpy() - f(df.asarray(x0 - d)).numpy()) / 2e-6
        for d in 1e-6 * np.eye(n)
    ]
    assert found.shape == (m, n)
    np.testing.assert_allclose(found.numpy(), np.stack(columns, axis=1), rtol=1e-6, atol=1e-8)


def test_jacobian_of_nests_scalars_and_strangers():
    a, b, c = df.Variable([1.0, 2.0]), df.Variable(3.0), df.Variable(1.0)
    with df.GradientTape(persistent=True) as tape:
        y = a * b
    found = tape.jacobian(y, {"a": a, "b": b, "c": c}, unconnected_gradients="none")
    assert found["a"].tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert found["b"].tolist() == [1.0, 2.0]
    assert found["c"] is None
    with df.GradientTape() as tape:
        y = (a * b).sum()
    assert tape.jacobian(y, a).tolist() == [3.0, 3.0]
    with pytest.raises(TapeError, match="spent"):
        tape.jacobian(y, a)


def test_batch_jacobian_is_the_diagonal_of_the_jacobian():
    generator = np.random.default_rng(0)
    x = df.asarray(generator.normal(size=(3, 4)))
    a = df.asarray(generator.normal(size=(4, 2)))
    with df.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = df.tanh(x @ a)
    full = tape.jacobian(y, x).numpy()
    found = tape.batch_jacobian(y, x)
    assert found.shape == (3, 2, 4)
    np.testing.assert_array_equal(found.numpy(), full[np.arange(3), :, np.arange(3)])


def test_jacobian_inside_the_with_is_differentiable():
    x = df.asarray([1.0, 2.0])
    with df.GradientTape() as outer:
        outer.watch(x)
        with df.GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        matrix = inner.jacobian(y, x)
    assert outer.gradient(matrix, x).tolist() == [6.0, 12.0]


def test_jacobian_of_nothing_has_its_shape():
    x = df.Variable(np.ones((4, 3), np.float32))
    with df.GradientTape(persistent=True) as tape:
        y = x[:, :0] * 2.0
        z = x[:0].sum(axis=1)
    assert tape.jacobian(z, [x])[0].shape == (0, 4, 3)
    assert tape.batch_jacobian(y, x).shape == (4, 0, 3)


@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_rows_at_a_time_change_nothing_but_the_time(chunk):
    x = df.asarray(np.random.default_rng(1).normal(size=(4,)))
    a = df.asarray(np.random.default_rng(2).normal(size=(5, 4)))

    def f(x):
        return df.tanh(a @ x)

    wanted = df.jacobian(f, chunk=1)(x).numpy()
    np.testing.assert_allclose(df.jacobian(f, chunk=chunk)(x).numpy(), wanted, rtol=1e-12)
    compiled = df.function(df.jacobian(f, chunk=chunk))
    for _ in range(2):
        np.testing.assert_allclose(compiled(x).numpy(), wanted, rtol=1e-12)
    hessian = df.hessian(lambda x: f(x).sum(), chunk=chunk)(x)
    np.testing.assert_allclose(hessian.numpy(), hessian.numpy().T, rtol=1e-10, atol=1e-12)


def test_one_sweep_serves_many_rows():
    sweeps = 0

    @df.custom_gradient
    def counted(x):
        def rule(g):
            nonlocal sweeps
            sweeps += 1
            return 2 * g

        return 2 * x, rule

    x = df.ones(6)
    assert df.jacobian(counted, chunk=4)(x).tolist() == (2 * df.eye(6)).tolist()
    assert sweeps == 2


def test_products_with_the_hessian_need_no_hessian():
    x = df.asarray(np.random.default_rng(1).normal(size=(4,)))
    t = df.asarray(np.random.default_rng(2).normal(size=(4,)))

    def f(x):
        return df.tanh(x * x.sum()).sum()

    (found,) = df.hvp(f, [x], [t])
    np.testing.assert_allclose(found.numpy(), (df.hessian(f)(x) @ t).numpy(), rtol=1e-10)
    both = df.hvp(lambda x, y: (x * x * y).sum(), [x, t], [t, x])
    np.testing.assert_allclose(both[0].numpy(), (2 * t * t + 2 * x * x).numpy(), rtol=1e-10)


def beside_the_matrix(rows: int, **options) -> int:
    """Bytes that a Jacobian of so many rows takes at its peak, without itself and its parts."""
    hidden = 20_000  # numbers between 2 arguments and `rows` results
    a, b = df.ones((hidden, 2)), df.ones((rows, hidden))
    x = df.asarray(np.float32([0.1, 0.2]))
    f = df.jacobian(lambda x: b @ df.tanh(a @ x), **options)
    return peak_bytes(lambda: lambda: f(x), warmup=2) - 2 * 4 * rows * 2


def test_r36_memory_grows_with_the_rows_at_a_time_and_not_with_their_number():
    few, many = (beside_the_matrix(rows, chunk=4) for rows in (16, 32))
    assert many < 1.1 * few
    wider = beside_the_matrix(32, chunk=16)
    assert 2.5 * many < wider < 4.5 * many


def test_r36_the_choice_fits_a_limit():
    assert 1e6 < beside_the_matrix(32, memory=3e6) <= 3e6
