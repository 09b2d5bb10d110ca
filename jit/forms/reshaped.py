"""Reshaped values: what is computed of each other element by element has one shape.

    h: (8192, 768);   y = gelu(reshape(h + b, (8, 1024, 768)))
    y = gelu(reshape(h, (8, 1024, 768)) + b)

Rows of a batch are one axis to products, and two to what stands between them. Loops over different
axes are never one kernel. So all is computed in the finest shape, in which values of coarser ones
are read by plain index arithmetic. Elements are the same, and so is the order of folds over rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count, pairwise

from jit.dims import Extent
from jit.forms import nodes
from jit.forms.index import IndexMap, row_major
from jit.forms.merge import merged, with_inputs
from jit.forms.nodes import Form, FormValue
from jit.forms.placement import is_number, unmoved
from jit.forms.program import FormProgram
from jit.types import product

Shape = tuple[Extent, ...]
Cuts = frozenset[int]


def in_one_shape(program: FormProgram, leads: Callable[[nodes.Contract], bool]) -> FormProgram:
    """The same program, in which no reshape stands between maps, and folds of rows.

    Args:
        program: Stays as it is.
        leads: Whether maps of a product's own shape may be computed with it: they stay as they are.
    """
    families = list(filter(None, map(finest, related(program.forms, leads))))
    if not families:
        return program
    return merged(Reshaping(program, dict(each for family in families for each in family)).made)


def related(forms: Iterable[Form], leads: Callable[[nodes.Contract], bool]) -> Iterator[list[Form]]:
    """Maps, folds of rows, and products that lead, as reshapes and elements connect them."""
    leader: dict[FormValue, FormValue] = {}

    def find(x: FormValue) -> FormValue:
        while (above := leader.get(x, x)) is not x:
            leader[x] = leader.get(above, above)
            x = above
        return x

    members: list[tuple[FormValue, Form]] = []
    for form in forms:
        match form:
            case nodes.Pointwise():
                linked = [*form.inputs, *form.outputs]
            case nodes.Reduce() if is_of_rows(form):
                linked = [*form.inputs]
            case nodes.Contract() if leads(form):
                linked = [*form.outputs]
            case nodes.View() if unmoved(form.outputs[0]) is not None:
                linked = [form.inputs[0], *form.outputs]
            case _:
                continue
        first, *others = map(find, linked)
        leader.update(dict.fromkeys([x for x in others if x is not first], first))
        if not isinstance(form, nodes.View):
            members.append((first, form))
    families = defaultdict[FormValue, list[Form]](list)
    for value, form in members:
        families[find(value)].append(form)
    yield from families.values()


def is_of_rows(form: nodes.Reduce) -> bool:
    """Whether a fold goes over trailing axes."""
    ndim = form.inputs[0].ndim
    return form.axes == tuple(range(ndim - len(form.axes), ndim))


def finest(family: list[Form]) -> list[tuple[Form, Shape]] | None:
    """Forms of a family that have another shape than the finest, with that; None if none has.

    None, too, where sizes vary, no shape is finer than all others, a fold would have more axes, or
    a product leads.
    """
    every: dict[Form, Cuts] = {}
    for form in family:
        sizes = None if isinstance(form, nodes.Contract) else cuts(form.inputs[0].shape)
        if sizes is None:
            return None
        every[form] = sizes
    united = Cuts().union(*every.values())
    if len({*every.values()}) == 1:
        return None
    ordered = sorted(united, reverse=True)
    if any(coarse % fine for coarse, fine in pairwise(ordered)):
        return None
    for form, own in every.items():
        if isinstance(form, nodes.Reduce):
            folded = product([form.inputs[0].shape[axis] for axis in form.axes])
            assert isinstance(folded, int)
            if any(cut < folded for cut in united - own):
                return None
    shape = tuple([coarse // fine for coarse, fine in pairwise([*ordered, 1])])
    return [(form, shape) for form, own in every.items() if own != united]


def cuts(shape: Shape) -> Cuts | None:
    """How many elements an index of each axis has that has several; None where that varies.

    The first is the size: what has the same is the same shape but for axes of one index.
    """
    sizes = [product(shape[k:]) for k, extent in enumerate(shape) if extent != 1]
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    return Cuts(known) if len(known) == len(sizes) else None


class Reshaping:
    """A program in the making.

    Args:
        program: As it was.
        shapes: In which shape other forms are computed than theirs.

    Attributes:
        made: The new one.
    """

    def __init__(self, program: FormProgram, shapes: dict[Form, Shape]) -> None:
        self._instead: dict[FormValue, FormValue] = {}
        self._forms: list[Form] = []
        self._names = count(sum(len(form.outputs) for form in program.forms))
        self._origins = dict(program.origins)
        for form in program.forms:
            new = with_inputs(form, self._instead)
            shape = shapes.get(form)
            start = len(self._forms)
            if shape is None:
                self._forms.append(new)
                outputs = new.outputs
            else:
                assert isinstance(new, nodes.Pointwise | nodes.Reduce)
                outputs = self._in(new, shape)
            if form in program.origins:
                given = dict.fromkeys(self._forms[start:], program.origins[form])
                self._origins.update(given)
            pairs = zip(form.outputs, outputs, strict=True)
            self._instead.update([(old, x) for old, x in pairs if old is not x])
        results = tuple([self._instead.get(x, x) for x in program.outputs])
        self.made = FormProgram(program.inputs, tuple(self._forms), results, self._origins)

    def _in(self, form: nodes.Pointwise | nodes.Reduce, shape: Shape) -> list[FormValue]:
        """The outputs of a form, views of what is computed in another shape."""
        inputs = tuple([self._seen(x, shape) for x in form.inputs])
        if isinstance(form, nodes.Pointwise):
            types = tuple([x.with_shape(shape) for x in form.types])
            new: Form = replace(form, inputs=inputs, types=types)
        else:
            folded = product([form.inputs[0].shape[axis] for axis in form.axes])
            axes = [k for k in range(len(shape)) if product(shape[k:]) <= folded]  # type: ignore[operator]
            kept = shape[: len(shape) - len(axes)]
            types = tuple([x.with_shape(kept) for x in form.types])
            new = replace(form, inputs=inputs, types=types, axes=tuple(axes))
        self._add(new)
        return [self._seen(x, old.shape) for x, old in zip(new.outputs, form.outputs, strict=True)]

    def _seen(self, x: FormValue, shape: Shape) -> FormValue:
        """A value in another shape, through no more than one view."""
        if is_number(x.form) or isinstance(x.form, nodes.Index):
            map = row_major(x.shape, shape)
            form: Form = x.form
            if isinstance(form, nodes.Index):
                form = replace(form, map=map.then(form.map))
            return self._add(replace(form, types=(x.type.with_shape(shape),)))
        source, map, fill = x, row_major(x.shape, shape), None
        while isinstance(source.form, nodes.View) and (fill is None or source.form.fill is None):
            view = source.form
            map, fill = map.then(view.map, outside=fill is not None), view.fill
            source = view.inputs[0]
        return source if map.is_identity(source.shape) else self._view(source, map, fill)

    def _view(self, source: FormValue, map: IndexMap, fill: object) -> FormValue:
        types = (source.type.with_shape(map.shape),)
        return self._add(nodes.View((source, *map.tables), types, map, fill))

    def _add(self, form: Form) -> FormValue:
        self._forms.append(form)
        for value in form.outputs:
            value.name = f"%{next(self._names)}"
        return form.outputs[0]
