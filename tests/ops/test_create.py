"""Creation: `requires_grad`, devices, symbolic extents, documentation."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import dualflow as df
from dualflow.ops.create import _arange
from jit.dims import symbol
from jit.forms.reference import Reference
from tests.modes import bits, in_mode

MAKERS = {
    "zeros": lambda **k: df.zeros((2, 3), **k),
    "ones": lambda **k: df.ones(3, **k),
    "empty": lambda **k: df.empty(3, **k),
    "full": lambda **k: df.full((2,), 1.5, **k),
    "zeros_like": lambda **k: df.zeros_like(df.ones(2), **k),
    "ones_like": lambda **k: df.ones_like(df.ones(2), **k),
    "full_like": lambda **k: df.full_like(df.ones(2), 3, **k),
    "empty_like": lambda **k: df.empty_like(df.ones(2), **k),
    "arange": lambda **k: df.arange(0.0, 2.0, 0.5, **k),
    "linspace": lambda **k: df.linspace(0, 1, 4, **k),
    "eye": lambda **k: df.eye(3, **k),
    "asarray": lambda **k: df.asarray([1.0, 2.0], **k),
    "randn": lambda **k: df.randn(2, **k),
}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_maker_knows_devices_and_variables(name):
    plain = MAKERS[name](device="cpu")
    assert type(plain) is df.Tensor
    assert plain.device == "cpu"
    held = MAKERS[name](requires_grad=True)
    assert type(held) is df.Variable
    assert held.trainable
    signature = inspect.signature(getattr(df, name))
    assert [*signature.parameters][-2:] == ["device", "requires_grad"]
    assert "requires_grad: " in getattr(df, name).__doc__


def test_a_variable_from_an_array_is_a_copy():
    a = np.ones(3, np.float32)
    w = df.asarray(a, requires_grad=True)
    a[0] = 5
    assert w.tolist() == [1.0, 1.0, 1.0]


def test_full_takes_a_tensor():
    value = df.Variable(2.0)
    with df.GradientTape() as tape:
        y = df.full((2, 2), value)
    assert y.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert tape.gradient(y, value).item() == 4.0


def test_array_is_shared_only_when_asked_for():
    a = np.ones(2, np.float32)
    shared, copied = df.asarray(a, copy=False), df.asarray(a)
    a[0] = 7
    assert shared.tolist() == [7.0, 1.0]
    assert copied.tolist() == [1.0, 1.0]


def test_a_number_line_of_symbolic_length():
    def line(x):
        return df.linspace(0.0, 1.0, x.shape[0])

    call = df.function(line).concrete(df.TensorSpec((None,)))
    for n in (2, 3, 10):
        assert call(df.ones(n)).tolist() == line(df.ones(n)).tolist()


RANGES = [(5,), (0,), (0, -4), (3, 100, 7), (100, 3, -7), (127, 130), (-130, -120), (2000, 2100, 3)]
RANGES += [(2**24 - 2, 2**24 + 5), (2**31 - 3, 2**31 + 2), (2**63 - 5, 2**63 - 1)]


@pytest.mark.parametrize("dtype", "int8 uint8 int32 int64 float16 float32 float64 bfloat16".split())
def test_ranges_of_whole_numbers_are_those_of_int64_converted(mode, dtype):
    dtype = getattr(df, dtype)
    for ends in RANGES:
        found = in_mode(mode, lambda ends=ends: df.arange(*ends, dtype=dtype))()
        with np.errstate(over="ignore"):
            wanted = np.array(range(*ends), np.int64).astype(dtype)
        assert found.shape == wanted.shape
        assert found.numpy().tobytes() == wanted.tobytes(), ends


@pytest.mark.parametrize(
    ("start", "step", "dtype"),
    [(0, 1, "int64"), (3, -2, "int32"), (0.5, 0.1, "float32"), (1, 3, "float64")],
)
def test_a_symbolic_range_lowers_to_the_concrete_one(start, step, dtype):
    n = symbol("n", hint=5)
    form = Reference({"n": 5})
    attrs = {"start": start, "step": step, "extent": n, "dtype": np.dtype(dtype)}
    out = _arange.lower(form, **attrs)
    assert np.array_equal(form.arrays[out], _arange.evaluate(np, **attrs | {"extent": 5}))
    assert _arange.infer(**attrs).shape == (n,)


def test_the_last_number_of_a_line_is_exact():
    for n in range(2, 60):
        assert df.linspace(0.1, 0.7, n, dtype="float64")[-1].item() == 0.7


DIAGONALS = [(2, 3, 1), (3, 2, -2), (3, 3, 10**30), (2, 2, -(10**30)), (0, 3, 0), (200, 200, 150)]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize(("rows", "columns", "k"), DIAGONALS, ids=str)
def test_diagonals_end_at_the_edges(mode, rows, columns, k):
    made = in_mode(mode, lambda x: df.eye(rows, columns, k=k) * x)
    for _ in range(2):  # the second call of a function is computed from its graph
        found = made(df.asarray(1.0)).numpy()
        wanted = [[float(j - i == k) for j in range(columns)] for i in range(rows)]
        assert bits(found) == bits(np.array(wanted, np.float32).reshape(rows, columns))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint64"])
def test_numbers_that_name_no_place_make_rows_of_zeros(mode, dtype):
    limits = np.iinfo(dtype)
    x = np.array([[1, 0, 2], [3, limits.max, limits.min]], dtype)
    hot = in_mode(mode, lambda x: df.one_hot(x, 3, dtype="int32"))
    for _ in range(2):
        found = hot(df.asarray(x)).numpy()
        wanted = [[[int(v == c) for c in range(3)] for v in row] for row in x.tolist()]
        assert bits(found) == bits(np.array(wanted, np.int32))


def test_rows_of_less_than_no_classes_are_refused():
    with pytest.raises(df.errors.ShapeError, match=r"one_hot: shape \(-1,\)"):
        df.one_hot(df.asarray([1]), -1)


def test_gradients_flow_to_the_ends_of_linspace(mode):
    def f(start, stop):
        return (df.linspace(start, stop, 4) * df.asarray([1.0, 10.0, 100.0, 1000.0])).sum()

    g = in_mode(mode, df.grad(f, argnums=(0, 1)))
    for start, stop in ((1.0, 4.0), (0.5, -2.0), (0.5, -2.0)):
        found = g(df.asarray(start), df.asarray(stop))
        wanted = [1 + 20 / 3 + 100 / 3, 10 / 3 + 200 / 3 + 1000]
        np.testing.assert_allclose([x.item() for x in found], wanted, rtol=1e-6)


def test_ends_of_linspace_are_numbers_or_tensors_of_one(mode):
    f = in_mode(mode, lambda start, stop: df.linspace(start, stop, 5))
    for start, stop in ((0.1, 0.7), (-3.0, 8.5)):
        ends = df.asarray(start, dtype="float64"), df.asarray(stop, dtype="float64")
        assert bits(f(*ends)) == bits(np.linspace(start, stop, 5))
        single = [x.astype("float32") for x in ends]
        wanted = df.linspace(*[x.item() for x in single], 5)
        assert bits(f(*single)) == bits(f(single[0], single[1].item())) == bits(wanted)
    assert df.linspace(df.asarray(0), 5, 2).dtype == df.float32
    with pytest.raises(df.errors.ShapeError, match=r"linspace: stop of shape \(3,\)"):
        f(0.0, df.ones(3))
