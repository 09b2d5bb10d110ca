"""Tensor: an immutable value with NumPy's shape rules, Python's protocols, and clear refusals."""

from __future__ import annotations

import copy
import mmap
import operator
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.errors import DTypeError
from jit.types import dtypes

M = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5
N = np.array([[1, -2, 3], [4, 5, -6]])


def equal(ours, numpys):
    """The same shape, dtype kind and values."""
    array = np.asarray(ours)
    assert array.shape == np.shape(numpys)
    assert array.dtype.kind == np.asarray(numpys).dtype.kind
    np.testing.assert_allclose(array, numpys, rtol=1e-6)


# ----- attributes -----


def test_attributes():
    x = df.asarray(M)
    assert (x.shape, x.ndim, x.size, x.nbytes, x.dtype, x.device) == (
        (2, 3),
        2,
        6,
        24,
        np.dtype("f4"),
        "cpu",
    )
    assert x.dtype is df.float32
    assert x.grad is None
    assert x.requires_grad is False
    equal(x.T, M.T)
    equal(df.asarray(np.stack([M, M])).mT, np.stack([M, M]).transpose(0, 2, 1))
    z = df.asarray(np.complex64([1 + 2j]))
    assert (z.real.tolist(), z.imag.tolist()) == ([1.0], [2.0])


@pytest.mark.parametrize("name", dtypes)
def test_every_dtype_goes_in_and_out(name):
    array = np.array([0, 1]).astype(dtypes[name])
    x = df.asarray(array)
    assert x.dtype is dtypes[name] or x.dtype == dtypes[name]
    assert x.numpy().tobytes() == array.tobytes()
    assert [int(abs(v)) for v in x.tolist()] == [0, 1]
    assert getattr(df, name if name != "bool" else "float32") is not None


# ----- methods are the functions of that name -----


METHODS = {
    "abs": (),
    "exp": (),
    "tanh": (),
    "pow": (2,),
    "sum": (1,),
    "mean": (0,),
    "prod": (),
    "max": (1,),
    "min": (0,),
    "argmax": (1,),
    "argmin": (0,),
    "any": (0,),
    "all": (1,),
    "var": (1,),
    "std": (0,),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_agree_with_numpy(name):
    numpys = {"pow": np.power}.get(name) or getattr(np, name)
    x = (M > 0) if name in ("any", "all") else M
    equal(getattr(df.asarray(x), name)(*METHODS[name]), numpys(x, *METHODS[name]))


def test_methods_on_shapes():
    x = df.asarray(M)
    equal(x.reshape(3, 2), M.reshape(3, 2))
    equal(x.reshape((3, -1)), M.reshape(3, 2))
    equal(x.reshape(-1), M.reshape(-1))
    equal(x.flatten(), M.flatten())
    equal(x[None, :, None].squeeze(), M)
    equal(x[None, :, None].squeeze(0), M[:, None])
    equal(x.transpose(), M.T)
    equal(x.transpose(1, 0), M.T)
    equal(x.transpose((1, 0)), M.T)
    equal(x.cumulative_sum(1), np.cumsum(M, axis=1))
    equal(x.mm(x.T), M @ M.T)
    equal(x.matmul(x.T), M @ M.T)
    equal(x.clamp(min=0), np.maximum(M, 0))
    equal(x.clamp(-1, 1), np.clip(M, -1, 1))
    equal(df.asarray(M + 3).log(), np.log(M + 3))
    equal(df.asarray(M + 3).sqrt(), np.sqrt(M + 3))
    equal(x.sum(axis=(0, 1), keepdims=True), M.sum(keepdims=True))


BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("other", [np.float32([1, 2, 3]), np.float32(2), 2.0, 2])
def test_operators_both_ways(name, other):
    python = getattr(operator, name)
    x = df.asarray(np.abs(M) + 0.5)
    values = np.abs(M) + np.float32(0.5)
    right = df.asarray(other) if isinstance(other, np.ndarray) else other
    equal(python(x, right), python(values, other))
    equal(python(right, x), python(other, values))


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift"])
def test_integer_operators_both_ways(name):
    python = getattr(operator, name)
    a = np.array([1, 6, 12])
    equal(python(df.asarray(a), 3), python(a, 3))
    equal(python(3, df.asarray(np.array([1, 2, 3]))), python(3, np.array([1, 2, 3])))
    equal(python(df.asarray(a), df.asarray(a)), python(a, a))


@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
def test_unary_operators(name):
    python = getattr(operator, name)
    equal(python(df.asarray(N)), python(N))


def test_round_and_matmul():
    x = df.asarray(M)
    equal(round(x), np.round(M))
    equal(x @ df.asarray(M.T), M @ M.T)
    equal(df.asarray(M[0]) @ df.asarray(M[1]), M[0] @ M[1])
    equal(x @ M.T, M @ M.T)


def test_numpy_arrays_give_way():
    """`array + tensor` is a tensor: NumPy asks the tensor first."""
    x = df.asarray(M)
    for result in (M + x, M @ x.T, x > M, np.float32(2) * x, M[:, :1] - x):
        assert isinstance(result, df.Tensor)
    equal(M - x, M - M)


def test_comparing_with_nothing():
    x = df.asarray(M)
    assert (x == None) is False  # noqa: E711
    assert (x != "text") is True
    assert x in [x]


# ----- Python's protocols -----


def test_conversions():
    assert float(df.asarray(1.5)) == 1.5
    assert int(df.asarray([[3.7]])) == 3
    assert complex(df.asarray(1j)) == 1j
    assert [10, 20, 30][df.asarray(1)] == 20
    assert list(range(df.asarray(3))) == [0, 1, 2]
    assert bool(df.asarray([0.0])) is False
    assert df.asarray([[7]]).item() == 7
    assert type(df.asarray(7).item()) is int
    assert f"{df.asarray(1.23456):.2f}" == "1.23"
    assert len(df.asarray(M)) == 2
    assert [row.tolist() for row in df.asarray(N)] == N.tolist()


def test_refused_conversions():
    x = df.asarray(M)
    with pytest.raises(
        DTypeError, match=r"bool\(\) of a tensor of shape \(2, 3\) is ambiguous[\s\S]*x\.any\(\)"
    ):
        bool(x)
    with pytest.raises(DTypeError, match="dtype float32 cannot be an index"):
        [1, 2][df.asarray(1.0)]
    with pytest.raises(TypeError, match="0-dimensional"):
        len(df.asarray(1.0))
    with pytest.raises(TypeError, match="0-dimensional"):
        list(df.asarray(1.0))
    with pytest.raises(ValueError):
        x.item()


def test_immutable():
    values = M.copy()
    x = df.asarray(values)
    values[:] = 0
    equal(x, M)
    with pytest.raises(TypeError, match=r"x\.at\[index\]\.set"):
        x[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 1.0
    np.asarray(x)[0] = 7.0
    equal(x, M)
    y = x
    y += 1.0
    equal(x, M)
    equal(y, M + 1)


def test_at_gives_changed_copies():
    x = df.asarray([1.0, 2.0, 3.0])
    assert x.at[1].set(9.0).tolist() == [1.0, 9.0, 3.0]
    assert x.at[:2].add(df.asarray([10.0, 20.0])).tolist() == [11.0, 22.0, 3.0]
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_hashes_by_identity():
    x, y = df.asarray(1.0), df.asarray(1.0)
    assert len({x, y, x}) == 2
    assert {x: "x"}[x] == "x"


@pytest.mark.parametrize("name", dtypes)
def test_pickle_and_copies(name):
    x = df.asarray(np.array([[0, 1]]).astype(dtypes[name]))
    for other in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x), x.copy()):
        assert other.dtype == x.dtype
        assert other.tolist() == x.tolist()
    assert copy.deepcopy({"x": [x]})["x"][0].tolist() == x.tolist()


def test_copies_without_history():
    w = df.Variable([1.0, 2.0])
    y = w * 2.0
    assert not pickle.loads(pickle.dumps(y)).requires_grad
    assert not y.detach().requires_grad
    assert y.requires_grad


def test_repr():
    assert repr(df.asarray([[1.0, 2.0]])) == "Tensor([[1., 2.]], shape=(1, 2), dtype=float32)"
    assert str(df.asarray(3)) == "Tensor(3, shape=(), dtype=int64)"
    assert "..." in repr(df.asarray(np.zeros(1000)))
    assert f"{df.asarray([1])}" == repr(df.asarray([1]))


def test_missing_attributes_are_attribute_errors():
    x = df.asarray(M)
    with pytest.raises(AttributeError, match="no_such_thing"):
        x.no_such_thing  # noqa: B018
    assert not hasattr(x, "also_not")
    with pytest.raises(AttributeError):
        x.new_attribute = 1


# ----- making them -----


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.0, "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        ([[True]], "bool"),
        ([1j], "complex64"),
        (np.float64([1]), "float64"),
        ([np.float32(1)], "float32"),
        (np.int8(3), "int8"),
        (range(3), "int64"),
    ],
)
def test_dtypes_of_what_users_pass(value, dtype):
    value = list(value) if isinstance(value, range) else value
    assert df.asarray(value).dtype.name == dtype


def test_lists_that_hold_tensors_are_stacked_with_gradients():
    w = df.Variable(2.0)
    x = df.asarray([w * 3.0, 1.0, [4.0][0]])
    assert x.tolist() == [6.0, 1.0, 4.0]
    x.sum().backward()
    assert w.grad.item() == 3.0
    assert df.asarray([[w, 1.0], [2.0, w]]).tolist() == [[2.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    "value", ["text", [[1], [1, 2]], object(), {"a": 1}, ["a"], np.array(["a"]), None]
)
def test_what_cannot_become_a_tensor(value):
    with pytest.raises(DTypeError, match="cannot become a tensor"):
        df.asarray(value)


def test_byte_order_is_made_native():
    x = df.asarray(np.array([1, 2], ">i4"))
    assert x.tolist() == [1, 2]
    assert x.dtype.isnative


def test_asarray_without_a_copy_shares():
    values = np.zeros(2, np.float32)
    x = df.asarray(values, copy=False)
    assert np.shares_memory(x.numpy(), values)
    assert not np.shares_memory(df.asarray(values).numpy(), values)


@pytest.mark.parametrize("dtype", [None, "float64", "float16"])
def test_large_copies_start_where_pages_do(dtype):
    values = np.arange(1 << 19, dtype=np.float32).reshape(512, -1) % 1000  # 1 MB as float16
    for array in (values, values.T, values[:, ::2]):
        x = df.asarray(array, dtype=dtype)
        wanted = array.astype(dtype or np.float32)
        assert np.array_equal(x.numpy(), wanted)
        assert x.dtype == wanted.dtype
        assert not np.shares_memory(x.raw, values)
    assert df.asarray(values, dtype=dtype).raw.ctypes.data % mmap.PAGESIZE == 0


# ----- interchange -----


def test_numpys_functions_give_tensors():
    x = df.asarray(M)
    for ours, numpys in (
        (np.exp(x), np.exp(M)),
        (np.add(x, 1), np.add(M, 1)),
        (np.true_divide(x, 2), M / 2),
        (np.arctan2(x, x), np.arctan2(M, M)),
        (np.conjugate(x), M),
        (np.sum(x, axis=1), M.sum(1)),
        (np.concatenate([x, x]), np.concatenate([M, M])),
        (np.transpose(x, (1, 0)), M.T),
    ):
        assert isinstance(ours, df.Tensor)
        equal(ours, numpys)
    with pytest.raises(TypeError, match=r"no counterpart of np\.intersect1d"):
        np.intersect1d(x[0], x[0])
    with pytest.raises(TypeError, match=r"no counterpart of np\.divide\.reduce"):
        np.divide.reduce(x)
    with pytest.raises(TypeError, match=r"no counterpart of np\.add with out=: take what"):
        np.add(x, 1, out=M.copy())


def test_dlpack_both_ways():
    x = df.asarray(M)
    equal(np.from_dlpack(x), M)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64


@given(st.floats(allow_nan=False, width=32), st.integers(-(2**62), 2**62))
def test_python_numbers_go_through_unchanged(x, n):
    assert df.asarray(x).item() == x
    assert df.asarray(n).item() == n
