"""Ranks: the naive kernel of a scatter that brings what is marked together, in its order.

An item is a block of the updates, and owns the range of the result that its marks fill:

    run = how many marks stand before the block
    for i of the block: out[run] = y[i] if run is in the range; run = run + mark[i]

As long as some updates stay within the range whatever their marks are, nobody asks: no processor
could foresee the marks. What comes behind all marks is the last block's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from jit.dims import Extent
from jit.forms.expression import Domain, Extractor
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.ranks import Ranks
from jit.forms.tasks import MapTask, RankTask, narrowed
from jit.loops.ir import Buffer, Operand, index
from jit.loops.nests import Naive, Nest
from jit.target import Target
from jit.types import int64

UNASKED = 8  # updates that are done without asking for their marks


class RankNest(Nest):
    """The kernel of a scatter to ranks.

    Args:
        task: The scatter.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
    """

    def __init__(
        self,
        task: RankTask,
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
    ) -> None:
        self.task = task
        (self.out,) = task.outputs
        (self.size,) = self.out.shape
        self.into, self.y, marks, *_ = task.elements
        self.mark = narrowed(marks, int64)
        domain = Domain.of((task.ranks.extent,))
        own = MapTask(task.form, task.outputs, domain, (self.y, self.mark))
        group = Group(domain.extents, None, [own], {own: 0})
        super().__init__(group, {self.out}, extractor, base, target)

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, ranks = self.w, self.task.ranks
        block, self.grid = ranks.block, ranks.blocks
        start = w.let("multiply", self.item, index(block))
        stop = w.least_of(w.let("add", start, index(block)), w.at(ranks.extent))
        low, high = self._range(ranks)
        run = w.alloc("run", int64, 1)
        w.store(run, index(0), low)
        count = w.let("quotient", w.let("subtract", stop, start), index(UNASKED))
        full = w.let("add", start, w.let("multiply", count, index(UNASKED)))
        with w.loop(start, full, UNASKED, hint="updates") as first:
            self._updates(run, high, first)
        with w.loop(full, stop, hint="update") as i:
            self._asked(run, high, i)
        return self.finish(name)

    def _range(self, ranks: Ranks) -> tuple[Operand, Operand]:
        """Where a block writes: the first place, and the first behind."""
        w, starts, size = self.w, self.task.starts, self.w.at(self.size)
        if starts is None:
            self._fill(index(0))
            return index(0), size
        last = w.at(ranks.blocks - 1)
        after = w.least_of(w.let("add", self.item, index(1)), last)
        low, following = (self._start(starts, block) for block in (self.item, after))
        is_last = w.let("equal", self.item, last)
        with w.when(is_last):
            self._fill(low)
        high = w.let("where", is_last, size, w.least_of(following, size))
        return low, high

    def _start(self, starts: FormValue, block: Operand) -> Operand:
        w = self.w
        return w.cast(w.load(w.buffer(starts), block), int64)

    def _fill(self, low: Operand) -> None:
        """What no mark may reach is as it was."""
        w = self.w
        with w.loop(low, w.at(self.size), hint="lane_fill") as j, self._bound(self.size, j):
            w.store(w.buffer(self.out, "out"), j, w.emit(self.into))

    def _updates(self, run: Buffer, high: Operand, first: Operand) -> None:
        """Some updates in a row."""
        w = self.w
        near = w.let("subtract", high, index(UNASKED))
        safe = w.let("less_equal", w.load(run, index(0)), near)
        with w.when(safe):
            at: Operand = w.load(run, index(0))
            for k in range(UNASKED):
                with self._bound(self.task.ranks.extent, w.let("add", first, index(k))):
                    w.store(w.buffer(self.out, "out"), at, w.emit(self.y))
                    at = w.let("add", at, w.emit(self.mark))
            w.store(run, index(0), at)
        with w.when(w.let("logical_not", safe)):
            with w.loop(index(0), index(UNASKED), hint="update") as k:
                self._asked(run, high, w.let("add", first, k))

    def _asked(self, run: Buffer, high: Operand, i: Operand) -> None:
        """An update, if it is in the block's range."""
        w = self.w
        with self._bound(self.task.ranks.extent, i):
            at, y, mark = w.load(run, index(0)), w.emit(self.y), w.emit(self.mark)
            with w.when(w.let("less", at, high)):
                w.store(w.buffer(self.out, "out"), at, y)
            w.store(run, index(0), w.let("add", at, mark))

    def _bound(self, extent: Extent, value: Operand) -> AbstractContextManager[None]:
        """The loop over `extent` at an index."""
        return self.w.bound({name: value for name, _ in Domain.of((extent,)).loops})
