"""What ops compute again: for arrays of types that an op has met there is nothing left to find out.

A kernel is called as it was before. What NumPy computes has passed its type rule, and is called at
once, too: a rule takes more time than a small op.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from dualflow.core.context import context
from dualflow.core.kernels import (
    KEPT,
    WORDS,
    Array,
    Attrs,
    calls,
    is_alike,
    is_general,
    is_without_code,
    spelled,
    timed,
)
from jit.config import scoped

if TYPE_CHECKING:
    from jit.ir.op import OpDef

PLAIN = WORDS | {int, float, complex}  # attrs that are remembered, and keep nothing alive


def at_hand(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> Sequence[Array] | None:
    """What an op gives, if it was computed before for arrays of these types, by who computes it.

    Args:
        op: Any op.
        arrays: Its arguments.
        attrs: Static arguments.

    Returns:
        The results, or None where there is more to see to: types that are new, arrays elsewhere
        than on the processor, numbers, somebody who records.
    """
    known = calls.get(op)
    if not known or context.trace is not None or context.once:
        return None
    key = list[Any]()
    for x in arrays:
        if x.__class__ is not ndarray:
            return None
        key += (x.dtype, x.shape)
    if attrs:
        key += spelled(attrs)
    try:
        call = known.get(tuple(key))
    except TypeError:  # attrs that are no keys
        return None
    return None if call is None or scoped.get().target != "cpu" else call(*arrays)


def remember_step(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> None:
    """Makes `at_hand` and `computed` know an op that NumPy has computed for arrays of these types.

    Its type rule has passed and need not be asked again. A recording leaves nothing behind: what
    is decorated may be a function of ours, whose state this is.
    """
    if is_general() or op.moves:  # to where an array belongs by its device, not by its type
        return
    words = [x for attr in attrs.values() for x in (attr if attr.__class__ is tuple else (attr,))]
    plain = all(x.__class__ in PLAIN for x in words)
    if not plain or not arrays or any(x.__class__ is not ndarray for x in arrays):
        return
    if not is_alike(op, arrays, attrs):
        return

    evaluate = op.evaluate

    def call(*arrays: Array) -> list[Array]:
        run = context.run
        if context.once and is_without_code(op, arrays, attrs):
            run = timed(run)
        out = run(evaluate, np, *arrays, **attrs)
        if out.__class__ is ndarray:
            return [out]
        outs = out if out.__class__ is tuple else (out,)
        return [y if y.__class__ is ndarray else np.asanyarray(y) for y in outs]

    known = calls.setdefault(op, {})
    if len(known) >= KEPT:
        known.clear()
    known[tuple([part for x in arrays for part in (x.dtype, x.shape)]) + spelled(attrs)] = call
