"""Differences of results in units of the last place, against counting floats one by one."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflow.comparison import agreement, ulp_distance
from dualflow.comparison.agreement import FARTHEST
from jit.errors import DTypeError, ShapeError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype("float16"), BFLOAT16, np.dtype("float32"), np.dtype("float64")]


def from_bits(bits: int, dtype: np.dtype) -> np.ndarray:
    """The float with these bits, in an array of one."""
    return np.array([bits], f"u{dtype.itemsize}").view(dtype)


@pytest.mark.parametrize("dtype", [np.dtype("float16"), BFLOAT16], ids=str)
def test_every_float_of_16_bits_stands_one_after_the_last(dtype):
    numbers = np.arange(2**16, dtype="u2").view(dtype)
    with np.errstate(invalid="ignore"):
        wide = numbers.astype("float64")
    numbers = np.unique(wide[~np.isnan(wide)]).astype(dtype)
    distances = ulp_distance(numbers[1:], numbers[:-1])
    assert len(numbers) > 2**15
    assert np.all(distances == 1)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_distance_counts_floats(dtype, data):
    infinity = int(np.array([np.inf], dtype).view(f"u{dtype.itemsize}")[0])
    a, b = (data.draw(st.integers(0, infinity)) for _ in range(2))
    x, y = from_bits(a, dtype), from_bits(b, dtype)
    assert int(ulp_distance(x, y)[0]) == abs(a - b)
    assert int(ulp_distance(-x, -y)[0]) == abs(a - b)
    assert int(ulp_distance(x, -y)[0]) == a + b  # through zero, which is counted once
    assert ulp_distance(x, y) == ulp_distance(y, x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_zeros_are_one_number_and_nan_is_far_from_all(dtype):
    a = np.array([0.0, np.nan, np.nan, 1.0, np.inf], dtype)
    b = np.array([-0.0, np.nan, 1.0, np.nan, np.nan], dtype)
    assert ulp_distance(a, b).tolist() == [0, 0, FARTHEST, FARTHEST, FARTHEST]


def test_complex_takes_the_farther_part_and_integers_their_difference():
    one, next_one = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    a, b = np.array([one + 1j * one]), np.array([one + 1j * next_one])
    assert ulp_distance(a.astype("complex64"), b.astype("complex64")).tolist() == [1]
    low, high = np.array([-128], "int8"), np.array([127], "int8")
    assert ulp_distance(low, high).tolist() == [255]
    assert ulp_distance(np.array([0], "uint64"), np.array([2**64 - 1], "uint64")) == FARTHEST
    assert ulp_distance(np.array([True, True]), np.array([True, False])).tolist() == [0, 1]


def test_strided_arrays_and_scalars_are_taken_as_they_are():
    a = np.arange(12, dtype="float32").reshape(3, 4).T[::2]
    assert not ulp_distance(a, a.copy()).any()
    assert ulp_distance(np.float64(1), np.float64(1)).shape == ()


def test_different_types_are_refused():
    with pytest.raises(ShapeError, match=r"\(2\) and \(3\)|\(2,\) and \(3,\)"):
        ulp_distance(np.zeros(2), np.zeros(3))
    with pytest.raises(DTypeError, match="float64 and float32"):
        ulp_distance(np.zeros(2), np.zeros(2, "float32"))


def test_agreement_tells_the_worst_of_each_measure():
    a = np.array([1.0, 1000.0, 0.0], "float32")
    b = np.array([1.0, 1001.0, 1e-3], "float32")
    found = agreement("y", a, b)
    assert (found.name, found.elements, found.absolute) == ("y", 3, 1.0)
    assert found.relative == 1.0  # nothing of 0.001 is there in 0
    assert found.ulp == int(ulp_distance(a, b).max())
    assert not found.identical


def test_identical_means_bits():
    a = np.array([0.0, np.nan, np.inf])
    assert agreement("y", a, a.copy()).identical
    zeros = agreement("y", a, np.array([-0.0, np.nan, np.inf]))
    assert (zeros.ulp, zeros.identical) == (0, False)
    assert agreement("y", np.zeros(0), np.zeros(0)).identical


@pytest.mark.parametrize(
    ("a", "b", "absolute"), [(np.nan, 1.0, math.inf), (np.inf, -np.inf, math.inf)]
)
def test_what_cannot_be_subtracted_is_as_far_as_can_be(a, b, absolute):
    found = agreement("y", np.array([a]), np.array([b]))
    assert (found.absolute, found.relative) == (absolute, 2.0)


@given(st.floats(width=32), st.floats(width=32))
def test_relative_difference_is_at_most_two(a, b):
    found = agreement("y", np.array([a], "float32"), np.array([b], "float32"))
    assert 0 <= found.relative <= 2
    assert (found.relative == 0) == (found.ulp == 0)
