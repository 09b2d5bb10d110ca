"""Where NumPy gives the bits of generated code: in forms that leave nothing to choose.

Float sums have an order, elementary functions an error; all else is exact or rounded correctly. So
an op made of exact forms needs no kernel of its own to agree with compiled graphs in every bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jit.dims import Dim, recording_guesses
from jit.errors import DualflowError
from jit.forms import nodes
from jit.forms.forms import FormBuilder
from jit.forms.native import has_code
from jit.forms.nodes import Form
from jit.ir.op import OpDef
from jit.types import TensorType, kind


def forms_of(op: OpDef, types: Sequence[TensorType], attrs: dict[str, Any]) -> list[Form]:
    """The forms of an op for arguments of these types."""
    form = FormBuilder()
    op.lower(form, *map(form.source, types), **attrs)
    return form.forms


def is_computed_alike(op: OpDef, types: Sequence[TensorType], attrs: dict[str, Any]) -> bool | None:
    """Whether `op.evaluate` in NumPy gives the bits that a compiled graph gives; None: an error.

    It does too where an op has no code: then it is a step of the host, and the same function runs.
    """
    forms = checked_forms(op, types, attrs)
    if forms is None:
        return None
    return not all(map(has_code, forms)) or all(map(is_exact, forms))


def is_without_code(op: OpDef, types: Sequence[TensorType], attrs: dict[str, Any]) -> bool | None:
    """Whether an op is a step of the host in a compiled graph; None: an error."""
    forms = checked_forms(op, types, attrs)
    return None if forms is None else not all(map(has_code, forms))


def checked_forms(
    op: OpDef, types: Sequence[TensorType], attrs: dict[str, Any]
) -> list[Form] | None:
    """The forms of an op; None where the arguments are wrong: then `evaluate` will tell."""
    try:
        with recording_guesses([]):
            op.infer_all(tuple(types), attrs)
            return forms_of(op, telling(op, types), attrs)
    except DualflowError:
        return None


def telling(op: OpDef, types: Sequence[TensorType]) -> Sequence[TensorType]:
    """The arguments that tell which forms an op has: of arrays that are joined, two tell of all."""
    return types[:2] if op.joins else types


def is_elementwise(forms: Sequence[Form]) -> bool:
    """Whether each element of each result comes from the same element of every argument.

    Arguments without dimensions and numbers are stretched.
    """
    return all(
        isinstance(form, nodes.Pointwise | nodes.Source)
        or (isinstance(form, nodes.Constant) and form.value.ndim == 0)
        or (isinstance(form, nodes.View) and not form.inputs[0].shape)
        for form in forms
    )


def is_exact(form: Form) -> bool:
    """Whether a form has but one right answer, in every bit.

    A float that an unsigned integer cannot hold becomes what the position in the array makes of it,
    as NumPy converts whole vectors otherwise than single numbers.
    """
    match form:
        case nodes.Pointwise():
            source, target = form.inputs[-1].dtype, form.types[0].dtype
            unsettled = kind(source) == "floating" and target.kind == "u"
            return kind(source) in form.scalar.exact and not unsettled
        case nodes.Reduce():
            return kind(form.inputs[0].dtype) in form.combiner.exact
        case nodes.Source() | nodes.Constant() | nodes.Index() | nodes.View():
            return True
        case nodes.Scatter(combine="set"):
            return True
        case _:
            return all(kind(x.dtype) != "floating" for x in form.inputs)


def is_product(form: Form) -> bool:
    """Whether it is a contraction."""
    return isinstance(form, nodes.Contract)


def is_settled(form: Form) -> bool:
    """Whether the order of its sums is the same for numbers in place of its symbols.

    The chains of a contraction are cut by the extents of its inner letters: only the first of them
    may be any number.
    """
    if not isinstance(form, nodes.Contract):
        return True
    left, _, right = form.spec.partition("->")
    extents = dict(zip(left.replace(",", ""), [d for x in form.inputs for d in x.shape]))
    inner = [extents[letter] for letter in extents if letter not in right]
    inner = [d for d in inner if isinstance(d, Dim) or d != 1]
    return not any(isinstance(d, Dim) for d in inner[1:])
