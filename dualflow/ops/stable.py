"""Stable orders, and elements in them, by NumPy's quickest ways to sort.

Its stable sorts of long numbers merge, which takes several times as long as the others, and its
others leave equal elements in any order. So numbers of one or two bytes are sorted by their digits,
longer ones in any way, and what is equal is put in its place afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.types import bfloat16, float32, kind

PACKED = 512  # elements along the axis from which on more than one sort pays
LOW = 2**32 - 1


def stable_order(xp: Any, x: Any, *, axis: int) -> Any:
    """The places of elements in rising order; equal ones in theirs, NaN as the largest."""
    if xp is np and kind(x.dtype) != "complex":
        if x.dtype.itemsize <= 2:
            return np.argsort(_short_keys(x), axis, kind="stable")
        if PACKED <= x.shape[axis] <= LOW:
            return _packed_order(x, axis) if x.dtype.itemsize == 4 else _settled_order(x, axis)
    return xp.argsort(comparable(x), axis, kind="stable")


def in_stable_order(xp: Any, x: Any, *, axis: int) -> Any:
    """Elements in rising order; equal ones, which are zeros with and without a sign, in theirs."""
    if kind(x.dtype) != "floating":  # equal ones cannot be told apart
        return xp.sort(x, axis, kind="stable" if xp is np and x.dtype.itemsize == 1 else None)
    if xp is not np:
        return xp.take_along_axis(x, stable_order(xp, x, axis=axis), axis)
    rows = np.moveaxis(x, axis, -1)
    found = np.sort(comparable(rows), axis=-1).astype(x.dtype, copy=False)
    last = found[..., -1:]
    if (last != last).any():
        found[found != found] = rows[rows != rows]
    if _has_zeros(found):
        found[found == 0] = rows[rows == 0]
    return np.ascontiguousarray(np.moveaxis(found, -1, axis))


def _has_zeros(found: Any) -> bool:
    """Whether there is a zero among sorted numbers."""
    if found.ndim > 1 or found.dtype == bfloat16:
        return bool((found == 0).any())
    first = int(np.searchsorted(found, found.dtype.type(0)))
    return first < found.size and found[first] == 0


def comparable(x: Any) -> Any:
    """`x` as NumPy orders it: the comparison of bfloat16 knows no place for NaN."""
    return x.astype(float32) if x.dtype == bfloat16 else x


def _packed_order(x: Any, axis: int) -> Any:
    """The order by sorting words, a key above a place: all differ, so that any sort is stable."""
    words = _keys(x).astype(np.uint64)
    words <<= 32
    shape = [x.shape[axis] if k == axis else 1 for k in range(x.ndim)]
    words |= np.arange(x.shape[axis], dtype=np.uint64).reshape(shape)
    words.sort(axis=axis)
    words &= LOW
    return words.view(np.int64)


def _settled_order(x: Any, axis: int) -> Any:
    """Any order, in which places of equal elements are sorted then."""
    rows = np.moveaxis(x, axis, -1)
    order = np.argsort(rows, axis=-1)
    found = np.take_along_axis(rows, order, -1)
    rises = found[..., 1:] != found[..., :-1]
    if x.dtype.kind == "f":  # all NaN are one
        rises &= found[..., :-1] == found[..., :-1]
    if not rises.all():
        words = np.zeros(rows.shape, np.uint64)
        np.cumsum(rises, axis=-1, dtype=np.uint64, out=words[..., 1:])
        words <<= 32
        words |= order.view(np.uint64)
        words.sort(axis=-1)
        words &= LOW
        order = words.view(np.int64)
    return np.ascontiguousarray(np.moveaxis(order, -1, axis))


def _short_keys(x: Any) -> Any:
    """Numbers of at most 16 bits in the order of `x`; equal for what is equal, the largest for NaN.

    Sorting them goes by digits.
    """
    if kind(x.dtype) != "floating":
        return x
    bits = x.view(np.int16)
    size = bits & np.int16(2**15 - 1)
    turned = (bits >> 15) | np.int16(-(2**15))  # of negative ones all bits, else the sign
    keys = (bits ^ turned).view(np.uint16)
    keys[size == 0] = 2**15
    keys[size > np.array(np.inf, x.dtype).view(np.int16)] = 2**16 - 1
    return keys


def _keys(x: Any) -> Any:
    """uint32 numbers in the order of `x`; equal for what is equal, the largest for NaN."""
    if kind(x.dtype) == "integer":
        if x.dtype.kind != "i":
            return x.astype(np.uint32)
        return x.astype(np.int32).view(np.uint32) ^ np.uint32(2**31)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    bits = wide.view(np.int32)
    turned = (bits >> 31) | np.int32(-(2**31))  # of negative ones all bits, else the sign
    keys = (bits ^ turned).view(np.uint32)
    keys[np.isnan(wide)] = LOW
    return keys
