"""Large blocks of memory that are used again: fresh pages cost as much as the kernels on them."""

from __future__ import annotations

import ctypes
import mmap
import os
import tracemalloc
from collections import OrderedDict, deque
from threading import RLock
from typing import Any

import numpy as np

RECYCLED = 1 << 20  # bytes from which on memory comes from here
KEPT = 512 << 20  # bytes that lie idle at most
HUGE_PAGE = 2 << 20
STEPS = 8  # sizes between a power of two and the next; a block is at most an eighth too large

# Blocks that are in use are reported to tracemalloc as NumPy reports the memory of its arrays.
DOMAIN = np.lib.tracemalloc_domain
_track, _untrack = ctypes.pythonapi.PyTraceMalloc_Track, ctypes.pythonapi.PyTraceMalloc_Untrack
_track.argtypes = ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t
_untrack.argtypes = ctypes.c_uint, ctypes.c_void_p

_idle: OrderedDict[int, deque[tuple[mmap.mmap, int]]] = OrderedDict()  # by size; oldest first
_idle_bytes = 0
_lock = RLock()  # again from the same thread: the collector may finish a block at any time


class Block(np.ndarray[Any, Any]):
    """Bytes; when the last array on them is gone they are kept for the next taker.

    Attributes:
        mapping: The memory.
        address: Where it starts.
    """

    mapping: mmap.mmap
    address: int

    def __del__(self) -> None:
        if (mapping := self.__dict__.get("mapping")) is not None and _give is not None:
            _give(mapping, self.address)  # at the end of the process there may be no pool any more


def take(size: int) -> Block:
    """A block of at least `size` bytes, whatever they hold."""
    global _idle_bytes
    size = rounded(size)
    with _lock:
        waiting = _idle.get(size)
        mapping, address = waiting.pop() if waiting else (None, 0)
        if mapping is not None:
            _idle_bytes -= size
    if mapping is None:
        mapping, address = _mapped(size)
    if tracemalloc.is_tracing():
        _track(DOMAIN, address, size)
    block = Block((size,), np.uint8, mapping)
    block.mapping, block.address = mapping, address
    return block


def take_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array on a block of its own."""
    count = dtype.itemsize
    for extent in shape:
        count *= extent
    return np.ndarray(shape, dtype, take(count))


def idle_bytes() -> int:
    """How much memory waits to be used again."""
    return _idle_bytes


def trim(limit: int = 0) -> None:
    """Gives idle memory back to the system until at most `limit` bytes are left."""
    global _idle_bytes
    with _lock:
        while _idle_bytes > limit:
            size, waiting = next(iter(_idle.items()))
            if waiting:
                waiting.popleft()
                _idle_bytes -= size
            if not waiting:
                _idle.pop(size, None)


def _renew_lock() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):  # another thread may have held it
    os.register_at_fork(after_in_child=_renew_lock)


def _give(mapping: mmap.mmap, address: int) -> None:
    global _idle_bytes
    size = len(mapping)
    if tracemalloc.is_tracing():
        _untrack(DOMAIN, address)
    with _lock:
        if size > KEPT:
            return
        _idle.setdefault(size, deque()).append((mapping, address))
        _idle.move_to_end(size)
        _idle_bytes += size
        if _idle_bytes > KEPT:
            trim(KEPT)


def _mapped(size: int) -> tuple[mmap.mmap, int]:
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping, ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def rounded(size: int) -> int:
    """How many bytes a block for so many has."""
    step = max(mmap.PAGESIZE, (1 << max(size - 1, 1).bit_length() - 1) // STEPS)
    return -(-max(size, 1) // step) * step
