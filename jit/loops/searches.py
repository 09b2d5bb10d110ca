"""Searches: folds of which one element may tell all, as `any`, `all`, and where the first True is.

Elements lie between two numbers, and one that is as far as they go is not changed by what comes
behind it. It is looked for block by block: the blocks behind the one that holds it are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from jit.forms.expression import Apply, Expression
from jit.loops.ir import TRUTH, Buffer, Lit, index
from jit.loops.places import may_fail
from jit.loops.side_by_side import is_exact
from jit.types import bool_, kind

if TYPE_CHECKING:
    from jit.loops.folds import RowNest

BLOCKS = 64  # that an item searches one after the other, of cheap elements
CHEAP = 8  # additions of such an element


class Search:
    """What blocks are folded for.

    Args:
        nest: That folds; it writes.
        finals: What ends it: the number for each fold; nothing where all blocks are wanted.

    Attributes:
        blocks: How many of them a thread had better fold one after the other.
    """

    def __init__(self, nest: RowNest, finals: dict[Any, Any]) -> None:
        self._nest, self._finals = nest, finals
        self.blocks = max(1, BLOCKS * CHEAP // max(CHEAP, nest.cost)) if finals else 1
        self._open: Buffer | None = None
        if finals:
            self._open = nest.w.alloc(f"open{nest.count()}", bool_, 1, "stack")
            nest.w.store(self._open, index(0), Lit(value=True, type=TRUTH))

    @classmethod
    def among(cls, nest: RowNest, folds: Sequence[Any], maps: Sequence[Any]) -> Search:
        """The search that folds are, if they all are one and nothing else is done on the way."""
        finals = {task: final_of(nest, task) for task in folds}
        searched = not maps and not nest.target.is_gpu and None not in finals.values()
        return cls(nest, finals if searched else {})

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """What is done as long as nothing ends the search."""
        if self._open is None:
            yield
            return
        w = self._nest.w
        with w.when(w.load(self._open, index(0))):
            yield

    def look(self, found: dict[Any, list[Buffer]]) -> None:
        """Ends the search if a block has given what ends it, for all folds together."""
        if self._open is None:
            return
        w = self._nest.w
        wanted = None
        for task, final in self._finals.items():
            value = w.load(found[task][0], index(0))
            left = w.let("not_equal", value, w.number(final, value.type))
            wanted = left if wanted is None else w.let("logical_or", wanted, left)
        if wanted is not None:
            w.store(self._open, index(0), wanted)


def final_of(nest: RowNest, task: Any) -> Any:
    """The number that ends the search of a fold; None where it is none, or all is to be checked."""
    elements, limits = nest.elements[task], limits_of(nest.elements[task][0])
    if task.combiner.final is None or limits is None or not is_exact(nest, task):
        return None
    return None if any(map(may_fail, elements)) else task.combiner.final(*limits)


def limits_of(x: Expression) -> tuple[int, int] | None:
    """The least and the greatest number that an element may be, if these are near each other."""
    is_from_bool = isinstance(x, Apply) and x.name == "astype" and x.args[0].dtype == bool_
    if x.dtype == bool_ or is_from_bool:
        return 0, 1
    if kind(x.dtype) == "integer" and x.dtype.itemsize == 1:
        return int(np.iinfo(x.dtype).min), int(np.iinfo(x.dtype).max)
    return None
