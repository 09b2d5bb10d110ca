"""Which instructions code generation emits one to one; all others are expanded into these."""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.types import bool_, dtypes, float32, float64

DType = np.dtype[Any]

COMPARISONS = frozenset("equal not_equal less less_equal greater greater_equal".split())
BITWISE = frozenset("bitwise_and bitwise_or bitwise_xor bitwise_invert".split())
LOGIC = frozenset("logical_and logical_or logical_xor logical_not".split())
ARITHMETIC = frozenset("add subtract multiply negative".split())
LANES = frozenset("splat iota extract shuffle bitcast".split())  # for any dtype

BY_KIND: dict[str, frozenset[str]] = {
    "float": ARITHMETIC
    | COMPARISONS
    | set("divide inverse tf32 sqrt abs floor ceil trunc round copysign fma pairs where".split())
    | {"larger", "near_exp2"},
    "integer": ARITHMETIC
    | BITWISE
    | COMPARISONS
    | set("shift_left shift_right quotient rest where".split()),
    "bool": BITWISE | LOGIC | set("equal not_equal where".split()),
    "half": frozenset(),
}
FLOAT16 = dtypes["float16"]


def group(dtype: DType) -> str:
    """Of which kind a dtype is for code generation: a key of `BY_KIND`."""
    if dtype in (float32, float64):
        return "float"
    if dtype == bool_:
        return "bool"
    return "integer" if dtype.kind in "iu" else "half"


def is_direct(op: str, dtype: DType, result: DType) -> bool:
    """Whether `op` is emitted one to one.

    Args:
        op: A scalar instruction or one of `EXTRAS`.
        dtype: Of the last operand.
        result: Of the result; it matters for `astype` only.
    """
    if op in LANES:
        return True
    if op == "astype":
        return _converts(dtype, result)
    return op in BY_KIND[group(dtype)]


def _converts(dtype: DType, result: DType) -> bool:
    """Whether a conversion needs no care: no float out of the range of integers, no halves."""
    if FLOAT16 in (dtype, result):
        return {dtype, result} == {FLOAT16, float32}
    before, after = group(dtype), group(result)
    if "half" in (before, after):
        return False
    return before != "float" or after == "float"
