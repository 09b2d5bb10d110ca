"""Orders are stable, whichever way NumPy sorts: equal elements keep theirs, bits and all."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import dualflow as df
from dualflow.ops.stable import PACKED, in_stable_order, stable_order

WHOLE = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64".split()
FLOATS = ["float16", "float32", "float64", "bfloat16"]


def elements(dtype, shape, spread):
    """Numbers of which some are equal; of floats also zeros and NaN with signs."""
    rng = np.random.default_rng(0)
    x = rng.integers(-spread, spread, shape).astype(np.dtype(dtype))
    if dtype in FLOATS:
        for value in (np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0):
            x[rng.random(shape) < 0.05] = value
    return x


@pytest.mark.parametrize("spread", [3, 2000])
@pytest.mark.parametrize("count", [1, 7, PACKED, 4 * PACKED])
@pytest.mark.parametrize("dtype", [*WHOLE, *FLOATS])
def test_equal_elements_keep_their_order(dtype, count, spread):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    for shape, axis in (((count,), 0), ((count, 3), 0), ((2, count), 1)):
        x = elements(dtype.name, shape, spread)
        wide = x.astype(np.float32) if dtype.name == "bfloat16" else x
        expected = np.argsort(wide, axis, kind="stable")
        found = stable_order(np, x, axis=axis)
        assert found.dtype == np.int64
        assert found.tolist() == expected.tolist()
        sorted_ = in_stable_order(np, x, axis=axis)
        assert sorted_.dtype == dtype
        assert sorted_.tobytes() == np.take_along_axis(x, expected, axis).tobytes()


@pytest.mark.parametrize("descending", [False, True])
def test_sorted_elements_are_those_of_the_order_in_both_modes(descending):
    x = df.asarray(elements("float32", (3, 600), 5))

    def ordered(x):
        return df.sort(x, descending=descending)

    by_order = df.take_along_axis(x, df.argsort(x, descending=descending))
    for found in (ordered(x), df.function(ordered)(x)):
        assert found.numpy().tobytes() == by_order.numpy().tobytes()


def test_gradients_go_where_elements_came_from():
    x = df.asarray([2.0, 1.0, 2.0, -1.0])

    def weighted(x):
        return (df.sort(x) * df.asarray([1.0, 10.0, 100.0, 1000.0])).sum()

    for gradient in (df.grad(weighted), df.function(df.grad(weighted))):
        assert gradient(x).tolist() == [100.0, 10.0, 1000.0, 1.0]
    _, tangent = df.jvp(df.sort, (x,), (df.asarray([1.0, 2.0, 3.0, 4.0]),))
    assert tangent.tolist() == [4.0, 2.0, 1.0, 3.0]


def test_different_floats_are_found_without_their_places():
    x = np.array([0.0, -0.0, np.nan, 3.0, np.nan, -0.0, 3.0], np.float32)
    found = df.unique_values(x).numpy()
    assert found[:2].tolist() == [0.0, 3.0]
    assert not np.signbit(found[0])  # the zero that comes first
    assert np.isnan(found[2:]).tolist() == [True, True]
