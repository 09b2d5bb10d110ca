"""Pairs: the naive kernel of a product of bfloat16 that multiplies two inner indices at a time.

Some processors add two products of bfloat16 to a float32 in one instruction, `pairs`. It has the
bits of two fused multiply-adds as long as no number is subnormal: it takes those as 0. Operands are
copied as words of two neighbouring inner indices, and the least exponent of each is found. An item
of the grid is what it is of a `PackedNest`:

    for each chain of inner indices:
        pack the strips' part of the column operand, in words
        for each block of rows:
            copy its part of the row operand, in words
            for each strip, for each tile of rows:
                where no sum can be subnormal: add pairs
                elsewhere: take words apart, and add two products one after the other

An element is a multiple of the last place of the least one, a product one of the product of both,
and so are sums, rounded or not. Where that is 2**-126 at least, none is subnormal but 0. So each
sum is the chain of fused multiply-adds of any other tile, on any processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.dims import Extent
from jit.forms.contraction import Letter, plain, size_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import LANE, TURN, Buffer, Lit, Operand, VType, index
from jit.loops.packed import PADDING, PackedNest
from jit.loops.pair_tiles import COLUMNS, rows_of_an_item
from jit.loops.tiles import ROWS, Tiling, lies_along
from jit.types import bfloat16, dtypes

MAGNITUDE = 0x7FFF  # the bits of a bfloat16 without its sign
UPPER = 0xFFFF0000  # half of a word
NORMAL = 1  # the least exponent of numbers that are not subnormal, biased as it is in a bfloat16
EXACT = 2 * (127 + 7) - 126  # of two exponents together: their last places make 2**-126
UINT16, UINT32 = dtypes["uint16"], dtypes["uint32"]
WORD, HALF = VType(UINT32), VType(bfloat16)


class PairNest(PackedNest):
    """The kernel of a contraction of bfloat16 with one inner letter, and maps of its result."""

    def adopt(self, tiling: Tiling) -> PairNest:
        """Takes over what `paired` found."""
        self.tiling = tiling
        return self

    # ----- items -----

    def _rows_of_an_item(self) -> int:
        t = self.tiling
        rows, columns, outer = (extent_hint(size_of(x)) for x in (t.rows, t.columns, t.outer))
        each = rows_of_an_item(rows, columns, outer)
        blocks = -(-each // ROWS)
        self.block = -(-each // (blocks * t.height)) * t.height
        return blocks * self.block

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        self.strips = strips
        count = extent_hint(strips)
        groups = -(-count * self.tiling.width // COLUMNS)
        self.several = -(-count // groups)
        return [row_blocks, -(-strips // self.several)]

    def _alloc_totals(self, each: int) -> None:
        self.room = self.block * self.tiling.width
        rooms = each // self.block * self.several if self.cut is not None else 1
        self.totals = self.alloc("totals", rooms * self.room, "stack")

    def _total(self, row: Operand) -> Operand:
        if self.cut is not None:
            return super()._total(row)
        return self.w.let("multiply", row, index(self.width))  # of one strip after the other

    # ----- inner indices -----

    @property
    def _letter(self) -> Letter:
        return self.cut or self.turns[0]

    @property
    def _length(self) -> int:
        """Words of a chain, at most."""
        extent = self.chain if self.cut is not None else self._letter.extent
        assert isinstance(extent, int)
        return -(-extent // 2)

    @contextmanager
    def _chains(self) -> Iterator[tuple[Operand, Operand]]:
        w = self.w
        with super()._chains() as chain:
            if self.cut is None:
                chain = index(0), w.at(self._letter.extent)
            self.first, last = chain
            count = w.let("subtract", last, self.first)
            self.whole = w.let("quotient", count, index(2))
            self.odd = w.let("rest", count, index(2))
            self.words = w.let("add", self.whole, self.odd)
            yield chain

    def _always_even(self) -> bool:
        """Whether no chain has a last inner index without another."""
        extent = self._letter.extent
        return isinstance(extent, int) and extent % 2 == 0 and self.chain % 2 == 0

    @contextmanager
    def _if_odd(self) -> Iterator[None]:
        with self.w.when(self.w.let("equal", self.odd, index(1))):
            yield

    @contextmanager
    def _vectors(self) -> Iterator[Operand]:
        """The first word of each vector of them: the last vector ends with the last whole word."""
        w, lanes = self.w, self.tiling.lanes
        last = w.let("subtract", self.whole, index(lanes))
        with w.when(w.let("less_equal", index(0), last)):
            with w.loop(index(0), self.whole, lanes, self.hint("k")) as j:
                yield w.least_of(j, last)

    @contextmanager
    def _if_few(self) -> Iterator[None]:
        """Where there are fewer words than a vector has."""
        with self.w.when(self.w.let("less", self.whole, index(self.tiling.lanes))):
            yield

    # ----- words -----

    def _word(
        self,
        operand: int,
        letters: Sequence[Letter],
        at: Sequence[Operand],
        j: Operand,
        *,
        odd: bool,
    ) -> Operand:
        """Word number `j` of a chain: the element at an inner index, and below it the next one.

        Where there is no next one, products of what stands for it are -0: they change no sum.
        """
        w = self.w
        k = w.let("add", self.first, w.let("multiply", j, index(2)))
        count = 1 if odd else 2
        halves = []
        for i in range(count):
            with self.bound([self._letter, *letters], [w.let("add", k, index(i)), *at]):
                halves.append(w.emit(self.c.elements[operand]))
        if odd:
            halves.append(w.number(0.0 if operand == self.tiling.row_operand else -0.0, HALF))
        return self._joined(*halves)

    def _words(
        self, operand: int, letters: Sequence[Letter], at: Sequence[Operand], j: Operand
    ) -> Operand:
        """A vector of words, from number `j` on, of an operand that lies along the inner index."""
        w, lanes = self.w, self.tiling.lanes
        access = plain(self.c.elements[operand])
        assert access is not None
        k = w.let("add", self.first, w.let("multiply", j, index(2)))
        with self.bound([self._letter, *letters], [k, *at]):
            offset, place = w.apart(linear(access.value.shape, access.at))
            start = w.at(place) if offset is None else w.let("add", offset, w.at(place))
        x = w.load(w.buffer(access.value), start, 2 * lanes)
        order = [range(i, 2 * lanes, 2) for i in range(2)]
        return self._joined(*[w.let("shuffle", x, x, immediates=lane) for lane in order])

    def _joined(self, upper: Operand, lower: Operand) -> Operand:
        """Halves as words."""
        w = self.w
        upper, lower = [w.cast(w.let("bitcast", x, dtype=UINT16), UINT32) for x in (upper, lower)]
        return w.let("bitwise_or", w.let("shift_left", upper, Lit(16, upper.type)), lower)

    def _forget(self) -> None:
        """Begins to note magnitudes anew."""
        lanes = self.tiling.lanes
        self.noted = self.alloc("noted", 2 * lanes, "register", UINT32)
        with self.w.loop(index(0), index(2 * lanes), hint=self.hint(LANE)) as n:
            self.w.store(self.noted, n, Lit(0xFFFFFFFF, WORD))

    def _note(self, buffer: Buffer, begin: Operand, count: Operand) -> None:
        """Notes the magnitudes in full vectors of words, less 1: so those of 0 are large."""
        w, lanes = self.w, self.tiling.lanes
        with w.loop(begin, w.let("add", begin, count), lanes, self.hint("k")) as at:
            with w.loop(index(0), index(lanes), hint=self.hint(LANE)) as n:
                word = w.load(buffer, w.let("add", at, n))
                for half, bits in enumerate((MAGNITUDE, MAGNITUDE << 16)):
                    magnitude = w.let("bitwise_and", word, Lit(bits, WORD))
                    place = w.let("add", index(half * lanes), n)
                    self._lower(place, w.let("subtract", magnitude, Lit(1, WORD)))

    def _lower(self, place: Operand, found: Operand) -> None:
        w, known = self.w, self.w.load(self.noted, place)
        w.store(self.noted, place, w.let("where", w.let("less", found, known), found, known))

    def _exponent(self) -> Operand:
        """The exponent of the least number that was noted, or one less."""
        w, lanes = self.w, self.tiling.lanes
        room = self.alloc("room", lanes, "stack", UINT32)
        with w.loop(index(0), index(lanes), hint=self.hint(LANE)) as n:
            upper = w.load(self.noted, w.let("add", index(lanes), n))
            upper, lower = w.let("shift_right", upper, Lit(16, WORD)), w.load(self.noted, n)
            w.store(room, n, w.let("where", w.let("less", upper, lower), upper, lower))
        least = self.alloc("least", 1, "register", UINT32)
        w.store(least, index(0), Lit(0xFFFFFFFF, WORD))
        with w.loop(index(0), index(lanes), hint=self.hint("noted")) as n:
            x, y = w.load(room, n), w.load(least, index(0))
            w.store(least, index(0), w.let("where", w.let("less", x, y), x, y))
        return w.let("shift_right", w.load(least, index(0)), Lit(7, WORD))

    def _is_exact(self, a: Operand, b: Operand) -> Operand:
        """Whether no number is subnormal that comes of operands with these exponents."""
        w, normal = self.w, Lit(NORMAL, WORD)
        both = w.let("less_equal", Lit(EXACT, WORD), w.let("add", a, b))
        each = [w.let("less_equal", normal, x) for x in (a, b)]
        return w.let("logical_and", both, w.let("logical_and", *each))

    # ----- columns -----

    def _pack_strips(self) -> None:
        w = self.w
        self._forget()
        self.panel = self.alloc(
            "panel", self.several * self._length * self.tiling.width, "stack", UINT32
        )
        with w.loop(self.begin, self.end, hint=self.hint("strip")) as strip:
            self._at_strip(strip)
            self.work = self._pack_strip
            self._by_width(index(0), index(0), 0)
        self.exponent = self._exponent()

    def _fill_panel(self, panel: Buffer, chain: tuple[Operand, Operand]) -> None:
        w, lanes = self.w, self.tiling.lanes
        with ExitStack() as stack:
            if lies_along(self.c, 1 - self.tiling.row_operand, self._letter):
                with self._vectors() as j:
                    with w.loop(index(0), index(self.width), lanes, self.hint("n")) as begin:
                        self._pack_turned(panel, j, begin)
                stack.enter_context(self._if_few())
            with w.loop(index(0), self.whole, hint=self.hint("k")) as j:
                self._pack_words(panel, j, odd=False)
        if not self._always_even():
            with self._if_odd():
                self._pack_words(panel, self.whole, odd=True)
        self._note(panel, self.panel_start, w.let("multiply", self.words, index(self.width)))

    def _pack_words(self, panel: Buffer, j: Operand, *, odd: bool) -> None:
        """Words of all columns of the strip."""
        w, self.word = self.w, j
        at = self._panel_row()
        self._blank(panel, at)
        with self._columns() as n:
            word = self._column_word(n, j, odd=odd)
            w.store(panel, w.let("add", at, n), word)

    def _pack_turned(self, panel: Buffer, j: Operand, begin: Operand) -> None:
        """Words of a vector of columns, read along inner indices and turned.

        Behind the last column it is read again: of what is computed there nothing is stored.
        """
        w, t, lanes = self.w, self.tiling, self.tiling.lanes
        last = w.let("subtract", w.at(size_of(t.columns)), index(1))
        lines = self.alloc("lines", lanes * lanes, "stack", UINT32)
        with self.tiled(lanes) as n:
            column = w.let("add", self.first_column, w.let("add", begin, n))
            if self.count != self.width:
                column = w.least_of(column, last)
            at = decoded(w, column, [x.extent for x in t.columns])
            words = self._words(1 - t.row_operand, t.columns, at, j)
            w.store(lines, w.let("multiply", n, index(lanes)), words)
        block = self.alloc("block", lanes * lanes, "register", UINT32)
        with w.loop(index(0), index(lanes), hint=self.hint(TURN)) as n:
            with w.loop(index(0), index(lanes), hint=self.hint("along")) as i:
                word = w.load(lines, w.let("add", w.let("multiply", n, index(lanes)), i))
                w.store(block, w.let("add", w.let("multiply", i, index(lanes)), n), word)
        for i in range(lanes):
            self.word = w.let("add", j, index(i))
            at = w.let("add", self._panel_row(), begin)
            with w.loop(index(0), index(lanes), hint=self.hint(LANE)) as n:
                word = w.load(block, w.let("add", index(i * lanes), n))
                w.store(panel, w.let("add", at, n), word)

    def _column_word(self, n: Operand, j: Operand, *, odd: bool) -> Operand:
        w, t = self.w, self.tiling
        column = w.let("add", self.first_column, n)
        at = decoded(w, column, [x.extent for x in t.columns])
        return self._word(1 - t.row_operand, t.columns, at, j, odd=odd)

    def _panel_row(self) -> Operand:
        w = self.w
        return w.let("add", self.panel_start, w.let("multiply", self.word, index(self.width)))

    # ----- rows -----

    def _copies_rows(self) -> bool:
        return True

    def _copy_rows(self, start: Operand, stop: Operand, each: int) -> None:
        """The block's part of the row operand: row by row where its words lie so, else in tiles."""
        self.start = start
        self.by_rows = lies_along(self.c, self.tiling.row_operand, self._letter)
        self._forget()
        if self.by_rows:
            self._copy_along(start, stop, each)
        else:
            self._copy_tiles(start, stop, each)
        self.exact = self._is_exact(self.exponent, self._exponent())

    def _copy_along(self, start: Operand, stop: Operand, each: int) -> None:
        w, t, lanes = self.w, self.tiling, self.tiling.lanes
        extents = [x.extent for x in t.rows]
        self.stride = -(-self._length // lanes) * lanes + PADDING
        self.copied = self.alloc("rows", each * self.stride, "stack", UINT32)
        vectors = w.let("quotient", w.let("add", self.words, index(lanes - 1)), index(lanes))
        count = w.let("multiply", vectors, index(lanes))
        with w.loop(start, stop, hint=self.hint("row")) as row:
            begin = w.let("multiply", w.let("subtract", row, start), index(self.stride))
            self._clear(w.let("add", begin, w.let("subtract", count, index(lanes))), lanes)
            with self._vectors() as j:
                words = self._words(t.row_operand, t.rows, decoded(w, row, extents), j)
                w.store(self.copied, w.let("add", begin, j), words)
            with self._if_few(), w.loop(index(0), self.whole, hint=self.hint("k")) as j:
                self._copy_word(w.let("add", begin, j), row, j, odd=False)
            if not self._always_even():
                with self._if_odd():
                    at, j = w.let("add", begin, self.whole), self.whole
                    self._copy_word(at, row, j, odd=True)
            self._note(self.copied, begin, count)

    def _copy_tiles(self, start: Operand, stop: Operand, each: int) -> None:
        """Tile by tile.

        Vectors that are wider than a tile overlap: what they hold too much of is written again.
        """
        w, height, lanes = self.w, self.tiling.height, self.tiling.lanes
        self.stride = self._length * height + PADDING
        self.copied = self.alloc("rows", -(-each // height) * self.stride, "stack", UINT32)
        tiles = w.let("subtract", w.let("add", stop, index(height - 1)), start)
        vectors = w.let("multiply", self.words, index(height))
        vectors = w.let("quotient", w.let("add", vectors, index(lanes - 1)), index(lanes))
        tiles = w.let("quotient", tiles, index(height))
        with w.loop(index(0), tiles, hint=self.hint("rows")) as tile:
            begin = w.let("multiply", tile, index(self.stride))
            end = w.let("add", begin, w.let("multiply", self.words, index(height)))
            self._clear(end, PADDING)
            with w.loop(index(0), self.whole, hint=self.hint("k")) as j:
                self._copy_tile_words(tile, stop, j, odd=False)
            if not self._always_even():
                with self._if_odd():
                    self._copy_tile_words(tile, stop, self.whole, odd=True)
            self._note(self.copied, begin, w.let("multiply", vectors, index(lanes)))

    def _copy_tile_words(self, tile: Operand, stop: Operand, j: Operand, *, odd: bool) -> None:
        """Words of all rows of a tile, and of some behind it; 0 where there are none."""
        w, first = self.w, self._first(tile)
        wide = -(-self.tiling.height // self.tiling.lanes) * self.tiling.lanes
        full = w.let("less_equal", w.let("add", first, index(wide)), stop)
        with w.when(full), w.loop(index(0), index(wide), hint=self.hint(LANE)) as m:
            self._copy_word(self._copied_at(tile, j, m), w.let("add", first, m), j, odd=odd)
        with w.when(w.let("logical_not", full)):
            self._clear(self._copied_at(tile, j, index(0)), wide)
            with w.loop(index(0), index(wide), hint=self.hint(LANE)) as m:
                row = w.let("add", first, m)
                with w.when(w.let("less", row, stop)):
                    self._copy_word(self._copied_at(tile, j, m), row, j, odd=odd)

    def _clear(self, begin: Operand, count: int) -> None:
        w = self.w
        assert self.copied is not None
        with w.loop(index(0), index(count), hint=self.hint(LANE)) as n:
            w.store(self.copied, w.let("add", begin, n), Lit(0, WORD))

    def _copy_word(self, place: Operand, row: Operand, j: Operand, *, odd: bool) -> None:
        w, t = self.w, self.tiling
        assert self.copied is not None
        at = decoded(w, row, [x.extent for x in t.rows])
        w.store(self.copied, place, self._word(t.row_operand, t.rows, at, j, odd=odd))

    def _row_value(self, row: Operand, m: Operand) -> Operand:
        w = self.w
        assert self.copied is not None
        if not self.by_rows:
            offset = w.let("subtract", row, self.start)
            tile = w.let("quotient", offset, index(self.tiling.height))
            return w.load(self.copied, self._copied_at(tile, self.word, m))
        position = w.let("add", row, m)
        if self.rows_masked:
            position = w.least_of(position, w.let("subtract", self.stop_row, index(1)))
        begin = w.let("multiply", w.let("subtract", position, self.start), index(self.stride))
        return w.load(self.copied, w.let("add", begin, self.word))

    # ----- products -----

    def _add_inner(
        self,
        height: int,
        row: Operand,
        chain: tuple[Operand, Operand],
        panel: Buffer | None,
        acc: Buffer,
    ) -> None:
        w = self.w
        for condition, add in (
            (self.exact, self._add_pairs),
            (w.let("logical_not", self.exact), self._add_halves),
        ):
            with w.when(condition):
                with w.loop(index(0), self.words, hint=self.hint("k")) as self.word:
                    add(height, row, acc)

    def _add_pairs(self, height: int, row: Operand, acc: Buffer) -> None:
        """Adds the products of a word of inner indices."""
        self._add(height, row, acc, "pairs", lambda word: word)

    def _add_halves(self, height: int, row: Operand, acc: Buffer) -> None:
        """The same in two steps."""
        w = self.w

        def upper(word: Operand) -> Operand:
            half = w.let("bitwise_and", word, Lit(UPPER, WORD))
            return w.let("bitcast", half, dtype=self.c.dtype)

        def lower(word: Operand) -> Operand:
            return w.let("bitcast", w.let("shift_left", word, Lit(16, WORD)), dtype=self.c.dtype)

        self._add(height, row, acc, "fma", upper)
        self._add(height, row, acc, "fma", lower)

    def _add(
        self, height: int, row: Operand, acc: Buffer, op: str, part: Callable[[Operand], Operand]
    ) -> None:
        w, width, at = self.w, self.width, self._panel_row()
        dtype = UINT32 if op == "pairs" else self.c.dtype
        columns = self.alloc("b", width, "register", dtype)
        with w.loop(index(0), index(width), hint=self.hint(LANE)) as n:
            w.store(columns, n, part(w.load(self.panel, w.let("add", at, n))))
        with self.tiled(height) as m:  # row by row: one row's word is live at a time
            value = part(self._row_value(row, m))
            first = w.let("multiply", m, index(width))
            with w.loop(index(0), index(width), hint=self.hint(LANE)) as n:
                place = w.let("add", first, n)
                w.store(acc, place, w.let(op, value, w.load(columns, n), w.load(acc, place)))
