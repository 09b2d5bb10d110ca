"""Large arrays: what NumPy computes with the same bits, kernels compute in less time.

A kernel is called in less time than NumPy's function, but it takes time to find: for large arrays
that does not matter. It takes vectors of this machine's width, all threads, memory that was in use
before, and one pass where NumPy broadcasts in two.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from dualflow.core.context import context
from dualflow.core.kernels import (
    Array,
    as_arrays,
    calls,
    is_general,
    is_without_code,
    remembered,
    types_of,
)
from jit.config import scoped
from jit.errors import DualflowError

if TYPE_CHECKING:
    from jit.ir.op import OpDef

LARGE = 1 << 16  # elements from which on an array is large

pointwise: dict[Hashable, bool] = {}  # whether kernels are for an op, by dtypes


def computed_at_large(op: OpDef, arrays: Sequence[Any]) -> list[Array] | None:
    """What the kernel of an op gives that NumPy computes alike.

    Args:
        op: It has no attrs.
        arrays: NumPy arrays, and Python numbers, which have the dtype of the last array.

    Returns:
        The results, or None where NumPy is to be asked: its arrays are small or have gaps, kernels
        would be made for one call, or the op just moves numbers.
    """
    if scoped.get().target != "cpu" or is_general():
        return None
    for x in arrays:
        if x.__class__ is not ndarray:
            arrays = as_arrays(arrays)
            break
    key = tuple([part for x in arrays for part in (x.dtype, x.shape)])
    call = calls.get(op, {}).get(key)
    if call is None and is_for_kernels(op, arrays):
        call = remembered(key, op, arrays, {})
    return None if call is None else call(*arrays)


def one_at_large(op: OpDef, x: Array) -> Array | None:
    """The same for an op of one argument and one result."""
    found = computed_at_large(op, (x,))
    return None if found is None else found[0]


def is_for_kernels(op: OpDef, arrays: Sequence[Array]) -> bool:
    """Whether an array is large, all are in order, and the op computes numbers."""
    return (
        max([x.size for x in arrays], default=0) >= LARGE
        and all(x.flags.c_contiguous for x in arrays)
        and is_pointwise(op, arrays)
    )


def is_pointwise(op: OpDef, arrays: Sequence[Array]) -> bool:
    """Whether an op computes each element of its result, in code, of one of each argument."""
    key = (op, *[x.dtype for x in arrays])
    if key not in pointwise:
        in_code = not is_without_code(op, arrays, {})
        pointwise[key] = in_code and ends_in_computing(op, arrays)
    return pointwise[key]


def ends_in_computing(op: OpDef, arrays: Sequence[Array]) -> bool:
    """Whether the last of an op's forms computes, and those before stretch its arguments."""
    from jit.forms import nodes  # loaded when something is computed
    from jit.forms.exact import forms_of

    try:
        with context.aside():
            forms = forms_of(op, types_of(arrays), {})
    except DualflowError:  # `evaluate` tells
        return False
    plain = nodes.Pointwise | nodes.Source | nodes.Constant | nodes.View
    return all(isinstance(form, plain) for form in forms) and isinstance(forms[-1], nodes.Pointwise)
