"""Matrix decompositions where derivatives are delicate: equal values, missing results, symmetry."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, if_graphs
from tests.samples.sample import normal

linalg = df.linalg


def test_equal_singular_values_have_gradients_where_something_has():
    """Of a multiple of an orthogonal matrix the sum of singular values rises along the matrix."""
    q = np.linalg.qr(normal(3, 3))[0].astype(np.float64)
    g = df.grad(lambda x: linalg.svdvals(x).sum())(df.asarray(2 * q))
    np.testing.assert_allclose(g.numpy(), q, atol=1e-12)


def test_equal_eigenvalues_have_gradients_where_something_has():
    x = df.eye(3, dtype=df.float64)

    def function(x):
        w, v = linalg.eigh(x)
        return ((v * df.exp(w)[None, :]) @ v.mT).sum()  # the exponential, by one way to choose v

    g = df.grad(lambda x: linalg.eigvalsh(x).sum())(x)
    np.testing.assert_allclose(g.numpy(), np.eye(3))
    assert np.isfinite(df.grad(function)(x).numpy()).all()


def slopes(function, x, step=1e-6):
    """The gradient by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ahead, back = x.copy(), x.copy()
        ahead[place] += step
        back[place] -= step
        found[place] = (function(df.asarray(ahead)) - function(df.asarray(back))).item()
    return found / (2 * step)


def of_full_svd(x):
    """A function of what `svd` gives that does not depend on which further vectors it chose."""
    u, s, vh = linalg.svd(x)
    count = s.shape[-1]
    left, right = u[..., count:], vh[..., count:, :]
    front = (u[..., :count] * s[..., None, :]) @ vh[..., :count, :]
    spaces = [(left @ left.mT)[..., 0, :], (right.mT @ right)[..., 1, :], front]
    return (s**3).sum() + sum((y * df.arange(y.shape[-1])).sum() for y in spaces)


def of_complete_qr(x):
    q, r = linalg.qr(x, mode="complete")
    rest = q[..., x.shape[-1] :]
    return (r**3).sum() + ((rest @ rest.mT)[..., 0, :] * df.arange(q.shape[-2])).sum()


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3), (2, 5, 3)])
@pytest.mark.parametrize("function", [of_full_svd, of_complete_qr])
def test_gradients_flow_through_all_vectors(function, shape):
    x = normal(*shape, seed=3).astype(np.float64)
    g = df.grad(function)
    found = g(df.asarray(x))
    np.testing.assert_allclose(found.numpy(), slopes(function, x), rtol=1e-6, atol=1e-6)
    recorded = df.function(g)
    assert [bits(recorded(df.asarray(x))) for _ in range(2)] == [bits(found)] * 2
    t = normal(*shape, seed=4).astype(np.float64)
    along = df.jvp(function, (df.asarray(x),), (df.asarray(t),))[1]
    np.testing.assert_allclose(along.item(), (found.numpy() * t).sum(), rtol=1e-10)


@pytest.mark.parametrize(
    "x",
    [
        np.arange(9.0).reshape(3, 3),
        np.ones((3, 3)),
        np.zeros((1, 1)),
        np.stack([np.ones((2, 2)), np.diag([3.0, 0.0]), np.eye(2), np.zeros((2, 2))]),
    ],
    ids=["rank 2", "rank 1", "zero", "batch"],
)
def test_determinants_of_singular_matrices_have_gradients(x):
    def function(x):
        return (linalg.det(x) * 1.5).sum()

    g = df.grad(function)
    found = g(df.asarray(x))
    np.testing.assert_allclose(found.numpy(), slopes(function, x), atol=1e-8)
    recorded = df.function(g)
    assert [bits(recorded(df.asarray(x))) for _ in range(2)] == [bits(found)] * 2
    along = df.jvp(function, (df.asarray(x),), (df.ones_like(df.asarray(x)),))[1]
    np.testing.assert_allclose(along.item(), found.numpy().sum(), atol=1e-12)


def test_determinants_of_singular_complex_matrices_have_gradients():
    z = normal(3, 3, seed=1) + 1j * normal(3, 3, seed=2)
    z[:, 2] = z[:, 0] * (1 + 2j)
    z = z.astype(np.complex128)

    def function(x):
        return df.real(linalg.det(df.asarray(z) + x) * (1 + 2j))

    x = np.zeros((3, 3))
    found = df.grad(function)(df.asarray(x)).numpy()
    np.testing.assert_allclose(found, slopes(function, x), atol=1e-8)


def test_results_that_nobody_kept_are_computed_anew():
    x = df.asarray(normal(3, 3).astype(np.float64))
    both = df.grad(lambda x: (lambda q, r: (q * q[::-1]).sum())(*linalg.qr(x)))(x)
    alone = df.grad(lambda x: (lambda q: (q * q[::-1]).sum())(linalg.qr(x).Q))(x)
    np.testing.assert_array_equal(both.numpy(), alone.numpy())


def test_the_gradient_of_a_symmetric_matrix_is_symmetric():
    x = normal(3, 3)
    x = df.asarray(x @ x.T + 3 * np.eye(3, dtype=np.float32))
    for function in (linalg.cholesky, linalg.eigvalsh):
        g = df.grad(lambda x, function=function: (function(x) ** 2).sum())(x).numpy()
        np.testing.assert_allclose(g, g.T, rtol=1e-4, atol=1e-4)


def test_norms_at_zero_have_the_gradient_zero():
    for norm in (linalg.vector_norm, linalg.matrix_norm):
        assert not df.grad(norm)(df.zeros((2, 2))).numpy().any()


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (lambda x, y: df.vecdot(x, y), lambda x, y: df.sum(x * y, axis=-1)),
        (lambda x, y: df.vecdot(x, y, axis=0), lambda x, y: df.sum(x * y, axis=0)),
        (
            lambda x, y: linalg.vector_norm(x - y, axis=1),
            lambda x, y: df.sqrt(df.sum(df.square(x - y), axis=1)),
        ),
    ],
    ids=["rows", "columns", "length"],
)
def test_one_kernel_gives_the_bits_of_its_steps(found, steps):
    x, y = (df.asarray(normal(70, 300, seed=k)) for k in (0, 1))
    wanted, recorded = steps(x, y), df.function(found)
    recorded(x, y)
    assert bits(found(x, y)) == bits(recorded(x, y)) == bits(wanted)
    both = [df.grad(lambda x, f=f: df.sum(df.square(f(x, y))))(x).numpy() for f in (found, steps)]
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [linalg.inv, linalg.cholesky, linalg.slogdet, linalg.svd])
def test_half_precision_is_computed_in_float32(function):
    x = normal(3, 3)
    x = (x @ x.T + 3 * np.eye(3)).astype(np.float16)
    found = df.tree.flatten(function(df.asarray(x)))[0]
    wide = df.tree.flatten(function(df.asarray(x.astype(np.float32))))[0]
    for ours, theirs in zip(found, wide, strict=True):
        assert ours.dtype == df.float16
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy().astype(np.float16))


def test_a_failure_in_a_compiled_call_is_eagers():
    """The call that fails runs again from the top, so that the error names the user's line."""
    f = df.function(lambda x: linalg.inv(x) * 2)
    good, bad = df.eye(2), df.zeros((2, 2))
    f(good), f(good)
    with pytest.raises(df.errors.LinAlgError, match=r"inv: singular matrix[\s\S]*test_matrices.py"):
        f(bad)
    with pytest.raises(np.linalg.LinAlgError):
        f(bad)
    assert f(good).tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_a_transform_of_a_batch_of_unknown_size_is_recorded_twice_at_most():
    f = df.function(lambda x: df.fft.irfft(df.fft.rfft(x) * 2))
    for n in (2, 3, 4, 5):
        x = df.asarray(normal(n, 8))
        np.testing.assert_allclose(f(x).numpy(), 2 * x.numpy(), rtol=1e-5, atol=1e-6)
    assert len(f.explain().traces) <= 2


def test_matrices_without_elements():
    """What a step of the host reads may be empty, and then no other step has written it."""
    x = df.zeros((0, 0))
    for function in (linalg.cholesky, linalg.eigvalsh):
        f = df.function(function, strict=True)
        assert [f(x).shape for _ in range(2)] == [function(x).shape] * 2
        assert f.from_graph == if_graphs(1)


@pytest.mark.parametrize("length", [0, 1, 9, 700])
def test_a_vector_times_anything_has_the_same_bits_each_time_and_in_both_modes(length):
    rng = np.random.default_rng(length)
    a, b, gaps, rows = (rng.normal(size=n) for n in (length, length, 2 * length, 3 * length))
    rows = rows.reshape(3, length)
    for x, y in ((a, b), (rows, b), (a, rows.T), (a, rows.T.copy()), (gaps[::2], b)):
        first, second = (df.asarray(x) @ df.asarray(y) for _ in range(2))
        graph = df.function(df.matmul)(df.asarray(x), df.asarray(y))
        recorded = df.Variable(x) @ df.asarray(y)
        np.testing.assert_allclose(first.numpy(), x @ y, rtol=1e-10, atol=1e-12)
        for other in (second, graph, recorded):
            assert other.shape == first.shape
            assert other.numpy().tobytes() == first.numpy().tobytes()
