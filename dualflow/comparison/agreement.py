"""How far results of two modes lie apart: absolutely, relatively, in units of the last place.

A ULP distance counts the floating-point numbers from one value to the other, so 0 is equality, 1
are neighbours, and it means the same near 1e-30 as near 1e30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, kind

FARTHEST = np.uint64(2**64 - 1)  # the distance between a number and NaN


@dataclass(frozen=True)
class Agreement:
    """How well one output agrees between the modes.

    Attributes:
        name: What people call the output.
        elements: How many numbers were compared.
        absolute: The worst absolute difference; infinite where only one side is NaN.
        relative: The worst difference relative to the larger of the two magnitudes, at most 2.
        ulp: The worst distance in units of the last place.
        identical: All bits agree. A ULP distance of 0 is less: it takes 0 and -0 for one number,
            and all NaNs for one.
    """

    name: str
    elements: int
    absolute: float
    relative: float
    ulp: int
    identical: bool


def agreement(name: str, a: Any, b: Any) -> Agreement:
    """Compares two arrays of one shape and dtype.

    Args:
        name: What people call them.
        a: Array or tensor, any dtype.
        b: Array or tensor.

    Raises:
        ShapeError: The shapes differ.
        DTypeError: The dtypes differ.

    Example:
        >>> import numpy as np
        >>> from dualflow.comparison import agreement
        >>> one = np.ones(3, "float32")
        >>> agreement("y", one, np.nextafter(one, 2)).ulp
        1
    """
    a, b = np.asarray(a), np.asarray(b)
    distance = ulp_distance(a, b)
    if distance.size == 0 or not distance.any():
        return Agreement(name, a.size, 0.0, 0.0, 0, a.tobytes() == b.tobytes())
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        absolute = np.where(distance == 0, 0.0, np.abs(x - y))
        size = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(distance == 0, 0.0, absolute / size)
    # inf against a number divides inf by inf, NaN stays NaN: nothing is farther apart
    absolute = np.where(np.isnan(absolute), np.inf, absolute)
    relative = np.where(np.isnan(relative), 2.0, np.minimum(relative, 2.0))
    worst = float(absolute.max()), float(relative.max()), int(distance.max())
    return Agreement(name, a.size, *worst, identical=False)


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
