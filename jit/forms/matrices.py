"""Contractions as products of matrices, for a library that computes those.

    batch x [rows, inner]  times  batch x [inner, columns]  gives  batch x [rows, columns]

Whether a contraction is one, and how its operands lie in memory, is told by its own node and sizes
alone, so that a node that is applied by itself is computed as among others. An operand without gaps
is read where it lies, transposed or not, also if there is one for the whole batch; every other one
is copied before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, same
from jit.forms import nodes
from jit.forms.contraction import Contraction, Letter, plain, size_of, step_of
from jit.forms.expression import Access, Domain, Extractor, linear
from jit.forms.nodes import FormValue
from jit.forms.order import CONTRACT_BLOCK
from jit.forms.placement import extent_hint
from jit.forms.staging import Copy, memory_of
from jit.types import TensorType, float32, product

DTYPES = ("float32", "float64", "float16", "bfloat16")
ALIGNED = 16  # bytes that the place of an operand is a multiple of
LARGE = 1 << 25  # multiplications from which on a library is worth a launch of its own
MANY = 1 << 22  # likewise, where sums are long, or it has units of its own for such numbers
LONG = 512
FAST = ("tf32", "float16", "bfloat16")  # what it has those units for
NARROW = 8  # rows and columns, at least
# Where a letter may be, in the operands and in the result: batch, rows, columns, inner.
PARTS = {(True, True, True), (True, False, True), (False, True, True), (True, True, False)}


@dataclass(frozen=True)
class Matrix:
    """An operand without gaps.

    Attributes:
        value: What it lies in.
        offset: Of its first element.
        turned: It lies transposed.
        shared: There is one for the whole batch.
    """

    value: FormValue
    offset: int
    turned: bool
    shared: bool


@dataclass(frozen=True)
class Matrices:
    """What a library computes.

    Attributes:
        sizes: How many products, rows, columns, inner indices.
        operands: The two of each.
    """

    sizes: tuple[Extent, Extent, Extent, Extent]
    operands: tuple[Matrix, Matrix]

    @property
    def is_fixed(self) -> bool:
        """Whether no size varies: then a library computes it in any case."""
        return all(isinstance(size, int) for size in self.sizes)

    def may_pay(self, precision: str) -> bool:
        """Whether a library may compute it: of sizes that vary the table of launches tells."""
        known = [size for size in self.sizes if isinstance(size, int)]
        dtype = self.operands[0].value.dtype.name
        return len(known) < len(self.sizes) or pays(known, dtype, precision)


def pays(sizes: Sequence[int], dtype: str, precision: str) -> bool:
    """Whether a library computes a product; the rule of both modes.

    Args:
        sizes: How many products, rows, columns, inner indices.
        dtype: Of the elements.
        precision: In which elements of float32 are multiplied.
    """
    _, rows, columns, inner = sizes
    fast = (precision if dtype == "float32" else dtype) in FAST
    least = MANY if fast or inner >= LONG else LARGE
    return math.prod(sizes) >= least and min(rows, columns) >= NARROW


def is_chain(sizes: Sequence[int], dtype: str, precision: str) -> bool:
    """Whether kernels compute a product, and each of its sums is one chain; as `is_for_kernels`."""
    return is_for_kernels(sizes, dtype, precision) and sizes[-1] <= CONTRACT_BLOCK


def is_for_kernels(sizes: Sequence[int], dtype: str, precision: str) -> bool:
    """Whether no library computes a product.

    Args:
        sizes: Rows, columns, inner indices.
        dtype: Of the elements.
        precision: In which a library multiplies elements of float32; "": there is none.
    """
    return not precision or not pays((1, *sizes), dtype, precision)


def leads(form: nodes.Contract, origins: Mapping[nodes.Form, object], precision: str) -> bool:
    """Whether maps may be computed with a contraction: by its kernel, or in a library's epilogue.

    It has a kernel if it is no product of matrices, or too small for a library.

    Args:
        form: The contraction.
        origins: The node that each form comes from.
        precision: In which a library multiplies elements of float32.
    """
    dtype = form.inputs[0].dtype
    if dtype == float32 or not is_for_library(
        form, lambda x: origins.get(x.form) is origins.get(form)
    ):
        return True
    left, _, right = form.spec.partition("->")
    first, second = left.split(",")
    extents = dict(zip(first + second, (d for x in form.inputs for d in x.shape), strict=True))
    parts = [
        [extent for x, extent in extents.items() if (x in first, x in second, x in right) == part]
        for part in ((True, True, True), (True, False, True), (False, True, True))
    ]
    inner = [extent for x, extent in extents.items() if x not in right]
    sizes = [extent_hint(product(part)) for part in (*parts, inner)]
    return not pays(sizes, dtype.name, precision)


def units_for(c: Contraction, units: Callable[[str], str]) -> str:
    """In what tensor cores multiply the elements of a contraction that no library computes.

    Args:
        c: The contraction.
        units: In what they multiply elements of a dtype; "": they do not.

    Returns:
        "" as well where there is too little to do for them.
    """
    dtypes = {x.dtype.name for x in c.elements}
    if len(dtypes) != 1 or c.dtype != float32 or not c.inner or c.form.apart:
        return ""
    work = extent_hint(size_of([*c.letters.values()])) if len(c.elements) == 2 else 0
    fits = work >= LARGE and all(extent_hint(size_of(c.free(k))) >= NARROW for k in (0, 1))
    return units(dtypes.pop()) if fits else ""


def is_for_library(form: nodes.Contract, own: Callable[[FormValue], bool]) -> bool:
    """Whether a contraction is a product of matrices.

    Args:
        form: The contraction.
        own: Which views belong to its node: they may move axes, and repeat what there is one of.
    """
    if form.apart or len(form.inputs) != 2 or {x.dtype.name for x in form.inputs} - {*DTYPES}:
        return False
    if not all(shows_axes(x, own) for x in form.inputs):
        return False
    left, _, right = form.spec.partition("->")
    terms = left.split(",")
    every = {letter: tuple([letter in x for x in (*terms, right)]) for letter in "".join(terms)}
    return {*every.values()} <= PARTS  # or something is summed that only one operand has


def shows_axes(x: FormValue, own: Callable[[FormValue], bool]) -> bool:
    """Whether views of a node show an argument axis by axis: no windows, no margins."""
    while isinstance(x.form, nodes.View) and own(x):
        if axes_of(x.form) is None:
            return False
        x = x.form.inputs[0]
    return True


def axes_of(view: nodes.View) -> list[int | None] | None:
    """Which axis of a view each axis of its source is; None for one with one index.

    None where the view does more than to move and repeat axes.
    """
    if view.map.where or view.fill is not None:
        return None
    names = {f"i{k}": k for k in range(view.outputs[0].ndim)}
    axes = [None if same(place, 0) else names.pop(str(place), -1) for place in view.map.at]
    return None if -1 in axes else axes


class Layout:
    """A contraction in the making, as a library takes it.

    Args:
        form: The contraction.
        extractor: Elements of its operands.
        known: Copies that are there already.

    Attributes:
        contraction: It, or one whose result has its axes in another order.
        moved: How the axes of the result lie in that; None where they are those of the result.
        made: Copies of operands that do not lie as a library takes them, which come before.
    """

    def __init__(
        self, form: nodes.Contract, extractor: Extractor, known: Mapping[Hashable, FormValue]
    ) -> None:
        self.contraction, self.known = Contraction(form, extractor), known
        self.first, self.moved = 0, None
        self.made: dict[Hashable, Copy] = {}
        fitting = [k for k in (0, 1) if self._listed(self.contraction.right) == self._in_order(k)]
        if fitting:
            self.first = fitting[0]
        else:
            self._move_axes(form)
        for k in (0, 1):
            if self._matrix(k) is None:
                self._copy(k)

    def _move_axes(self, form: nodes.Contract) -> None:
        """Another contraction, whose result has its axes in order."""
        c, order = self.contraction, self._in_order(0)
        self.moved = sorted(
            range(len(c.right)), key=lambda k: place_in(order, c.letters[c.right[k]])
        )
        spec = "".join([c.right[k] for k in self.moved])
        (type_,) = form.types
        type_ = type_.with_shape([type_.shape[k] for k in self.moved])
        left = form.spec.partition("->")[0]
        turned = nodes.Contract(form.inputs, (type_,), f"{left}->{spec}")
        self.contraction = Contraction(turned, c.extractor)

    def _listed(self, names: str) -> list[Letter]:
        """The letters with more than one index."""
        found = [self.contraction.letters[x] for x in names]
        return [letter for letter in found if isinstance(letter.at, Dim)]

    def _in_order(self, first: int) -> list[Letter]:
        """The letters of a result whose rows are of operand `first`."""
        c = self.contraction
        return [*c.batch, *c.free(first), *c.free(1 - first)]

    @property
    def matrices(self) -> Matrices:
        """What the library computes."""
        c, first = self.contraction, self.first
        batch, inner = size_of(c.batch), size_of(c.inner)
        rows, columns = size_of(c.free(first)), size_of(c.free(1 - first))
        left, right = self._matrix(first), self._matrix(1 - first)
        assert left
        assert right
        if right.shared and not (left.turned or left.shared):  # rows of all are those of one
            right = replace(right, shared=False)
            batch, rows = 1, batch * rows
        return Matrices((batch, rows, columns, inner), (left, right))

    def _orders(self, operand: int) -> tuple[list[Letter], list[Letter]]:
        """The letters of a matrix that lies as it is, or transposed."""
        c = self.contraction
        rows, columns = c.free(operand), c.inner
        if operand != self.first:
            rows, columns = columns, rows
        return rows + columns, columns + rows

    def _matrix(self, operand: int) -> Matrix | None:
        """An operand where it lies; None if that has gaps, or is in another order."""
        c = self.contraction
        access = plain(c.elements[operand])
        if access is None:
            return None
        place = linear(access.value.shape, access.at)
        shared = bool(c.batch) and all(same(step_of(place, x), 0) for x in c.batch)
        batch = [] if shared else c.batch
        for turned, letters in enumerate(self._orders(operand)):
            offset = dense(place, [*batch, *letters])
            if offset is not None:
                aligned = offset * access.dtype.itemsize % ALIGNED == 0
                return Matrix(access.value, offset, bool(turned), shared) if aligned else None
        return None

    def _copy(self, operand: int) -> None:
        """Has an operand read from a copy.

        Of axes that are moved what is copied is what lies before: a transposed matrix stays so.
        """
        c = self.contraction
        x, shown = c.form.inputs[operand], [c.letters[x] for x in c.terms[operand]]
        while isinstance(x.form, nodes.View) and (axes := axes_of(x.form)) is not None:
            x, shown = x.form.inputs[0], [None if k is None else shown[k] for k in axes]
        own = [letter for letter in shown if letter and isinstance(letter.at, Dim)]
        batch = c.batch if any(letter in own for letter in c.batch) else []
        orders = [[*batch, *letters] for letters in self._orders(operand)]
        letters = next((order for order in orders if order[-1:] == own[-1:]), orders[0])
        value = memory_of(TensorType(tuple([letter.extent for letter in letters]), x.dtype))
        domain = Domain.of(value.shape)
        names = {letter.name: i for letter, i in zip(letters, domain.indices)}
        at = tuple([names.get(letter.name, 0) if letter else 0 for letter in shown])
        key = x, *map(str, (*at, *value.shape))
        if key not in self.known and key not in self.made:
            self.made[key] = Copy(value, domain, c.extractor.element(x, at))
        value = self.known[key] if key in self.known else self.made[key].value
        c.elements[operand] = Access(value, tuple([letter.at for letter in letters]), ())

    def put_back(self, made: FormValue, result: FormValue) -> tuple[Domain, Access]:
        """How elements of the result are read from one whose axes are in another order."""
        assert self.moved is not None
        domain = Domain.of(result.shape)
        return domain, Access(made, tuple([domain.indices[k] for k in self.moved]), ())


def place_in(order: Sequence[Letter], letter: Letter) -> int:
    """Where a letter stands; those with one index stand before."""
    return order.index(letter) if isinstance(letter.at, Dim) else -1


def dense(place: Extent, letters: Sequence[Letter]) -> int | None:
    """Where the first element is, if indices of letters in their order follow each other there."""
    expected: Any = 1
    for letter in reversed(letters):
        step = step_of(place, letter)
        if step is None or not same(step, expected):
            return None
        place = place - step * letter.at
        expected = expected * letter.extent
    return place if isinstance(place, int) else None
