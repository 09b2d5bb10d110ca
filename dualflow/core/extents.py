"""Extents of arrays in kernels of eager execution: numbers, or symbols, which serve many shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jit.types import TensorType

if TYPE_CHECKING:
    from jit.dims import Dim

Array = np.ndarray[Any, Any]
Pattern = tuple[tuple[int | str, ...], ...]

SMALL = 8  # extents up to this are numbers in a kernel
LONG = 1 << 20  # elements of a row of which kernels know their number, up to a factor of 2


def pattern_of(arrays: Sequence[Array], least: float) -> Pattern:
    """Shapes in which extents above `least` have names, equal ones the same."""
    names: dict[int, str] = {}
    return tuple(
        [
            tuple([d if d <= least else names.setdefault(d, f"n{len(names)}") for d in x.shape])
            for x in arrays
        ]
    )


def lowest(arrays: Sequence[Array], least: float) -> int:
    """From which extent on a kernel is for: what is stored past the caches has to be large."""
    extents = [d for x in arrays for d in x.shape if d > least]
    if least == 1 and extents and min(extents) >= LONG:
        return 1 << min(extents).bit_length() - 1
    return int(min(least, SMALL)) + 1


def symbolic(arrays: Sequence[Array], pattern: Pattern, lo: int) -> list[TensorType]:
    """The types of arrays, with symbols from `lo` on for the extents that have names."""
    from jit.dims import symbol

    def extent(name: int | str, seen: int) -> int | Dim:
        return symbol(name, hint=seen, lo=lo) if isinstance(name, str) else name

    shapes = [tuple(map(extent, names, x.shape)) for names, x in zip(pattern, arrays)]
    return [TensorType(shape, x.dtype) for shape, x in zip(shapes, arrays)]
