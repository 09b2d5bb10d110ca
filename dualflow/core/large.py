"""Large arrays: what NumPy computes with the same bits, kernels compute in less time.

A kernel is called in less time than NumPy's function, but it takes time to find: for large arrays
that does not matter. It takes vectors of this machine's width, all threads, memory that was in use
before, and one pass where NumPy broadcasts in two. Products of whole numbers go in tiles, and what
NumPy does element by element, in vectors: choices, running sums, updates at indices.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from dualflow.core.context import context
from dualflow.core.extents import SMALL, pattern_of, symbolic
from dualflow.core.kernels import (
    MANY,
    WORDS,
    Array,
    Attrs,
    as_arrays,
    calls,
    is_general,
    is_without_code,
    remembered,
    spelled,
)
from jit.config import scoped

if TYPE_CHECKING:
    from jit.ir.op import OpDef

LARGE = 1 << 16  # elements from which on an array is large
FEW = 64  # the size of numbers among attrs
ROW = 512  # elements of a row that kernels fold, which are made for long ones

rows: dict[Hashable, float] = {}  # from which length on kernels are for an op, by dtypes and attrs
variants: dict[OpDef, int] = {}  # of attrs for which that was asked


def computed_at_large(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> list[Array] | None:
    """What the kernel of an op gives that NumPy computes alike.

    Args:
        op: Any op.
        arrays: NumPy arrays, and Python numbers, which have the dtype of the last array.
        attrs: Static arguments.

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
    if attrs:
        key += spelled(attrs)
    call = calls.get(op, {}).get(key)
    if call is None and is_for_kernels(op, arrays, attrs):
        call = remembered(key, op, arrays, attrs)
    return None if call is None else call(*arrays)


def one_at_large(op: OpDef, x: Array) -> Array | None:
    """The same for an op of one argument and one result, without attrs."""
    found = computed_at_large(op, (x,), {})
    return None if found is None else found[0]


def is_for_kernels(op: OpDef, arrays: Sequence[Array], attrs: Attrs) -> bool:
    """Whether an array is large, all are in order, and the op does more than move or join them."""
    return (
        max([x.size for x in arrays], default=0) >= LARGE
        and all(x.flags.c_contiguous for x in arrays)
        and not op.joins
        and min([x.shape[-1] for x in arrays if x.ndim]) >= least_row(op, arrays, attrs)
    )


def least_row(op: OpDef, arrays: Sequence[Array], attrs: Attrs) -> float:
    """From which length of rows on kernels are for an op; infinity: NumPy is for it.

    Attrs that may be any numbers would make a kernel for each: they are words, small, and few.
    """
    words = [x for attr in attrs.values() for x in (attr if attr.__class__ is tuple else (attr,))]
    if not all(x.__class__ in WORDS or (x.__class__ is int and -FEW <= x <= FEW) for x in words):
        return math.inf
    key = (op, *[x.dtype for x in arrays], *attrs.values())
    if key not in rows:
        asked = variants.get(op, 0) + 1
        in_code = asked <= MANY and not is_without_code(op, arrays, attrs)
        found = by_forms(op, arrays, attrs) if in_code else math.inf
        if found is None:  # `evaluate` tells, and other arrays may be right
            return math.inf
        rows[key], variants[op] = found, asked
    return rows[key]


def by_forms(op: OpDef, arrays: Sequence[Array], attrs: Attrs) -> float | None:
    """The same as its forms tell: the last one computes, or reads from where a tensor says.

    NumPy is as good at folds of whole numbers, and at moves to places that are known. None: the op
    does not take such arrays.
    """
    from jit.forms import nodes  # loaded when something is computed
    from jit.forms.exact import checked_forms
    from jit.forms.expression import loads_of

    types = symbolic(arrays, pattern_of(arrays, SMALL), SMALL + 1)  # as kernels are made
    with context.aside():
        forms = checked_forms(op, types, attrs)
    if forms is None:
        return None
    computes = nodes.Pointwise | nodes.Scan | nodes.Contract | nodes.Scatter
    plain = computes | nodes.Reduce | nodes.Source | nodes.Constant | nodes.View | nodes.Index
    last = forms[-1]
    looks = isinstance(last, nodes.View) and bool(loads_of(*last.map.at))
    if not all(isinstance(form, plain) for form in forms) or not (
        looks or isinstance(last, computes)
    ):
        return math.inf
    return ROW if any(isinstance(form, nodes.Reduce) for form in forms) else 0
