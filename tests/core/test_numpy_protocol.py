"""NumPy's functions on tensors give tensors, in both modes, with gradients."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, in_mode

M = np.asarray([[1.0, -2.0, 0.5], [0.25, 3.0, -1.5]], np.float32)
P = np.abs(M)
# Each runs on an array and on a tensor; the results agree.
CALLS = {
    "sin": np.sin,
    "abs": np.abs,
    "fabs": np.fabs,
    "negative": np.negative,
    "arctan2": lambda x: np.arctan2(x, x + 1.0),
    "power": lambda x: np.power(np.abs(x), 1.5),
    "true_divide": lambda x: np.true_divide(x, 2),
    "maximum": lambda x: np.maximum(x, 0.0),
    "fmax": lambda x: np.fmax(x, 0.0),
    "logaddexp": lambda x: np.logaddexp(x, 1.0),
    "mod": lambda x: np.mod(x, 0.75),
    "rint": np.rint,
    "conjugate": np.conjugate,
    "isfinite": np.isfinite,
    "sum": np.sum,
    "sum of an axis": lambda x: np.sum(x, axis=1, keepdims=True),
    "sum, positional": lambda x: np.sum(x, 1),
    "mean": lambda x: np.mean(x, axis=0),
    "std": lambda x: np.std(x, ddof=1),
    "var": lambda x: np.var(x, axis=1, ddof=0),
    "prod": np.prod,
    "amax": lambda x: np.amax(x, axis=0),
    "max": np.max,
    "argmax": lambda x: np.argmax(x, axis=1),
    "sort": lambda x: np.sort(x, axis=0),
    "argsort": np.argsort,
    "any": lambda x: np.any(x > 2.5),
    "count_nonzero": lambda x: np.count_nonzero(x),
    "cumsum": np.cumsum,
    "cumsum of an axis": lambda x: np.cumsum(x, axis=1),
    "cumprod": lambda x: np.cumprod(x, axis=0),
    "concatenate": lambda x: np.concatenate([x, x], axis=1),
    "stack": lambda x: np.stack([x, x], axis=-1),
    "vstack": lambda x: np.vstack([x[0], x]),
    "hstack": lambda x: np.hstack([x, x]),
    "hstack of vectors": lambda x: np.hstack([x[0], x[1]]),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "transpose": np.transpose,
    "transpose by axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "reshape": lambda x: np.reshape(x, (3, 2)),
    "ravel": np.ravel,
    "squeeze": lambda x: np.squeeze(x[:1]),
    "expand_dims": lambda x: np.expand_dims(x, axis=0),
    "flip": lambda x: np.flip(x, axis=0),
    "fliplr": np.fliplr,
    "flipud": np.flipud,
    "roll": lambda x: np.roll(x, 1, axis=1),
    "tile": lambda x: np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2, axis=0),
    "take": lambda x: np.take(x, [0, 2], axis=1),
    "where": lambda x: np.where(x > 0, x, 0.0),
    "clip": lambda x: np.clip(x, -1.0, 1.0),
    "clip by words": lambda x: np.clip(x, a_min=-1.0, a_max=1.0),
    "round": lambda x: np.round(x, 1),
    "pad": lambda x: np.pad(x, ((1, 0), (0, 2))),
    "dot": lambda x: np.dot(x, x.T),
    "dot of vectors": lambda x: np.dot(x[0], x[1]),
    "matmul": lambda x: np.matmul(x, np.transpose(x)),
    "outer": lambda x: np.outer(x[0], x[1]),
    "tensordot": lambda x: np.tensordot(x, x, axes=([1], [1])),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "trace": lambda x: np.trace(x[:, :2]),
    "tril": np.tril,
    "zeros_like": np.zeros_like,
    "full_like": lambda x: np.full_like(x, 2.0),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "isclose": lambda x: np.isclose(x, x + 1e-9),
    "norm": np.linalg.norm,
    "norm of an axis": lambda x: np.linalg.norm(x, axis=1),
    "add.reduce": np.add.reduce,
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=1),
    "add.accumulate": lambda x: np.add.accumulate(x, axis=1),
    "multiply.outer": lambda x: np.multiply.outer(x[0], x[1]),
    "copy": np.copy,
}


@pytest.mark.parametrize("name", CALLS)
def test_r26_numpys_functions_are_ours(name, mode):
    call = CALLS[name]
    f = in_mode(mode, call)
    for array in (M, P, M):
        found = f(df.asarray(array))
        assert isinstance(found, df.Tensor)
        wanted = np.asarray(call(array))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-5, atol=1e-6)
    if mode == "compiled":
        assert f.from_graph == 2


def test_r26_gradients_go_through():
    def loss(x):
        y = np.concatenate([np.sin(x), np.tanh(x)], axis=1)
        return np.sum(np.where(y > 0, y, 0.0)) / np.linalg.norm(x)

    def same(x):
        y = df.concat([df.sin(x), df.tanh(x)], axis=1)
        return df.sum(df.where(y > 0, y, 0.0)) / df.linalg.vector_norm(x)

    x = df.asarray(M)
    wanted = bits(df.grad(same)(x))
    compiled = df.function(df.grad(loss), strict=True)
    assert bits(df.grad(loss)(x)) == bits(compiled(x)) == bits(compiled(x)) == wanted


def test_r26_shapes_and_answers_are_pythons(mode):
    def f(x):
        if np.allclose(x, x) and np.array_equal(x, x):
            return x * float(np.ndim(x)) + np.shape(x)[0] + np.size(x)
        return x

    g = in_mode(mode, f)
    for _ in range(3):
        np.testing.assert_allclose(g(df.asarray(M)).numpy(), M * 2 + 2 + 6)


def test_r26_variables_and_arrays_mixed():
    v = df.Variable(M)
    f = df.function(lambda: np.add(np.sum(v, axis=0), M[0]) + np.maximum(M, v), strict=True)
    for k in range(3):
        v.assign(M * k)
        np.testing.assert_allclose(f().numpy(), (M * k).sum(0) + M[0] + np.maximum(M, M * k))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (np.histogram, r"np\.histogram: np\.digitize"),
        (lambda x: np.sort(x, order="a"), r"np\.sort with order=: call it on"),
        (lambda x: np.unique(x, axis=0), r"np\.unique with axis=: call it on"),
        (lambda x: np.take(x, [0], 0, None, "clip"), r"np\.take with mode=: call it on"),
        (lambda x: np.add.at(x, 0, 1), r"np\.add\.at: x\.at\[i\]\.add\(v\)"),
        (
            np.linalg.tensorinv,
            r"np\.linalg\.tensorinv: call it on x\.numpy\(\)",
        ),
        (lambda x: np.add(x, 1, out=M.copy()), r"np\.add with out=: take what it returns"),
        (lambda x: np.add(x, 1, where=x > 0), r"np\.add with where=: df\.where\(condition"),
        (lambda x: np.add(x, 1, dtype="float64"), r"np\.add with dtype=: df\.astype\(x, dtype\)"),
        (
            lambda x: np.add.accumulate(x, out=M.copy()),
            r"np\.add\.accumulate with out=: take what it",
        ),
        (lambda x: np.ravel(x, order="F"), r"np\.ravel with order=: call it on"),
        (np.emath.sqrt, r"np\.lib\.scimath\.sqrt: call it on"),
        (lambda x: np.random.permutation(x[0]), r"np\.may_share_memory: .*df\.random\.permutation"),
        (np.intersect1d, None),
    ],
)
def test_r26_what_is_missing_names_a_replacement(call, said):
    x = df.asarray(M)
    for f in (call, df.function(call)):
        if said is None:
            with pytest.raises(TypeError, match="where gradients end"):
                f(x, x)
        else:
            with pytest.raises(TypeError, match=f"dualflow has no counterpart of {said}"):
                f(x)


def test_r26_bins_that_neither_rise_nor_fall_are_refused(mode):
    f = in_mode(mode, lambda x, bins: np.digitize(x, bins))
    for bins in ([0.0, 1.0, 2.0], [2.0, 1.0, 0.0]):
        wanted = np.digitize(M, bins).tolist()
        assert [f(df.asarray(M), df.asarray(bins)).tolist() for _ in range(2)] == [wanted] * 2
    with pytest.raises(ValueError, match="neither rise nor fall"):
        f(df.asarray(M), df.asarray([0.0, 2.0, 1.0]))
