"""Parts of matrices that the threads of a block bring into shared memory, one after the other.

Rows of halves lie there as *chunks* of 16 bytes, which is what a thread moves at once. Where a
chunk stands in its row depends on the row, so that a quarter of a warp reads other banks each,
whether it reads chunks along rows or across them (see `jit.loops.gpu_warps`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from jit.dims import Dim, Extent
from jit.forms.expression import Access, Domain, linear
from jit.forms.nodes import FormValue
from jit.loops.elements import Elements
from jit.loops.ir import STREAM, Buffer, Operand, Sync, VType, index
from jit.types import dtypes, float32

THREADS = 128
CHUNK, PANEL = 8, 64  # halves of a chunk; rows in shared memory are whole panels
BITS = dtypes["uint16"]


class Rows:
    """Rows of a value in memory: its last axis, or its last but one if elements are read alone.

    Args:
        w: Writes; the loops of the other axes are bound.
        buffer: What they lie in.
        place: Of an element, in the loops of `domain`.
        domain: The loops over the value.
        single: A row is one element.
    """

    def __init__(
        self, w: Elements, buffer: Buffer, place: Extent, domain: Domain, *, single: bool = False
    ) -> None:
        self.w, self.buffer, self.place = w, buffer, place
        self.axes = domain.indices[-1:] if single else domain.indices[-2:]
        self.count: Extent = domain.shape[-1 if single else -2]

    @classmethod
    def read(cls, w: Elements, x: Access, domain: Domain, *, single: bool = False) -> Rows:
        """Those of an operand."""
        place = linear(x.value.shape, x.at)
        return cls(w, w.buffer(x.value), place, domain, single=single)

    @classmethod
    def written(cls, w: Elements, value: FormValue, *, single: bool = False) -> Rows:
        """Those of a result."""
        domain = Domain.of(value.shape)
        place = linear(value.shape, domain.indices)
        return cls(w, w.buffer(value, "out"), place, domain, single=single)

    def at(self, row: Operand) -> Operand:
        """Where a row begins."""
        values = zip(self.axes, (row, index(0)))
        with self.w.bound({str(i): value for i, value in values if isinstance(i, Dim)}):
            return self.w.at(self.place)

    def are_whole(self, tile: int) -> bool:
        """Whether they are so many tiles, none of which is shorter."""
        return isinstance(self.count, int) and self.count % tile == 0

    def nearest(self, row: Operand) -> Operand:
        """The number of a row, or of the last one if it is behind that."""
        return self.w.least_of(row, self.w.at(self.count - 1))


class Part(Protocol):
    """Something that comes part by part; of two, one is used while the other comes."""

    def coming(self, first: Operand) -> list[Operand]:
        """What the thread brings of the part that begins with a row."""
        ...

    def put(self, half: Operand, values: Sequence[Operand]) -> None:
        """Stores it in one of the two halves."""
        ...


class Tile:
    """Rows of halves.

    Args:
        w: Writes.
        thread: The number of the thread.
        name: Of the room in shared memory.
        rows: Where they come from.
        length: Of a row, some chunks.
        height: How many rows a part has.

    Attributes:
        room: Holds two parts.
        width: Of a row in it.
    """

    def __init__(
        self, w: Elements, thread: Operand, name: str, rows: Rows, length: int, height: int
    ) -> None:
        self.w, self.thread, self.rows, self.height = w, thread, rows, height
        self.chunks, self.width = length // CHUNK, -(-length // PANEL) * PANEL
        self.size = height * self.width
        self.room = w.alloc(name, rows.buffer.dtype, 2 * self.size, "shared")
        self._clear()
        self.spots = [*self._spots()]

    def place(self, row: Operand, chunk: Operand) -> Operand:
        """Where a chunk of a row lies in a part."""
        w = self.w
        even = w.let("bitwise_and", row, index(6))
        odd = w.let("multiply", w.let("bitwise_and", row, index(1)), index(4))
        moved = w.let("bitwise_xor", chunk, w.let("bitwise_xor", even, odd))
        start = w.let("multiply", row, index(self.width))
        return w.let("add", start, w.let("multiply", moved, index(CHUNK)))

    def _clear(self) -> None:
        """Zeros behind the last chunk of each row."""
        w, behind = self.w, self.width // CHUNK - self.chunks
        bits = w.number(0, VType(BITS, CHUNK))
        for first in range(0, 2 * self.height * behind, THREADS):
            number = w.let("add", self.thread, index(first))
            row, chunk = (w.let(op, number, index(behind)) for op in ("quotient", "rest"))
            place = self.place(row, w.let("add", chunk, index(self.chunks)))
            with self._if_there(self._inside(number, first, 2 * self.height * behind)):
                w.store(self.room, place, w.let("bitcast", bits, dtype=self.room.dtype))

    def _spots(self) -> Iterator[tuple[Operand, Operand, Operand, Operand | None]]:
        """Of what the thread brings: row, chunk, place in a part, and whether there is such a one.

        Where whole turns of 8 rows come at once, all of it stands in one column.
        """
        w, total = self.w, self.height * self.chunks
        row, chunk = self._spot(self.thread)
        place = self.place(row, chunk)
        for first in range(0, total, THREADS):
            number = w.let("add", self.thread, index(first))
            inside = self._inside(number, first, total)
            rows, rest = divmod(first, self.chunks)
            if rest == 0 and rows % 8 == 0:
                at = w.let("add", place, index(rows * self.width))
                yield w.let("add", row, index(rows)), chunk, at, inside
            else:
                other, column = self._spot(number)
                yield other, column, self.place(other, column), inside

    def _spot(self, number: Operand) -> list[Operand]:
        """The row and the chunk of a number among all of a part."""
        return [self.w.let(op, number, index(self.chunks)) for op in ("quotient", "rest")]

    def _inside(self, number: Operand, first: int, total: int) -> Operand | None:
        """Whether a number of some thread is below the total; None if all of them are."""
        return None if first + THREADS <= total else self.w.let("less", number, index(total))

    @contextmanager
    def _if_there(self, condition: Operand | None) -> Iterator[None]:
        with ExitStack() as stack:
            if condition is not None:
                stack.enter_context(self.w.when(condition))
            yield

    def coming(self, first: Operand) -> list[Operand]:
        """What the thread brings of the part that begins with a row."""
        w, rows, found = self.w, self.rows, list[Operand]()
        whole = rows.are_whole(self.height) and all(inside is None for *_, inside in self.spots)
        if whole:  # behind the last part, that one again
            first = w.least_of(first, w.at(rows.count - self.height))
        for row, chunk, _, _ in self.spots:
            number = w.let("add", first, row)
            start = rows.at(number if whole else rows.nearest(number))
            at = w.let("add", start, w.let("multiply", chunk, index(CHUNK)))
            found.append(w.load(rows.buffer, at, CHUNK))
        return found

    def put(self, half: Operand, values: Sequence[Operand]) -> None:
        """Stores it in one of the two halves."""
        w, offset = self.w, self.w.let("multiply", half, index(self.size))
        for (*_, place, inside), value in zip(self.spots, values, strict=True):
            with self._if_there(inside):
                w.store(self.room, w.let("add", offset, place), value)


class Line:
    """A float32 for each row; arguments as for `Tile`."""

    def __init__(self, w: Elements, thread: Operand, name: str, rows: Rows, height: int) -> None:
        self.w, self.thread, self.rows, self.height = w, thread, rows, height
        self.room = w.alloc(name, float32, 2 * height, "shared")

    def coming(self, first: Operand) -> list[Operand]:
        """What the thread brings of the part that begins with a row."""
        w = self.w
        row = w.let("add", first, w.let("rest", self.thread, index(self.height)))
        return [w.load(self.rows.buffer, self.rows.at(self.rows.nearest(row)))]

    def put(self, half: Operand, values: Sequence[Operand]) -> None:
        """Stores it in one of the two halves."""
        w, height = self.w, index(self.height)
        with w.when(w.let("less", self.thread, height)):
            offset = w.let("multiply", half, height)
            w.store(self.room, w.let("add", offset, self.thread), values[0])


@contextmanager
def streamed(
    w: Elements, parts: Sequence[Part], start: Operand, stop: Operand, height: int
) -> Iterator[tuple[Operand, Operand]]:
    """Every part from one row to another: its first row, and the half of the rooms it is in.

    While threads use one part, the next one is on its way to their registers.
    """
    sync = Sync(THREADS)
    first = w.let("rest", w.let("quotient", start, index(height)), index(2))
    for part in parts:
        part.put(first, part.coming(start))
    w.body.append(sync)
    with w.loop(start, stop, height, hint=STREAM) as row:
        following = w.let("add", row, index(height))
        coming = [part.coming(following) for part in parts]
        half = w.let("rest", w.let("quotient", row, index(height)), index(2))
        yield row, half
        other = w.let("subtract", index(1), half)
        for part, values in zip(parts, coming, strict=True):
            part.put(other, values)
        w.body.append(sync)
