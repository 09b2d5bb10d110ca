"""Folds that are cut, so that threads share them out: when, and into what."""

from __future__ import annotations

from collections.abc import Sequence

from jit.dims import Extent
from jit.forms import nodes
from jit.forms.across import folds_across
from jit.forms.expression import Access, Domain
from jit.forms.nodes import FormValue
from jit.forms.order import BLOCK, COLUMN_BLOCK, Order
from jit.forms.placement import extent_hint
from jit.forms.tasks import BlockTask, ColumnTask, FoldTask
from jit.types import TensorType, product

FEW_ROWS = 8  # fewer rows than this, and long: blocks of a row are shared out among threads
FEW_COLUMNS = 1 << 17  # where there are many threads, they share out the rows of so few columns
FEW_SUMS = 1 << 13  # likewise, where rows are folded one after the other


def is_long(task: FoldTask) -> bool:
    """Whether rows are so few and long that threads share out the blocks of a row."""
    order, extents = Order.of(len(task.domain.extents), task.axes), task.domain.extents
    if not order.inner or order.outer or task.of_blocks:
        return False
    length = product([extents[k] for k in order.inner])
    rows = extent_hint(product([extents[k] for k in order.kept]))
    return rows < FEW_ROWS and extent_hint(length, 2 * BLOCK) > BLOCK


def is_long_across(task: FoldTask) -> bool:
    """Whether a thread would have several blocks of a row: of those it takes one."""
    order, extents = Order.of(len(task.domain.extents), task.axes), task.domain.extents
    if not order.inner or order.outer or task.of_blocks:
        return False
    length = product([extents[k] for k in order.inner])
    return extent_hint(length, 2 * BLOCK) > BLOCK and folds_across(task)


def in_blocks(task: FoldTask) -> tuple[BlockTask, FoldTask]:
    """A fold of long rows as a fold of each block, and the fold of what the blocks give."""
    extents, order = task.domain.extents, Order.of(len(task.domain.extents), task.axes)
    length = product([extents[k] for k in order.inner])
    shape = (*(extents[k] for k in order.kept), -(-length // BLOCK))
    parts = memory_for(task, shape)
    part = BlockTask(
        task.form, parts, task.domain, task.elements, combiner=task.combiner, axes=task.axes
    )
    part.extractor = task.extractor
    rest = rest_of(task, parts, frozenset({len(order.kept)}))
    rest.of_blocks = True
    return part, rest


def memory_for(task: FoldTask, shape: Sequence[Extent]) -> tuple[FormValue, ...]:
    """Values for the parts of a fold."""
    types = [TensorType(tuple(shape), x.dtype) for x in task.elements]
    return tuple([nodes.Source((), (type_,)).outputs[0] for type_ in types])


def rest_of(task: FoldTask, parts: tuple[FormValue, ...], axes: frozenset[int]) -> FoldTask:
    """The fold of the parts of a fold."""
    domain = Domain.of(parts[0].shape)
    elements = tuple([Access(x, domain.indices, ()) for x in parts])
    return FoldTask(task.form, task.outputs, domain, elements, combiner=task.combiner, axes=axes)


def is_of_columns(task: FoldTask, *, many: bool = False) -> bool:
    """Whether a fold goes over leading loops that are long enough to be cut into parts.

    Where there are many threads, also whether there are so few columns that it is worth it.
    """
    order, extents = Order.of(len(task.domain.extents), task.axes), task.domain.extents
    if order.inner or order.blocked != tuple(range(len(task.axes))):
        return False
    rows = product([extents[k] for k in order.outer])
    if many:
        columns = extent_hint(product([extents[k] for k in order.kept]))
        return columns <= FEW_COLUMNS and extent_hint(rows) >= 2 * COLUMN_BLOCK
    return isinstance(rows, int) and 2 * COLUMN_BLOCK <= rows <= COLUMN_BLOCK**2


def has_few_rows(task: FoldTask) -> bool:
    """Whether rows are folded one after the other, and there are too few sums for many threads."""
    order, extents = Order.of(len(task.domain.extents), task.axes), task.domain.extents
    rows = extent_hint(product([extents[k] for k in order.kept]))
    return bool(order.inner and order.outer) and rows <= FEW_SUMS


def in_rows(task: FoldTask) -> tuple[FoldTask, FoldTask]:
    """A fold as one of each row, and the fold of what the rows give, one after the other."""
    extents, order = task.domain.extents, Order.of(len(task.domain.extents), task.axes)
    left = sorted((*order.kept, *order.outer))
    parts = memory_for(task, [extents[k] for k in left])
    given = task.form, parts, task.domain, task.elements
    part = FoldTask(*given, combiner=task.combiner, axes=frozenset(order.inner))
    part.extractor = task.extractor
    rest = rest_of(task, parts, frozenset([left.index(k) for k in order.outer]))
    rest.of_blocks = True
    return part, rest


def in_parts(task: FoldTask, *, alone: bool = False) -> tuple[ColumnTask, FoldTask]:
    """A fold over columns as a part for each block of rows, and the fold of the parts."""
    extents, order = task.domain.extents, Order.of(len(task.domain.extents), task.axes)
    rows = product([extents[k] for k in order.outer])
    parts = memory_for(task, (-(-rows // COLUMN_BLOCK), *(extents[k] for k in order.kept)))
    given = task.form, parts, task.domain, task.elements
    part = ColumnTask(*given, combiner=task.combiner, axes=task.axes, alone=alone)
    part.extractor = task.extractor
    rest = rest_of(task, parts, frozenset({0}))
    rest.of_blocks = alone  # there may be more of them than a block has
    return part, rest
