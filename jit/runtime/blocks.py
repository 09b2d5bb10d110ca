"""Large blocks of memory that are used again: fresh pages cost as much as the kernels on them.

Blocks lie side by side in few regions of address space, so that what one leaves others may share,
whatever their sizes. What is in use and what lies idle are together hardly more than was in use of
late at once: the next step of a loop finds the memory of the one before. A little may lie idle in
any case. An idle block of the very size is taken; else neighbours that lie idle become one, and the
smallest that fits is cut (best fit with coalescing: Wilson et al., Dynamic storage allocation,
IWMM 1995).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tracemalloc
from bisect import bisect_right
from collections import deque
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from jit.dataclass import dataclass

RECYCLED = 1 << 20  # bytes from which on memory comes from here
KEPT = 512 << 20  # bytes that may lie idle whatever was in use
SHARE = 4  # of the memory of the machine, a part so large may lie idle at most
GAPS = 8  # of what was in use at once, such a part may lie between blocks
DECAY = 1 << 13  # the largest use is forgotten by such a part whenever a block is taken
HUGE_PAGE = 2 << 20
GRAIN = 1 << 16  # sizes are multiples of it

# Blocks that are in use are reported to tracemalloc as NumPy reports the memory of its arrays.
DOMAIN = np.lib.tracemalloc_domain
_track, _untrack = ctypes.pythonapi.PyTraceMalloc_Track, ctypes.pythonapi.PyTraceMalloc_Untrack
_track.argtypes = ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t
_untrack.argtypes = ctypes.c_uint, ctypes.c_void_p


class Block(np.ndarray[Any, Any]):
    """Bytes; when the last array on them is gone they are kept for the next taker.

    Attributes:
        pool: Who keeps it; an array on a block has none.
        address: Where it starts.
    """

    pool: Pool
    address: int

    def __del__(self) -> None:
        if (pool := self.__dict__.get("pool")) is not None and _untrack is not None:
            pool.give(self.address, self.nbytes)  # nobody does at the end of the process


@dataclass(frozen=True)
class Region:
    """Address space; what nobody has touched takes no memory.

    Attributes:
        mapping: It.
        address: Where it starts.
    """

    mapping: mmap.mmap
    address: int


class Pool:
    """Memory from which blocks are cut; their sizes are multiples of a grain.

    Attributes:
        used: Bytes that are in use.
        most: Those that were of late at once.
        idle: Bytes that wait to be used again.
    """

    def __init__(self) -> None:
        self.used = self.most = self.idle = 0
        self._regions: list[Region] = []  # by address
        self._waiting: dict[int, int] = {}  # idle ranges: where they start, and their sizes
        self._by_size: dict[int, list[int]] = {}  # where those of a size start
        self._fresh: dict[int, int] = {}  # ranges without memory, likewise
        # The collector may finish a block at any time, also while this pool is in work: what comes
        # back waits here until nobody is.
        self._given: deque[tuple[int, int]] = deque()
        self._lock = Lock()

    def take(self, size: int) -> tuple[Region, int]:
        """Memory of a size: the address, and where that is."""
        with self._lock:
            self._receive()
            same = self._by_size.get(size)
            self.used += size
            if same:
                start = same[-1]  # the one that was used last
                self._remove(start)
            else:
                start = self._cut(size)
                self._trim(self._spare())
            forgetful = self.most - self.most // DECAY
            self.most = forgetful if forgetful > self.used else self.used
            region = self._region(start)
        if self._given:
            self._settle()
        return region, start

    def give(self, start: int, size: int) -> None:
        """Takes memory back; any thread may call it, at any time."""
        if tracemalloc.is_tracing():
            _untrack(DOMAIN, start)
        self._given.append((start, size))
        self._settle()

    def trim(self, limit: int) -> None:
        """Gives idle memory back to the system until at most `limit` bytes are left."""
        with self._lock:
            self._receive()
            self._trim(limit)
        self._settle()

    def _settle(self) -> None:
        """Receives what has come back, unless somebody is at work, who does so in the end."""
        while self._given and self._lock.acquire(blocking=False):
            try:
                self._receive()
                if self.idle > KEPT:
                    self._trim(self._spare())
            finally:
                self._lock.release()

    def _receive(self) -> None:
        while self._given:
            start, size = self._given.popleft()
            self.used -= size
            self._leave(start, size)

    def _spare(self) -> int:
        """How many bytes may lie idle."""
        held = self.most + self.most // GAPS
        return max(KEPT, min(held - self.used, physical() // SHARE))

    # ----- idle ranges -----

    def _leave(self, start: int, size: int) -> None:
        self._waiting[start] = size
        self._by_size.setdefault(size, []).append(start)
        self.idle += size

    def _remove(self, start: int) -> int:
        """Takes an idle range away; its size."""
        size = self._waiting.pop(start)
        same = self._by_size[size]
        if same[-1] == start:
            same.pop()
        else:
            same.remove(start)
        if not same:
            del self._by_size[size]
        self.idle -= size
        return size

    def _cut(self, size: int) -> int:
        """A part of an idle range, of one and of what is behind it, or of fresh memory."""
        self._join()
        fitting = min((x for x in self._by_size if x >= size), default=None)
        if fitting is not None:
            start = self._by_size[fitting][0]
            self._remove(start)
            if fitting > size:
                self._leave(start + size, fitting - size)
            return start
        if (grown := self._grown(size)) is not None:
            return grown
        if all(room < size for room in self._fresh.values()):
            self._reserve(size)
        start = min(x for x, room in self._fresh.items() if room >= size)
        self._use(start, size)
        return start

    def _grown(self, size: int) -> int | None:
        """The largest idle range with as much of the fresh memory behind it as is lacking."""
        best = None
        for start, have in self._waiting.items():
            enough = have + self._fresh.get(start + have, 0) >= size
            if enough and (best is None or have > self._waiting[best]):
                best = start
        if best is not None:
            have = self._remove(best)
            self._use(best + have, size - have)
        return best

    def _use(self, start: int, size: int) -> None:
        """Cuts fresh memory off at its start."""
        room = self._fresh.pop(start)
        if room > size:
            self._fresh[start + size] = room - size

    def _join(self) -> None:
        """Makes neighbours one."""
        self._waiting, before = joined(self._waiting), len(self._waiting)
        self._fresh = joined(self._fresh)
        if len(self._waiting) < before:
            self._by_size = {}
            for start, size in self._waiting.items():
                self._by_size.setdefault(size, []).append(start)

    # ----- the system -----

    def _trim(self, limit: int) -> None:
        while self.idle > limit:
            start, size = next(iter(self._waiting.items()))
            kept = max(size - -(-(self.idle - limit) // HUGE_PAGE) * HUGE_PAGE, 0)
            self._remove(start)
            if kept:
                self._leave(start, kept)
            self._forget(start + kept, size - kept)

    def _forget(self, start: int, size: int) -> None:
        """Gives a range back to the system."""
        region = self._region(start)
        region.mapping.madvise(mmap.MADV_DONTNEED, start - region.address, size)
        self._fresh[start] = size

    def _region(self, start: int) -> Region:
        """Where a range lies."""
        if len(self._regions) == 1:
            return self._regions[0]
        return self._regions[bisect_right(self._regions, start, key=lambda x: x.address) - 1]

    def _reserve(self, size: int) -> None:
        """More address space: far more than is needed, if the system allows that.

        Raises:
            OSError: It does not even allow what is needed.
        """
        least = size + HUGE_PAGE
        length = max(least, physical() // 2)
        while True:
            try:
                mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                break
            except OSError:
                if length == least:
                    raise
                length = max(least, length // 4)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            mapping.madvise(mmap.MADV_HUGEPAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        self._regions.append(Region(mapping, address))
        self._regions.sort(key=lambda x: x.address)
        start = -(-address // HUGE_PAGE) * HUGE_PAGE
        self._fresh[start] = (address + length - start) // GRAIN * GRAIN


def joined(ranges: dict[int, int]) -> dict[int, int]:
    """Ranges by where they start, with their sizes: neighbours become one.

    Example:
        >>> joined({8: 4, 0: 2, 2: 1})
        {0: 3, 8: 4}
    """
    found: dict[int, int] = {}
    first = end = -1
    for start in sorted(ranges):
        if start == end:
            found[first] += ranges[start]
        else:
            first = start
            found[first] = ranges[start]
        end = start + ranges[start]
    return found


@cache
def physical() -> int:
    """The bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


_pool = Pool()


def _renew_lock() -> None:
    _pool._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def take(size: int) -> Block:
    """A block of at least `size` bytes, whatever they hold."""
    size, pool = rounded(size), _pool
    region, start = pool.take(size)
    if tracemalloc.is_tracing():
        _track(DOMAIN, start, size)
    block = Block((size,), np.uint8, region.mapping, start - region.address)
    block.pool, block.address = pool, start
    return block


def take_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array on a block of its own."""
    count = dtype.itemsize
    for extent in shape:
        count *= extent
    return np.ndarray(shape, dtype, take(count))


def idle_bytes() -> int:
    """How much memory waits to be used again."""
    return _pool.idle


def trim(limit: int = 0) -> None:
    """Gives idle memory back to the system until at most `limit` bytes are left."""
    _pool.trim(limit)


def rounded(size: int) -> int:
    """How many bytes a block for so many has."""
    return -(-max(size, 1) // GRAIN) * GRAIN
