"""Trials of cuBLASLt's algorithms on a device: how long they take, and whether they are right.

The operands hold numbers that the host knows, so that it can compute any element of a result. What
an algorithm gives is compared with that once, when it is chosen, at the bounds of its precision; an
epilogue, element by element and bit by bit, with what the same algorithm gives without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from jit.runtime.cublas import Algorithm, Multiply, Product
from jit.runtime.cuda import allocate, capturing, cupy
from jit.types import dtypes

TURNS, SECONDS = 10, 5e-4  # of a candidate: how often at most, how long about
RATE = 2e13  # operations a second, roughly
PERIOD = 100_003  # numbers after which an operand repeats itself: a prime, so rows differ
SAMPLES = 64  # elements of a result that are compared
COMPARED = 1 << 25  # bytes of a result, from its start and up to its end, that are compared whole
UNWRITTEN = 0xFF  # the bytes of a result before: NaN, in every dtype
# What sums may miss, for each inner index and in all, as parts of the sum of absolute values; and
# what rounding the result may change.
EACH, FEW = {"float64": 2.0**-52}, 16  # so many indices more
FACTORS = {"tf32": 2.0**-9}
ROUNDED = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# What may be added to columns, beside numbers like others: a library may treat it in its own way.
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40, 3e38)


class Trial:
    """Memory on the active device in which algorithms are tried; it goes with this object.

    Args:
        product: What they compute; with an epilogue, both it and the product without.
        workspace: How many bytes they need at most.

    Raises:
        OutOfMemoryError: There is no room.
    """

    def __init__(self, product: Product, workspace: int) -> None:
        self.product, self.dtype = product, dtypes[product.dtype]
        self._stream = cupy().cuda.Stream(non_blocking=True)
        size, columns = self.dtype.itemsize, product.sizes[2]
        left, right, result = [size * count for count in product.elements]
        counts = [left, right, result, workspace]
        if product.epilogue:
            counts += [size * columns, result]
        pool = cupy().cuda.MemoryPool()
        self._memory = [allocate(count, "choosing an algorithm", pool) for count in counts]
        self._bytes = counts
        self.addresses = [room.ptr for room in self._memory]
        for side in (0, 1):
            self._fill(side, numbers(product.dtype, side))
        if product.epilogue:
            self._fill(4, added(product.dtype, columns))

    def _fill(self, room: int, block: Any) -> None:
        """Has a room hold a block again and again."""
        runtime, stream = cupy().cuda.runtime, self._stream
        start, size = self.addresses[room], self._bytes[room]
        done = min(block.nbytes, size)
        kind = runtime.memcpyHostToDevice
        runtime.memcpyAsync(start, block.ctypes.data, done, kind, stream.ptr)
        while done < size:
            more = min(done, size - done)
            kind = runtime.memcpyDeviceToDevice
            runtime.memcpyAsync(start + done, start, more, kind, stream.ptr)
            done += more
        stream.synchronize()

    def _run(self, multiply: Multiply, algorithm: Algorithm, room: int) -> None:
        """Computes a result into a room that had none."""
        start, size = self.addresses[room], self._bytes[room]
        cupy().cuda.runtime.memsetAsync(start, UNWRITTEN, size, self._stream.ptr)
        multiply(algorithm, *self._given(multiply, room), stream=self._stream.ptr)
        self._stream.synchronize()

    def _given(self, multiply: Multiply, room: int) -> list[int]:
        left, right, _, workspace, *bias = self.addresses[:5]
        more = bias if multiply.product.epilogue else []
        return [left, right, self.addresses[room], workspace, *more]

    def seconds(self, multiply: Multiply, algorithm: Algorithm) -> float:
        """What an algorithm takes, within a graph; infinity where the library refuses it."""
        cuda, stream = cupy().cuda, self._stream
        expected = 2 * math.prod(multiply.product.sizes) / RATE
        turns = max(1, min(TURNS, int(SECONDS / (expected + 1e-6))))
        given = self._given(multiply, 2)
        try:
            multiply(algorithm, *given, stream=stream.ptr)  # which loads it
            stream.synchronize()
            with capturing(stream) as end:
                for _ in range(turns):
                    multiply(algorithm, *given, stream=stream.ptr)
                graph = end()
            graph.launch(stream)
            start = stream.record(cuda.Event())
            graph.launch(stream)
            stop = stream.record(cuda.Event())
            stream.synchronize()
        except RuntimeError:
            return math.inf
        return cuda.get_elapsed_time(start, stop) / 1e3 / turns

    def is_right(self, multiply: Multiply, algorithm: Algorithm) -> bool:
        """Whether elements of a product are what the host computes; False where it is refused."""
        try:
            self._run(multiply, algorithm, 2)
        except RuntimeError:
            return False
        return all(self._is_near(*at) for at in samples(self.product))

    def _is_near(self, batch: int, row: int, column: int) -> bool:
        _, rows, columns, inner = self.product.sizes
        place = ((batch * rows + row) * columns + column) * self.dtype.itemsize
        found = float(self._read(2, place, 1)[0])
        exact, size = element(self.product, batch, row, column)
        dtype, precision = self.product.dtype, self.product.precision
        may_miss = EACH.get(dtype, 2.0**-22) * (inner + FEW) + FACTORS.get(precision, 0.0)
        return abs(found - exact) <= may_miss * size + ROUNDED.get(dtype, 0.0) * abs(exact)

    def _read(self, room: int, start: int, count: int) -> Any:
        """Numbers of a room, on the host."""
        found = np.empty(count, self.dtype)
        runtime = cupy().cuda.runtime
        kind, source = runtime.memcpyDeviceToHost, self.addresses[room] + start
        runtime.memcpy(found.ctypes.data, source, found.nbytes, kind)
        return found

    def is_same(self, plain: tuple[Multiply, Algorithm], fused: tuple[Multiply, Algorithm]) -> bool:
        """Whether an epilogue gives the bits of what would follow the product; False if refused.

        Once for numbers like others, and once for products that are 0.
        """
        for side in (1, 0):
            try:
                self._run(*plain, 2)
                self._run(*fused, 5)
            except RuntimeError:
                return False
            if not all(self._agree(*part) for part in self._parts()):
                return False
            self._fill(side, np.zeros(1, self.dtype))
        return True

    def _parts(self) -> Iterator[tuple[int, int]]:
        """What is compared of a result: the first byte, and how many elements."""
        row = self._bytes[4]
        rows = self._bytes[2] // row
        count = min(rows, max(1, COMPARED // row))
        for first in {0, rows - count}:
            yield first * row, count * row // self.dtype.itemsize

    def _agree(self, start: int, count: int) -> bool:
        columns = self.product.sizes[2]
        product, found = (self._read(k, start, count).reshape(-1, columns) for k in (2, 5))
        with np.errstate(all="ignore"):
            wanted = product + added(self.product.dtype, columns)
            if self.product.epilogue == "bias_relu":
                wanted = np.maximum(wanted, self.dtype.type(0))
        bits = f"u{self.dtype.itemsize}"
        alike = wanted.view(bits) == found.view(bits)
        return bool(np.all(alike | (np.isnan(wanted) & np.isnan(found))))


@cache
def numbers(dtype: str, side: int) -> Any:
    """What an operand holds, again and again."""
    rng = np.random.default_rng(side)
    return rng.standard_normal(PERIOD).astype(dtypes[dtype])


def added(dtype: str, columns: int) -> Any:
    """What is added to columns."""
    found = np.resize(numbers(dtype, 2), columns)
    found[: len(SPECIAL)] = np.array(SPECIAL[:columns], found.dtype)
    return found


def samples(product: Product) -> list[tuple[int, int, int]]:
    """Of which elements to look at: product, row, column; the first and the last are among them."""
    sizes = product.sizes[:3]
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, sizes, (SAMPLES, 3)).tolist()
    batch, rows, columns = sizes
    return [(0, 0, 0), (batch - 1, rows - 1, columns - 1), *map(tuple, drawn)]


def element(product: Product, batch: int, row: int, column: int) -> tuple[float, float]:
    """An element of a product, and the sum of the absolute values that it is the sum of."""
    _, rows, columns, inner = product.sizes
    k = np.arange(inner)
    first = 0 if product.shared[0] else batch * rows * inner
    left = first + (k * rows + row if product.turned[0] else row * inner + k)
    first = 0 if product.shared[1] else batch * inner * columns
    right = first + (column * inner + k if product.turned[1] else k * columns + column)
    sides = [
        numbers(product.dtype, side)[at % PERIOD].astype(np.float64)
        for side, at in enumerate((left, right))
    ]
    terms = sides[0] * sides[1]
    return float(terms.sum()), float(np.abs(terms).sum())
