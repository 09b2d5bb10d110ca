"""Kernels of eager execution on a GPU: an op applied by itself runs the code of compiled graphs.

So eager results have the bits of compiled ones, and the CPU's wherever both compute in one order.
CuPy does what moves values only, what has no code, and everything with JIT_TARGET=interpreter.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core.backend import to_device
from dualflow.core.context import context
from dualflow.core.kernels import KEPT, WORDS, Attrs, Call, family_of, spelled, types_of
from jit.config import scoped
from jit.errors import DualflowError

if TYPE_CHECKING:
    from jit.ir.op import OpDef

calls: dict[tuple[OpDef, str], dict[Hashable, Call | None]] = {}  # by types and attrs
wanted: dict[Hashable, bool] = {}  # whether an op has a kernel, by dtypes and words among attrs


def computed_on(place: str, op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> list[Any] | None:
    """What the kernel of an op gives on a GPU.

    Args:
        place: The GPU, which is active.
        op: Any op.
        arrays: Its arrays, and Python numbers, which have the dtype of the last array.
        attrs: Static arguments.

    Returns:
        The results, or None where `op.evaluate` is to be used.
    """
    if scoped.get().target != "cpu" or not any(hasattr(x, "dtype") for x in arrays):
        return None
    arrays = as_arrays(place, arrays)
    key = tuple([part for x in arrays for part in (x.dtype, x.shape)])
    if attrs:
        key += spelled(attrs)
    known = calls.setdefault((op, place), {})
    try:
        call = known[key]
    except KeyError:
        with context.aside():
            call = new_call(place, op, arrays, attrs)
        if len(known) >= KEPT:
            known.clear()
        known[key] = call
    if call is None:
        return None
    return call(*arrays) or call(*[x.copy(order="C") for x in arrays])


def as_arrays(place: str, arrays: Sequence[Any]) -> list[Any]:
    """Python numbers as arrays of no dimensions on the GPU, in the dtype of the last array."""
    dtype = next(x.dtype for x in reversed(arrays) if hasattr(x, "dtype"))
    return [x if hasattr(x, "dtype") else number_on(place, x, dtype, x or repr(x)) for x in arrays]


@lru_cache(maxsize=1024)
def number_on(place: str, x: complex, dtype: np.dtype[Any], spelled: object) -> Any:
    """A number as an array on a GPU, moved there once; 0.0 and -0.0 are `spelled` differently."""
    del spelled
    return to_device(context.run(np.array, x, dtype), place)


def new_call(place: str, op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> Call | None:
    """How the kernel of an op is called; None where it has none, or the arguments are wrong."""
    if not has_kernel(op, arrays, attrs) or any(x.size == 0 for x in arrays):
        return None
    family = family_of(op, arrays, attrs, target=place)
    try:
        return None if family is None else family.call(arrays)
    except DualflowError:  # `evaluate` tells
        return None


def has_kernel(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether an op computes something that code can be made for; views are CuPy's."""
    from jit.forms.exact import checked_forms  # loaded when something is computed
    from jit.forms.native import has_code
    from jit.forms.nodes import Constant, Index, Source, View

    words = [x for x in attrs.values() if x.__class__ in WORDS]
    key = (op, *[(x.dtype, x.ndim > 0) for x in arrays], *words)
    known = wanted.get(key)
    if known is None:
        forms = checked_forms(op, types_of(arrays), attrs)
        if forms is None:
            return False
        moves = all(isinstance(form, Source | Constant | Index | View) for form in forms)
        known = wanted[key] = all(map(has_code, forms)) and not moves
    return known
