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

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.dims import Extent, same
from jit.forms.contraction import Letter, size_of
from jit.forms.placement import extent_hint
from jit.forms.sums import chain_count
from jit.loops.elements import decoded
from jit.loops.gpu_operands import Places
from jit.loops.gpu_threads import GpuThreads
from jit.loops.gpu_tiles import DEPTH, Block, chosen, depth_of, teams_of
from jit.loops.ir import TILE, Buffer, DType, Kernel, Operand, index
from jit.loops.nests import Naive
from jit.types import int64, product

FEW_TURNS = 4  # of a loop that is written out


class GpuProductNest(GpuThreads):
    """The kernel of a contraction and maps of its result; arguments as for `ProductNest`.

    Attributes:
        apart: How many chains are items of their own; empty if an item computes all of a sum.
        number: Of the item's chain, likewise.
        parts: How many parts all inner indices are, if no part ends in the middle of anything.
        places: Where the elements of both operands lie; None if they are computed.
        start: The first inner index of the current chain; `count`: how many it has; `last`: the
            number of the last one, of a chain that is there.
    """

    apart: Sequence[Extent] = ()
    number: Sequence[Operand]
    parts: int | None
    places: list[Places | None]
    start: Operand
    count: Operand
    last: Operand

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
        self.tile = self._chosen(*hints)
        counts = [-(-x // y) for x, y in zip(self.sizes, self.tile.shape)]
        self.grid = product([*outer, *counts])
        self._share_out(1 if self.apart else extent_hint(chain_count(c)))
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

    def _chosen(self, rows: int, columns: int, outer: int) -> Block:
        """A tile for so many rows and columns."""
        return chosen(rows, columns, outer, self.c.dtype.itemsize, self.group.parts)

    def _share_out(self, chains: int) -> None:
        """How many teams compute chains side by side, and in which parts."""
        size = self.c.dtype.itemsize
        self.teams = teams_of(self.tile, extent_hint(self.grid), chains, size)
        self.depth = DEPTH
        self.parts = self._whole_parts() if self.teams == 1 and not self.apart else None
        if self.parts is None:
            self.depth = depth_of(self.tile, size, self.teams, self._length)

    # ----- sums -----

    def _rooms(self) -> Buffer:
        """Room for the parts of rows and columns, and for the thread's sums."""
        m, n = self.tile.each
        self.rooms = [
            self.w.alloc(self.hint(name), self._room_dtype, 2 * size * self.teams, "shared")
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
        if self.parts is not None:
            self._in_one_go(acc, totals, self.parts)
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

    # ----- all chains in one go -----

    def _whole_parts(self) -> int | None:
        """How many parts the inner indices are; None if some part is not whole."""
        total, segment = product([x.extent for x in self.c.inner]), self._segment
        if not isinstance(total, int) or not isinstance(segment, int) or total == 0:
            return None
        whole = segment % self.depth == 0 and self._length % self.depth == 0 and self._starts_whole
        return total // self.depth if whole else None

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
        return len(inner) <= 1 or (isinstance(last, int) and last % self.depth == 0)

    def _in_one_go(self, acc: Buffer, totals: Buffer, parts: int) -> None:
        w = self.w
        with self._split(index(parts), self._elements_of) as part:
            self._multiply_part(acc)
            if totals is not acc:
                position = w.let("multiply", w.let("add", part, index(1)), index(self.depth))
                with w.when(self._ends_chain(position)):
                    self._add_chain(acc, totals)

    @contextmanager
    def _split(
        self, count: Operand, elements: Callable[[int, Operand], list[tuple[Operand, Operand]]]
    ) -> Iterator[Operand]:
        """Every part in turn, in one half of the rooms. Meanwhile the next one comes to the other.

        Args:
            count: How many parts there are.
            elements: What a thread brings to a side's room of the part that starts somewhere.
        """
        w, half = self.w, self.half
        begin = [w.let("multiply", self.team, index(2 * size)) for size in half]
        for side in (0, 1):
            for place, value in elements(side, index(0)):
                self._put(side, w.let("add", begin[side], place), value)
        w.body.append(self.sync)
        with w.loop(index(0), count, hint=self.hint("part")) as part:
            following = w.let("multiply", w.let("add", part, index(1)), index(self.depth))
            coming = [elements(side, following) for side in (0, 1)]
            odd = w.let("rest", part, index(2))
            offsets = [w.let("multiply", odd, index(size)) for size in half]
            self.halves = [w.let("add", x, y) for x, y in zip(begin, offsets)]
            yield part
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
        at = decoded(w, w.least_of(start, w.at(total - self.depth)), extents) if whole else []
        found: list[tuple[Operand, Operand]] = []
        for k, m in self._places(side):
            if whole:
                values = [*at[:-1], w.let("add", at[-1], k)]
            else:
                position = w.least_of(w.let("add", start, k), w.at(total - 1))
                values = decoded(w, position, extents)
            with self.bound(inner, values):
                value = self._element_at(side, m)
            found.append((self._spot(side, k, m), value))
        return found

    # ----- chain by chain, of several teams side by side -----

    def _by_chains(self, acc: Buffer, totals: Buffer) -> None:
        w, chains = self.w, chain_count(self.c)
        if same(product([x.extent for x in self.c.inner]), 0):
            return  # the sums of nothing
        self._make_places()
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
        w, length = self.w, self._length
        self.start, self.count, self.last = index(0), index(length), index(length - 1)
        values: list[Operand] = []
        if self.cut is not None:
            chains, per = chain_count(self.c), -(-self.cut.extent // self.chain)
            there = w.let("less", number, w.at(chains))
            number = w.least_of(number, w.at(chains - 1))
            turn, chain = w.let("quotient", number, w.at(per)), w.let("rest", number, w.at(per))
            cut = w.let("multiply", chain, index(self.chain))
            values = [*decoded(w, turn, [x.extent for x in self.before]), cut]
            start = w.let("multiply", turn, w.at(self._segment))
            self.start = w.let("add", start, w.let("multiply", chain, index(length)))
            left = w.let("subtract", w.at(self.cut.extent), cut)
            count = w.let("multiply", left, w.at(size_of(self.turns)))
            count = w.least_of(count, index(length))
            self.last = w.let("subtract", count, index(1))
            self.count = w.let("where", there, count, index(0))
        with self._first_of(values):
            for places in filter(None, self.places):
                places.chain = w.at(places.inner)
        with self._split(self._parts_of_chain(), self._elements_of_chain):
            self._multiply_part(acc)

    def _parts_of_chain(self) -> Operand:
        """How many parts a chain is; behind the last inner index of a shorter one there is nothing.

        Teams wait for each other, so that all chains have as many.
        """
        return index(-(-self._length // self.depth))

    @contextmanager
    def _first_of(self, values: Sequence[Operand]) -> Iterator[None]:
        """Gives inner letters their values at the start of a chain."""
        letters = [*self.before, *self._cut]
        turns: list[Operand] = [index(0) for _ in self.turns]
        with self.bound(letters, values), self.bound(self.turns, turns):
            yield

    @property
    def _cut(self) -> list[Letter]:
        return [] if self.cut is None else [self.cut]

    def _make_places(self) -> None:
        """Where operands lie; what of it is a table of numbers in a chain is computed now."""
        w, letters = self.w, [*self._cut, *self.turns]
        size = self._length
        self.places = [
            Places.of(w, self.c.elements[k], self.c.inner, letters) for k in self.operands
        ]
        tables = [places for places in self.places if places is not None and places.step is None]
        rooms = [
            self.w.alloc(f"places{k}", self._dtype_of(places), size, "shared")
            for k, places in enumerate(tables)
        ]
        if not tables:
            return
        threads = self.tile.count * self.teams
        hint = self.hint(TILE if size <= FEW_TURNS * threads else "table")
        with w.loop(index(0), index(size), threads, hint=hint) as first:
            at = w.let("add", self.thread, first)
            with ExitStack() as stack:
                if size % threads:
                    stack.enter_context(w.when(w.let("less", at, index(size))))
                for places, room in zip(tables, rooms):
                    places.fill(w, room, at, letters)
        w.body.append(self.sync)

    def _dtype_of(self, places: Places) -> DType:
        """What holds every place of an operand."""
        return int64

    def _elements_of_chain(self, side: int, start: Operand) -> list[tuple[Operand, Operand]]:
        """What the thread brings of a part of a chain: as in `_elements_of`.

        Behind the last inner index it is what adds nothing: 0 times -0.
        """
        w, places = self.w, self.places[side]
        found: list[tuple[Operand, Operand]] = []
        for k, m in self._places(side):
            number = w.let("add", start, k)
            inside = w.let("less", number, self.count)
            number = w.least_of(number, self.last)
            with self._row(side, m):
                if places is not None:
                    value = self._taken(places.element(w, number))
                else:
                    value = self._inner_element(side, number)
            nothing = w.number(-0.0 if side else 0.0, value.type)
            found.append((self._spot(side, k, m), w.let("where", inside, value, nothing)))
        return found

    def _inner_element(self, side: int, number: Operand) -> Operand:
        """An element that is computed."""
        w, extents = self.w, [x.extent for x in self.c.inner]
        position = w.let("add", self.start, number)
        with self.bound(self.c.inner, decoded(w, position, extents)):
            return self._taken(w.emit(self.c.elements[self.operands[side]]))

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
