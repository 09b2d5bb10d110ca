"""Runs kernels as machine code on NumPy arrays, for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.codegen.llvm import ENTRY, emit
from jit.dims import evaluate
from jit.loops.expand import expand
from jit.loops.ir import Kernel
from jit.runtime.cpu import assemble, link
from jit.runtime.cpu import host_target as host
from jit.target import Target

Array = np.ndarray[Any, Any]


def all_items(kernel: Kernel, sizes: Sequence[int] = ()) -> range:
    """The whole grid."""
    names = [size.hint for size in kernel.sizes]
    return range(evaluate(kernel.grid, dict(zip(names, sizes))))


def run_native(
    kernel: Kernel,
    arrays: Sequence[Array],
    sizes: Sequence[int] = (),
    target: Target | None = None,
    items: range | None = None,
    *,
    direct: bool = False,
) -> bool:
    """Runs `kernel` on flat arrays, in place.

    Args:
        kernel: What to run.
        arrays: One for each buffer: contiguous, of its dtype.
        sizes: One for each size.
        target: What to make the code for; this machine by default.
        items: Which items to run, without a step; the whole grid by default.
        direct: The kernel is in direct instructions; without, it is expanded first.

    Returns:
        Whether all checks held.
    """
    for buffer, array in zip(kernel.buffers, arrays, strict=True):
        assert array.flags.c_contiguous
        assert array.dtype == buffer.dtype, (buffer, array.dtype)
    items = all_items(kernel, sizes) if items is None else items
    target = target or host()
    code = assemble(emit(kernel if direct else expand(kernel), target), target)
    addresses, _held = link([code], [ENTRY])
    address = addresses[ENTRY]
    # Parameters are read through the record: here in reverse, so that mixing them up is seen.
    values = [0, *[array.ctypes.data for array in arrays], *sizes]
    slots = (ctypes.c_int64 * len(values))(values[0], *reversed(values[1:]))
    record = (ctypes.c_int64 * len(values))(*reversed(range(1, len(values))))
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    entry(address)(ctypes.addressof(slots), ctypes.addressof(record), items.start, items.stop)
    assert slots[0] in (0, 1)
    return slots[0] == 0
