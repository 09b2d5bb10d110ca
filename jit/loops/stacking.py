"""Stacking: the naive kernel that puts a value into its row of a stack of such values.

Most kernels of a loop's body write right there, as their results move from row to row. Those of a
GPU ask for addresses that are multiples of what a thread writes at once, which rows need not be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.dims import Extent
from jit.loops.elements import Elements
from jit.loops.ir import INDEX, Buffer, Kernel, Var


def into_row(dtype: np.dtype[Any], size: Extent, number: Extent) -> Kernel:
    """`stack[number * size + i] = value[i]` for each i below `size`.

    The kernel's sizes are named after the symbols in `size` and `number`.
    """
    nowhere: Any = None
    w, item = Elements(nowhere, nowhere), Var(INDEX, "item")
    value, stack = Buffer("b0", dtype), Buffer("b1", dtype, access="out")
    w.store(stack, w.let("add", w.at(number * size), item), w.load(value, item))
    for symbol in getattr(size, "symbols", list)():
        w.size(symbol.name)  # the grid asks for it
    return Kernel("stack", (value, stack), tuple(w.sizes.values()), size, item, tuple(w.body))
