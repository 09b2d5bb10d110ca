"""Panels: an operand of a product copied to where register tiles read it in a row.

A panel has the shape (outer..., strips, inner, width): strip by strip of the columns, with zeros
behind the last one. It is made once, by a kernel of its own, and read by all items of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent
from jit.forms.contraction import Contraction, Letter
from jit.forms.expression import (
    Apply,
    Domain,
    Expression,
    Extractor,
    Inside,
    Number,
    extents_of,
    walk,
)
from jit.forms.index import Condition, is_inside
from jit.forms.nodes import Form, FormValue
from jit.forms.tasks import MapTask, narrowed
from jit.target import Target
from jit.types import TensorType

VECTORS = 2  # in a strip


@dataclass(frozen=True, eq=False)
class Panel:
    """An operand, packed.

    Attributes:
        value: Where it lies.
        outer: The letters that it has by themselves.
        strips: How many strips of columns there are.
        inner: How many rows a strip has.
        width: Columns of a strip.
    """

    value: FormValue
    outer: tuple[Letter, ...]
    strips: Extent
    inner: Extent
    width: int


class Panels:
    """The panels of a program; equal ones are made once.

    Args:
        extractor: Elements of values.
        target: The machine.
    """

    def __init__(self, extractor: Extractor, target: Target) -> None:
        self._waiting: list[MapTask] = []
        self._extractor = extractor
        self._target = target
        self._known: dict[tuple[Any, ...], FormValue] = {}

    def of(self, c: Contraction, operand: int, columns: Letter) -> Panel:
        """The panel of an operand of a contraction with one inner letter."""
        (inner,) = c.inner
        width = VECTORS * self._target.lanes(c.dtype.itemsize)
        names = set(symbols_of(c.elements[operand]))
        outer = [x for x in c.letters.values() if x.name in names and x not in (inner, columns)]
        strips = -(-columns.extent // width)
        domain = Domain.of((*[x.extent for x in outer], strips, inner.extent, width))
        *at, strip, row, lane = domain.indices
        column = strip * width + lane
        place: dict[Letter, Extent] = {**dict(zip(outer, at)), inner: row, columns: column}
        index = tuple([place.get(c.letters[name], 0) for name in c.terms[operand]])
        element = self._element(c.form.inputs[operand], index, (column, columns.extent))
        value = self._value(c.form.inputs[operand], domain, narrowed(element, c.dtype))
        return Panel(value, tuple(outer), strips, inner.extent, width)

    def made(self) -> list[MapTask]:
        """What packs the panels that nobody has asked for before."""
        tasks, self._waiting = self._waiting, []
        return tasks

    def _element(self, x: FormValue, at: tuple[Extent, ...], column: Condition) -> Expression:
        """An element of an operand, or 0 behind its last column."""
        if is_inside(*column) is True:
            return self._extractor.element(x, at)
        inner = self._extractor.element(x, at, (column,))
        zero = Number(x.dtype.type(0), x.dtype)
        return Apply("where", (Inside((column,)), inner, zero), x.dtype)

    def _value(self, x: FormValue, domain: Domain, element: Expression) -> FormValue:
        """The value that has these elements of `x`."""
        key = domain.shape, element
        if key not in self._known:
            form = Form((x,), (TensorType(domain.shape, element.dtype),))
            self._known[key] = form.outputs[0]
            self._waiting.append(MapTask(form, form.outputs, domain, (element,)))
        return self._known[key]


def symbols_of(element: Expression) -> Iterator[str]:
    """The names of the loops that an element depends on."""
    for x in walk(element):
        for extent in extents_of(x):
            if isinstance(extent, Dim):
                yield from (symbol.name for symbol in extent.symbols())
