"""Products: the naive kernel of a contraction, register tile by register tile, with its epilogue.

An item of the grid is a strip of columns for a block of rows:

    for each chain of inner indices:
        pack the strip's part of the column operand, unless it can be read in place
        for each tile of rows:
            accumulators = 0; inner loop of fused multiply-adds; add to totals
            after the last chain: the epilogue on totals, and stores

The epilogue follows the inner loop of the last chain, row by row, while the tile's totals are in
the first cache. With one chain and a short epilogue there are no totals: it works on registers.
`jit.forms.contraction` says how chains are cut; tiles do not change the order in which an element's
products are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jit.dims import Dim, Extent
from jit.forms.contraction import Letter, blocks, size_of
from jit.forms.expression import Extractor, linear
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint
from jit.forms.tasks import ProductTask
from jit.loops.elements import Elements, decoded
from jit.loops.ir import INDEX, TILE, Buffer, Kernel, Operand, Var, VType, index
from jit.loops.nests import Naive
from jit.loops.tiles import ROWS, Tiling, choose
from jit.target import Target
from jit.types import product

SHORT = 8  # cost of an epilogue up to which it works on the accumulators
SHARE = 0.2  # of the time of an addition that a multiply-add of a tile takes
WRITTEN_OUT = 3  # inner indices that follow each other without a jump, at most: a row of a filter


class ProductNest:
    """The kernel of a group that holds a contraction and maps of its result.

    Args:
        group: The contraction's task first.
        stored: The values that somebody outside of the group needs.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
    """

    def __init__(
        self,
        group: Group,
        stored: set[FormValue],
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
    ) -> None:
        self.group, self.stored = group, stored
        self.w = Elements(extractor, base)
        self.item = Var(INDEX, "item")
        (first, *_) = group.tasks
        assert isinstance(first, ProductTask)
        self.c = first.contraction
        self.tiling: Tiling = choose(self.c, target)
        self.before, self.cut, self.chain, self.turns = blocks(self.c.inner)
        self._number = 0

    # ----- structure -----

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, t = self.w, self.tiling
        strips = -(-size_of(t.columns) // t.width)
        self.rows = size_of(t.rows)
        each = self._rows_of_an_item()
        row_blocks = -(-self.rows // each)
        outer = [letter.extent for letter in t.outer]
        parts = self._parts(strips, row_blocks)
        self.grid = product([*outer, *parts])
        *at, first, second = decoded(w, self.item, [*outer, *parts])
        with self.bound(t.outer, at):
            self._item(first, second, each)
        kernel = Kernel(
            name,
            tuple(w.buffers.values()),
            tuple(self._sizes().values()),
            self.grid,
            self.item,
            tuple(w.body),
        )
        flops = extent_hint(product([self.rows, size_of(t.columns), size_of(self.c.inner), *outer]))
        work = SHARE * flops / max(1, extent_hint(self.grid))
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), work)

    def _sizes(self) -> dict[str | int, Var]:
        for s in self.grid.symbols() if isinstance(self.grid, Dim) else ():
            self.w.size(s.name)
        return self.w.sizes

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        """How many items there are, in two directions."""
        return [strips, row_blocks]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        """An item, by its place in both directions."""
        self.first_column = self.w.let("multiply", first, index(self.tiling.width))
        self._by_width(*self._rows_of(second, each), each)

    def _rows_of(self, block: Operand, each: int) -> tuple[Operand, Operand]:
        """The first row of a block, and the one behind its last."""
        w = self.w
        start = w.let("multiply", block, index(each))
        return start, w.least_of(w.let("add", start, index(each)), w.at(self.rows))

    def _rows_of_an_item(self) -> int:
        height = self.tiling.height
        if not isinstance(self.rows, int):
            return max(height, ROWS // height * height)
        if self.rows <= ROWS:
            return self.rows
        even = -(-self.rows // -(-self.rows // ROWS))
        return -(-even // height) * height

    def _room(self, each: int) -> int:
        """Rows that tiles reach in a strip of `each`: the last one may stand out over its end."""
        return each if self._is_even(each) else -(-each // self.height) * self.height

    def _is_even(self, each: int) -> bool:
        """Whether all items have so many rows."""
        return isinstance(self.rows, int) and self.rows % each == 0

    def _by_width(self, start: Operand, stop: Operand, each: int) -> None:
        """Full strips, and the last one, which may be narrower."""
        w, width, columns = self.w, self.tiling.width, size_of(self.tiling.columns)
        end = w.let("add", self.first_column, index(width))
        if not (isinstance(columns, int) and columns < width):
            with w.when(w.let("less_equal", end, w.at(columns))):
                self._strip(start, stop, each, width, width)
        if narrow := self._narrow():
            with w.when(w.let("greater", end, w.at(columns))):
                self._strip(start, stop, each, *narrow)

    def _narrow(self) -> tuple[int, int | None] | None:
        """The width of the last strip, and how many columns it has, if it may be narrower."""
        columns, width, lanes = size_of(self.tiling.columns), self.tiling.width, self.tiling.lanes
        if not isinstance(columns, int):
            return width, None
        rest = columns % width
        return (-(-rest // lanes) * lanes, rest) if rest else None

    def _strip(
        self, start: Operand, stop: Operand, each: int, width: int, count: int | None
    ) -> None:
        """One strip of columns: `count` of them, in tiles of `width`; None: fewer than that."""
        self._take_width(width, count)
        apart = self.cut is not None or sum(task.cost for task in self.group.tasks[1:]) > SHORT
        size = self._room(each) * width
        totals = self.alloc("totals", size, "stack") if apart else None
        with self._chains() as (first, last):
            panel = self._pack(first, last)
            for height, row in self._row_tiles(start, stop, each):
                self._tile(height, row, start, (first, last), panel, totals)

    def _take_width(self, width: int, count: int | None) -> None:
        t = self.tiling
        self.width, self.count = width, count
        self.height = t.height if width == t.width else t.narrow_height

    @contextmanager
    def _chains(self) -> Iterator[tuple[Operand, Operand]]:
        """Every chain: which indices of the letter that is cut."""
        w = self.w
        if self.cut is None:
            yield index(0), index(1)
            return
        with self.every(self.before, "before"):
            with w.loop(index(0), w.at(self.cut.extent), self.chain, hint="chain") as first:
                last = w.least_of(w.let("add", first, index(self.chain)), w.at(self.cut.extent))
                self.is_first = w.let("equal", first, index(0))
                self.is_last = w.let("less_equal", w.at(self.cut.extent), last)
                for x in self.before:
                    at_start = w.let("equal", w.at(x.at), index(0))
                    at_end = w.let("equal", w.at(x.at), w.at(x.extent - 1))
                    self.is_first = w.let("logical_and", self.is_first, at_start)
                    self.is_last = w.let("logical_and", self.is_last, at_end)
                yield first, last

    def _row_tiles(self, start: Operand, stop: Operand, each: int) -> Iterator[tuple[int, Operand]]:
        """Tiles of rows: full ones, then one of what is left. Each is written inside its loop."""
        w, height = self.w, self.height
        self.stop_row = stop
        if self._is_even(each):
            whole = each // height * height
            left = each - whole
            full = w.let("add", start, index(whole))
        else:
            left = -1
            count = w.let("quotient", w.let("subtract", stop, start), index(height))
            full = w.let("add", start, w.let("multiply", count, index(height)))
        if left != each:
            with w.loop(start, full, height, hint=self.hint("rows")) as row:
                self.rows_masked = False
                yield height, row
        if left:
            with w.when(w.let("less", full, stop)):
                self.rows_masked = left < 0
                yield (left if left > 0 else height), full

    # ----- the inner loop -----

    def _tile(
        self,
        height: int,
        row: Operand,
        start: Operand,
        chain: tuple[Operand, Operand],
        panel: Buffer | None,
        totals: Buffer | None,
    ) -> None:
        w, width = self.w, self.width
        acc = self.alloc("acc", height * width, "register")
        with w.loop(index(0), index(height * width), hint=self.hint("lane")) as k:
            w.store(acc, k, w.number(0, VType(acc.dtype)))
        with self._inner(chain, self._short_turns()):
            self._multiply(height, row, panel, acc)
        if totals is None:
            return self._epilogue(height, row, acc, index(0), is_tile=True)
        offset = self._total(w.let("subtract", row, start))
        if self.cut is None:
            self._keep(acc, totals, offset)
            return self._epilogue_of_rows(row, height, totals, start)
        with w.when(self.is_first):
            self._keep(acc, totals, offset)
        with w.when(w.let("logical_not", self.is_first)):
            self._keep(acc, totals, offset, adds=True)
        with w.when(self.is_last):
            self._epilogue_of_rows(row, height, totals, start)
        return None

    def _keep(self, acc: Buffer, totals: Buffer, offset: Operand, *, adds: bool = False) -> None:
        """Moves what a chain made to the totals, or adds it to those of earlier chains."""
        w = self.w
        with w.loop(index(0), index(acc.size), hint=self.hint("lane")) as k:
            at, made = w.let("add", offset, k), w.load(acc, k)
            w.store(totals, at, w.let("add", w.load(totals, at), made) if adds else made)

    def _epilogue_of_rows(self, row: Operand, height: int, totals: Buffer, start: Operand) -> None:
        """The epilogue of a tile, from totals: one row after the other."""
        w = self.w
        behind = w.let("add", row, index(height))
        if self.rows_masked:
            behind = w.least_of(behind, self.stop_row)
        self.rows_masked = False
        with w.loop(row, behind, hint=self.hint("rows")) as at:
            self._epilogue(1, at, totals, w.let("subtract", at, start))

    def _multiply(self, height: int, row: Operand, panel: Buffer | None, acc: Buffer) -> None:
        """Adds the products of one inner index."""
        w, width = self.w, self.width
        columns = self.alloc("b", width, "register")
        with w.loop(index(0), index(width), hint=self.hint("lane")) as n:
            w.store(columns, n, self._column_value(n, panel))
        with self.tiled(height) as m:  # row by row: one row's element is live at a time
            value = self._row_value(row, m)
            first = w.let("multiply", m, index(width))
            with w.loop(index(0), index(width), hint=self.hint("lane")) as n:
                at = w.let("add", first, n)
                w.store(acc, at, self._fma(value, w.load(columns, n), w.load(acc, at)))

    def _total(self, row: Operand) -> Operand:
        """Where the totals of a row begin; rows are counted from the first one of the item."""
        return self.w.let("multiply", row, index(self.width))

    def _fma(self, a: Operand, b: Operand, c: Operand) -> Operand:
        if c.type.dtype.kind == "f":
            return self.w.let("fma", a, b, c)
        return self.w.let("add", self.w.let("multiply", a, b), c)

    # ----- inner indices -----

    @contextmanager
    def _inner(self, chain: tuple[Operand, Operand], written_out: int = 0) -> Iterator[None]:
        """The indices of a chain, in row-major order; so many of the last loops without a jump."""
        letters = self._letters(chain)
        with self._looped(letters[: len(letters) - written_out]):
            with self.every(self.turns[len(self.turns) - written_out :], TILE):
                yield

    def _letters(self, chain: tuple[Operand, Operand]) -> Sequence[tuple[Letter, Operand, Operand]]:
        """The letters of a chain, each with its first index and the one behind its last."""
        turns = [(x, index(0), self.w.at(x.extent)) for x in self.turns]
        return turns if self.cut is None else [(self.cut, *chain), *turns]

    @contextmanager
    def _looped(self, letters: Sequence[tuple[Letter, Operand, Operand]]) -> Iterator[None]:
        """Nested loops over letters, counted from the first index of each."""
        w = self.w
        with ExitStack() as stack:
            for letter, first, last in letters:
                count = w.let("subtract", last, first)
                k = stack.enter_context(w.loop(index(0), count, hint=self.hint("k")))
                if letter is self.cut:
                    self.turn = k
                stack.enter_context(self.bound([letter], [w.let("add", first, k)]))
            yield

    def _short_turns(self) -> int:
        """How many of the last letters of whole turns have few indices together."""
        count, size = 0, 1
        for letter in reversed(self.turns):
            assert isinstance(letter.extent, int)
            size *= letter.extent
            if size > WRITTEN_OUT:
                break
            count += 1
        return count

    def _row_value(self, row: Operand, m: Operand) -> Operand:
        """The element of row number `m` of the tile, at the current inner index."""
        return self._row_element(self._row_position(row, m, self.w.at(self.rows - 1)))

    def _row_position(self, row: Operand, m: Operand, last: Operand) -> Operand:
        """Row number `m` of a tile. Rows behind the last one read it again, and are not stored."""
        position = self.w.let("add", row, m)
        return self.w.least_of(position, last) if self.rows_masked else position

    def _row_element(self, position: Operand) -> Operand:
        """The element of a row at the current inner index."""
        w, t = self.w, self.tiling
        with self.bound(t.rows, decoded(w, position, [x.extent for x in t.rows])):
            return w.cast(w.emit(self.c.elements[t.row_operand]), self.c.dtype)

    def _column_value(self, n: Operand, panel: Buffer | None) -> Operand:
        w = self.w
        if panel is not None:
            return w.load(panel, w.let("add", self._panel_row(), n))
        return self._column_element(n)

    def _column_element(self, n: Operand) -> Operand:
        """An element of the column operand."""
        w, t = self.w, self.tiling
        column = w.let("add", self.first_column, n)
        with self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
            return w.cast(w.emit(self.c.elements[1 - t.row_operand]), self.c.dtype)

    # ----- packing -----

    def _pack(self, first: Operand, last: Operand) -> Buffer | None:
        """The strip's part of the column operand, row by row of the chain, behind each other."""
        w, t = self.w, self.tiling
        if not t.packs and self.count == self.width:
            return None
        length = self.chain * self._turn() if self.cut is not None else self._turn()
        panel = self.alloc("panel", length * self.width, "stack")
        with self._inner((first, last)):
            at = self._panel_row()
            self._blank(panel, at)
            with self._columns() as n:
                w.store(panel, w.let("add", at, n), self._column_element(n))
        return panel

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

    # ----- what happens to the results -----

    def _epilogue(
        self, height: int, row: Operand, source: Buffer, offset: Operand, *, is_tile: bool = False
    ) -> None:
        """Casts, the group's maps, and stores."""
        w, t, width = self.w, self.tiling, self.width
        with ExitStack() as stack:
            m = stack.enter_context(self.tiled(height))
            position = w.let("add", row, m)
            if self.rows_masked:
                stack.enter_context(w.when(w.let("less", position, self.stop_row)))
            stack.enter_context(
                self.bound(t.rows, decoded(w, position, [x.extent for x in t.rows]))
            )
            if is_tile:
                first = w.let("multiply", m, index(width))
            else:
                first = self._total(w.let("add", offset, m))
            n = stack.enter_context(self._columns())
            column = w.let("add", self.first_column, n)
            stack.enter_context(
                self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns]))
            )
            self._finish(w.load(source, w.let("add", first, n)))

    def _finish(self, total: Operand) -> None:
        w, (product_task, *maps) = self.w, self.group.tasks
        (value,) = product_task.outputs
        result = w.cast(total, value.dtype)
        at = self.c.result.indices
        w.provide(value, at, result)
        self._store(value, at, result)
        for task in maps:
            (value,) = task.outputs
            result = w.emit(task.elements[0])
            w.provide(value, task.domain.indices, result)
            self._store(value, task.domain.indices, result)

    def _store(self, value: FormValue, at: Sequence[Extent], operand: Operand) -> None:
        if value in self.stored:
            w = self.w
            w.store(w.buffer(value, "out"), w.at(linear(value.shape, at)), operand)

    # ----- small things -----

    def alloc(self, name: str, size: int, scope: str) -> Buffer:
        """A buffer of the dtype in which sums run."""
        self._number += 1
        return self.w.alloc(f"{name}{self._number}", self.c.dtype, size, scope)

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
