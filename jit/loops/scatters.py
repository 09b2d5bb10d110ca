"""Scatters: the naive kernels of updates that meet in a copy of a value, in row-major order.

    start    total = into
    update   for i of the updates in row-major order: total[map(i)] = combine(total[map(i)], y[i])
    finish   out = total, where sums of halves run in float32

Some loops of the updates are *free*: a coordinate is made of nothing else, so that other indices of
theirs mean other elements of the result. Items share those out, one of them as lanes, and run the
other loops in order; so each element meets its updates in order, and no two items meet. If the free
loops cut the result into regions, an item takes all three steps in its region; otherwise each step
is a kernel. A region of long rows is cut into parts: an item asks of each update whether it is in
its part. On a GPU each element of such a region goes through a list of its updates instead: see
`jit.loops.linked`.

A map that is easily turned round needs none of this: each element asks for its only update, or on a
GPU for those of the few windows around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

from jit.dims import same, substitute
from jit.forms import nodes
from jit.forms.expression import (
    Access,
    Coordinate,
    Domain,
    Expression,
    Extractor,
    Inside,
    linear,
)
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint, is_number
from jit.forms.scalar import accumulator
from jit.forms.tasks import MapTask, WholeTask, narrowed
from jit.loops.ir import UPDATE, Operand, index
from jit.loops.nests import ITEM, MapNest, Naive, Nest
from jit.loops.places import INSTRUCTIONS, Places, gathered, may_fail, turned_round
from jit.loops.scans import tile_bounds, tile_of
from jit.loops.walk import Loop, collapsed
from jit.target import Target
from jit.types import TensorType, int64, product

PARTS = 8  # of a region
THREADS, MOST_PARTS = 1 << 14, 256  # of a GPU, each of which asks of all updates; of a region, then
WIDE = 64  # elements that an update of a part has at least: asking whose it is costs little
Base = Callable[[FormValue], FormValue]


def scatter_kernels(
    task: WholeTask, extractor: Extractor, base: Base, target: Target, name: str
) -> list[Naive]:
    """The kernels of a scatter, in their order; none if there is nothing to do.

    Args:
        task: The scatter.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
        name: Of the kernels.
    """
    form, (out,) = task.form, task.outputs
    assert isinstance(form, nodes.Scatter)
    into, y = (element_of(x, extractor) for x in form.inputs[:2])

    def filled(value: FormValue, element: Expression) -> list[Naive]:
        domain = Domain.of(value.shape)
        own = MapTask(form, (value,), domain, (narrowed(element, value.dtype),))
        nest = MapNest(group_of(own), {value}, extractor, base, target)
        return [] if domain.is_empty else [nest.build(name)]

    places = Places.of(form)
    if places.domain.is_empty:
        return filled(out, into)
    if (turned := turned_round(form, places, into, extractor)) is not None:
        return filled(out, turned)
    if target.is_gpu and (found := gathered(form, places, into, extractor)) is not None:
        return filled(out, found)
    total = out
    if form.combine == "add" and accumulator(out.dtype) != out.dtype:
        total = FormValue(TensorType(out.shape, accumulator(out.dtype)), form, 1)
    given = form, places, (into, y), total, extractor, base, target
    nest = ScatterNest(*given)
    if target.is_gpu:
        from jit.loops.linked import linked_kernels  # which are nests of this module

        if (kernels := linked_kernels(nest, given, name)) is not None:
            return kernels
    if nest.regions is not None:
        return [nest.build(name)]
    kernels = [*filled(total, into), nest.build(name)]
    if total is not out:
        kernels += filled(out, Access(total, Domain.of(out.shape).indices, ()))
    return kernels


def group_of(task: MapTask) -> Group:
    """A group of one task."""
    return Group(task.domain.extents, None, [task], {task: 0})


def element_of(value: FormValue, extractor: Extractor) -> Expression:
    """Each element of an operand; one number everywhere need not lie in memory."""
    at = Domain.of(value.shape).indices
    return (extractor.inlined if is_number(value.form) else extractor.element)(value, at)


# ----- updates in their order -----


class ScatterNest(Nest):
    """The kernel of the updates.

    Args:
        form: The scatter.
        places: Where its updates go.
        elements: Of `into` and of the updates.
        total: What is updated: the result, or what it is rounded from.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
    """

    def __init__(
        self,
        form: nodes.Scatter,
        places: Places,
        elements: tuple[Expression, Expression],
        total: FormValue,
        extractor: Extractor,
        base: Base,
        target: Target,
    ) -> None:
        self.form, self.places, self.total = form, places, total
        self.into, self.y = (narrowed(x, total.dtype) for x in elements)
        task = MapTask(form, (total,), places.domain, (self.y,))
        super().__init__(group_of(task), {total}, extractor, base, target)
        names = [name for name, _ in places.domain.loops]
        position = Coordinate(linear(places.shape, places.at), int64)
        guard = Inside((*places.where, *places.unproven))
        every = [self.y, position, guard]
        self.loops = collapsed(
            places.domain.extents, [name in places.free for name in names], every
        )
        free = [loop for loop in self.loops if loop.names[-1] in places.free]
        self.lane = next(filter(self._is_lane, free), None)
        self.outer = [loop for loop in free if loop is not self.lane]
        self.turns = [loop for loop in self.loops if loop not in free]

    def _is_lane(self, loop: Loop) -> bool:
        """Whether neighbours in a loop are neighbours in the result, and one `if` is for all."""
        places, names = self.places, set(loop.names)
        wide = [k for k, n in enumerate(places.shape) if not (isinstance(n, int) and n == 1)]
        step = places.steps[wide[-1]] if wide else None
        if step is None or step.loop != loop.names[-1] or step.step != 1:
            return False
        if not all(map(places.is_once, names)):
            return False
        conditions = [x for x, _ in (*places.where, *places.unproven)]
        return all(names.isdisjoint(places.loops_in(x)) for x in conditions)

    # ----- regions -----

    @cached_property
    def regions(self) -> list[Loop] | None:
        """The loops over the result, if the free loops cut it into regions; else None."""
        places, own = self.places, Domain.of(self.places.shape)
        axis_of = places.free
        free = [*self.outer, *([self.lane] if self.lane else [])]
        extents = dict(places.domain.loops)
        for name, axis in axis_of.items():
            step, whole = places.steps[axis], same(extents[name], places.shape[axis])
            if step is None or step.step != 1 or not same(step.rest, 0) or not whole:
                return None
        if own.is_empty or (not free and extent_hint(product(places.shape)) > ITEM):
            return None
        home = {
            str(own.indices[axis_of[name]]): number
            for number, loop in enumerate(free)
            for name in loop.names
        }
        kinds = [home.get(name) for name, _ in own.loops]
        loops = collapsed(own.extents, kinds, [self.into])
        expected = [
            tuple([str(own.indices[axis_of[name]]) for name in loop.names]) for loop in free
        ]
        self.own = dict(zip(expected, free))
        return loops if set(expected) <= {loop.names for loop in loops} else None

    @cached_property
    def split(self) -> Loop | None:
        """The loop over the result that is cut into parts; None if no item waits for work."""
        if self.regions is None or self.lane is None or self.outer or not self.turns:
            return None
        width = extent_hint(self.lane.extent)
        rest = [loop for loop in self.regions if loop.names not in self.own]
        if not rest or width < WIDE or width * extent_hint(rest[0].extent) < PARTS * ITEM:
            return None
        return rest[0]

    @cached_property
    def parts(self) -> int:
        """How many parts the loop is cut into: on a GPU as many as give all threads work."""
        if not self.target.is_gpu:
            return PARTS
        assert self.split is not None
        assert self.lane is not None
        most = min(MOST_PARTS, extent_hint(self.split.extent))
        return max(PARTS, min(most, THREADS // max(1, extent_hint(self.lane.extent))))

    def _split_at(self, part: Operand) -> tuple[Operand, Operand]:
        """The first index of a part, and the first behind it."""
        assert self.split is not None
        w, extent = self.w, self.split.extent
        size = w.at(-(-extent // self.parts))
        start = w.let("multiply", part, size)
        return start, w.least_of(w.let("add", start, size), w.at(extent))

    def _is_in_part(self) -> Operand:
        """Whether the current update is in the item's part."""
        assert self.split is not None
        w, places = self.w, self.places
        axis_of = {str(i): k for k, i in enumerate(Domain.of(places.shape).indices)}
        at = [places.at[axis_of[name]] for name in self.split.names]
        position = w.at(linear(self.split.extents, at), places.where)
        start, stop = self.part
        above = w.let("less_equal", start, position)
        return w.let("logical_and", above, w.let("less", position, stop))

    @contextmanager
    def _region(self, start: Operand, turns: Operand, hint: str) -> Iterator[None]:
        """Every element of the item's region."""
        w, loops = self.w, self.regions or []
        outer = [loop for loop in loops if self.own.get(loop.names) in self.outer]
        values = [w.loops[self.own[loop.names].names[-1]] for loop in outer]
        inner = [loop for loop in loops if loop not in outer]
        lane = [loop for loop in inner if loop.names in self.own] or inner[-1:]
        rest = [loop for loop in inner if loop not in lane]
        with ExitStack() as stack:
            stack.enter_context(self.at(outer, values))
            for loop in rest:
                bounds = self.part if loop is self.split else (index(0), w.at(loop.extent))
                i = stack.enter_context(w.loop(*bounds, hint=f"{hint}_{loop.names[0]}"))
                stack.enter_context(self.at([loop], [i]))
            for loop in lane:
                count = turns if loop.names in self.own else w.at(loop.extent)
                t = stack.enter_context(w.loop(index(0), count, hint=f"lane_{hint}"))
                at = w.let("add", start, t) if loop.names in self.own else t
                stack.enter_context(self.at([loop], [at]))
            yield

    def _start(self, start: Operand, turns: Operand) -> None:
        w = self.w
        with self._region(start, turns, "start"):
            at = linear(self.places.shape, Domain.of(self.places.shape).indices)
            w.store(w.buffer(self.total, "inout"), w.at(at), w.emit(self.into))

    def _finish(self, start: Operand, turns: Operand) -> None:
        w, out = self.w, self.form.outputs[0]
        if out is self.total:
            return
        with self._region(start, turns, "finish"):
            at = w.at(linear(self.places.shape, Domain.of(self.places.shape).indices))
            x = w.load(w.buffer(self.total, "inout"), at)
            w.store(w.buffer(out, "inout"), at, w.cast(x, out.dtype))

    # ----- the kernel -----

    def build(self, name: str) -> Naive:
        """The kernel."""
        w = self.w
        width = self.lane.extent if self.lane else 1
        tile = tile_of(width, self.target)
        blocks = [Loop(("block",), (-(-width // tile),))]
        if self.split is not None:  # threads of a GPU that lie side by side do the same
            blocks.insert(0 if self.target.is_gpu else 1, Loop(("part",), (self.parts,)))
        size = tile * extent_hint(product([loop.extent for loop in self.turns]))
        whole = self.regions is not None
        each = 1 if whole else max(1, self.share(ITEM) // (max(1, self.cost) * max(1, size)))
        with self.items([*self.outer, *blocks], each):
            if self.split is not None:
                self.part = self._split_at(w.loops["part"])
            start, turns = tile_bounds(w, w.loops["block"], tile, width)
            if whole:
                self._start(start, turns)
            with w.scope():
                self._updates(start, turns)
            if whole:
                self._finish(start, turns)
        naive = self.finish(name)
        if whole:
            naive.work += extent_hint(product(self.places.shape)) / max(1, extent_hint(self.grid))
        return naive

    def _updates(self, start: Operand, turns: Operand) -> None:
        """All updates of an item, in row-major order."""
        places, w = self.places, self.w
        with self.along(self.turns, UPDATE), ExitStack() as stack:
            inside = self._inside()
            if inside is not None and not self.reports:
                stack.enter_context(w.when(inside))
            names = self.lane.names if self.lane else ()
            here = [substitute(x, dict.fromkeys(names, 0)) for x in places.at]
            first = w.at(linear(places.shape, here), places.where)
            if self.lane is not None:
                t = stack.enter_context(w.loop(index(0), turns, hint="lane"))
                lane = w.let("add", start, t)
                stack.enter_context(self.at([self.lane], [lane]))
                first = w.let("add", first, lane)
            value = w.emit(self.y)
            if inside is not None and self.reports:
                stack.enter_context(w.when(inside))
            self._meet(first, value)

    @cached_property
    def reports(self) -> bool:
        """Whether updates that are dropped must be computed, since that may fail."""
        return bool(self.form.dropped or self.places.where) and may_fail(self.y)

    def _inside(self) -> Operand | None:
        """Whether the current update counts for this item; None if all do."""
        found = self.counts()
        if self.split is not None:
            mine = self._is_in_part()
            found = mine if found is None else self.w.let("logical_and", found, mine)
        return found

    def counts(self) -> Operand | None:
        """Whether the current update counts; None if all do. One outside is reported."""
        places, w = self.places, self.w
        found = w.holds(places.where)
        for pair in places.unproven:
            inside = w.holds((pair,), places.where)
            assert inside is not None
            if not self.form.dropped:
                w.check(inside, w.holds(places.where))
            found = inside if found is None else w.let("logical_and", found, inside)
        return found

    def _meet(self, at: Operand, value: Operand) -> None:
        """One update."""
        w, combine = self.w, self.form.combine
        buffer = w.buffer(self.total, "inout")
        if combine != "set":
            value = w.let(INSTRUCTIONS[combine], w.load(buffer, at), value)
        w.store(buffer, at, value)
