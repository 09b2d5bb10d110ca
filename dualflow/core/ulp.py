"""Distances in units of the last place: how many floating-point numbers lie between two values.

0 is equality, 1 are neighbours, and it means the same near 1e-30 as near 1e30.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, kind

FARTHEST = np.uint64(2**64 - 1)  # the distance between a number and NaN


def ulp_distance(a: Any, b: Any) -> NDArray[np.uint64]:
    """The distance of each pair of elements in units of the last place.

    Args:
        a: Array of any dtype; of complex numbers the farther part counts.
        b: Array of the same shape and dtype.

    Returns:
        uint64 array of that shape. NaN is equal to NaN, and as far from all numbers as can be.
        Of integers it is the difference.

    Raises:
        ShapeError: The shapes differ.
        DTypeError: The dtypes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        shapes = f"{format_shape(a.shape)} and {format_shape(b.shape)}"
        raise ShapeError(f"ulp_distance: shapes {shapes} differ", "two arrays of one shape", "")
    if a.dtype != b.dtype:
        raise DTypeError(f"ulp_distance: dtypes {a.dtype} and {b.dtype} differ", "one dtype", "")
    if a.dtype.kind == "c":
        return np.maximum(ulp_distance(a.real, b.real), ulp_distance(a.imag, b.imag))
    floating = kind(a.dtype) == "floating"
    p, q = (position(x) if floating else x for x in (a, b))
    distance = _difference(p, q)
    if floating:
        with np.errstate(invalid="ignore"):  # signalling NaNs
            nan_a, nan_b = np.isnan(a), np.isnan(b)
        distance = np.where(nan_a != nan_b, FARTHEST, np.where(nan_a, np.uint64(0), distance))
    return distance


def position(x: NDArray[Any]) -> NDArray[Any]:
    """Where each float stands when all floats of its dtype are numbered in order, 0.0 being 0.

    The bits of positive floats are in order as they are; those of negative ones, without the sign
    bit, count downwards. -0.0 lands on 0.
    """
    integer = np.dtype(f"i{x.dtype.itemsize}")
    bits = np.ascontiguousarray(x).view(integer).reshape(x.shape)
    lowest = np.iinfo(integer).min
    return np.where(bits < 0, lowest - bits, bits)


def _difference(p: NDArray[Any], q: NDArray[Any]) -> NDArray[np.uint64]:
    """|p - q| of integers or bools, in uint64, where it always fits."""
    if p.dtype.kind == "b":
        return (p != q).astype(np.uint64)
    larger, smaller = np.maximum(p, q), np.minimum(p, q)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        return larger.astype(np.uint64) - smaller.astype(np.uint64)
