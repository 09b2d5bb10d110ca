"""How many lanes fold a row: elements that are folded side by side wait for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jit.forms.order import BLOCK, LANES
from jit.forms.placement import extent_hint
from jit.types import kind

if TYPE_CHECKING:
    from jit.loops.folds import RowNest

VECTORS, TURNS = 8, 16  # side by side, where the order is free; turns that they are worth then


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
