"""Races: where the winner of a row is, by lanes that remember turns instead of places.

A lane of `argmax` meets the elements of a block one turn after the other, and so each comes later
than what the lane holds: no places need be compared. The lane keeps the turn in which its winner
came, a small integer; turns become places once, before the lanes meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jit.dims import same
from jit.forms.expression import Coordinate, linear
from jit.loops.ir import Buffer, Operand, VType
from jit.types import dtypes, int64

if TYPE_CHECKING:
    from jit.loops.folds import RowNest

int32 = dtypes["int32"]


class Race:
    """The lanes of a block that fold pairs (value, place in the row).

    Args:
        nest: That folds; it writes.
        task: The fold.
        count: How many lanes there are.
    """

    def __init__(self, nest: RowNest, task: Any, count: int) -> None:
        self.nest, self.task, self.count = nest, task, count
        self.element, place = nest.elements[task]
        number = nest.count()
        w, dtypes = nest.w, (self.element.dtype, place.dtype)
        self.best = w.alloc(f"best{number}", dtypes[0], count)
        self.turns = w.alloc(f"turns{number}", int32, count)
        self.none, self.nowhere = task.combiner.identity(*dtypes)
        with nest.lanes_of(count) as lane:
            w.store(self.best, lane, w.number(self.none, VType(dtypes[0])))
            w.store(self.turns, lane, w.number(0, VType(int32)))

    def turn(self, first: Operand, start: Operand) -> None:
        """Begins the turn whose first element is number `first` of the row."""
        w = self.nest.w
        self.now = w.let("astype", w.let("subtract", first, start), dtype=int32)

    def take(self, lane: Operand) -> None:
        """Folds the element at the current index."""
        w, apply = self.nest.w, self.nest.apply
        new, old = w.emit(self.element), w.load(self.best, lane)
        wins = self.task.combiner.later(apply, old, new)
        w.store(self.best, lane, w.let("where", wins, new, old))
        w.store(self.turns, lane, w.let("where", wins, self.now, w.load(self.turns, lane)))

    def finish(self, rooms: list[Buffer], start: Operand, stop: Operand) -> None:
        """Writes pairs of values and places; lanes that met no element have no place."""
        w, (values, places) = self.nest.w, rooms
        with self.nest.lanes_of(self.count) as lane:
            first = w.let("add", start, lane)
            turn = w.let("astype", w.load(self.turns, lane), dtype=int64)
            nowhere = w.number(self.nowhere, VType(int64))
            met = w.let("less", first, stop)
            w.store(places, lane, w.let("where", met, w.let("add", first, turn), nowhere))
            w.store(values, lane, w.load(self.best, lane))


def is_race(nest: RowNest, task: Any) -> bool:
    """Whether a fold is of pairs whose places are the numbers of the elements in their row."""
    if task.combiner.later is None or nest.target.is_gpu:
        return False
    _, place = nest.elements[task]
    group = nest.group
    position = linear([group.extents[k] for k in group.order.inner], nest.inner_at)
    return isinstance(place, Coordinate) and place.dtype == int64 and same(place.at, position)
