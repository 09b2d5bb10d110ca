"""Scans: the naive kernel of running folds, strictly one element after the other along the axis.

If the scanned loop is the last one, the rows are shared out, and the running tuple of each is a
scalar; short rows walk a few at a time, since each waits for its own last addition only:

    for j along the axis: for each of ROWS rows: run = merge(run, x[row, j]); out[row, j] = run

Otherwise tiles of the last loop are shared out, and the running tuples of a tile are vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jit.dims import Dim, Extent
from jit.forms import nodes
from jit.forms.expression import Domain, Extractor
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint
from jit.forms.tasks import FoldTask, WholeTask, widened
from jit.loops.elements import Elements, decoded
from jit.loops.folds import UNROLLED, FoldNest
from jit.loops.ir import Buffer, Kernel, Operand, VType, index
from jit.loops.nests import ITEM, Naive
from jit.loops.walk import Loop
from jit.target import Target
from jit.types import product

ROWS = 4  # rows that walk together
MANY_ROWS = 64  # fewer rows are shared out one by one
TILE = 512  # elements of the last loop that an item walks along the axis: narrow ones stride badly


class ScanNest(FoldNest):
    """The kernel of a scan.

    Args:
        task: The scan; its elements are those of its operands.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
    """

    def __init__(
        self,
        task: WholeTask,
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
    ) -> None:
        assert isinstance(task.form, nodes.Scan)
        self.form = task.form
        domain = Domain.of(task.outputs[0].shape)
        axis = domain.indices[self.form.axis]
        loops = [name for name, _ in domain.loops]
        self.axis = loops.index(str(axis)) if isinstance(axis, Dim) else None
        axes = frozenset(() if self.axis is None else {self.axis})
        elements = tuple(map(widened, task.elements))
        self.task = FoldTask(
            task.form, task.outputs, domain, elements, combiner=self.form.combiner, axes=axes
        )
        group = Group(domain.extents, axes, [self.task], {self.task: 0})
        super().__init__(group, set(task.outputs), extractor, base, target)
        self.is_empty = domain.is_empty

    def build(self, name: str) -> Naive:
        """The kernel."""
        self.along_axis = [] if self.axis is None else self.members([self.axis])
        self.length: Extent = product([loop.extent for loop in self.along_axis])
        kept = self.members(self.group.order.kept)
        if self.is_empty:
            return Naive(Kernel(name, (), (), 0, self.item, ()), (), (), 0)
        if kept and self.loops[-1] is kept[-1]:
            self._columns(kept[:-1], kept[-1])
        else:
            self._rows(kept)
        return self.finish(name)

    # ----- the scanned loop is the last one -----

    def _rows(self, kept: Sequence[Loop]) -> None:
        w, total = self.w, product([loop.extent for loop in kept])
        size = max(1, self.cost) * max(1, extent_hint(self.length))
        each = max(1, self.share(ITEM) // size)
        several = self.is_cheap and extent_hint(total) >= MANY_ROWS and not self.target.is_gpu
        if several:
            each = -(-each // ROWS) * ROWS
        self.grid = -(-total // each)
        start = w.let("multiply", self.item, index(each))
        stop = w.least_of(w.let("add", start, index(each)), w.at(total))
        if several:
            count = w.let("quotient", w.let("subtract", stop, start), index(ROWS))
            full = w.let("add", start, w.let("multiply", count, index(ROWS)))
            with w.loop(start, full, ROWS, hint="rows") as first:
                self._walk(kept, [w.let("add", first, index(r)) for r in range(ROWS)])
            start = full
        with w.loop(start, stop, hint="row") as row:
            self._walk(kept, [row])

    def _walk(self, kept: Sequence[Loop], rows: Sequence[Operand]) -> None:
        w, extents = self.w, [loop.extent for loop in kept]
        places = [decoded(w, row, extents) for row in rows]
        rooms = [self._room(1, "register") for _ in rows]
        with w.loop(index(0), w.at(self.length), hint=f"along{self.count()}") as j:
            at = self._turned(j)
            for values, room in zip(places, rooms):
                with self.at([*kept, *self.along_axis], [*values, *at]):
                    self._step(room, index(0))

    # ----- it is not -----

    def _columns(self, outer: Sequence[Loop], last: Loop) -> None:
        w, width = self.w, last.extent
        tile = tile_of(width, self.target)
        narrow = isinstance(width, int) and width <= 4 * self.lanes and self.is_cheap
        size = tile if tile == 1 else -(-tile // self.lanes) * self.lanes
        rooms = self._room(size, "register" if narrow or tile == 1 else "stack")
        count = -(-width // tile)
        extents = [loop.extent for loop in outer]
        self.grid = product([*extents, count])
        *values, block = decoded(w, self.item, [*extents, count])
        start, turns = tile_bounds(w, block, tile, width)
        with w.loop(index(0), w.at(self.length), hint="along") as j:
            at = self._turned(j)
            with w.loop(index(0), turns, hint=f"lane{self.count()}") as t:
                column = w.let("add", start, t)
                with self.at([*outer, last, *self.along_axis], [*values, column, *at]):
                    self._step(rooms, t)

    # ----- both -----

    @property
    def is_cheap(self) -> bool:
        """Whether several bodies may stand side by side."""
        return self.cost <= UNROLLED and self.form.combiner.arity == 1

    def _turned(self, j: Operand) -> list[Operand]:
        """Where turn `j` is on the axis; nothing if the axis has one index."""
        if self.form.reverse:
            j = self.w.let("subtract", self.w.at(self.length - 1), j)
        return [j for _ in self.along_axis]

    def _room(self, size: int, scope: str) -> list[Buffer]:
        """The running tuples, set to the identity."""
        w, dtypes = self.w, [x.dtype for x in self.task.elements]
        rooms = [w.alloc(f"run{self.count()}", dtype, size, scope) for dtype in dtypes]
        with self.lanes_of(size) as t:
            for room, start in zip(rooms, self.form.combiner.identity(*dtypes)):
                w.store(room, t, w.number(start, VType(room.dtype)))
        return rooms

    def _step(self, rooms: Sequence[Buffer], t: Operand) -> None:
        """One element: the running tuple takes it in, and is stored after or before that."""
        w, task = self.w, self.task
        before = [w.load(room, t) for room in rooms]
        after = self.merged(task, before, [w.emit(x) for x in self.elements[task]])
        for room, x in zip(rooms, after):
            w.store(room, t, x)
        for value, x in zip(task.outputs, before if self.form.exclusive else after):
            own = self.own_indices(value, self.domain.indices)
            self.store(value, own, w.cast(x, value.dtype))


def tile_of(width: Extent, target: Target) -> int:
    """How many indices of a loop an item takes: all of them, or equal shares of whole vectors.

    One, where threads are cheap.
    """
    if target.is_gpu:
        return 1
    if not isinstance(width, int):
        return TILE
    lanes, count = target.lanes(4), max(1, -(-width // TILE))
    return width if count == 1 else -(-width // (count * lanes)) * lanes


def tile_bounds(w: Elements, block: Operand, tile: int, width: Extent) -> tuple[Operand, Operand]:
    """The first index of a tile, and how many there are."""
    start = w.let("multiply", block, index(tile))
    if isinstance(width, int) and width % tile == 0:
        return start, index(tile)
    left = w.let("subtract", w.at(width), start)
    return start, w.least_of(left, index(tile))
