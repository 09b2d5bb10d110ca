"""Computed again: what later passes over a row compute anew, in place of fetching it from memory.

A pass of instructions that reads nothing new takes a GPU less time than to store a long row and to
load it: exp(x - m) of a row that lies near its threads, say, when it is summed and when it is used.
The instructions are the same, so that the bits are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jit.forms.expression import Access, Apply, Checked, Expression, walk
from jit.forms.placement import COSTS
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


def cost(x: Expression) -> int:
    """What an expression takes, in additions."""
    return sum(COSTS.get(part.name, 1) for part in walk(x) if isinstance(part, Apply))


def rewritten(x: Expression, known: dict[Expression, Expression]) -> Expression:
    """An expression with others in place of some of its parts, which `known` gains more of."""
    for part in walk(x):  # inner ones first
        if part not in known:
            known[part] = _with_parts(part, known)
    return known[x]


def _with_parts(x: Expression, known: Mapping[Expression, Expression]) -> Expression:
    match x:
        case Apply():
            return Apply(x.name, tuple([known[arg] for arg in x.args]), x.dtype)
        case Checked():
            return Checked(known[x.inner], x.conditions, x.guard)
        case _:
            return x
