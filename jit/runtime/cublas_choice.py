"""Which algorithm of cuBLASLt computes a product: each candidate is timed once, on the device.

The choice is remembered, in the process and on the disk, by the product, the device and the
library's version. Eager and compiled code ask here, so both have the same bits.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jit.config import config
from jit.dataclass import dataclass
from jit.errors import OutOfMemoryError
from jit.runtime.cache import DiskCache, disk_cache
from jit.runtime.cublas import Algorithm, Multiply, Product, library, version
from jit.runtime.cuda import allocate, capturing, cupy
from jit.types import dtypes

TURNS, SECONDS = 10, 5e-4  # of a candidate: how often at most, how long about
RATE = 2e13  # operations a second, roughly
CLEARLY = 0.97  # of the time of the one before: less than that, and it is no accident
Words = ctypes.c_int64 * 4
FILL = 0x3C  # the bytes of what is multiplied: numbers like others, in every dtype


@dataclass(frozen=True)
class Choice:
    """A product with its algorithm.

    Attributes:
        multiply: The product.
        algorithm: How it is computed.
    """

    multiply: Multiply
    algorithm: Algorithm

    @property
    def workspace(self) -> int:
        """How many bytes it needs beside the arrays."""
        return self.algorithm.workspace

    def launch(self, stream: int, parameters: int) -> None:
        """Puts it on a stream.

        Args:
            stream: The driver's number.
            parameters: Where the addresses of four words are, as for a kernel: the words, which
                lie side by side, are addresses of the operands, the result, and the workspace.
        """
        first = ctypes.c_int64.from_address(parameters).value
        left, right, result, workspace = Words.from_address(first)
        self.multiply(self.algorithm, left, right, result, workspace, stream)

    def words(self, held: list[Any]) -> list[int]:
        """What native code calls, see `Multiply.words`; what it needs joins what is held."""
        held.append(self)
        words = self.algorithm.words
        algorithm = (ctypes.c_uint64 * (len(words) // 8)).from_buffer_copy(words)
        held.append(algorithm)
        return [*self.multiply.words(), ctypes.addressof(algorithm), self.workspace]


_choices: dict[tuple[Product, int, bool], Choice | None] = {}
_lock = threading.Lock()


def chosen(product: Product, device: int) -> Choice | None:
    """How a product is computed on a device; None where the library cannot do it."""
    key = product, device, config().timing
    if key not in _choices:
        with _lock, cupy().cuda.Device(device):
            if key not in _choices:
                _choices[key] = _chosen(product, device)
    return _choices[key]


def forget() -> None:
    """Drops what this process has chosen."""
    _choices.clear()


def _chosen(product: Product, device: int) -> Choice | None:
    if library() is None:
        return None
    multiply = Multiply(product, device)
    found = multiply.algorithms()
    if not found:
        return None
    best, *others = found
    if others and config().timing:
        disk, key = disk_cache(), key_of(product, device)
        best = known(disk, key, found)
        if best is None:
            best = fastest(multiply, found)
            if disk:
                disk.put(key, best.words)
    return Choice(multiply, best)


def key_of(product: Product, device: int) -> str:
    """What a choice is remembered by."""
    name = cupy().cuda.runtime.getDeviceProperties(device)["name"]
    return hashlib.sha256(f"{product!r}\0{name!r}\0{version()}".encode()).hexdigest()


def known(disk: DiskCache | None, key: str, found: list[Algorithm]) -> Algorithm | None:
    """The choice of before among what the library proposes."""
    entry = disk.get(key) if disk else None
    return next((each for each in found if each.words == entry), None)


def fastest(multiply: Multiply, found: list[Algorithm]) -> Algorithm:
    """The candidate that takes least, or an earlier one that takes hardly more."""
    best, least = found[0], math.inf
    try:
        with rooms(multiply.product, max(each.workspace for each in found)) as addresses:
            for each in found:
                seconds = seconds_of(multiply, each, addresses)
                if seconds < CLEARLY * least:
                    best, least = each, seconds
    except OutOfMemoryError:  # then the library's own estimate has to do
        pass
    return best


@contextmanager
def rooms(product: Product, workspace: int) -> Iterator[list[int]]:
    """The addresses of operands, a result, and a workspace; the device has them back afterwards."""
    size = dtypes[product.dtype].itemsize
    counts = [*(size * count for count in product.elements), workspace]
    pool = cupy().cuda.MemoryPool()
    memory = [allocate(count, "choosing an algorithm", pool) for count in counts]
    for room, count in zip(memory, counts):
        cupy().cuda.runtime.memsetAsync(room.ptr, FILL, count, current().ptr)
    current().synchronize()
    try:
        yield [room.ptr for room in memory]
    finally:
        memory.clear()
        pool.free_all_blocks()


def seconds_of(multiply: Multiply, algorithm: Algorithm, addresses: list[int]) -> float:
    """What a candidate takes, within a graph; it is of no use where the library refuses it."""
    cuda = cupy().cuda
    stream = cuda.Stream(non_blocking=True)
    left, right, result, workspace = addresses
    given = algorithm, left, right, result, workspace, stream.ptr
    expected = 2 * math.prod(multiply.product.sizes) / RATE
    turns = max(1, min(TURNS, int(SECONDS / (expected + 1e-6))))
    try:
        multiply(*given)  # which loads it
        stream.synchronize()
        with capturing(stream) as end:
            for _ in range(turns):
                multiply(*given)
            graph = end()
        graph.launch(stream)
        start = stream.record(cuda.Event())
        graph.launch(stream)
        stop = stream.record(cuda.Event())
        stream.synchronize()
    except RuntimeError:
        return math.inf
    return cuda.get_elapsed_time(start, stop) / 1e3 / turns


def current() -> Any:
    """The stream that work goes to."""
    return cupy().cuda.get_current_stream()
