"""Which formula an instruction has for each kind of dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from jit.errors import DTypeError
from jit.loops.direct import group, is_direct
from jit.loops.math import (
    angles,
    basics,
    errors,
    exponential,
    gamma,
    integers,
    logarithm,
    power,
    trigonometry,
)
from jit.loops.math.notation import Notation, Value
from jit.types import bool_, float32

DType = np.dtype[Any]
Formula = Callable[..., Value]

ANY: dict[str, Formula] = {
    "logical_and": basics.logical_and,
    "logical_or": basics.logical_or,
    "logical_xor": basics.logical_xor,
    "logical_not": basics.logical_not,
}

FLOATS: dict[str, Formula] = {
    **ANY,
    **dict.fromkeys(("positive", "conj", "real"), basics.positive),
    "square": basics.square,
    "divide": basics.divide,
    "reciprocal": basics.reciprocal,
    "maximum": basics.maximum,
    "minimum": basics.minimum,
    "sign": basics.sign,
    "isnan": basics.isnan,
    "isinf": basics.isinf,
    "isfinite": basics.isfinite,
    "signbit": basics.signbit,
    "nextafter": basics.nextafter,
    "floor_divide": basics.floor_divide,
    "remainder": basics.remainder,
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "tanh": exponential.tanh,
    "log": logarithm.log,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "log1p": logarithm.log1p,
    "logaddexp": logarithm.logaddexp,
    "asinh": logarithm.asinh,
    "acosh": logarithm.acosh,
    "atanh": logarithm.atanh,
    "pow": power.power,
    "cbrt": power.cbrt,
    "hypot": power.hypot,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "tan": trigonometry.tan,
    "asin": angles.asin,
    "acos": angles.acos,
    "atan": angles.atan,
    "atan2": angles.atan2,
    "erf": errors.erf,
    "erfc": errors.erfc,
    "erfinv": errors.erfinv,
    "lgamma": gamma.lgamma,
    "digamma": gamma.digamma,
}

INTEGERS: dict[str, Formula] = {
    **ANY,
    **dict.fromkeys("positive conj real ceil floor trunc round".split(), integers.positive),
    "square": integers.square,
    "abs": integers.magnitude,
    "sign": integers.sign,
    "maximum": integers.maximum,
    "minimum": integers.minimum,
    "isnan": integers.never,
    "isinf": integers.never,
    "isfinite": integers.always,
    "floor_divide": integers.floor_divide,
    "remainder": integers.remainder,
    "pow": integers.power,
    "bitwise_left_shift": integers.shift_left,
    "bitwise_right_shift": integers.shift_right,
}

BOOLS: dict[str, Formula] = {
    "less": integers.less,
    "less_equal": integers.less_equal,
    "greater": integers.greater,
    "greater_equal": integers.greater_equal,
    "maximum": integers.either,
    "minimum": integers.both,
}

# What halves do bit by bit; everything else is done in float32 and rounded.
HALVES: dict[str, Formula] = {
    **dict.fromkeys(("positive", "conj", "real"), basics.positive),
    "abs": basics.half_abs,
    "negative": basics.half_negative,
    "copysign": basics.half_copysign,
    "signbit": basics.signbit,
    "nextafter": basics.nextafter,
    "where": basics.half_where,
}

# Where NumPy or ml_dtypes do not do for a half as they do for all other floats.
OWN: dict[tuple[str, str], Formula] = {
    ("float16", "maximum"): basics.float16_maximum,
    ("float16", "minimum"): basics.float16_minimum,
    ("float16", "nextafter"): basics.float16_nextafter,
    ("bfloat16", "sign"): basics.bfloat16_sign,
}

BY_GROUP = {"float": FLOATS, "integer": INTEGERS, "bool": BOOLS, "half": HALVES}


@cache
def formula(op: str, dtype: DType, result: DType) -> Formula:
    """What `op` is in direct instructions.

    Args:
        op: A scalar instruction that is not direct.
        dtype: Of the last operand.
        result: Of the result; it matters for `astype` only.

    Raises:
        DTypeError: No such instruction is known for this dtype.
    """
    if op == "astype":
        return partial(_converted, result)
    kind = group(dtype)
    found = OWN.get((dtype.name, op)) or BY_GROUP[kind].get(op)
    if found is None and kind == "half":
        return partial(_in_float32, op, dtype)
    if found is None:
        raise DTypeError(f"{op} of {dtype.name} has no formula", "another instruction or dtype")
    return found


def _converted(dtype: DType, w: Notation, x: Value) -> Value:
    return integers.convert(w, x, dtype)


def _in_float32(op: str, dtype: DType, w: Notation, *args: Value) -> Value:
    """`op` of halves: in float32, rounded once."""
    wide = [integers.from_half(w, x) for x in args]
    if is_direct(op, float32, float32):
        found = w.let(op, *wide)
    else:
        found = FLOATS[op](w, *wide)
    return found if found.dtype == bool_ else integers.convert(w, found, dtype)
