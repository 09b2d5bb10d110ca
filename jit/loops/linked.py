"""Linked updates: on a GPU each element of a scatter goes through a list of its own updates.

    places   where[u] = the row that update u goes to, or -1
    links    next[u]  = the first later update of the same row
    heads    first[r] = the first update of row r, and how many there are
    walk     for each update u of row r, in order: out[r] = combine(out[r], y[u])

So rows are summed side by side, each in the order of its updates. A list is found by looking at
all updates, which thousands of threads do at once; that takes less time than one that goes from
update to update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jit.forms.expression import Domain, linear
from jit.forms.nodes import FormValue
from jit.loops.elements import decoded
from jit.loops.ir import Buffer, Operand, VType, index
from jit.loops.nests import Naive
from jit.loops.places import INSTRUCTIONS
from jit.loops.scatters import ScatterNest
from jit.types import TensorType, dtypes, int64, product

INT32 = dtypes["int32"]
FEWEST, MOST = 64, 1 << 30  # updates and rows that lists pay for; what their numbers can count


class Lists:
    """The values that kernels hand to each other.

    Attributes:
        updates: How many there are.
        rows: How many rows they go to.
    """

    def __init__(self, nest: ScatterNest, updates: int, rows: int) -> None:
        self.updates, self.rows = updates, rows
        counts = (updates, updates, rows, rows)
        made = [FormValue(TensorType((n,), INT32), nest.form, 2 + k) for k, n in enumerate(counts)]
        self.places, self.links, self.heads, self.lengths = made


def linked_kernels(nest: ScatterNest, given: Sequence[Any], name: str) -> list[Naive] | None:
    """The kernels of a scatter; None where lists do not pay, or its updates go to more than rows.

    Args:
        nest: Of the scatter.
        given: What it was made of.
        name: Of the kernels.
    """
    if nest.split is None or nest.reports or len(nest.regions or []) != 2:
        return None
    updates, rows = product([loop.extent for loop in nest.turns]), nest.split.extent
    if not (isinstance(updates, int) and isinstance(rows, int)) or max(updates, rows) > MOST:
        return None
    if min(updates, rows) < FEWEST:
        return None
    lists = Lists(nest, updates, rows)
    return [kind(*given).write(lists, name) for kind in (Places, Links, Heads, Walk)]


class Linked(ScatterNest):
    """What the kernels share."""

    def write(self, lists: Lists, name: str) -> Naive:
        """The kernel."""
        raise NotImplementedError

    def _earliest(self, room: Buffer, at: Operand, found: Operand, none: int) -> None:
        """Keeps the number of an update in a register, if it is found and earlier."""
        w, type_ = self.w, VType(INT32)
        number = w.let("where", found, w.cast(at, INT32), w.number(none, type_))
        w.store(room, index(0), w.let("minimum", w.load(room, index(0)), number))

    def _register(self, name: str, value: int) -> Buffer:
        room = self.w.alloc(name, INT32, 1)
        self.w.store(room, index(0), self.w.number(value, VType(INT32)))
        return room


class Places(Linked):
    """Where each update goes."""

    def write(self, lists: Lists, name: str) -> Naive:
        w, split = self.w, self.split
        assert split is not None
        self.grid = lists.updates
        with self.at(self.turns, decoded(w, self.item, [loop.extent for loop in self.turns])):
            inside = self.counts()
            axis_of = {str(i): k for k, i in enumerate(Domain.of(self.places.shape).indices)}
            at = [self.places.at[axis_of[each]] for each in split.names]
            row = w.cast(w.at(linear(split.extents, at), self.places.where), INT32)
            if inside is not None:
                row = w.let("where", inside, row, w.number(-1, VType(INT32)))
            w.store(w.buffer(lists.places, "out"), self.item, row)
        return self.finish(name)


class Links(Linked):
    """Of each update the next one of the same row."""

    def write(self, lists: Lists, name: str) -> Naive:
        w, places = self.w, self.w.buffer(lists.places)
        self.grid = lists.updates
        own, number = w.load(places, self.item), w.cast(self.item, INT32)
        best = self._register("next", lists.updates)
        with w.loop(index(0), index(lists.updates), hint="other") as at:
            later = w.let("less", number, w.cast(at, INT32))
            found = w.let("logical_and", later, w.let("equal", own, w.load(places, at)))
            self._earliest(best, at, found, lists.updates)
        w.store(w.buffer(lists.links, "out"), self.item, w.load(best, index(0)))
        return self.finish(name)


class Heads(Linked):
    """Of each row the first update, and how many there are."""

    def write(self, lists: Lists, name: str) -> Naive:
        w, places = self.w, self.w.buffer(lists.places)
        self.grid, one = lists.rows, VType(INT32)
        row = w.cast(self.item, INT32)
        best, count = self._register("first", lists.updates), self._register("count", 0)
        with w.loop(index(0), index(lists.updates), hint="other") as at:
            found = w.let("equal", row, w.load(places, at))
            self._earliest(best, at, found, lists.updates)
            more = w.let("where", found, w.number(1, one), w.number(0, one))
            w.store(count, index(0), w.let("add", w.load(count, index(0)), more))
        w.store(w.buffer(lists.heads, "out"), self.item, w.load(best, index(0)))
        w.store(w.buffer(lists.lengths, "out"), self.item, w.load(count, index(0)))
        return self.finish(name)


class Walk(Linked):
    """The updates of each element, one after the other."""

    def write(self, lists: Lists, name: str) -> Naive:
        w, out, combine = self.w, self.form.outputs[0], self.form.combine
        assert self.lane is not None
        self.grid = lists.rows * self.lane.extent
        row, lane = decoded(w, self.item, [lists.rows, self.lane.extent])
        regions = self.regions or []
        with self.at(regions, [lane if x.names in self.own else row for x in regions]):
            start = w.emit(self.into)
            place = w.at(linear(self.places.shape, Domain.of(self.places.shape).indices))
        total, link = w.alloc("total", self.total.dtype, 1), self._register("link", 0)
        w.store(total, index(0), start)
        w.store(link, index(0), w.load(w.buffer(lists.heads), row))
        length = w.cast(w.load(w.buffer(lists.lengths), row), int64)
        with w.loop(index(0), length, hint="link"):
            update = w.cast(w.load(link, index(0)), int64)
            turns = decoded(w, update, [loop.extent for loop in self.turns])
            with self.at(self.turns, turns), self.at([self.lane], [lane]):
                value = w.emit(self.y)
            if combine != "set":
                value = w.let(INSTRUCTIONS[combine], w.load(total, index(0)), value)
            w.store(total, index(0), value)
            w.store(link, index(0), w.load(w.buffer(lists.links), update))
        w.store(w.buffer(out, "out"), place, w.cast(w.load(total, index(0)), out.dtype))
        return self.finish(name)
