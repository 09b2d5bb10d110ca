"""Computed again: what later passes over a row compute anew, in place of fetching it from memory.

A pass of instructions that reads nothing new takes a GPU less time than to store a long row and to
load it: exp(x - m) of a row that lies near its threads, say, when it is summed and when it is used.
The instructions are the same, so that the bits are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jit.forms.again import cost, rewritten
from jit.forms.expression import Access, Expression, walk
from jit.forms.tasks import FoldTask, MapTask, Task

if TYPE_CHECKING:
    from jit.loops.folds import RowNest

MOST = 16  # additions that it may take, in all passes together
CHEAP = 3  # and in the pass of its own
Elements = dict[Task, tuple[Expression, ...]]


def computed_again(nest: RowNest) -> Elements:
    """The elements of each task of a nest, with cheap ones of earlier passes written out."""
    elements, levels = dict(nest.elements), nest.group.levels
    beside: dict[
        int, dict[Expression, Expression]
    ] = {}  # by level: maps with those of their pass written out
    for task in sorted(nest.group.tasks, key=lambda task: levels[task]):
        if not isinstance(task, MapTask) or nest.group.is_of_rows(task):
            continue
        (value,), (element,) = task.outputs, elements[task]
        known = beside.setdefault(levels[task], {})
        whole = rewritten(element, dict(known))
        own = Access(value, nest.own_indices(value, nest.domain.indices), ())
        readers = [x for x in nest.group.tasks if own in [*walk(*elements[x])]]
        later = [x for x in readers if levels[x] > levels[task]]
        passes = len({levels[x] for x in later})
        if value in nest.stored or cost(whole) * passes > MOST:
            later = []
        if value not in nest.stored:
            known[own] = whole
        for reader in later:  # a pass that begins anew finds nothing of this one
            elements[reader] = tuple([rewritten(x, {own: whole}) for x in elements[reader]])
        if cost(element) <= CHEAP:  # what is folded waits for no map then
            for reader in [x for x in readers if isinstance(x, FoldTask) and x not in later]:
                elements[reader] = tuple([rewritten(x, {own: element}) for x in elements[reader]])
    return elements
