"""Trials of a library on a device: how long its ways take, and whether they are right.

The operands hold numbers that the host knows, so that it can compute any element of a result. What
a way gives is compared with that once, when it is chosen, at the bounds of its precision; an
epilogue, element by element and bit by bit, with what a way gives without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np

from jit.runtime.cuda import allocate, capturing, cupy
from jit.types import dtypes

TURNS, SECONDS = 10, 5e-4  # of a candidate: how often at most, how long about
RATE = 2e13  # operations a second, roughly
UNWRITTEN = 0xFF  # the bytes of a result before: NaN, in every dtype
PERIOD = 100_003  # numbers after which an operand repeats itself: a prime, so rows differ
COMPARED = 1 << 25  # bytes of a result, from its start and up to its end, that are compared whole
# What sums may miss, for each term and in all, as parts of the sum of absolute values; and what
# rounding the result may change.
EACH, FEW = {"float64": 2.0**-52}, 16  # so many terms more
FACTORS = {"tf32": 2.0**-9}
ROUNDED = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# What may be added to columns, beside numbers like others: a library may treat it in its own way.
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40, 3e38)
LEFT, RIGHT, RESULT, WORKSPACE, BIAS, OTHER = range(6)  # rooms


class Job(Protocol):
    """What a library computes: `job(way, left, right, result, workspace, bias, stream=)`."""

    @property
    def epilogue(self) -> str:
        """What becomes of each element, see `jit.runtime.cublas.Product`."""
        ...

    def __call__(self, way: Any, /, *addresses: int, stream: int) -> None: ...


class Rooms:
    """Rooms on a stream of their own; they go with this object.

    Args:
        sizes: Their bytes.

    Attributes:
        addresses: Where they are.

    Raises:
        OutOfMemoryError: There is no room.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        pool = cupy().cuda.MemoryPool()
        self._stream = cupy().cuda.Stream(non_blocking=True)
        self._memory = [allocate(size, "choosing an algorithm", pool) for size in sizes]
        self._bytes = [*sizes]
        self.addresses = [room.ptr for room in self._memory]

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

    def _write(self, room: int, run: Callable[[int], None]) -> None:
        """Has `run`, given the number of a stream, write a room that had nothing."""
        start, size = self.addresses[room], self._bytes[room]
        cupy().cuda.runtime.memsetAsync(start, UNWRITTEN, size, self._stream.ptr)
        run(self._stream.ptr)
        self._stream.synchronize()

    def _read(self, room: int, start: int, count: int, dtype: Any) -> Any:
        """Numbers of a room, on the host."""
        found = np.empty(count, dtype)
        runtime = cupy().cuda.runtime
        kind, source = runtime.memcpyDeviceToHost, self.addresses[room] + start
        runtime.memcpy(found.ctypes.data, source, found.nbytes, kind)
        return found

    def _seconds(self, operations: int, run: Callable[[int], None]) -> float:
        """What `run` takes, within a graph; infinity where the library refuses it."""
        cuda, stream = cupy().cuda, self._stream
        turns = max(1, min(TURNS, int(SECONDS / (operations / RATE + 1e-6))))
        try:
            run(stream.ptr)  # which loads it
            stream.synchronize()
            with capturing(stream) as end:
                for _ in range(turns):
                    run(stream.ptr)
                graph = end()
            graph.launch(stream)
            start = stream.record(cuda.Event())
            graph.launch(stream)
            stop = stream.record(cuda.Event())
            stream.synchronize()
        except RuntimeError:
            return math.inf
        return cuda.get_elapsed_time(start, stop) / 1e3 / turns


class Trial(Rooms):
    """Rooms with operands in which ways are tried.

    Args:
        dtype: Of all elements.
        precision: In which elements of float32 are multiplied.
        epilogue: Of what is tried; both it and what is without are, then.
        columns: How many of them a result has.
        elements: How many elements the operands and the result have.
        workspace: How many bytes the ways need at most.
        operands: What the operands hold, again and again.

    Raises:
        OutOfMemoryError: There is no room.
    """

    operations = 0  # of a way

    def __init__(
        self,
        dtype: str,
        precision: str,
        epilogue: str,
        columns: int,
        elements: Sequence[int],
        workspace: int,
        operands: Sequence[Any],
    ) -> None:
        self.dtype, self._name, self._precision = dtypes[dtype], dtype, precision
        self._epilogue, self._columns = epilogue, columns
        size = self.dtype.itemsize
        left, right, result = [size * count for count in elements]
        more = [size * columns, result] if epilogue else []
        super().__init__([left, right, result, workspace, *more])
        for side, block in zip((LEFT, RIGHT), operands, strict=True):
            self._fill(side, block)
        if epilogue:
            self._fill(BIAS, added(dtype, columns))

    def samples(self) -> Iterator[tuple[int, float, float, int]]:
        """Of some elements the place, the value, the sum of absolute values, how many these are."""
        raise NotImplementedError

    def _run(self, job: Job, way: Any, room: int) -> None:
        """Computes a result into a room that had none."""
        given = self._given(job, room)
        self._write(room, lambda stream: job(way, *given, stream=stream))

    def _given(self, job: Job, room: int) -> list[int]:
        left, right, _, workspace, *bias = self.addresses[:OTHER]
        more = bias if job.epilogue else []
        return [left, right, self.addresses[room], workspace, *more]

    def seconds(self, job: Job, way: Any) -> float:
        """What a way takes, within a graph; infinity where the library refuses it."""
        given = self._given(job, RESULT)
        return self._seconds(self.operations, lambda stream: job(way, *given, stream=stream))

    def is_right(self, job: Job, way: Any) -> bool:
        """Whether elements of a result are what the host computes; False where it is refused."""
        try:
            self._run(job, way, RESULT)
        except RuntimeError:
            return False
        return all(self._is_near(*sample) for sample in self.samples())

    def _is_near(self, place: int, exact: float, size: float, terms: int) -> bool:
        found = float(self._read(RESULT, place * self.dtype.itemsize, 1, self.dtype)[0])
        each = EACH.get(self._name, 2.0**-22)
        may_miss = each * (terms + FEW) + FACTORS.get(self._precision, 0.0)
        return abs(found - exact) <= may_miss * size + ROUNDED.get(self._name, 0.0) * abs(exact)

    def is_same(self, plain: tuple[Job, Any], fused: tuple[Job, Any]) -> bool:
        """Whether an epilogue gives the bits of what would follow; False if it is refused.

        Once for numbers like others, and once for results that are 0.
        """
        for side in (RIGHT, LEFT):
            try:
                self._run(*plain, RESULT)
                self._run(*fused, OTHER)
            except RuntimeError:
                return False
            if not all(self._agree(*part) for part in self._parts()):
                return False
            self._fill(side, np.zeros(1, self.dtype))
        return True

    def _parts(self) -> Iterator[tuple[int, int]]:
        """What is compared of a result: the first byte, and how many elements."""
        row = self._bytes[BIAS]
        rows = self._bytes[RESULT] // row
        count = min(rows, max(1, COMPARED // row))
        for first in {0, rows - count}:
            yield first * row, count * row // self.dtype.itemsize

    def _agree(self, start: int, count: int) -> bool:
        plain, found = [
            self._read(room, start, count, self.dtype).reshape(-1, self._columns)
            for room in (RESULT, OTHER)
        ]
        with np.errstate(all="ignore"):
            wanted = plain + added(self._name, self._columns)
            if self._epilogue == "bias_relu":
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
