"""Attention by kernels of its own: where they are for, and what they read.

They multiply on tensor cores, in half precision, rows that are some chunks of 16 bytes long. Which
applications are theirs is told by dtypes, lengths and the machine, never by what stands around: so
eager and compiled code choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.dims import Dim, Extent
from jit.forms import nodes
from jit.forms.expression import Access, Domain, has_no_element, linear
from jit.forms.index import same_all
from jit.forms.nodes import Form, FormValue
from jit.types import product

HALVES = ("float16", "bfloat16")
STEP, LONGEST = 16, 128  # what lengths of rows are multiples of; the longest row
CHUNK = 8  # halves that a thread reads at once


def has_kernel(operands: Sequence[FormValue], scale: float, units: Callable[[str], str]) -> bool:
    """Whether there is a kernel for queries, keys and values.

    Args:
        operands: The three.
        scale: Of their products.
        units: In what tensor cores multiply elements of a dtype, as `Target.units`.
    """
    dtypes = {x.dtype.name for x in operands}
    (dtype,) = dtypes if len(dtypes) == 1 else ("",)
    if dtype not in HALVES or units(dtype) != dtype:
        return False
    length, rows = operands[0].shape[-1], operands[0].shape[-2]
    if not isinstance(length, int) or not same_all([length] * 3, [x.shape[-1] for x in operands]):
        return False
    one = isinstance(rows, int) and rows == 1  # a query that looks back reads all keys once
    nothing = any(has_no_element(Domain.of(x.shape)) for x in operands)
    fits = 0 < length <= LONGEST and length % STEP == 0
    return fits and not one and not nothing and 0 < scale < np.inf


def lies_in_chunks(access: Access, domain: Domain) -> bool:
    """Whether elements of a row follow each other, and each row begins with a chunk."""
    place: Any = linear(access.value.shape, access.at)
    column = domain.indices[-1]
    rest: Extent = place - column
    terms = rest.terms if isinstance(rest, Dim) else {frozenset(): rest}
    (atom,) = column.atoms() if isinstance(column, Dim) else (None,)
    apart = not any(inner == atom for monomial in terms for inner, _ in monomial)
    return apart and all(factor % CHUNK == 0 for factor in terms.values())


def operations(form: Form) -> list[Extent]:
    """Additions and multiplications of each kernel of a form, if it is attention."""
    if not isinstance(form, nodes.Attention | nodes.AttentionFlow):
        return []
    *batch, rows, length = form.inputs[0].shape
    products = 2 if isinstance(form, nodes.Attention) else 7  # of seven half are in each of two
    each = product([*batch, rows, length, form.inputs[1].shape[-2]])
    total = 2 * products * each // (1 if isinstance(form, nodes.Attention) else 2)
    return [total // (2 if form.is_causal else 1)]
