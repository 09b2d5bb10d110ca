"""Warps of a GPU that multiply the rows they hold by parts in shared memory, on tensor cores.

A warp holds squares of 16 rows as first operands of `Mma`. It reads a part in two ways:

    along    sums over the elements of a row: a row of the part is a column of the result
    across   sums over the rows of the part: a column of it is a column of the result

Which inner indices are words of one `Mma` is nothing that a result depends on, where both operands
agree, nor is which columns are beside each other. So every access is of a whole chunk of 8 halves:

    along    thread 4 g + t has chunks t, t + 4, .. of row g: words t and t + 4 of two products each
    across   thread 4 g + t has chunk g of rows 2 t, 2 t + 1, 2 t + 8 and 2 t + 9: column g of eight

What comes of `along` is the first operand of `across` as it is (Dao, "FlashAttention-2", 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from jit.loops.elements import Elements
from jit.loops.gpu_parts import BITS, CHUNK, PANEL, THREADS, Rows, Tile
from jit.loops.ir import INDEX, WARP, Buffer, DType, Exchange, Mma, Operand, Var, VType, index
from jit.types import dtypes, float32

SQUARE, STEP, ACROSS = 16, 16, 8  # rows of a square; inner indices and columns of an `Mma`
FOUR = VType(float32, 4)
INTS = dtypes["int32"]

Held = list[list[list[Operand]]]  # for each square its chunks of a thread, of rows g and g + 8


class Warps:
    """What the warps of a block do.

    Args:
        w: Writes.
        dtype: Of what is multiplied.
        length: Of rows.
        squares: How many a warp has.

    Attributes:
        thread: The number of a thread, which is 4 `g` + `t` in its warp.
        height: Rows of the block.
        reads_along: Where a thread finds its first two chunks of a part, along the rows.
        reads_across: Likewise across them.
    """

    reads_along: list[Operand]
    reads_across: list[Operand]

    def __init__(self, w: Elements, dtype: DType, length: int, squares: int) -> None:
        self.w, self.dtype, self.length, self.squares = w, dtype, length, squares
        self.panels = -(-length // PANEL)
        self.width, self.chunks = self.panels * PANEL, length // CHUNK
        self.height = THREADS // WARP * SQUARE * squares
        self.thread = Var(INDEX, "thread")
        warp, self.lane = (w.let(op, self.thread, index(WARP)) for op in ("quotient", "rest"))
        self.g, self.t = (w.let(op, self.lane, index(4)) for op in ("quotient", "rest"))
        self.own = w.let("add", w.let("multiply", warp, index(SQUARE * squares)), self.g)

    # ----- values -----

    def pairs(self, a: Operand, b: Operand) -> Operand:
        """(a, a, b, b): what belongs to rows g and g + 8, for each of a thread's sums."""
        w = self.w
        return w.let("shuffle", w.splat(a, 2), w.splat(b, 2), immediates=(0, 1, 2, 3))

    def one(self, x: Operand, lane: int) -> Operand:
        """A lane of a vector."""
        return self.w.let("extract", x, immediates=(lane,))

    def columns(self, offset: Operand) -> Operand:
        """An index less the columns of a thread's sums, as int32: (k - 2 t, k - 2 t - 1, ..)."""
        w = self.w
        twice = w.let("multiply", self.t, index(2))
        first = w.cast(w.let("subtract", offset, twice), INTS)
        count = w.let("astype", w.iota(2), dtype=INTS)
        both = w.let("subtract", w.splat(first, 2), count)
        return w.let("shuffle", both, both, immediates=(0, 1, 0, 1))

    def together(self, combine: Callable[[Operand, Operand], Operand], x: Operand) -> Operand:
        """What the four threads have that share a row, combined."""
        w = self.w
        for distance in (1, 2):
            var, other = Var(x.type), w.let("bitwise_xor", self.lane, index(distance))
            w.body.append(Exchange(var, x, other))
            x = combine(x, var)
        return x

    def larger(self, a: Operand, b: Operand) -> Operand:
        """The larger of two numbers."""
        return self.w.let("larger", a, b)

    def added(self, a: Operand, b: Operand) -> Operand:
        """The sum."""
        return self.w.let("add", a, b)

    # ----- what a warp holds -----

    def numbers(self, first: Operand) -> list[tuple[Operand, Operand]]:
        """The rows g and g + 8 of each square; `first` is that of the block."""
        w, start = self.w, self.w.let("add", first, self.own)
        squares = range(0, SQUARE * self.squares, SQUARE)
        return [(w.let("add", start, index(k)), w.let("add", start, index(k + 8))) for k in squares]

    def nearest(self, rows: Rows, number: Operand) -> Operand:
        """The number of a row of the block, if there are so many; else of the last one."""
        return number if rows.are_whole(self.height) else rows.nearest(number)

    def held(self, rows: Rows, first: Operand) -> Held:
        """The chunks of the warp's rows."""
        found: Held = []
        for numbers in self.numbers(first):
            starts = [rows.at(self.nearest(rows, number)) for number in numbers]
            found.append(
                [
                    [self._chunk(rows.buffer, start, chunk) for start in starts]
                    for chunk in range(0, self.chunks, 4)
                ]
            )
        return found

    def _chunk(self, buffer: Buffer, start: Operand, first: int) -> Operand:
        """Chunk `first` + t of a row; zeros behind the last one."""
        w, number = self.w, self.w.let("add", self.t, index(first))
        there = None if first + 4 <= self.chunks else w.let("less", number, index(self.chunks))
        if there is not None:
            number = w.least_of(number, index(self.chunks - 1))
        at = w.let("add", start, w.let("multiply", number, index(CHUNK)))
        value = w.load(buffer, at, CHUNK)
        if there is None:
            return value
        bits = w.let("bitcast", value, dtype=BITS)
        bits = w.let("where", w.splat(there, CHUNK), bits, w.number(0, bits.type))
        return w.let("bitcast", bits, dtype=self.dtype)

    def operands(self, name: str, held: Held) -> list[list[Operand]]:
        """The same as first operands of products `along`, two for each chunk of a row.

        They stay in registers.
        """
        w, words = self.w, ((0, 1, 8, 9, 2, 3, 10, 11), (4, 5, 12, 13, 6, 7, 14, 15))
        found = [
            [w.let("shuffle", *chunk, immediates=x) for chunk in square for x in words]
            for square in held
        ]
        room = w.alloc(name, self.dtype, 8 * sum(map(len, found)))
        places = iter(range(0, room.size, 8))
        return [[self._kept(room, index(next(places)), x) for x in square] for square in found]

    def _kept(self, room: Buffer, at: Operand, x: Operand) -> Operand:
        self.w.store(room, at, x)
        return self.w.load(room, at, 8)

    # ----- products -----

    def readers(self, tile: Tile) -> None:
        """Computes, before any loop, where the thread reads tiles of this length."""
        w, row = self.w, self.w.let("multiply", self.t, index(2))
        self.reads_along = [tile.place(self.g, w.let("add", self.t, index(k))) for k in (0, 4)]
        self.reads_across = [tile.place(w.let("add", row, index(k)), self.g) for k in (0, 1)]

    def _mma(self, a: Operand, b: Operand, c: Operand) -> Var:
        var = Var(FOUR)
        self.w.body.append(Mma(var, a, b, c))
        return var

    def along(self, tile: Tile, start: Operand, n: int, rows: list[list[Operand]]) -> list[Operand]:
        """The sums of all squares for rows 8 n, .. of a part.

        Args:
            tile: Holds the part.
            start: Where it begins there.
            n: Which columns of the result.
            rows: First operands.
        """
        w = self.w
        sums: list[Operand] = [w.number(0.0, FOUR) for _ in rows]
        for k in range(len(rows[0]) // 2):
            outer, which = divmod(k, 2)
            at = w.let("add", start, self.reads_along[which])
            at = w.let("add", at, index(n * ACROSS * self.width + outer * PANEL))
            chunk = w.load(tile.room, at, CHUNK)
            for half in (0, 1):
                b = w.let("shuffle", chunk, chunk, immediates=range(4 * half, 4 * half + 4))
                sums = [self._mma(x[2 * k + half], b, c) for x, c in zip(rows, sums, strict=True)]
        return sums

    def across(
        self, tile: Tile, start: Operand, m: int, a: Sequence[Operand], sums: Buffer
    ) -> None:
        """Adds the products of first operands, for each square one, and rows 16 m, .. of a part.

        Args:
            tile: Holds the part.
            start: Where it begins there.
            m: Which inner indices.
            a: First operands.
            sums: In registers.
        """
        w = self.w
        for panel in range(self.panels):
            chunks = list[Operand]()
            for k in range(4):
                at = w.let("add", start, self.reads_across[k % 2])
                row = STEP * m + 8 * (k // 2)
                at = w.let("add", at, index(row * self.width + panel * PANEL))
                chunks.append(w.load(tile.room, at, CHUNK))
            for j in range(CHUNK):
                low, high = (
                    w.let("shuffle", *pair, immediates=(j, CHUNK + j))
                    for pair in (chunks[:2], chunks[2:])
                )
                b = w.let("shuffle", low, high, immediates=(0, 1, 2, 3))
                for square, x in enumerate(a):
                    at = self._sum_at(square, panel, j)
                    w.store(sums, at, self._mma(x, b, w.load(sums, at, 4)))

    def joined(self, left: Operand, right: Operand) -> Operand:
        """Sums for 16 columns as a first operand of products `across`."""
        whole = self.w.let("shuffle", left, right, immediates=range(8))
        return self.w.cast(whole, self.dtype)

    # ----- results -----

    def sums(self, name: str) -> Buffer:
        """Registers for the sums of all rows and columns of the block, which begin at 0."""
        w, size = self.w, self.squares * self.width // 2
        room = w.alloc(name, float32, size)
        for k in range(0, size, 4):
            w.store(room, index(k), w.number(0.0, FOUR))
        return room

    def _sum_at(self, square: int, panel: int, j: int) -> Operand:
        return index(((square * self.panels + panel) * CHUNK + j) * 4)

    def scale(self, sums: Buffer, square: int, factors: Operand) -> None:
        """Multiplies the sums of a square."""
        w, each = self.w, self.panels * CHUNK * 4
        for k in range(square * each, (square + 1) * each, 4):
            w.store(sums, index(k), w.let("multiply", w.load(sums, index(k), 4), factors))

    def finish(
        self, sums: Buffer, rows: Rows, first: Operand, factors: Sequence[Sequence[Operand]]
    ) -> None:
        """Stores sums as rows of halves.

        Args:
            sums: Of the block.
            rows: Where they belong.
            first: The first of them.
            factors: By which rows g and g + 8 of each square are multiplied.
        """
        w = self.w
        for square, numbers in enumerate(self.numbers(first)):
            for k, number in enumerate(numbers):
                with ExitStack() as stack:
                    if not rows.are_whole(self.height):
                        inside = w.let("less", number, w.at(rows.count))
                        stack.enter_context(w.when(inside))
                    factor = w.splat(factors[square][k], CHUNK)
                    self._finish_row(sums, rows, rows.at(number), (square, k), factor)

    def _finish_row(
        self, sums: Buffer, rows: Rows, start: Operand, which: tuple[int, int], factor: Operand
    ) -> None:
        """Stores a row's chunks that the thread has: 2 t and 2 t + 1 of each panel."""
        w, (square, k) = self.w, which
        twice = w.let("multiply", self.t, index(2))
        for panel in range(self.panels):
            for part in (0, 1):
                chunk = w.let("add", twice, index(PANEL // CHUNK * panel + part))
                with ExitStack() as stack:
                    if PANEL * (panel + 1) > self.length:
                        stack.enter_context(w.when(w.let("less", chunk, index(self.chunks))))
                    found = self._chunk_of(sums, square, panel, 2 * k + part)
                    made = w.cast(w.let("multiply", found, factor), self.dtype)
                    at = w.let("add", start, w.let("multiply", chunk, index(CHUNK)))
                    w.store(rows.buffer, at, made)

    def _chunk_of(self, sums: Buffer, square: int, panel: int, lane: int) -> Operand:
        """One lane of eight sums, which are beside each other in a row of the result."""
        w = self.w
        each = [w.load(sums, self._sum_at(square, panel, j), 4) for j in range(CHUNK)]
        pairs = [
            w.let("shuffle", a, b, immediates=(lane, 4 + lane))
            for a, b in zip(each[::2], each[1::2])
        ]
        fours = [
            w.let("shuffle", a, b, immediates=(0, 1, 2, 3)) for a, b in zip(pairs[::2], pairs[1::2])
        ]
        return w.let("shuffle", *fours, immediates=range(8))
