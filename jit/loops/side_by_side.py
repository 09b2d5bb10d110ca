"""What of a row is folded side by side: elements that meet later do not wait for each other.

Where elements may meet in any order, more lanes share them. Where their order matters, but not
which neighbours meet first, as among 0.0 and -0.0, a block is cut into segments, each with lanes of
its own, which meet in the order of the segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jit.forms.order import BLOCK, LANES
from jit.forms.placement import extent_hint
from jit.loops.ir import Lit, Operand, index
from jit.types import kind

if TYPE_CHECKING:
    from jit.loops.folds import RowNest

SEGMENTS = 4
VECTORS, TURNS = 8, 12  # side by side, where the order is free; turns that they are worth then


def lane_count(nest: RowNest, folds: Sequence[Any], *, cheap: bool) -> int:
    """How many lanes share the elements of a block.

    Fewer where a row is short: those left out would only hold the identity. More where elements
    may meet in any order: so few vectors wait for what they have just computed.

    Args:
        nest: That folds.
        folds: What it folds together.
        cheap: Whether lanes are kept in registers.
    """
    single = all(task.combiner.arity == 1 for task in folds)
    if isinstance(nest.length, int) and nest.length < LANES and single:
        return max(2, 1 << max(0, nest.length - 1).bit_length())
    if nest.target.is_gpu or not cheap or not all(is_exact(nest, task) for task in folds):
        return LANES
    narrow = min(nest.elements[task][0].dtype.itemsize for task in folds)
    turns = min(BLOCK, extent_hint(nest.length)) // TURNS
    most = min(VECTORS * nest.target.lanes(narrow), turns)
    return max(LANES, 1 << max(0, most.bit_length() - 1))


def is_exact(nest: RowNest, task: Any) -> bool:
    """Whether a fold has the same bits in any order."""
    return all(kind(x.dtype) in task.combiner.exact for x in nest.elements[task])


def is_cut(nest: RowNest, folds: Sequence[Any], count: int, *, cheap: bool) -> bool:
    """Whether blocks are cut into segments.

    Args:
        nest: That folds.
        folds: What it folds together.
        count: How many lanes share a segment.
        cheap: Whether lanes are kept in registers.
    """
    turns = min(BLOCK, extent_hint(nest.length)) // (SEGMENTS * count)
    grouped = all(
        kind(x.dtype) in task.combiner.grouped for task in folds for x in nest.elements[task]
    )
    single = len(folds) == 1 and folds[0].combiner.arity == 1
    return single and grouped and cheap and count == LANES and turns > 1 and not nest.target.is_gpu


def fold_segments(
    nest: RowNest, folds: Sequence[Any], maps: Sequence[Any], lanes: Any, start: Any, full: Any
) -> Operand:
    """Folds segments of a block, as many as there are of whole turns; where that ends.

    Args:
        nest: That folds.
        folds: What it folds together.
        maps: What it computes besides.
        lanes: The accumulators of each fold, `LANES` of them.
        start: The first element of the block.
        full: Where its last whole turn ends.
    """
    w = nest.w
    length, bounds = segments_of(nest, start, full)
    firsts = bounds[:-1]
    others = [{task: nest.room(task, LANES, "segment") for task in folds} for _ in firsts[1:]]
    with w.loop(index(0), length, LANES, hint="chunk") as turn:
        for first, rooms in zip(firsts, [lanes, *others]):
            with nest.lanes_of(LANES) as lane:
                with nest.at_place(w.let("add", w.let("add", first, turn), lane)):
                    nest.fold_lane(folds, maps, rooms, lane, {})
    for rooms in others:
        for task in folds:
            with nest.lanes_of(LANES) as t:
                nest.meet(task, lanes[task], t, [w.load(room, t) for room in rooms[task]])
    return bounds[-1]


def segments_of(nest: RowNest, start: Operand, full: Operand) -> tuple[Operand, list[Operand]]:
    """How long the segments of a block are; where they begin, and where the last one ends."""
    w, numbers = nest.w, range(SEGMENTS + 1)
    if isinstance(start, Lit) and isinstance(full, Lit):
        first = int(start.value)
        known = (int(full.value) - first) // (SEGMENTS * LANES) * LANES
        return index(known), [index(first + known * s) for s in numbers]
    turns = w.let("quotient", w.let("subtract", full, start), index(SEGMENTS * LANES))
    length = w.let("multiply", turns, index(LANES))
    return length, [w.let("add", start, w.let("multiply", length, index(s))) for s in numbers]
