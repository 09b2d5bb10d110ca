"""Ahead: what the epilogue of a tile reads and writes is asked for before its products are added.

Large arrays lie in no cache, and a processor that meets them at the end of a tile waits for one
line after the other: parameters and moments that an optimiser updates there, the activations that
a slope is multiplied by, the lines that results replace. The tile's products take long enough for
all of them to arrive.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from jit.dims import Extent
from jit.forms.contraction import plain, size_of
from jit.forms.expression import linear
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint, size_hint
from jit.forms.tasks import MapTask
from jit.loops.elements import decoded
from jit.loops.ir import TILE, Buffer, Operand, index
from jit.loops.lines import stores_lines
from jit.loops.nontemporal import is_large

if TYPE_CHECKING:
    from jit.loops.products import ProductNest

FAR = 1 << 17  # bytes of an array from which on it may lie in no cache near the processor
LINE = 64  # bytes that come together
LONG = 64  # inner indices whose products take longer than to ask


def ask_for_results(nest: ProductNest, height: int, row: Operand) -> None:
    """Asks for what a full tile's epilogue needs of arrays that are far away, in its last chain.

    Args:
        nest: What is written.
        height: Of the tile.
        row: Its first row.
    """
    w, t = nest.w, nest.tiling
    whole = nest.count == nest.width == t.width and not nest.rows_masked
    if not whole or extent_hint(size_of(nest.c.inner)) < LONG or not (places := far(nest)):
        return
    line = LINE // nest.c.dtype.itemsize
    across, along = (1, line) if stores_lines(nest) else (line, 1)
    last = nullcontext() if nest.cut is None else w.when(nest.is_last)
    with last, w.loop(index(0), index(height), along, nest.hint(TILE)) as m:
        at_row = decoded(w, w.let("add", row, m), [x.extent for x in t.rows])
        columns = w.loop(index(0), index(nest.width), across, nest.hint(TILE))
        with nest.bound(t.rows, at_row), columns as n:
            column = w.let("add", nest.first_column, n)
            with nest.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
                for buffer, place in places.items():
                    w.prefetch(buffer, w.at(place))


def far(nest: ProductNest) -> dict[Buffer, Extent]:
    """The large arrays that an element of the epilogue reads or writes, each with its place."""
    own, places = nest.c.result.indices, dict[Buffer, Extent]()
    for task in nest.group.tasks:
        stored = [x for x in task.outputs if x in nest.stored and not goes_past(nest, x)]
        found = [(x, own, "out") for x in stored]
        if isinstance(task, MapTask):
            direct, computed = task.read_directly(), nest.group.values()
            read = [x for x in task.accesses() if x in direct and x.value not in computed]
            found += [(x.value, x.at, "in") for x in read if plain(x)]
        for value, at, access in found:
            size = size_hint(value.shape)
            if size >= size_hint(nest.group.extents) and size * value.dtype.itemsize >= FAR:
                places.setdefault(nest.w.buffer(value, access), linear(value.shape, at))
    return places


def goes_past(nest: ProductNest, value: FormValue) -> bool:
    """Whether a result is stored past the caches: to ask for it would bring it there."""
    return is_large(value.shape, value.dtype.itemsize, nest.w.cache)
