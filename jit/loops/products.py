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

from jit.dims import Dim, Extent, same
from jit.forms.contraction import size_of
from jit.forms.expression import Extractor, linear
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint
from jit.forms.tasks import MapTask, ProductTask, Task
from jit.loops.ahead import ask_for_results
from jit.loops.elements import Elements, decoded
from jit.loops.ir import INDEX, Buffer, Kernel, Operand, Var, VType, index
from jit.loops.lines import store_lines, stores_lines
from jit.loops.nests import Naive
from jit.loops.packing import Packing
from jit.loops.tiles import (
    PACKED_ROWS,
    ROWS,
    Tiling,
    choose,
    lie_in_lines,
    registers,
    results_along,
)
from jit.target import Target
from jit.types import product

SHORT = 8  # cost of an epilogue up to which it works on the accumulators
WORK = 1 << 17  # multiply-adds of a column from which on two threads share the only strip
SPLIT = 1 << 19  # multiply-adds from which on threads share a few strips evenly
FEW_ITEMS = 8  # that are shared by chance
UNEVEN = 1.1  # of its share that a thread does, from which on another waits too long for it
LONG_ROWS = 768  # rows of an item, at most, where several long chains are packed for each
ITEMS = 4  # so many at least, for threads to share, as long as rows can be divided
SHARE = 0.2  # of the time of an addition that a multiply-add of a tile takes
WRITTEN_OUT = 3  # inner indices that follow each other without a jump, at most: a row of a filter


class ProductNest(Packing):
    """The kernel of a group that holds a contraction and maps of its result.

    Args:
        group: The contraction's task first.
        stored: The values that somebody outside of the group needs.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
        tiling: How it is cut; by default as the cost model says.
    """

    def __init__(
        self,
        group: Group,
        stored: set[FormValue],
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
        tiling: Tiling | None = None,
    ) -> None:
        self.group, self.stored = group, stored
        self.w = Elements(extractor, base, target.cache)
        self.item = Var(INDEX, "item")
        (first, *_) = group.tasks
        assert isinstance(first, ProductTask)
        self.c = first.contraction
        self.tiling: Tiling = tiling or choose(self.c, target)
        self.registers = target.registers
        self.before, self.cut, self.chain, self.turns = self.c.blocks

    # ----- structure -----

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, t = self.w, self.tiling
        strips = -(-self._in_strips() // t.width)
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

    def _column_count(self) -> Extent:
        """How many columns there are to share out."""
        return size_of(self.tiling.columns)

    def _in_strips(self) -> Extent:
        """How many of them strips run over."""
        return self._column_count()

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
            if self._is_uneven():
                return self.rows // 2
            return self._half() if self._is_alone() else self.rows
        even = -(-self.rows // -(-self.rows // self._most_rows()))
        return -(-even // height) * height

    def _most_rows(self) -> int:
        """Rows for which columns are packed once, at most.

        Where pixels are summed, packing takes as long as a tenth of the products of 192 rows: it
        serves more, and their totals stay in the second cache.
        """
        if not (self.tiling.packs and self.cut is not None and len(self.c.inner) > 1):
            return ROWS
        blocks = -(-ITEMS // extent_hint(self._every_strip_count()))
        return max(ROWS, min(LONG_ROWS, -(-extent_hint(self.rows) // blocks)))

    def _every_strip_count(self) -> Extent:
        """How many strips there are, those of all outer letters."""
        t = self.tiling
        return product([-(-self._column_count() // t.width), size_of(t.outer)])

    def _is_alone(self) -> bool:
        """Whether all rows would be the only item, and more work than a thread should do alone."""
        work = extent_hint(product([self.rows, size_of(self.c.inner)]))
        return same(self._every_strip_count(), 1) and self.rows >= PACKED_ROWS and work >= WORK

    def _is_uneven(self) -> bool:
        """Whether a thread would wait while another one computes the last of a few strips."""
        t, columns, outer = self.tiling, self._column_count(), size_of(self.tiling.outer)
        work = extent_hint(product([self.rows, columns, size_of(self.c.inner)]))
        known = isinstance(columns, int) and isinstance(outer, int) and self.rows % 2 == 0
        if not known or work < SPLIT:
            return False
        whole, rest = divmod(columns, t.width)
        vectors = [t.width // t.lanes] * whole + [-(-rest // t.lanes)] * (rest > 0)
        if len(vectors) < 2 or len(vectors) * outer > FEW_ITEMS or t.packs:
            return False
        busy = [0, 0]
        for v in vectors * outer:
            busy[busy.index(min(busy))] += v
        return max(busy) > UNEVEN * sum(busy) / 2

    def _half(self) -> int:
        """Half of the rows, in full tiles: two threads pack the columns, each for itself."""
        t = self.tiling
        height = t.height if same(self._column_count(), t.width) else t.narrow_height
        return min(self.rows, -(-self.rows // (2 * height)) * height)

    def _room(self, each: int) -> int:
        """Rows that tiles reach in a strip of `each`: the last one may stand out over its end."""
        return each if self._is_even(each) else -(-each // self.height) * self.height

    def _is_even(self, each: int) -> bool:
        """Whether all items have so many rows."""
        return isinstance(self.rows, int) and self.rows % each == 0

    def _by_width(self, start: Operand, stop: Operand, each: int) -> None:
        """Full strips, and the last one, which may be narrower."""
        w, width, columns = self.w, self.tiling.width, self._in_strips()
        end = w.let("add", self.first_column, index(width))
        if not (isinstance(columns, int) and columns < width):
            with w.when(w.let("less_equal", end, w.at(columns))):
                self._strip(start, stop, each, width, width)
        if narrow := self._narrow():
            with w.when(w.let("greater", end, w.at(columns))):
                self._strip(start, stop, each, *narrow)

    def _narrow(self) -> tuple[int, int | None] | None:
        """The width of the last strip, and how many columns it has, if it may be narrower."""
        columns, width, lanes = self._in_strips(), self.tiling.width, self.tiling.lanes
        if not isinstance(columns, int):
            return width, None
        rest = columns % width
        return (-(-rest // lanes) * lanes, rest) if rest else None

    def _strip(
        self, start: Operand, stop: Operand, each: int, width: int, count: int | None
    ) -> None:
        """One strip of columns: `count` of them, in tiles of `width`; None: fewer than that."""
        self._take_width(width, count)
        size = self._room(each) * width
        totals = self.alloc("totals", size, "stack") if self._keeps_totals() else None
        with self._chains() as (first, last):
            panel = self._pack(first, last)
            for height, row in self._row_tiles(start, stop, each):
                self._tile(height, row, start, (first, last), panel, totals)

    def _keeps_totals(self) -> bool:
        """Whether sums go through memory on their way to the epilogue."""
        if self.cut is not None or sum(task.cost for task in self.group.tasks[1:]) > SHORT:
            return True
        t = self.tiling
        return results_along(self.c, t.rows) and bool(lie_in_lines(t.rows, self.height))

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
            known = isinstance(self.rows, int) and each % height == 0
            left = self.rows % height if known else -1
            count = w.let("quotient", w.let("subtract", stop, start), index(height))
            full = w.let("add", start, w.let("multiply", count, index(height)))
        if left != each:
            with w.loop(start, full, height, hint=self.hint("rows")) as row:
                self.rows_masked, self.in_line = False, self._lie_in_line(height, each)
                yield height, row
        if left:
            with w.when(w.let("less", full, stop)):
                self.rows_masked, self.in_line = left < 0, []
                yield (left if left > 0 else height), full

    def _lie_in_line(self, height: int, each: int) -> list[int]:
        """What `lie_in_lines` says of the full tiles of an item."""
        whole = each % height == 0 or same(each, self.rows)
        return lie_in_lines(self.tiling.rows, height) if whole else []

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
        ask_for_results(self, height, row)
        acc = self.alloc("acc", height * width, "register")
        with w.loop(index(0), index(height * width), hint=self.hint("lane")) as k:
            w.store(acc, k, w.number(0, VType(acc.dtype)))
        self._add_inner(height, row, chain, panel, acc)
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

    def _add_inner(
        self,
        height: int,
        row: Operand,
        chain: tuple[Operand, Operand],
        panel: Buffer | None,
        acc: Buffer,
    ) -> None:
        """Adds the products of the inner indices of a chain."""
        with self._inner(chain, self._short_turns(height)):
            self._multiply(height, row, panel, acc)

    def _keep(self, acc: Buffer, totals: Buffer, offset: Operand, *, adds: bool = False) -> None:
        """Moves what a chain made to the totals, or adds it to those of earlier chains."""
        w = self.w
        with w.loop(index(0), index(acc.size), hint=self.hint("lane")) as k:
            at, made = w.let("add", offset, k), w.load(acc, k)
            w.store(totals, at, w.let("add", w.load(totals, at), made) if adds else made)

    def _epilogue_of_rows(self, row: Operand, height: int, totals: Buffer, start: Operand) -> None:
        """The epilogue of a tile, from totals: one row after the other."""
        w = self.w
        if stores_lines(self):
            at = self._total(w.let("subtract", row, start))
            return store_lines(self, row, height, totals, at)
        behind = w.let("add", row, index(height))
        if self.rows_masked:
            behind = w.least_of(behind, self.stop_row)
        self.rows_masked = False
        with w.loop(row, behind, hint=self.hint("rows")) as at:
            self._epilogue(1, at, totals, w.let("subtract", at, start))
        return None

    def _multiply(self, height: int, row: Operand, panel: Buffer | None, acc: Buffer) -> None:
        """Adds the products of one inner index."""
        w, width = self.w, self.width
        columns = self.alloc("b", width, "register")
        whole = width  # what is packed is full
        if panel is None and self.count is not None:
            whole = self.count // self.tiling.lanes * self.tiling.lanes
        if whole:
            with w.loop(index(0), index(whole), hint=self.hint("lane")) as n:
                w.store(columns, n, self._column_value(n, panel))
        if whole < width:
            with w.loop(index(whole), index(width), hint=self.hint("lane")) as n:
                w.store(columns, n, self._part_of_columns(n))
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

    def _short_turns(self, height: int) -> int:
        """How many of the last letters of whole turns have few indices together.

        Tiles in a line read most elements again at the next index: without a jump between, they
        would stay in registers, of which there must be some left.
        """
        vectors = self.width // self.tiling.lanes
        if self.in_line and registers(height, vectors) + height + WRITTEN_OUT > self.registers:
            return 0
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
        return self._row_element(self._row_index(row, m, self.w.at(self.rows - 1)))

    def _row_index(self, row: Operand, m: Operand, last: Operand) -> list[Operand]:
        """The index of row number `m` of a tile. Those behind the last one are it again."""
        w, extents, parts = self.w, [x.extent for x in self.tiling.rows], self.in_line
        if parts:
            *outer, first = decoded(w, row, extents)[: len(extents) - len(parts) + 1]
            step, *others = decoded(w, m, parts)
            return [*outer, w.let("add", first, step), *others]
        position = w.let("add", row, m)
        return decoded(w, w.least_of(position, last) if self.rows_masked else position, extents)

    def _row_element(self, at: Sequence[Operand]) -> Operand:
        """The element of a row at the current inner index."""
        w, t = self.w, self.tiling
        with self.bound(t.rows, at):
            return w.cast(w.emit(self.c.elements[t.row_operand]), self.c.dtype)

    def _column_value(self, n: Operand, panel: Buffer | None) -> Operand:
        w = self.w
        if panel is not None:
            return w.load(panel, w.let("add", self._panel_row(), n))
        return self._column_element(n)

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
            n = stack.enter_context(self._stored_columns())
            self.finish(w.load(source, w.let("add", first, n)))

    @contextmanager
    def _stored_columns(self) -> Iterator[Operand]:
        """Every column whose results are stored, by its place in the strip; letters are bound."""
        w, columns = self.w, self.tiling.columns
        with self._columns() as n:
            column = w.let("add", self.first_column, n)
            with self.bound(columns, decoded(w, column, [x.extent for x in columns])):
                yield n

    def finish(self, total: Operand) -> dict[FormValue, Operand]:
        """Maps an element of the result; what there is at its index."""
        w, (product_task, *maps) = self.w, self.group.tasks
        (value,) = product_task.outputs
        result = w.cast(total, value.dtype)
        at, made = self.c.result.indices, {value: result}
        w.provide(value, at, result)
        self._store(value, at, result)
        for task in maps:
            if not self.group.is_of_a_part(task):
                made[task.outputs[0]] = self._map(task)
        return made

    def _map(self, task: Task) -> Operand:
        """Computes a map at the current index, and stores it."""
        assert isinstance(task, MapTask)
        w, (value,), result = self.w, task.outputs, None
        for at, element in task.pieces():
            result = w.emit(element)
            w.provide(value, at, result)
            self._store(value, at, result)
        assert result is not None
        return result

    def _store(self, value: FormValue, at: Sequence[Extent], operand: Operand) -> None:
        if value in self.stored:
            w = self.w
            w.store(w.buffer(value, "out"), w.at(linear(value.shape, at)), operand)
