"""The kernel of a chain: a tile of rows at a time goes through products, row passes and products.

An item of the grid is a tile of rows, or all of them where a closer sums over the rows:

    for each tile of rows:
        each opener: register tiles, into a matrix of (tile rows, columns) on the stack
        each row: maps and folds along the columns
        each closer over the columns: register tiles, the epilogue, and stores
        each closer over the rows: register tiles that go on with the sums of the tiles before
    each closer over the rows: the epilogue on its sums, and stores

Sums follow the canonical order, so that the results are those of separate kernels bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jit.dims import Dim, Extent
from jit.forms.chains import Chain, Closer, Opener
from jit.forms.contraction import Contraction, Letter
from jit.forms.expression import Extractor, linear
from jit.forms.nodes import FormValue
from jit.forms.placement import additions, extent_hint
from jit.forms.tasks import Task
from jit.loops.elements import Elements, decoded
from jit.loops.folds import RowNest
from jit.loops.ir import INDEX, LANE, TILE, Buffer, Kernel, Operand, Var, VType, index
from jit.loops.nests import Naive
from jit.loops.panels import Panel, Panels
from jit.target import Target
from jit.types import product

ROOM = 1 << 15  # elements of a matrix on the stack
MOST_ROWS = 96  # of a tile

Element = Callable[[Operand, Operand], Operand]  # of a tile's row, at an inner index


class RowPasses(RowNest):
    """Maps and folds of one row of a tile; what products give or read lies in rooms."""

    def __init__(
        self,
        chain: Chain,
        stored: set[FormValue],
        writer: Elements,
        target: Target,
    ) -> None:
        super().__init__(chain.rows, stored, writer.extractor, writer.base, target)
        self.w = writer
        self.turned = chain.turned
        self.outer = []
        self.inner = self.members(self.group.order.inner)
        self.length = self.group.extents[-1]
        self.inner_at = [self.domain.indices[-1]]
        levels = [self._cost(level) for level in range(self.depth)] if self.group.tasks else []
        self.cost = max(levels, default=1)

    def _cost(self, level: int) -> int:
        tasks = [task for task in self.group.tasks if self.group.levels[task] == level]
        every = [x for task in tasks for x in self.elements[task]]
        return additions(*every) + 1

    def run(self) -> None:
        """Writes all levels of the row that is bound."""
        if self.turned:
            return self._along_rows()
        for level in range(self.depth if self.group.tasks else 0):
            self._level(level)
        return None

    def _along_rows(self) -> None:
        """Maps of a column, whose elements are one in each row."""
        w, row = self.w, self.domain.indices[-2]
        with w.loop(index(0), w.at(self.group.extents[-2]), hint=self._lane()) as i:
            with w.bound({str(row): i}):
                self._maps(self.group.tasks)

    def _stage(self, task: Task, level: int) -> None:
        if task.outputs[0] not in self.w.staged:
            super()._stage(task, level)


class ChainNest:
    """The kernel of a chain, and the panels that it reads.

    Args:
        chain: What is computed.
        stored: Results of folds and of products that somebody else needs.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
        panels: Those that were packed before; new ones are added.
    """

    def __init__(
        self,
        chain: Chain,
        stored: set[FormValue],
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
        panels: Panels,
    ) -> None:
        self.chain, self.stored = chain, stored
        self.w = Elements(extractor, base, target.cache)
        self.item = Var(INDEX, "item")
        self.height = (target.registers - 3) // 2
        self.panels: dict[Opener | Closer, Panel] = {}
        for opener in chain.openers:
            columns = opener.letters[-1]
            self.panels[opener] = panels.of(opener.c, 1 - opener.operand, columns)
        for closer in chain.closers:
            self.panels[closer] = panels.of(closer.c, 1 - closer.operand, closer.columns)
        columns = chain.extents[-1]
        assert isinstance(columns, int)
        self.columns = columns
        widest = max(panel.width for panel in self.panels.values())
        self.stride = -(-columns // widest) * widest + widest  # no power of two: rows differ in set
        rows = max(1, min(MOST_ROWS, ROOM // self.stride) // self.height)
        self.tile = rows * self.height
        self._number = 0
        self.passes = RowPasses(chain, stored, self.w, target)

    # ----- structure -----

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, chain = self.w, self.chain
        *outer, self.rows, _ = chain.extents
        counts = outer if chain.sums_rows else [*outer, -(-self.rows // self.tile)]
        grid = product(counts)
        at = decoded(w, self.item, counts)
        self.outer_at = at[: len(outer)]
        self.rooms = self._rooms()
        if chain.sums_rows:
            self._all_rows()
        else:
            first = w.let("multiply", at[-1], index(self.tile))
            self._tile(first, w.least_of(w.let("add", first, index(self.tile)), w.at(self.rows)))
        for s in grid.symbols() if isinstance(grid, Dim) else ():
            w.size(s.name)
        buffers, sizes = tuple(w.buffers.values()), tuple(w.sizes.values())
        kernel = Kernel(name, buffers, sizes, grid, self.item, tuple(w.body))
        work = self._work() / max(1, extent_hint(grid))
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), work)

    def _work(self) -> float:
        """About how many additions all items cost."""
        parts = [*self.chain.openers, *self.chain.closers]
        loops = [product([x.extent for x in part.c.letters.values()]) for part in parts]
        return sum(map(extent_hint, loops)) + self.passes.cost * extent_hint(
            product(self.chain.extents)
        )

    def _tile(self, first: Operand, stop: Operand) -> None:
        """All that happens to the rows from `first` to `stop`, at most as many as a tile has."""
        count = self.w.let("subtract", stop, first)
        for opener in self.chain.openers:
            self._open(opener, first, count)
        self._pass(first, count)
        for closer in self.chain.closers:
            if closer.sums_rows:
                self._go_on(closer, first, count)
            else:
                self._close(closer, first, count)

    def _all_rows(self) -> None:
        """Tiles of rows in their order, chain by chain of the canonical order."""
        w = self.w
        closers = [closer for closer in self.chain.closers if closer.sums_rows]
        _, cut, length, _ = closers[0].c.blocks
        self.sums = {closer: self._sums(closer) for closer in closers}
        if cut is None:
            self._tiles(index(0), w.at(self.rows))
            results = self.sums
        else:
            results = {closer: self._sums(closer, -0.0) for closer in closers}
            with w.loop(index(0), w.at(self.rows), length, hint="chain") as first:
                stop = w.least_of(w.let("add", first, index(length)), w.at(self.rows))
                self._tiles(first, stop)
                for closer in closers:
                    self._add(results[closer], self.sums[closer])
        for closer in closers:
            self._finish_sums(closer, results[closer])

    def _tiles(self, first: Operand, stop: Operand) -> None:
        w = self.w
        for room in self.sums.values():
            with self._lanes(room.size) as k:
                w.store(room, k, w.number(0, VType(room.dtype)))
        with w.loop(first, stop, self.tile, hint="several") as row:
            self._tile(row, w.least_of(w.let("add", row, index(self.tile)), stop))

    # ----- rooms -----

    def _rooms(self) -> dict[FormValue, Buffer]:
        """A matrix on the stack for each opener, and for each value that closers read."""
        chain = self.chain
        rooms = {x.value: self._room(x.value) for x in chain.openers}
        free = dict(rooms)
        for closer in chain.closers:
            free.pop(closer.value, None)
        for value in dict.fromkeys(closer.value for closer in chain.closers):
            if value not in rooms:
                over = next((x for x in free if self._may_take_over(value, x)), None)
                rooms[value] = self._room(value) if over is None else free.pop(over)
        return rooms

    def _room(self, value: FormValue) -> Buffer:
        return self.alloc("tile", value.dtype, self.tile * self.stride, "stack")

    def _may_take_over(self, value: FormValue, old: FormValue) -> bool:
        """Whether nobody reads `old` once `value` is there, so that it can have its room."""
        rows = self.chain.rows
        (task,) = [task for task in rows.tasks if value in task.outputs]
        readers = [other for other in rows.tasks if old in other.reads() and other is not task]
        last = max((rows.levels[other] for other in readers), default=-1)
        return old.dtype == value.dtype and last < rows.levels[task]

    def _sums(self, closer: Closer, start: float | None = None) -> Buffer:
        """Room for all results of a closer over the rows: strips, columns of the chain, width."""
        panel, w = self.panels[closer], self.w
        assert isinstance(panel.strips, int)
        size = panel.strips * self.columns * panel.width
        room = self.alloc("sums", closer.c.dtype, size, "stack")
        if start is not None:
            with self._lanes(room.size) as k:
                w.store(room, k, w.number(start, VType(room.dtype)))
        return room

    def _add(self, totals: Buffer, sums: Buffer) -> None:
        w = self.w
        with self._lanes(totals.size) as k:
            w.store(totals, k, w.let("add", w.load(totals, k), w.load(sums, k)))

    # ----- openers -----

    def _open(self, opener: Opener, first: Operand, count: Operand) -> None:
        """The rows of an opener's result."""
        w, c, panel = self.w, opener.c, self.panels[opener]
        *outer, row, _ = opener.letters
        room, last = self.rooms[opener.value], w.at(self.rows - 1)
        with self._register_tiles(outer, panel, count) as (strip, base, start):

            def element(m: Operand, k: Operand) -> Operand:
                at = w.least_of(w.let("add", first, w.let("add", start, m)), last)
                with self.bound([row, c.inner[0]], [at, k]):
                    return w.cast(w.emit(c.elements[opener.operand]), c.dtype)

            acc = self._register_tile(c, panel, base, self.height, element)
            column = w.let("multiply", strip, index(panel.width))
            with self._tiled(self.height) as m:
                place = w.let("multiply", w.let("add", start, m), index(self.stride))
                place = w.let("add", place, column)
                source = w.let("multiply", m, index(panel.width))
                with self._lanes(panel.width) as n:
                    value = w.load(acc, w.let("add", source, n))
                    w.store(room, w.let("add", place, n), w.cast(value, room.dtype))

    # ----- rows -----

    def _pass(self, first: Operand, count: Operand) -> None:
        """Maps and folds, row by row."""
        w, domain = self.w, self.passes.domain
        *outer, row, column = domain.indices
        if self.chain.turned:
            row, column = column, row
        with w.loop(index(0), count, hint="row") as r:
            begin = w.let("multiply", r, index(self.stride))
            for value, room in self.rooms.items():
                w.staged[value] = room, lambda: w.let("add", begin, w.at(column))
            names = [str(x) for x in (*outer, row)]
            with w.bound(dict(zip(names, [*self.outer_at, w.let("add", first, r)]))):
                self.passes.run()
        w.staged.clear()

    # ----- closers -----

    def _close(self, closer: Closer, first: Operand, count: Operand) -> None:
        """The rows of the result of a closer over the columns."""
        w, c, panel = self.w, closer.c, self.panels[closer]
        *outer, row, _ = closer.letters
        room, last = self.rooms[closer.value], w.let("subtract", count, index(1))
        with self._register_tiles(outer, panel, count) as (strip, base, start):

            def element(m: Operand, k: Operand) -> Operand:
                spot = w.least_of(w.let("add", start, m), last)
                begin = w.let("multiply", spot, index(self.stride))
                return w.cast(w.load(room, w.let("add", begin, k)), c.dtype)

            acc = self._register_tile(c, panel, base, self.height, element)
            with self._tiled(self.height) as m:
                spot = w.let("add", start, m)
                with w.when(w.let("less", spot, count)):
                    with self.bound([row], [w.let("add", first, spot)]):
                        source = w.let("multiply", m, index(panel.width))
                        self._finish(closer, strip, acc, source)

    def _go_on(self, closer: Closer, first: Operand, count: Operand) -> None:
        """Adds the tile's rows to the sums of a closer over the rows."""
        *outer, _, _ = closer.letters
        whole = self.columns // self.height * self.height
        panel, w = self.panels[closer], self.w
        with self.bound(outer, self.outer_at), self._strips(panel) as (strip, base):
            base = w.let("add", base, w.let("multiply", first, index(panel.width)))
            if whole:
                with w.loop(index(0), index(whole), self.height, hint=self.hint("part")) as start:
                    self._go_on_tile(closer, strip, base, start, self.height, count)
            if whole < self.columns:
                rest = self.columns - whole
                self._go_on_tile(closer, strip, base, index(whole), rest, count)

    def _go_on_tile(
        self,
        closer: Closer,
        strip: Operand,
        base: Operand,
        start: Operand,
        height: int,
        count: Operand,
    ) -> None:
        w, sums, width = self.w, self.sums[closer], self.panels[closer].width
        room = self.rooms[closer.value]
        place = w.let("add", w.let("multiply", strip, index(self.columns)), start)
        place = w.let("multiply", place, index(width))
        acc = self.alloc("acc", closer.c.dtype, height * width, "register")
        with self._lanes(acc.size) as k:
            w.store(acc, k, w.load(sums, w.let("add", place, k)))

        def element(m: Operand, k: Operand) -> Operand:
            at = w.let("add", w.let("multiply", k, index(self.stride)), start)
            return w.cast(w.load(room, w.let("add", at, m)), closer.c.dtype)

        with w.loop(index(0), count, hint=self.hint("k")) as k:
            self._multiply(acc, self.panels[closer], base, height, k, element)
        with self._lanes(acc.size) as k:
            w.store(sums, w.let("add", place, k), w.load(acc, k))

    def _finish_sums(self, closer: Closer, sums: Buffer) -> None:
        """The results of a closer over the rows."""
        w, width = self.w, self.panels[closer].width
        *outer, _, column = closer.letters
        with self.bound(outer, self.outer_at):
            strips = self.panels[closer].strips
            with w.loop(index(0), w.at(strips), hint=self.hint("strip")) as strip:
                begin = w.let("multiply", strip, index(self.columns))
                every = w.loop(index(0), index(self.columns), hint=self.hint("out"))
                with every as s, self.bound([column], [s]):
                    offset = w.let("multiply", w.let("add", begin, s), index(width))
                    self._finish(closer, strip, sums, offset)

    def _finish(self, closer: Closer, strip: Operand, source: Buffer, offset: Operand) -> None:
        """Casts, maps and stores of a row of a strip."""
        w, panel, letter = self.w, self.panels[closer], closer.columns
        with self._lanes(panel.width) as n:
            column = w.let("add", w.let("multiply", strip, index(panel.width)), n)
            with self._where_inside(column, letter, panel), self.bound([letter], [column]):
                total = w.load(source, w.let("add", offset, n))
                self._outputs(closer, total)

    @contextmanager
    def _where_inside(self, column: Operand, letter: Letter, panel: Panel) -> Iterator[None]:
        if isinstance(letter.extent, int) and letter.extent % panel.width == 0:
            yield
            return
        with self.w.when(self.w.let("less", column, self.w.at(letter.extent))):
            yield

    def _outputs(self, closer: Closer, total: Operand) -> None:
        w, (task, *maps) = self.w, closer.group.tasks
        at = closer.c.result.indices
        (value,) = task.outputs
        self._output(value, at, w.cast(total, value.dtype))
        for task in maps:
            (value,) = task.outputs
            self._output(value, task.domain.indices, w.emit(task.elements[0]))

    def _output(self, value: FormValue, at: tuple[Extent, ...], operand: Operand) -> None:
        w = self.w
        w.provide(value, at, operand)
        if value in self.stored:
            w.store(w.buffer(value, "out"), w.at(linear(value.shape, at)), operand)

    # ----- register tiles -----

    def _register_tile(
        self,
        c: Contraction,
        panel: Panel,
        base: Operand,
        height: int,
        element: Element,
    ) -> Buffer:
        """Sums over the inner letter, chain by chain: an element for each row and lane."""
        w, size, dtype = self.w, height * panel.width, c.dtype
        _, cut, length, _ = c.blocks
        if cut is None:
            return self._chain(dtype, panel, base, height, (index(0), w.at(panel.inner)), element)
        totals = self.alloc("totals", dtype, size, "stack")
        with self._lanes(size) as k:
            w.store(totals, k, w.number(-0.0, VType(dtype)))
        with w.loop(index(0), w.at(panel.inner), length, hint=self.hint("chain")) as first:
            last = w.least_of(w.let("add", first, index(length)), w.at(panel.inner))
            acc = self._chain(dtype, panel, base, height, (first, last), element)
            self._add(totals, acc)
        return totals

    def _chain(
        self,
        dtype: object,
        panel: Panel,
        base: Operand,
        height: int,
        inner: tuple[Operand, Operand],
        element: Element,
    ) -> Buffer:
        w = self.w
        acc = self.alloc("acc", dtype, height * panel.width, "register")
        with self._lanes(acc.size) as k:
            w.store(acc, k, w.number(0, VType(acc.dtype)))
        with w.loop(*inner, hint=self.hint("k")) as k:
            self._multiply(acc, panel, base, height, k, element)
        return acc

    def _multiply(
        self,
        acc: Buffer,
        panel: Panel,
        base: Operand,
        height: int,
        k: Operand,
        element: Element,
    ) -> None:
        """One fused multiply-add for each element of a register tile."""
        w, width = self.w, panel.width
        columns = self.alloc("b", acc.dtype, width, "register")
        begin = w.let("add", base, w.let("multiply", k, index(width)))
        source = w.buffer(panel.value)
        with self._lanes(width) as n:
            w.store(columns, n, w.load(source, w.let("add", begin, n)))
        with self._tiled(height) as m:
            value = element(m, k)
            first = w.let("multiply", m, index(width))
            with self._lanes(width) as n:
                at = w.let("add", first, n)
                w.store(acc, at, w.let("fma", value, w.load(columns, n), w.load(acc, at)))

    @contextmanager
    def _strips(self, panel: Panel) -> Iterator[tuple[Operand, Operand]]:
        """Every strip of a panel's columns, and where its rows begin."""
        w = self.w
        outer = w.at(linear([x.extent for x in panel.outer], [x.at for x in panel.outer]))
        with w.loop(index(0), w.at(panel.strips), hint=self.hint("strip")) as strip:
            number = w.let("add", w.let("multiply", outer, w.at(panel.strips)), strip)
            yield strip, w.let("multiply", number, w.at(panel.inner * panel.width))

    @contextmanager
    def _register_tiles(
        self, outer: list[Letter], panel: Panel, count: Operand
    ) -> Iterator[tuple[Operand, Operand, Operand]]:
        """Every strip, where it begins in the panel, and in it the first row of each tile."""
        rows = self.hint("rows")
        with self.bound(outer, self.outer_at), self._strips(panel) as (strip, base):
            with self.w.loop(index(0), count, self.height, hint=rows) as start:
                yield strip, base, start

    # ----- small things -----

    @contextmanager
    def _lanes(self, size: int) -> Iterator[Operand]:
        """Independent iterations 0 to size - 1."""
        with self.w.loop(index(0), index(size), hint=self.hint(f"{LANE}_")) as n:
            yield n

    @contextmanager
    def _tiled(self, height: int) -> Iterator[Operand]:
        """The rows of a register tile, one after the other."""
        with self.w.loop(index(0), index(height), hint=self.hint(TILE)) as m:
            yield m

    def hint(self, name: str) -> str:
        """A name that no other loop has."""
        self._number += 1
        return f"{name}{self._number}"

    def alloc(self, name: str, dtype: object, size: int, scope: str) -> Buffer:
        """A buffer of the current block."""
        return self.w.alloc(self.hint(name), dtype, size, scope)  # type: ignore[arg-type]

    @contextmanager
    def bound(self, letters: list[Letter], values: list[Operand]) -> Iterator[None]:
        """Gives letters their values."""
        with self.w.bound({x.name: value for x, value in zip(letters, values)}):
            yield
