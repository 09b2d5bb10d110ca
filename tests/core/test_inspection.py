"""What the array API asks of a namespace: dtypes and limits, devices, exchange by DLPack."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import dualflow as df
from jit.types import dtypes, kind

INEXACT = [name for name, dtype in dtypes.items() if kind(dtype) in ("floating", "complex")]
INTEGERS = [name for name, dtype in dtypes.items() if kind(dtype) == "integer"]


@pytest.mark.parametrize("name", INEXACT)
def test_limits_of_floats(name):
    found = df.finfo(name)
    real = np.zeros((), dtypes[name]).real.dtype if "complex" in name else dtypes[name]
    wanted = ml_dtypes.finfo(real)
    assert found == df.finfo(df.zeros((), dtype=name))
    assert (found.dtype, found.bits) == (real, wanted.bits)
    for limit in ("eps", "max", "min", "smallest_normal"):
        value = getattr(found, limit)
        assert type(value) is float
        assert value == float(getattr(wanted, limit))


@pytest.mark.parametrize("name", INTEGERS)
def test_limits_of_integers(name):
    found, wanted = df.iinfo(name), np.iinfo(dtypes[name])
    assert (found.min, found.max, found.bits) == (wanted.min, wanted.max, wanted.bits)
    assert found == df.iinfo(df.zeros((), dtype=name))


def test_limits_of_other_kinds_are_refused():
    with pytest.raises(df.errors.DTypeError, match="iinfo: float32 is no integer dtype"):
        df.iinfo(df.float32)
    with pytest.raises(df.errors.DTypeError, match="finfo: int8 is no floating dtype"):
        df.finfo(df.int8)


def test_every_dtype_is_of_one_kind():
    kinds = ("bool", "signed integer", "unsigned integer", "real floating", "complex floating")
    for dtype in dtypes.values():
        assert sum(df.isdtype(dtype, kind) for kind in kinds) == 1
        assert df.isdtype(dtype, ("bool", "numeric"))
        assert [other for other in dtypes.values() if df.isdtype(dtype, other)] == [dtype]
    with pytest.raises(df.errors.DTypeError, match="no dtype is called 'floating'"):
        df.isdtype(df.float32, "floating")


def test_types_of_results_are_those_of_sums():
    ones = [df.ones(2, dtype=name) for name in ("int8", "int16", "float32", "complex64")]
    for a in ones:
        assert df.result_type(a, 2) == (a + 2).dtype
        assert df.result_type(2.5, a) == (a + 2.5).dtype
        for b in ones:
            assert df.result_type(a, b.dtype) == (a + b).dtype
            assert df.can_cast(a, b.dtype) == ((a + b).dtype == b.dtype)
    with pytest.raises(df.errors.DTypeError, match="nothing but numbers"):
        df.result_type(1, 2.0)
    assert not df.can_cast(df.uint64, df.int64)


def test_shapes_broadcast_without_tensors():
    assert df.broadcast_shapes((2, 1), (3,), ()) == (2, 3)
    assert df.broadcast_shapes() == ()
    with pytest.raises(df.errors.ShapeError, match="do not broadcast"):
        df.broadcast_shapes((2,), (3,))


def test_the_namespace():
    x = df.ones(2)
    assert x.__array_namespace__() is df
    assert x.__array_namespace__(api_version=df.__array_api_version__) is df
    with pytest.raises(ValueError, match=r"array API 1999\.12"):
        x.__array_namespace__(api_version="1999.12")
    info = df.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == df.ones(1).dtype
    assert set(info.dtypes(kind="real floating")) == {"float32", "float64"}
    assert len(info.dtypes()) == 13
    assert x.to_device("cpu") is x


# ----- DLPack -----


def test_numpy_and_tensors_share_memory():
    x = df.asarray([1.0, 2.0])
    there = np.from_dlpack(x)
    assert np.shares_memory(there, x.raw)
    assert not there.flags.writeable
    assert np.shares_memory(df.from_dlpack(there).raw, x.raw)
    assert df.from_dlpack(x) is x


def test_copies_are_copies():
    x = df.asarray([1.0, 2.0])
    there = np.from_dlpack(x, copy=True)
    there[0] = 7.0
    assert x.tolist() == [1.0, 2.0]
    assert not np.shares_memory(df.from_dlpack(there, copy=True).raw, there)


def test_the_old_protocol_cannot_say_that_nobody_may_write():
    """Who does not ask for version 1 gets a copy."""

    class Old:
        def __dlpack__(self, **words):
            return x.__dlpack__()

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    x = df.asarray([1.0, 2.0])
    assert not np.shares_memory(np.from_dlpack(Old()), x.raw)
    assert df.from_dlpack(Old()).tolist() == [1.0, 2.0]


def test_other_objects_are_refused():
    with pytest.raises(df.errors.DTypeError, match="from_dlpack: list has no __dlpack__"):
        df.from_dlpack([1.0])
