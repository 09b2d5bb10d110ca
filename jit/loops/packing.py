"""Packing: the columns of a product copied to where register tiles read them in a row.

What the naive kernels of products share: loops over inner indices, and the copy of a strip.
Columns that lie beside each other are copied row by row. Where inner indices lie beside each other
instead, as in `x @ w.T`, square blocks are read along them and turned in registers: elements
fetched one by one take five times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.forms.contraction import Contraction, Letter, plain, run_along, size_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.loops.elements import Elements, decoded
from jit.loops.ir import TILE, TURN, Buffer, DType, Operand, VType, index
from jit.loops.tiles import Tiling, turned_at_once

AHEAD = 64  # inner indices that packing asks for before it turns columns that lie along them
LONG = 1024  # inner indices of such columns from which on it is worth it

Chained = tuple[Letter, Operand, Operand]  # a letter, its first index of a chain, another one


class Packing:
    """Loops over inner indices, and what copies a strip of columns.

    Attributes:
        w: What is written.
        c: The contraction.
        tiling: How it is cut.
        cut: The letter of the chains, if there are several.
        chain: How many of its indices a chain has.
        turns: The letters that each chain has whole.
        turn: The index of `cut`, counted from the first one of its chain.
        width: Columns of the strip, as tiles see it.
        count: How many there are; None: fewer than `width`.
        first_column: Of the strip.
    """

    w: Elements
    c: Contraction
    tiling: Tiling
    cut: Letter | None
    chain: int
    turns: Sequence[Letter]
    turn: Operand
    width: int
    count: int | None
    first_column: Operand
    _number = 0

    # ----- packing -----

    def _pack(self, first: Operand, last: Operand) -> Buffer | None:
        """The strip's part of the column operand, row by row of the chain, behind each other."""
        t = self.tiling
        if not t.packs and (self.count == self.width or (t.parts and self.count is not None)):
            return None
        length = self.chain * self._turn() if self.cut is not None else self._turn()
        panel = self.alloc("panel", length * self.width, "stack")
        self._fill_panel(panel, (first, last))
        return panel

    def _fill_panel(self, panel: Buffer, chain: tuple[Operand, Operand]) -> None:
        """Copies the strip's part of the column operand for a chain."""
        w, t = self.w, self.tiling
        along = turned_at_once(self.c, 1 - t.row_operand, t.lanes)
        if not along:
            with self._inner(chain):
                self._pack_row(panel)
            return
        outer, joined, (letter, first, count) = self._run(chain)
        with self._looped(outer), ExitStack() as stack:
            for start in joined:
                stack.enter_context(self._at(start))
            whole = w.let("multiply", w.let("quotient", count, index(along)), index(along))
            with w.loop(index(0), whole, along, hint=self.hint("k")) as k:
                for begin in range(0, self.width, t.lanes):
                    self._pack_block(panel, (letter, first, k), along, begin)
            with w.loop(whole, count, hint=self.hint("k")) as k, self._at((letter, first, k)):
                self._pack_row(panel)

    def _run(
        self, chain: tuple[Operand, Operand]
    ) -> tuple[Sequence[Chained], list[Chained], Chained]:
        """The inner indices of a chain, with the last letters along which columns lie as one.

        Returns:
            The letters before; those that are part of the run, at their first index; and the last
            one, its first index and how many there are, as if it went on where the others turn.
        """
        w, letters = self.w, self._letters(chain)
        before = max(0, len(letters) - run_along(self.c, 1 - self.tiling.row_operand))
        *run, (letter, first, last) = letters[before:]
        count = w.let("subtract", last, first)
        for _, start, end in run:
            count = w.let("multiply", w.let("subtract", end, start), count)
        joined: list[Chained] = [(x, start, index(0)) for x, start, _ in run]
        return letters[:before], joined, (letter, first, count)

    def _pack_row(self, panel: Buffer) -> None:
        """Copies the columns' elements at one inner index."""
        w, at = self.w, self._panel_row()
        self._blank(panel, at)
        with self._columns() as n:
            w.store(panel, w.let("add", at, n), self._column_element(n))

    def _pack_block(self, panel: Buffer, start: Chained, along: int, begin: int) -> None:
        """Copies a vector of columns at some inner indices: read along these, and turned.

        Behind the last column it is read again: of what is computed there nothing is stored.
        """
        w, lanes, (letter, first, k) = self.w, self.tiling.lanes, start
        last = w.let("subtract", w.at(size_of(self.tiling.columns)), index(1))
        last = w.let("subtract", last, self.first_column)
        self._ask_along((letter, first, w.let("add", k, index(AHEAD))), begin)
        block = self.alloc("block", along * lanes, "register")
        with w.loop(index(0), index(lanes), hint=self.hint(TURN)) as n:
            column = w.let("add", index(begin), n)
            if self.count != self.width:
                column = w.least_of(column, last)
            with w.loop(index(0), index(along), hint=self.hint("along")) as i:
                with self._at((letter, first, w.let("add", k, i))):
                    element = self._column_element(column)
                w.store(block, w.let("add", w.let("multiply", i, index(lanes)), n), element)
        for i in range(along):
            with self._at((letter, first, w.let("add", k, index(i)))):
                at = w.let("add", self._panel_row(), index(begin))
                with w.loop(index(0), index(lanes), hint=self.hint("lane")) as n:
                    element = w.load(block, w.let("add", index(i * lanes), n))
                    w.store(panel, w.let("add", at, n), element)

    def _ask_along(self, start: Chained, begin: int) -> None:
        """Asks for what columns have further on: processors read ahead along few at a time."""
        w, t = self.w, self.tiling
        access = plain(self.c.elements[1 - t.row_operand])
        if access is None or self.count != self.width or extent_hint(size_of(self.c.inner)) < LONG:
            return
        with self.tiled(t.lanes) as n, self._at(start):
            column = w.let("add", w.let("add", self.first_column, index(begin)), n)
            with self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
                w.prefetch(w.buffer(access.value), w.at(linear(access.value.shape, access.at)))

    def _blank(self, panel: Buffer, at: Operand) -> None:
        """Sets a packed row to 0 that has fewer columns than tiles: all of it is multiplied."""
        w = self.w
        if self.count != self.width:
            with w.loop(index(0), index(self.width), hint=self.hint("lane")) as n:
                w.store(panel, w.let("add", at, n), w.number(0, VType(panel.dtype)))

    @contextmanager
    def _columns(self) -> Iterator[Operand]:
        """Every column of the strip; of what is computed behind the last one nothing is stored."""
        w = self.w
        with w.loop(index(0), index(self.count or self.width), hint=self.hint("lane")) as n:
            if self.count is not None:
                yield n
                return
            column = w.let("add", self.first_column, n)
            with w.when(w.let("less", column, w.at(size_of(self.tiling.columns)))):
                yield n

    def _turn(self) -> int:
        size = size_of(self.turns)
        assert isinstance(size, int)
        return size

    def _panel_row(self) -> Operand:
        """Where the packed row of the current inner index begins."""
        w, width = self.w, self.width
        position = linear([x.extent for x in self.turns], [x.at for x in self.turns])
        at = w.let("multiply", w.at(position), index(width))
        if self.cut is None:
            return at
        return w.let("add", w.let("multiply", self.turn, index(self._turn() * width)), at)

    # ----- inner indices -----

    @contextmanager
    def _inner(self, chain: tuple[Operand, Operand], written_out: int = 0) -> Iterator[None]:
        """The indices of a chain, in row-major order; so many of the last loops without a jump."""
        letters = self._letters(chain)
        with self._looped(letters[: len(letters) - written_out]):
            with self.every(self.turns[len(self.turns) - written_out :], TILE):
                yield

    def _letters(self, chain: tuple[Operand, Operand]) -> Sequence[Chained]:
        """The letters of a chain, each with its first index and the one behind its last."""
        turns = [(x, index(0), self.w.at(x.extent)) for x in self.turns]
        return turns if self.cut is None else [(self.cut, *chain), *turns]

    @contextmanager
    def _looped(self, letters: Sequence[Chained]) -> Iterator[None]:
        """Nested loops over letters, counted from the first index of each."""
        w = self.w
        with ExitStack() as stack:
            for letter, first, last in letters:
                count = w.let("subtract", last, first)
                k = stack.enter_context(w.loop(index(0), count, hint=self.hint("k")))
                stack.enter_context(self._at((letter, first, k)))
            yield

    @contextmanager
    def _at(self, start: Chained) -> Iterator[None]:
        """Gives a letter its value: so many indices behind its first."""
        letter, first, k = start
        if letter is self.cut:
            self.turn = k
        with self.bound([letter], [self.w.let("add", first, k)]):
            yield

    def _part_of_columns(self, n: Operand) -> Operand:
        """An element of the column operand where it lies, if there are more than `n` columns."""
        w, t, count = self.w, self.tiling, self.count
        access = plain(self.c.elements[1 - t.row_operand])
        assert access is not None
        assert count is not None  # else it is packed
        with self.bound(t.columns, [w.let("add", self.first_column, n)]):
            at = w.place(linear(access.value.shape, access.at), access.guard)
        return w.load(w.buffer(access.value), at, mask=w.let("less", n, index(count)))

    def _column_element(self, n: Operand) -> Operand:
        """An element of the column operand."""
        w, t = self.w, self.tiling
        column = w.let("add", self.first_column, n)
        with self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
            return w.cast(w.emit(self.c.elements[1 - t.row_operand]), self.c.dtype)

    # ----- small things -----

    def alloc(self, name: str, size: int, scope: str, dtype: DType | None = None) -> Buffer:
        """A buffer, of the dtype in which sums run if none is given."""
        self._number += 1
        return self.w.alloc(f"{name}{self._number}", dtype or self.c.dtype, size, scope)

    def hint(self, name: str) -> str:
        """A name that no other loop has."""
        self._number += 1
        return f"{name}{self._number}"

    @contextmanager
    def tiled(self, height: int) -> Iterator[Operand]:
        """The rows of a tile, written out one after the other."""
        with self.w.loop(index(0), index(height), hint=self.hint(TILE)) as m:
            yield m

    @contextmanager
    def bound(self, letters: Sequence[Letter], values: Sequence[Operand]) -> Iterator[None]:
        """Gives letters their values."""
        with self.w.bound({x.name: value for x, value in zip(letters, values)}):
            yield

    @contextmanager
    def every(self, letters: Sequence[Letter], hint: str) -> Iterator[None]:
        """Nested loops over letters."""
        with ExitStack() as stack:
            for letter in letters:
                var = stack.enter_context(
                    self.w.loop(index(0), self.w.at(letter.extent), hint=self.hint(hint))
                )
                stack.enter_context(self.bound([letter], [var]))
            yield
