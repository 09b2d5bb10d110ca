"""Products on a GPU: a block of threads computes a tile of the result, through shared memory.

    for each chain of inner indices:
        for each part of it:
            the threads bring the next part's rows and columns into shared memory, together
            for each inner index of the part: a thread's register tile of fused multiply-adds
        add to totals
    the epilogue on the thread's totals, and stores

Each sum is the chain of fused multiply-adds that the canonical order asks for. Where the result is
so small that its tiles leave much of the machine idle, several teams of threads compute chains of
a tile side by side, which are added in their order. Rows and columns behind the last one are those
of the last one again, and are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.dims import Extent, same
from jit.forms.contraction import size_of, step_of
from jit.forms.expression import Access, linear, walk
from jit.forms.placement import extent_hint
from jit.forms.sums import chain_count
from jit.loops.elements import decoded
from jit.loops.gpu_tiles import DEPTH, PADDING, chosen, teams_of
from jit.loops.ir import INDEX, TILE, Buffer, Kernel, Operand, Sync, Var, VType, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.types import product


class GpuProductNest(ProductNest):
    """The kernel of a contraction and maps of its result; arguments as for `ProductNest`.

    Attributes:
        halves: Where the current part begins in each of the rooms, which hold two.
        thread: The number of a thread; among those of its team: `member`.
        apart: How many chains are items of their own; empty if an item computes all of a sum.
        number: Of the item's chain, likewise.
    """

    apart: Sequence[Extent] = ()
    number: Sequence[Operand]
    halves: Sequence[Operand]

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, c = self.w, self.c
        last = c.result.loops[-1][0] if c.result.loops else ""
        names = [{x.name for x in c.free(k)} for k in (0, 1)]
        self.operands = (1, 0) if last in names[0] and last not in names[1] else (0, 1)
        self.letters = tuple([c.free(k) for k in self.operands])
        self.sizes = [size_of(x) for x in self.letters]
        outer = [*self.apart, *[x.extent for x in c.batch]]
        hints = [max(1, extent_hint(x)) for x in (*self.sizes, product(outer))]
        self.tile = chosen(hints[0], hints[1], hints[2], c.dtype.itemsize)
        counts = [-(-x // y) for x, y in zip(self.sizes, self.tile.shape)]
        self.grid = product([*outer, *counts])
        chains = 1 if self.apart else extent_hint(chain_count(c))
        self.teams = teams_of(self.tile, extent_hint(self.grid), chains, c.dtype.itemsize)
        self._number_threads()
        *at, row, column = decoded(w, self.item, [*outer, *counts])
        self.first = [
            w.let("multiply", x, index(n)) for x, n in zip((row, column), self.tile.shape)
        ]
        self.number = at[: len(self.apart)]
        with self.bound(c.batch, at[len(self.apart) :]):
            self._sums()
        buffers, threads = tuple(w.buffers.values()), self.tile.count * self.teams
        sizes = tuple(self._sizes().values())
        body = tuple(w.body)
        kernel = Kernel(name, buffers, sizes, self.grid, self.item, body, threads, self.thread)
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), 0.0)

    def _number_threads(self) -> None:
        """Which team a thread belongs to, and where it is in the tile."""
        w, count = self.w, index(self.tile.count)
        self.thread = Var(INDEX, "thread")
        self.team, self.member = index(0), self.thread
        if self.teams > 1:
            self.team = w.let("quotient", self.thread, count)
            self.member = w.let("rest", self.thread, count)
        across = index(self.tile.threads[1])
        self.place = [w.let("quotient", self.member, across), w.let("rest", self.member, across)]
        self.sync = Sync(self.tile.count * self.teams)

    # ----- sums -----

    @property
    def vector(self) -> int:
        """How many columns of a thread lie side by side."""
        return min(16 // self.c.dtype.itemsize, self.tile.each[1])

    @property
    def half(self) -> list[int]:
        """The elements of a part: rows, columns."""
        return [DEPTH * self._stride(side) for side in (0, 1)]

    def _rooms(self) -> Buffer:
        """Room for the parts of rows and columns, and for the thread's sums."""
        m, n = self.tile.each
        self.rooms = [
            self.alloc(name, 2 * size * self.teams, "shared")
            for name, size in zip(("rows", "columns"), self.half)
        ]
        acc = self.alloc("acc", m * n, "register")
        self._fill(acc, 0.0)
        return acc

    def _sums(self) -> None:
        acc = totals = self._rooms()
        if self.cut is not None:
            totals = self.alloc("totals", acc.size, "register")
            self._fill(totals, -0.0)
        parts = self._whole_parts() if self.teams == 1 else None
        if parts is not None:
            self._in_one_go(acc, totals, parts)
        else:
            self._by_chains(acc, totals)
        with self._by_first_team():
            self._epilogue_of(totals)

    @contextmanager
    def _by_first_team(self) -> Iterator[None]:
        if self.teams == 1:
            yield
            return
        with self.w.when(self.w.let("equal", self.team, index(0))):
            yield

    def _add_chain(self, acc: Buffer, totals: Buffer) -> None:
        """Adds a chain's sums to the totals, and starts anew."""
        w = self.w
        for k in range(0, acc.size, self.vector):
            old, new = (w.load(room, index(k), self.vector) for room in (totals, acc))
            w.store(totals, index(k), w.let("add", old, new))
        self._fill(acc, 0.0)

    # ----- all chains in one go, where no part ends in the middle of anything -----

    def _whole_parts(self) -> int | None:
        """How many parts the inner indices are; None if some part is not whole."""
        total, segment = product([x.extent for x in self.c.inner]), self._segment
        if not isinstance(total, int) or not isinstance(segment, int) or total == 0:
            return None
        whole = segment % DEPTH == 0 and self._length % DEPTH == 0 and self._starts_whole
        return total // DEPTH if whole else None

    @property
    def _length(self) -> int:
        """The inner indices of a chain."""
        turns = size_of(self.turns)
        assert isinstance(turns, int)
        return turns if self.cut is None else self.chain * turns

    @property
    def _segment(self) -> Extent:
        """The inner indices that are cut into chains, each time anew."""
        return self._length if self.cut is None else self.cut.extent * size_of(self.turns)

    @property
    def _starts_whole(self) -> bool:
        """Whether no part goes over the end of the last inner letter."""
        inner = self.c.inner
        last = inner[-1].extent if inner else 1
        return len(inner) <= 1 or (isinstance(last, int) and last % DEPTH == 0)

    def _in_one_go(self, acc: Buffer, totals: Buffer, parts: int) -> None:
        w = self.w
        with self._split(index(0), parts) as (part, _):
            with w.loop(index(0), index(DEPTH), hint=self.hint(TILE)) as k:
                self._accumulate(acc, k)
            if totals is not acc:
                position = w.let("multiply", w.let("add", part, index(1)), index(DEPTH))
                with w.when(self._ends_chain(position)):
                    self._add_chain(acc, totals)

    @contextmanager
    def _split(self, first: Operand, count: int) -> Iterator[tuple[Operand, Operand]]:
        """Every part from an inner index on, in one half of the rooms, and where it starts.

        Meanwhile the next one comes to the other half.
        """
        w, half = self.w, self.half
        begin = [w.let("multiply", self.team, index(2 * size)) for size in half]
        for side in (0, 1):
            for place, value in self._elements_of(side, first):
                self._put(side, w.let("add", begin[side], place), value)
        w.body.append(self.sync)
        with w.loop(index(0), index(count), hint=self.hint("part")) as part:
            start = w.let("add", first, w.let("multiply", part, index(DEPTH)))
            following = w.let("add", start, index(DEPTH))
            coming = [self._elements_of(side, following) for side in (0, 1)]
            odd = w.let("rest", part, index(2))
            offsets = [w.let("multiply", odd, index(size)) for size in half]
            self.halves = [w.let("add", x, y) for x, y in zip(begin, offsets)]
            yield part, start
            even = w.let("subtract", index(1), odd)
            for side in (0, 1):
                other = w.let("add", begin[side], w.let("multiply", even, index(half[side])))
                for place, value in coming[side]:
                    self._put(side, w.let("add", other, place), value)
            w.body.append(self.sync)

    def _ends_chain(self, position: Operand) -> Operand:
        """Whether a chain ends before a position within all inner letters."""
        w, segment = self.w, self._segment
        assert isinstance(segment, int)
        within = w.let("rest", position, index(segment))
        return w.let("equal", w.let("rest", within, index(self._length)), index(0))

    def _elements_of(self, side: int, start: Operand) -> list[tuple[Operand, Operand]]:
        """What the thread brings of a part: where in the room it belongs, and what it is.

        Behind the last inner index it is something that is there, which nobody reads.
        """
        w, inner = self.w, self.c.inner
        extents = [x.extent for x in inner]
        total = product(extents)
        whole = self._starts_whole and len(inner) > 1
        at = decoded(w, w.least_of(start, w.at(total - DEPTH)), extents) if whole else []
        found: list[tuple[Operand, Operand]] = []
        for k, m in self._places(side):
            if whole:
                values = [*at[:-1], w.let("add", at[-1], k)]
            else:
                position = w.least_of(w.let("add", start, k), w.at(total - 1))
                values = decoded(w, position, extents)
            with self.bound(inner, values):
                value = self._element_at(side, m)
            place = w.let("add", w.let("multiply", k, index(self._stride(side))), m)
            found.append((place, value))
        return found

    def _fill(self, room: Buffer, value: float) -> None:
        for k in range(0, room.size, self.vector):
            self.w.store(room, index(k), self.w.number(value, VType(room.dtype, self.vector)))

    # ----- chain by chain, of several teams side by side -----

    def _by_chains(self, acc: Buffer, totals: Buffer) -> None:
        w, chains = self.w, chain_count(self.c)
        if same(product([x.extent for x in self.c.inner]), 0):
            return  # the sums of nothing
        rounds = -(-chains // self.teams)
        sums = None
        if self.teams > 1:
            sums = self.alloc("sums", self.tile.count * acc.size * self.teams, "shared")
        with w.loop(index(0), w.at(rounds), hint="chain") as turn:
            begin = w.let("multiply", turn, index(self.teams))
            self._one_chain(acc, w.let("add", begin, self.team))
            if sums is not None:
                self._gather(acc, totals, sums, begin)
            elif totals is not acc:
                self._add_chain(acc, totals)

    def _one_chain(self, acc: Buffer, number: Operand) -> None:
        """The sums of a chain; of one behind the last, nothing."""
        w, length = self.w, index(self._length)
        first: Operand = index(0)
        last: Operand = length
        if self.cut is not None:
            per = -(-self.cut.extent // self.chain)
            segment = w.at(self._segment)
            turn, chain = w.let("quotient", number, w.at(per)), w.let("rest", number, w.at(per))
            start = w.let("multiply", turn, segment)
            first = w.let("add", start, w.let("multiply", chain, length))
            last = w.least_of(w.let("add", first, length), w.let("add", start, segment))
            last = w.least_of(last, w.at(product([x.extent for x in self.c.inner])))
        with self._split(first, -(-self._length // DEPTH)) as (_, start):
            left = w.let("subtract", last, start)
            with w.when(w.let("greater_equal", left, index(DEPTH))):
                with w.loop(index(0), index(DEPTH), hint=self.hint(TILE)) as k:
                    self._accumulate(acc, k)
            with w.when(w.let("less", left, index(DEPTH))):
                with w.loop(index(0), left, hint=self.hint("rest")) as k:
                    self._accumulate(acc, k)

    def _gather(self, acc: Buffer, totals: Buffer, sums: Buffer, begin: Operand) -> None:
        """The first team adds the chains of all teams to its totals, in their order."""
        w = self.w
        pieces = acc.size // self.vector
        for k in range(pieces):
            place = self._place_of_piece(w.let("multiply", self.team, index(pieces)), k)
            w.store(sums, place, w.load(acc, index(k * self.vector), self.vector))
        self._fill(acc, 0.0)
        w.body.append(self.sync)
        chains = w.at(chain_count(self.c))
        with self._by_first_team():
            for team in range(self.teams):
                number = w.let("add", begin, index(team))
                with w.when(w.let("less", number, chains)):
                    for k in range(pieces):
                        place = self._place_of_piece(index(team * pieces), k)
                        new = w.load(sums, place, self.vector)
                        old = w.load(totals, index(k * self.vector), self.vector)
                        w.store(totals, index(k * self.vector), w.let("add", old, new))

    def _place_of_piece(self, first: Operand, k: int) -> Operand:
        """Where a vector of a thread's sums lies: neighbours are those of neighbouring threads."""
        w = self.w
        place = w.let("multiply", w.let("add", first, index(k)), index(self.tile.count))
        return w.let("multiply", w.let("add", place, self.member), index(self.vector))

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
        """An element of a row or a column; of the last one, if there is none so far behind."""
        w, letters = self.w, self.letters[side]
        at = w.let("add", self.first[side], m)
        size = self.sizes[side]
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            at = w.least_of(at, w.at(size - 1))
        with self.bound(letters, decoded(w, at, [x.extent for x in letters])):
            return w.cast(w.emit(self.c.elements[self.operands[side]]), self.c.dtype)

    # ----- register tiles -----

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
                for j in range(n):
                    with ExitStack() as inner:
                        self._enter(inner, 1, self._offset(1, j, min(size, n)))
                        self._finish(self._one_of(sums, i * n + j))

    def _enter(self, stack: ExitStack, side: int, offset: Operand) -> None:
        """Binds the letters of a row or a column, if there is such a one."""
        w, size, letters = self.w, self.sizes[side], self.letters[side]
        at = w.let("add", self.first[side], offset)
        if not (isinstance(size, int) and size % self.tile.shape[side] == 0):
            stack.enter_context(w.when(w.let("less", at, w.at(size))))
        stack.enter_context(self.bound(letters, decoded(w, at, [x.extent for x in letters])))
