"""The scalar instructions that `pointwise` applies at each index: one row each.

A row says which dtypes an instruction takes, which it gives, and its meaning in NumPy. Operands
have one dtype (except the condition of `where`); nothing promotes. Names are those of the array
API. A code generator keeps its own spelling of each name; names and types here are the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.errors import DTypeError
from jit.forms import special
from jit.types import bfloat16, bool_, dtypes, float32, kind

DType = np.dtype[Any]

ANY = ("bool", "integer", "floating", "complex")
NUMERIC = ("integer", "floating", "complex")
ORDERED = ("bool", "integer", "floating")
REAL = ("integer", "floating")
INEXACT = ("floating", "complex")
FLOATING = ("floating",)
BITS = ("bool", "integer")
INTEGER = ("integer",)
COMPLEX = ("complex",)


@dataclass(frozen=True)
class Scalar:
    """One scalar instruction.

    Attributes:
        name: As the array API calls it.
        arity: How many operands it takes.
        kinds: The kinds of dtype it takes.
        result: "same", "bool", "real" (the dtype of the real part), or "given" by the caller.
        evaluate: Its meaning on NumPy arrays of one shape.
        exact: For which kinds of dtype NumPy gives the bits that generated code gives, as nothing
            is left to choose: all but the last operation is exact, and that rounds correctly.
    """

    name: str
    arity: int
    kinds: tuple[str, ...]
    result: str
    evaluate: Callable[..., Any]
    exact: tuple[str, ...] = ANY


def scalar(name: str) -> Scalar:
    """The instruction of this name.

    Raises:
        DTypeError: There is none.
    """
    found = scalars.get(name)
    if found is None:
        raise DTypeError(
            f"no scalar instruction is called {name!r}", f"one of {', '.join(scalars)}"
        )
    return found


@cache
def result_dtype(name: str, operands: tuple[DType, ...], dtype: DType | None = None) -> DType:
    """The dtype that instruction `name` gives for operands of these dtypes.

    Args:
        name: A key of `scalars`.
        operands: One dtype per operand.
        dtype: The dtype wanted, for `astype` only.

    Raises:
        DTypeError: The operands differ, have the wrong number or kind, or the name is unknown.
    """
    row = scalar(name)
    listed = ", ".join(d.name for d in operands)
    if len(operands) != row.arity or (dtype is None) == (row.result == "given"):
        extra = " and dtype=" if row.result == "given" else ""
        raise DTypeError(f"{name}({listed}) has the wrong operands", f"{row.arity} operands{extra}")
    data = operands
    if row.evaluate is np.where:
        condition, *rest = operands
        if condition != bool_:
            raise DTypeError(f"{name}({listed})", "a condition of dtype bool")
        data = tuple(rest)
    if any(d != data[0] for d in data) or kind(data[0]) not in row.kinds:
        raise DTypeError(
            f"{name}({listed}) is not defined", f"{' or '.join(row.kinds)}, all of one dtype"
        )
    if dtype is not None and kind(data[0]) == "complex" and kind(dtype) in REAL:
        raise DTypeError(
            f"{name}: {listed} to {dtype}", "a complex dtype", "take the real part first"
        )
    if row.result == "bool":
        return bool_
    if row.result == "real":
        return real_dtype(data[0])
    return data[0] if dtype is None else dtype


def real_dtype(dtype: DType) -> DType:
    """The dtype of the real part of `dtype`."""
    return (
        dtypes["float32"]
        if dtype == dtypes["complex64"]
        else (dtypes["float64"] if dtype == dtypes["complex128"] else dtype)
    )


def accumulator(dtype: DType) -> DType:
    """The dtype in which folds of `dtype` run: half precision accumulates in float32."""
    return float32 if dtype in (bfloat16, dtypes["float16"]) else dtype


def widened(x: Any) -> Any:
    """`x` in the dtype that folds of it run in."""
    return x.astype(accumulator(x.dtype), copy=False)


def _rows(
    arity: int,
    kinds: tuple[str, ...],
    result: str,
    names: str,
    exact: tuple[str, ...] = ANY,
    **evaluate: Callable[..., Any],
) -> dict[str, Scalar]:
    """Rows that share a type rule; the meaning is NumPy's function of the name unless given."""
    found = {n: evaluate.get(n) or getattr(np, n) for n in names.split()}
    return {n: Scalar(n, arity, kinds, result, function, exact) for n, function in found.items()}


APPROXIMATE = ("bool", "integer")  # `exact` of what floats are rounded in for want of better


scalars: dict[str, Scalar] = {
    # ----- arithmetic -----
    **_rows(2, NUMERIC, "same", "add subtract multiply"),
    **_rows(2, NUMERIC, "same", "pow", APPROXIMATE),
    **_rows(2, INEXACT, "same", "divide"),
    **_rows(2, REAL, "same", "floor_divide remainder"),
    **_rows(2, ORDERED, "same", "maximum minimum"),
    **_rows(2, FLOATING, "same", "copysign nextafter"),
    **_rows(2, FLOATING, "same", "atan2 hypot logaddexp", APPROXIMATE),
    **_rows(1, NUMERIC, "same", "positive negative square sign"),
    **_rows(1, NUMERIC, "real", "abs"),
    # ----- rounding -----
    **_rows(1, REAL, "same", "ceil floor trunc"),
    **_rows(1, NUMERIC, "same", "round"),
    # ----- elementary functions -----
    **_rows(1, INEXACT, "same", "sqrt reciprocal"),
    **_rows(
        1,
        INEXACT,
        "same",
        "exp exp2 expm1 log log2 log10 log1p",
        APPROXIMATE,
        expm1=special.expm1,
    ),
    **_rows(1, INEXACT, "same", "sin cos tan asin acos atan", APPROXIMATE),
    **_rows(1, INEXACT, "same", "sinh cosh tanh asinh acosh atanh", APPROXIMATE),
    **_rows(1, FLOATING, "same", "cbrt", APPROXIMATE),
    **_rows(
        1,
        FLOATING,
        "same",
        "erf erfc erfinv lgamma digamma",
        APPROXIMATE,
        **{n: getattr(special, n) for n in ("erf", "erfc", "erfinv", "lgamma", "digamma")},
    ),
    # ----- comparison -----
    **_rows(2, ANY, "bool", "equal not_equal"),
    **_rows(2, ORDERED, "bool", "less less_equal greater greater_equal"),
    **_rows(1, NUMERIC, "bool", "isnan isinf isfinite"),
    **_rows(1, FLOATING, "bool", "signbit"),
    # ----- logic and bits -----
    **_rows(2, ANY, "bool", "logical_and logical_or logical_xor"),
    **_rows(1, ANY, "bool", "logical_not"),
    **_rows(2, BITS, "same", "bitwise_and bitwise_or bitwise_xor"),
    **_rows(1, BITS, "same", "bitwise_invert"),
    **_rows(2, INTEGER, "same", "bitwise_left_shift bitwise_right_shift"),
    # ----- complex parts -----
    **_rows(1, NUMERIC, "same", "conj"),
    **_rows(1, NUMERIC, "real", "real"),
    **_rows(1, COMPLEX, "real", "imag"),
    # ----- selection and conversion -----
    **_rows(3, ANY, "same", "where"),
    **_rows(1, ANY, "given", "astype", astype=lambda x, dtype: x.astype(dtype)),
}


def evaluate(name: str, *operands: Any, dtype: DType | None = None) -> Any:
    """Instruction `name` on NumPy arrays; NumPy's warnings are the caller's to switch off."""
    extra = () if dtype is None else (dtype,)
    return scalar(name).evaluate(*operands, *extra)
