"""Products on a GPU: a block of threads computes a tile of the result, through shared memory.

    for each chain of inner indices:
        for each part of it:
            the threads bring the part's rows and columns into shared memory, together
            for each inner index of the part: a thread's register tile of fused multiply-adds
        add to totals
    the epilogue on the thread's totals, and stores

Where parts are whole, the next one is loaded while one is computed.

Each sum is the chain of fused multiply-adds that the canonical order asks for. Rows and columns
behind the last one are those of the last one again, and are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jit.dims import same
from jit.forms.contraction import Letter, size_of, step_of
from jit.forms.expression import Access, linear, walk
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import INDEX, TILE, Buffer, Kernel, Operand, Sync, Var, VType, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.types import product

DEPTH = 16  # inner indices of a part
PADDING = 4  # elements behind each inner index in shared memory: neighbours are in other banks
SHARED = 48 << 10  # bytes of a block that need not be asked for
FEW = 200  # blocks of the grid: with fewer, some of the machine has nothing to do


@dataclass(frozen=True)
class Block:
    """How a tile of the result is shared out: threads x elements of each, along rows and columns.

    Attributes:
        threads: Along rows, along columns.
        each: Rows and columns of a thread.
    """

    threads: tuple[int, int]
    each: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.threads[0] * self.each[0], self.threads[1] * self.each[1]

    @property
    def count(self) -> int:
        """How many threads there are."""
        return self.threads[0] * self.threads[1]


BLOCKS = (
    Block((16, 16), (8, 8)),
    Block((16, 16), (4, 8)),
    Block((16, 16), (4, 4)),
    Block((8, 16), (4, 4)),
    Block((8, 16), (4, 2)),
    Block((8, 16), (2, 2)),
    Block((32, 4), (4, 1)),
    Block((4, 32), (1, 4)),
)


def chosen(rows: int, columns: int, outer: int, itemsize: int) -> Block:
    """The block that takes least: what it computes in vain counts, and idle multiprocessors."""

    def cost(block: Block) -> float:
        height, width = block.shape
        tiles = -(-rows // height) * -(-columns // width) * outer
        m, n = block.each
        # A thread's loads beside its multiply-adds, for an inner index.
        step = m * n * (itemsize // 4) + 1.5 * (m + n) + 4
        waves = max(1.0, tiles * block.count / (FEW * 256))
        return waves * step * (1 if block.count == 256 else 0.9)

    return min([block for block in BLOCKS if fits(block, itemsize)], key=cost)


def fits(block: Block, itemsize: int) -> bool:
    """Whether two parts find room in shared memory."""
    return 2 * DEPTH * itemsize * (sum(block.shape) + 2 * PADDING) <= SHARED


class GpuProductNest(ProductNest):
    """The kernel of a contraction and maps of its result; arguments as for `ProductNest`.

    Attributes:
        halves: Where the current part begins in each of the rooms, if they hold two.
    """

    halves: Sequence[Operand] = ()

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, c = self.w, self.c
        last = c.result.loops[-1][0] if c.result.loops else ""
        names = [{x.name for x in c.free(k)} for k in (0, 1)]
        self.operands = (1, 0) if last in names[0] and last not in names[1] else (0, 1)
        self.letters = tuple([c.free(k) for k in self.operands])
        self.sizes = [size_of(x) for x in self.letters]
        outer = [x.extent for x in c.batch]
        hints = [max(1, extent_hint(x)) for x in (*self.sizes, product(outer))]
        self.tile = chosen(hints[0], hints[1], hints[2], c.dtype.itemsize)
        self.thread = Var(INDEX, "thread")
        counts = [-(-x // y) for x, y in zip(self.sizes, self.tile.shape)]
        self.grid = product([*outer, *counts])
        *at, row, column = decoded(w, self.item, [*outer, *counts])
        self.first = [
            w.let("multiply", x, index(n)) for x, n in zip((row, column), self.tile.shape)
        ]
        across = index(self.tile.threads[1])
        self.place = [w.let("quotient", self.thread, across), w.let("rest", self.thread, across)]
        with self.bound(c.batch, at):
            self._sums()
        buffers, threads = tuple(w.buffers.values()), self.tile.count
        sizes = tuple(self._sizes().values())
        body = tuple(w.body)
        kernel = Kernel(name, buffers, sizes, self.grid, self.item, body, threads, self.thread)
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), 0.0)

    # ----- sums -----

    @property
    def vector(self) -> int:
        """How many columns of a thread lie side by side."""
        return min(16 // self.c.dtype.itemsize, self.tile.each[1])

    def _sums(self) -> None:
        m, n = self.tile.each
        parts = self._whole_parts()
        count = 1 if parts is None else 2
        self.rooms = [
            self.alloc(name, count * DEPTH * self._stride(side), "shared")
            for side, name in enumerate(("rows", "columns"))
        ]
        acc = self.alloc("acc", m * n, "register")
        self._fill(acc, 0.0)
        totals = acc
        if self.cut is not None:
            totals = self.alloc("totals", m * n, "register")
            self._fill(totals, -0.0)
        if parts is not None:
            self._ahead(acc, totals, parts)
        elif self.cut is None:
            self._chain(acc, index(0), index(1))
        else:
            with self._chains() as (first, last):
                self._chain(acc, first, last)
                self._add_chain(acc, totals)
        self._epilogue_of(totals)

    def _add_chain(self, acc: Buffer, totals: Buffer) -> None:
        """Adds a chain's sums to the totals, and starts anew."""
        w = self.w
        for k in range(0, acc.size, self.vector):
            old, new = (w.load(room, index(k), self.vector) for room in (totals, acc))
            w.store(totals, index(k), w.let("add", old, new))
        self._fill(acc, 0.0)

    # ----- parts that are loaded while the ones before are computed -----

    def _whole_parts(self) -> int | None:
        """How many parts the inner indices are, if no part ends in the middle of anything."""
        extents = [x.extent for x in self.c.inner]
        total = product(extents)
        if not isinstance(total, int) or total == 0 or total % DEPTH:
            return None
        last = extents[-1]
        chain = self.chain * size_of(self.turns) if self.cut is not None else DEPTH
        assert isinstance(last, int)
        fits = chain % DEPTH == 0 and (len(extents) == 1 or last % DEPTH == 0)
        return total // DEPTH if fits else None

    def _ahead(self, acc: Buffer, totals: Buffer, parts: int) -> None:
        """Every part, from one half of the shared memory, while the next one comes to the other."""
        w, sync = self.w, Sync(self.tile.count)
        half = [DEPTH * self._stride(side) for side in (0, 1)]
        for side in (0, 1):
            for place, value in self._elements_of(side, index(0)):
                self._put(side, place, value)
        w.body.append(sync)
        with w.loop(index(0), index(parts), hint=self.hint("part")) as part:
            next_one = w.let("add", part, index(1))
            start = w.let("multiply", w.least_of(next_one, index(parts - 1)), index(DEPTH))
            coming = [self._elements_of(side, start) for side in (0, 1)]
            odd = w.let("rest", part, index(2))
            self.halves = [w.let("multiply", odd, index(size)) for size in half]
            with w.loop(index(0), index(DEPTH), hint=self.hint(TILE)) as k:
                self._multiply(acc, k)
            if totals is not acc:
                with w.when(self._ends_chain(w.let("multiply", next_one, index(DEPTH)))):
                    self._add_chain(acc, totals)
            even = w.let("subtract", index(1), odd)
            for side in (0, 1):
                other = w.let("multiply", even, index(half[side]))
                for place, value in coming[side]:
                    self._put(side, w.let("add", other, place), value)
            w.body.append(sync)

    def _ends_chain(self, position: Operand) -> Operand:
        """Whether a chain ends before a position within all inner letters."""
        w, turns = self.w, size_of(self.turns)
        assert self.cut is not None
        assert isinstance(turns, int)
        assert isinstance(self.cut.extent, int)
        within = w.let("rest", position, index(self.cut.extent * turns))
        rest = w.let("rest", within, index(self.chain * turns))
        return w.let("equal", rest, index(0))

    def _elements_of(self, side: int, start: Operand) -> list[tuple[Operand, Operand]]:
        """What the thread brings of a part: where in shared memory it belongs, and what it is."""
        w, inner = self.w, self.c.inner
        at = decoded(w, start, [x.extent for x in inner])
        found: list[tuple[Operand, Operand]] = []
        for k, m in self._places(side):
            last = w.let("add", at[-1], k)
            with self.bound(inner, [*at[:-1], last]):
                value = self._element_at(side, m)
            place = w.let("add", w.let("multiply", k, index(self._stride(side))), m)
            found.append((place, value))
        return found

    def _fill(self, room: Buffer, value: float) -> None:
        for k in range(0, room.size, self.vector):
            self.w.store(room, index(k), self.w.number(value, VType(room.dtype, self.vector)))

    def _chain(self, acc: Buffer, first: Operand, last: Operand) -> None:
        """The parts of a chain: whole ones, and what is left."""
        w = self.w
        head, count = self._split_letters(first, last)
        with self.every(head, "k"):
            if isinstance(count, int):
                whole: Operand = index(count // DEPTH * DEPTH)
                rest: Operand | None = index(count % DEPTH) if count % DEPTH else None
            else:
                turns = w.let("quotient", count, index(DEPTH))
                whole = w.let("multiply", turns, index(DEPTH))
                rest = w.let("rest", count, index(DEPTH))
            if not (isinstance(count, int) and count < DEPTH):
                with w.loop(index(0), whole, DEPTH, hint=self.hint("part")) as start:
                    self._part(acc, first, last, start, None)
            if rest is not None:
                with w.when(w.let("less", index(0), rest)):
                    self._part(acc, first, last, whole, rest)

    def _split_letters(self, first: Operand, last: Operand) -> tuple[list[Letter], int | Operand]:
        """Letters that are walked one index after the other, and how many indices are left.

        Those are one letter's, if parts are whole in it, or all of a chain.
        """
        w, turns = self.w, self.turns
        self.head: list[Letter] = []
        if self.cut is None and turns:
            extent = turns[-1].extent
            if isinstance(extent, int) and extent % DEPTH == 0:
                self.head = turns[:-1]
                return self.head, extent
        size = size_of(turns)
        assert isinstance(size, int)
        if self.cut is None:
            return [], size
        extent = self.cut.extent
        if isinstance(extent, int) and extent % self.chain == 0:
            return [], self.chain * size
        return [], w.let("multiply", w.let("subtract", last, first), index(size))

    @contextmanager
    def _inner_at(self, first: Operand, position: Operand) -> Iterator[None]:
        """Gives the inner letters the values of a position in the chain."""
        w = self.w
        letters = [x for x in self.turns if x not in self.head]
        if self.cut is None:
            with self.bound(letters, decoded(w, position, [x.extent for x in letters])):
                yield
            return
        at, *rest = decoded(w, position, [self.cut.extent, *(x.extent for x in letters)])
        with self.bound([self.cut, *letters], [w.let("add", first, at), *rest]):
            yield

    def _part(
        self, acc: Buffer, first: Operand, last: Operand, start: Operand, rest: Operand | None
    ) -> None:
        """Some inner indices: all of a part, or `rest` of them."""
        w, sync = self.w, Sync(self.tile.count)
        w.body.append(sync)
        for side in (0, 1):
            self._bring(side, first, start, rest)
        w.body.append(sync)
        if rest is None:
            with w.loop(index(0), index(DEPTH), hint=self.hint(TILE)) as k:
                self._multiply(acc, k)
        else:
            with w.loop(index(0), rest, hint=self.hint("rest")) as k:
                self._multiply(acc, k)

    # ----- shared memory -----

    def _stride(self, side: int) -> int:
        return self.tile.shape[side] + PADDING

    def _bring(self, side: int, first: Operand, start: Operand, rest: Operand | None) -> None:
        """Rows or columns of a part, all threads together."""
        w = self.w
        for k, m in self._places(side):
            with ExitStack() as stack:
                if rest is not None:
                    stack.enter_context(w.when(w.let("less", k, rest)))
                with self._inner_at(first, w.let("add", start, k)):
                    value = self._element_at(side, m)
                place = w.let("add", w.let("multiply", k, index(self._stride(side))), m)
                self._put(side, place, value)

    def _put(self, side: int, place: Operand, value: Operand) -> None:
        """Stores what the thread brings, if no other one brings it."""
        w, (fast, slow) = self.w, self._fast_and_slow(side)
        with ExitStack() as stack:
            if self.tile.count > fast * slow:
                first = w.let("less", self.thread, index(fast * slow))
                stack.enter_context(w.when(first))
            w.store(self.rooms[side], place, value)

    def _fast_and_slow(self, side: int) -> tuple[int, int]:
        """How many indices of a part neighbouring threads go along, and how many others."""
        size = self.tile.shape[side]
        return (DEPTH, size) if self._runs_inside(side) else (size, DEPTH)

    def _places(self, side: int) -> list[tuple[Operand, Operand]]:
        """The inner index and the row or column of each element that the thread brings.

        Neighbouring threads take neighbours in memory. If there are more threads than elements,
        some bring the same.
        """
        w, (fast, slow), along_inner = self.w, self._fast_and_slow(side), self._runs_inside(side)
        one = w.let("rest", self.thread, index(fast))
        other = w.let("quotient", self.thread, index(fast))
        step = (
            self.tile.count // fast
        )  # of the slow index: threads together are some turns of the fast one
        if step > slow:
            other = w.let("rest", other, index(slow))
        turns = [w.let("add", other, index(at)) for at in range(0, slow, step)]
        return [(one, turn) if along_inner else (turn, one) for turn in turns]

    def _runs_inside(self, side: int) -> bool:
        """Whether neighbours in memory are neighbours in the last inner letter."""
        letters, inner = self.letters[side], self.c.inner
        accesses = [x for x in walk(self.c.elements[self.operands[side]]) if isinstance(x, Access)]
        if not accesses or not inner:
            return False
        place = linear(accesses[0].value.shape, accesses[0].at)
        steps = [step_of(place, x) for x in (inner[-1], *letters[-1:])]
        return same(steps[0] or 0, 1) and not (len(steps) > 1 and same(steps[1] or 0, 1))

    def _element_at(self, side: int, m: Operand) -> Operand:
        """An element of a row or a column; of the last one, if there is none so far behind."""
        w, letters = self.w, self.letters[side]
        at = w.let("add", self.first[side], m)
        size = self.sizes[side]
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            at = w.least_of(at, w.at(size - 1))
        with self.bound(letters, decoded(w, at, [x.extent for x in letters])):
            return w.cast(w.emit(self.c.elements[self.operands[side]]), self.c.dtype)

    # ----- register tiles -----

    def _multiply(self, acc: Buffer, k: Operand) -> None:
        """One inner index: a multiply-add for each element of the thread."""
        w, (m, n), vector = self.w, self.tile.each, self.vector
        rows = self._fragment(0, k)
        columns = self._fragment(1, k)
        for i in range(m):
            factor = w.splat(rows[i], vector)
            for j in range(0, n, vector):
                at = index(i * n + j)
                old = w.load(acc, at, vector)
                w.store(acc, at, self._fma(factor, columns[j // vector], old))

    def _fragment(self, side: int, k: Operand) -> list[Operand]:
        """The thread's rows, one by one, or its columns, in vectors."""
        w, each = self.w, self.tile.each[side]
        width = min(16 // self.c.dtype.itemsize, each)
        begin = w.let("multiply", k, index(self._stride(side)))
        if self.halves:
            begin = w.let("add", self.halves[side], begin)
        found: list[Operand] = []
        for j in range(0, each, width):
            at = w.let("add", begin, self._offset(side, j, width))
            found.append(w.load(self.rooms[side], at, width))
        if side == 1 or width == 1:
            return found
        return [w.let("extract", x, immediates=(k,)) for x in found for k in range(width)]

    def _offset(self, side: int, j: int, width: int) -> Operand:
        """Where element `j` of a thread is in the tile: neighbours in groups of `width`."""
        w = self.w
        group, within = divmod(j, width)
        start = group * self.tile.threads[side] * width + within
        return w.let("add", w.let("multiply", self.place[side], index(width)), index(start))

    # ----- results -----

    def _epilogue_of(self, sums: Buffer) -> None:
        """The group's maps and stores, for each element of the thread."""
        w, c, (m, n) = self.w, self.c, self.tile.each
        size = 16 // c.dtype.itemsize
        for i in range(m):
            with ExitStack() as stack:
                self._enter(stack, 0, self._offset(0, i, min(size, m)))
                for j in range(n):
                    with ExitStack() as inner:
                        self._enter(inner, 1, self._offset(1, j, min(size, n)))
                        self._finish(w.load(sums, index(i * n + j)))

    def _enter(self, stack: ExitStack, side: int, offset: Operand) -> None:
        """Binds the letters of a row or a column, if there is such a one."""
        w, size, letters = self.w, self.sizes[side], self.letters[side]
        at = w.let("add", self.first[side], offset)
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            stack.enter_context(w.when(w.let("less", at, w.at(size))))
        stack.enter_context(self.bound(letters, decoded(w, at, [x.extent for x in letters])))
