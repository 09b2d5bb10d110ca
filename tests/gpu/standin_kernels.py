"""What kernels do on the stand-in: the machine code of this computer's processor runs them.

`installed` puts it in the place of code for a GPU, and has programs planned as for the processor;
the blocks of a launch run as one.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from jit import native
from jit.dims import evaluate
from jit.loops.ir import Kernel
from jit.runtime import gpu_code, gpu_frame
from jit.runtime.cpu import host_target
from jit.runtime.cublas import ALIGNED
from jit.runtime.gpu_code import GpuCode
from jit.runtime.library import content_key, library
from jit.target import Target
from tests.gpu.standin_driver import launch_behind, state

THREADS = 4
_made: dict[str, GpuCode] = {}  # by the keys that plans are kept with
Native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def code(kernel: Kernel, target: Target) -> GpuCode:
    """Code by its name only; what the name does is told to the stand-in's driver."""
    grid = zlib.crc32(str(kernel.grid).encode())  # which a processor's code does not depend on
    symbol = f"s_{content_key(kernel, target)[:16]}_{grid:x}"
    if symbol not in state.functions:
        state.functions[symbol] = partial(run, kernel)
        state.parameters[symbol] = len(kernel.buffers) + len(kernel.sizes) + 1
    sizes = tuple([size.hint for size in kernel.sizes])
    made = GpuCode(symbol, symbol.encode(), (THREADS, 1, 1), -(-kernel.grid // THREADS), sizes)
    _made[gpu_code.content_key(kernel, target)] = made
    return made


def known(keys: Mapping[Kernel, str]) -> dict[Kernel, GpuCode] | None:
    """Code that this process has made."""
    found = {kernel: _made[key] for kernel, key in keys.items() if key in _made}
    return found if len(found) == len(keys) else None


def run(kernel: Kernel, words: list[int]) -> None:
    """Runs a kernel with the parameters of a launch."""
    count = len(kernel.buffers)
    *sizes, status = words[count:]
    assert all(address % 16 == 0 for address in words[:count]), "an address is not aligned"
    items = int(evaluate(kernel.grid, {n.hint: v for n, v in zip(kernel.sizes, sizes)}))
    slots = np.array([0, *words[:count], *sizes], np.int64)
    record = np.arange(1, len(slots), dtype=np.int64)
    address = library().address(kernel, host_target())
    Native(int(address))(slots.ctypes.data, record.ctypes.data, 0, items)
    if slots[0]:
        ctypes.c_int32.from_address(status).value = 1


@contextmanager
def installed() -> Iterator[Any]:
    """A block in which kernels for a GPU are those of the stand-in."""
    before = gpu_code.gpu_code, gpu_code.prepare, native.gpu_target, gpu_frame.launcher
    plain, gpu_code.known = gpu_code.known, known
    gpu_code.gpu_code, gpu_code.prepare = code, lambda kernels, target: None
    native.gpu_target, gpu_frame.launcher = (
        lambda number: replace(host_target(), alignment=ALIGNED),
        lambda device: launch_behind,
    )
    try:
        yield
    finally:
        gpu_code.gpu_code, gpu_code.prepare, native.gpu_target, gpu_frame.launcher = before
        gpu_code.known = plain


__name__ = "cupy"  # to a recording: whose code it skips
