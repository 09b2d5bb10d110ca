"""The threads of a block on a GPU: what they do together for a tile of a product.

They bring rows and columns to shared memory, each multiplies its register tile, and stores what
becomes of its sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.dims import Dim, Extent, same
from jit.forms.contraction import Letter, step_of
from jit.forms.expression import Access, Domain, linear, walk
from jit.forms.nodes import FormValue
from jit.loops.elements import decoded
from jit.loops.gpu_tiles import PADDING, Block
from jit.loops.ir import INDEX, TILE, WARP, Buffer, DType, Operand, Sync, Var, VType, index
from jit.loops.products import ProductNest

WARP_WIDTH = 8  # threads of a warp side by side, whose columns are read from all banks at once
PAIR = 2  # neighbours have the same columns and other rows: half a warp reads 8 vectors of 16 bytes


class GpuThreads(ProductNest):
    """A tile of a product, and the threads that compute it.

    Attributes:
        operands: Which operand has the rows, and which the columns.
        letters: Of rows and columns; `sizes`: how many there are.
        tile: How the threads share it out.
        depth: Inner indices of a part.
        teams: Of threads, each of which has a tile of its own.
        first: The first row and column of the tile.
        rooms: In shared memory, for rows and columns; `halves`: where the current part begins.
        thread: The number of a thread; among those of its team: `member`.
        place: Of a thread, down and across the tile.
    """

    operands: tuple[int, int]
    letters: tuple[list[Letter], ...]
    sizes: list[Extent]
    tile: Block
    depth: int
    teams: int
    first: list[Operand]
    rooms: list[Buffer]
    halves: Sequence[Operand]

    def _number_threads(self) -> None:
        """Which team a thread belongs to, and where it is in the tile."""
        w, count = self.w, index(self.tile.count)
        self.thread = Var(INDEX, "thread")
        self.team, self.member = index(0), self.thread
        if self.teams > 1:
            self.team = w.let("quotient", self.thread, count)
            self.member = w.let("rest", self.thread, count)
        self.place = self._place_of(self.member)
        self.sync = Sync(self.tile.count * self.teams)

    def _place_of(self, member: Operand) -> list[Operand]:
        """Where a thread is in the tile: those of a warp next to each other in both directions."""
        w, (down, across) = self.w, self.tile.threads
        wide = min(across, WARP_WIDTH)
        high = min(down, WARP // wide)
        pair = min(PAIR, high)
        warp, lane = (w.let(op, member, index(wide * high)) for op in ("quotient", "rest"))
        pairs = w.let("multiply", w.let("quotient", lane, index(pair * wide)), index(pair))
        row = w.let("add", pairs, w.let("rest", lane, index(pair)))
        column = w.let("rest", w.let("quotient", lane, index(pair)), index(wide))
        place: list[Operand] = []
        for op, size, inner in (("quotient", high, row), ("rest", wide, column)):
            outer = w.let("multiply", w.let(op, warp, index(across // wide)), index(size))
            place.append(w.let("add", outer, inner))
        return place

    @property
    def vector(self) -> int:
        """How many columns of a thread lie side by side."""
        return min(16 // self.c.dtype.itemsize, self.tile.each[1])

    @property
    def half(self) -> list[int]:
        """The elements of a part: rows, columns."""
        return [self.depth * self._stride(side) for side in (0, 1)]

    def _fill(self, room: Buffer, value: float) -> None:
        for k in range(0, room.size, self.vector):
            self.w.store(room, index(k), self.w.number(value, VType(room.dtype, self.vector)))

    def _one_of(self, room: Buffer, k: int) -> Operand:
        """An element of a register tile, which lies there in vectors."""
        first = k // self.vector * self.vector
        vector = self.w.load(room, index(first), self.vector)
        return self.w.let("extract", vector, immediates=(k - first,)) if self.vector > 1 else vector

    # ----- shared memory -----

    def _stride(self, side: int) -> int:
        return self.tile.shape[side] + PADDING

    def _put(self, side: int, place: Operand, value: Operand) -> None:
        """Stores what the thread brings, if no other one brings it."""
        w, (fast, slow) = self.w, self._fast_and_slow(side)
        with ExitStack() as stack:
            if self.tile.count > fast * slow:
                first = w.let("less", self.member, index(fast * slow))
                stack.enter_context(w.when(first))
            w.store(self.rooms[side], place, value)

    @property
    def _room_dtype(self) -> DType:
        return self.c.dtype

    def _taken(self, value: Operand) -> Operand:
        """An element as it lies in shared memory."""
        return self.w.cast(value, self.c.dtype)

    def _spot(self, side: int, k: Operand, m: Operand) -> Operand:
        """Where an element of a part lies in its room."""
        return self.w.let("add", self.w.let("multiply", k, index(self._stride(side))), m)

    def _fast_and_slow(self, side: int) -> tuple[int, int]:
        """How many indices of a part neighbouring threads go along, and how many others."""
        size = self.tile.shape[side]
        return (self.depth, size) if self._runs_inside(side) else (size, self.depth)

    def _places(self, side: int) -> list[tuple[Operand, Operand]]:
        """The inner index and the row or column of each element that the thread brings.

        Neighbouring threads take neighbours in memory. If there are more threads than elements,
        some bring the same.
        """
        w, (fast, slow), along_inner = self.w, self._fast_and_slow(side), self._runs_inside(side)
        one = w.let("rest", self.member, index(fast))
        other = w.let("quotient", self.member, index(fast))
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
        """An element of a row or a column."""
        with self._row(side, m):
            return self._taken(self.w.emit(self.c.elements[self.operands[side]]))

    @contextmanager
    def _row(self, side: int, m: Operand) -> Iterator[None]:
        """Binds the letters of a row or a column; of the last one, if there is none so far."""
        w, letters, size = self.w, self.letters[side], self.sizes[side]
        at = w.let("add", self.first[side], m)
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            at = w.least_of(at, w.at(size - 1))
        with self.bound(letters, self._indices(side, at)):
            yield

    def _indices(self, side: int, at: Operand) -> list[Operand]:
        """The letters of a row or a column of the tile's rows and columns.

        Those that are cut into parts stand next to each other: index 0 of each part, then 1.
        """
        w, letters, parts = self.w, self.letters[side], self.group.parts
        if side == 0 or parts == 1:
            return decoded(w, at, [x.extent for x in letters])
        size = self.sizes[1]
        assert isinstance(size, int)
        part, within = w.let("rest", at, index(parts)), w.let("quotient", at, index(parts))
        return [w.let("add", w.let("multiply", part, index(size // parts)), within)]

    # ----- register tiles -----

    def _multiply_part(self, acc: Buffer) -> None:
        """All inner indices of the part that lies in shared memory."""
        with self.w.loop(index(0), index(self.depth), hint=self.hint(TILE)) as k:
            self._accumulate(acc, k)

    def _accumulate(self, acc: Buffer, k: Operand) -> None:
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
        c, (m, n) = self.c, self.tile.each
        size = 16 // c.dtype.itemsize
        for i in range(m):
            with ExitStack() as stack:
                self._enter(stack, 0, self._offset(0, i, min(size, m)))
                for j in range(0, n, self.group.parts):
                    with ExitStack() as inner:
                        at = self._enter(inner, 1, self._offset(1, j, min(size, n)))
                        if self.group.parts == 1:
                            self.finish(self._one_of(sums, i * n + j))
                        else:
                            self._finish_parts(at, sums, i * n + j)

    def _enter(self, stack: ExitStack, side: int, offset: Operand) -> Operand:
        """Binds the letters of a row or a column, if there is such a one."""
        w, size, letters = self.w, self.sizes[side], self.letters[side]
        at = w.let("add", self.first[side], offset)
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            stack.enter_context(w.when(w.let("less", at, w.at(size))))
        stack.enter_context(self.bound(letters, self._indices(side, at)))
        return at

    def _finish_parts(self, first: Operand, sums: Buffer, number: int) -> None:
        """The maps of an element of each part, then those that read all of these.

        Args:
            first: The column of the first one; the others follow it.
            sums: The thread's.
            number: Of the first one among them.
        """
        w, group, letters, size = self.w, self.group, self.letters[1], self.sizes[1]
        assert isinstance(size, int)
        made = list[dict[FormValue, Operand]]()
        for part in range(group.parts):
            at = w.let("add", first, index(part))
            with self.bound(letters, self._indices(1, at)):
                made.append(self.finish(self._one_of(sums, number + part)))
        with self.bound(letters, [w.let("quotient", first, index(group.parts))]):
            for task in filter(group.is_of_a_part, group.tasks[1:]):
                *outer, last = [i for i in task.domain.indices if isinstance(i, Dim)]
                for part, known in enumerate(made):
                    left = (*outer, last + part * (size // group.parts))
                    for value, operand in known.items():
                        w.provide(value, at_index(value, left), operand)
                self._map(task)


def at_index(value: FormValue, at: Sequence[Extent]) -> tuple[Extent, ...]:
    """An index of the loops over a value as coordinates of it."""
    left = iter(at)
    return tuple([next(left) if isinstance(i, Dim) else 0 for i in Domain.of(value.shape).indices])
