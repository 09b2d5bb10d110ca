"""Permuted: a contraction whose result is wanted with its axes in another order has them so.

    p = contract(x, y) "ncpq,nopq->copq"; w - p.permuted(1, 0, 2, 3)
    ->  p = contract(x, y) "ncpq,nopq->ocpq"; w - p

What reads the result elementwise joins the kernel of the contraction then. No sum changes: their
order is that of the operands' letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jit.dataclass import dataclass
from jit.dims import Extent, same
from jit.forms import nodes
from jit.forms.expression import moved
from jit.forms.index import IndexMap, loop
from jit.forms.merge import with_inputs
from jit.forms.nodes import Form, FormValue
from jit.forms.program import FormProgram
from jit.types import TensorType

Readers = Mapping[FormValue, list[Form]]


@dataclass(frozen=True, eq=False)
class Wanted:
    """How the result of a contraction is read.

    Attributes:
        views: Through which views, one after the other.
        order: For each of its axes, which one of the last view it is; -1: one index, left out.
    """

    views: tuple[nodes.View, ...]
    order: tuple[int, ...]


def permuted(program: FormProgram) -> FormProgram:
    """The same program; results of contractions have the order of axes that they are read in."""
    readers: dict[FormValue, list[Form]] = {}
    for form in program.forms:
        for x in dict.fromkeys(form.inputs):
            readers.setdefault(x, []).append(form)
    contractions = [x for x in program.forms if isinstance(x, nodes.Contract)]
    found = {form: wanted(form, readers, program) for form in contractions}
    if not any(found.values()):
        return program
    left_out = {view for each in found.values() if each for view in each.views}
    instead: dict[FormValue, FormValue] = {}
    origins, forms = dict(program.origins), list[Form]()
    for form in program.forms:
        if form in left_out:
            continue
        added = [with_inputs(form, instead)]
        if isinstance(form, nodes.Contract) and (how := found[form]):
            added = [*in_order(added[0], how)]
            instead[how.views[-1].outputs[0]] = added[-1].outputs[0]
        elif added[0] is not form:
            instead.update(zip(form.outputs, added[0].outputs, strict=True))
        if form in origins:
            origins.update(dict.fromkeys(added, origins[form]))
        forms += added
    outputs = tuple([instead.get(x, x) for x in program.outputs])
    return FormProgram(program.inputs, tuple(forms), outputs, origins)


def wanted(contract: nodes.Contract, readers: Readers, program: FormProgram) -> Wanted | None:
    """How a contraction is read, if that is elementwise, through views that permute its axes.

    The last axis stays, along which results are stored. Products read through any view: for them
    nothing changes.
    """
    (value,) = contract.outputs
    views = list[nodes.View]()
    at: list[Extent] = [loop(axis, extent) for axis, extent in enumerate(value.shape)]
    while (view := only_view(value, readers, program)) is not None:
        at = [moved(x, view.map.at) for x in at]
        views.append(view)
        (value,) = view.outputs
    shown, order = readers.get(value, []), order_of(contract.outputs[0], at, value)
    elementwise = all(isinstance(form, nodes.Pointwise) for form in shown)
    if not order or not elementwise or not (shown or value in program.outputs):
        return None
    moves = [axis for axis in order if axis >= 0]
    if moves == sorted(moves) or order[-1] != value.ndim - 1:
        return None
    return Wanted(tuple(views), tuple(order))


def only_view(value: FormValue, readers: Readers, program: FormProgram) -> nodes.View | None:
    """The view that is the only reader of a value, if it has no conditions and no tables."""
    if value in program.outputs or len(readers.get(value, [])) != 1:
        return None
    (form,) = readers[value]
    plain = isinstance(form, nodes.View) and len(form.inputs) == 1 and not form.map.where
    return form if plain and isinstance(form, nodes.View) else None


def order_of(value: FormValue, at: list[Extent], shown: FormValue) -> list[int]:
    """For each axis of a value, which one of what shows it: see `Wanted`; empty: it does more."""
    left, order = list(range(shown.ndim)), list[int]()
    for place, extent in zip(at, value.shape, strict=True):
        if same(extent, 1):
            order.append(-1)
            continue
        fits = [k for k in left if same(shown.shape[k], extent) and same(place, loop(k, extent))]
        if not fits:
            return []
        left.remove(fits[0])
        order.append(fits[0])
    return order if all(same(shown.shape[k], 1) for k in left) else []


def in_order(contract: Form, how: Wanted) -> tuple[Form, nodes.View]:
    """The contraction with its axes as they are read, and a view that leaves out those of one."""
    assert isinstance(contract, nodes.Contract)
    left, _, right = contract.spec.partition("->")
    axes = sorted(range(len(right)), key=lambda axis: how.order[axis])
    (type_,), last = contract.types, how.views[-1]
    new = replace(
        contract,
        spec=f"{left}->{''.join([right[axis] for axis in axes])}",
        types=(TensorType(tuple([type_.shape[axis] for axis in axes]), type_.dtype),),
    )
    at = [0 if k < 0 else loop(k, last.map.shape[k]) for k in sorted(how.order)]
    view = replace(last, inputs=new.outputs, map=IndexMap(last.map.shape, tuple(at)))
    for old, made in ((contract, new), (last, view)):
        made.outputs[0].name = old.outputs[0].name
    return new, view
