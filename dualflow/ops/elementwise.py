"""Elementwise ops, one row each: arithmetic, rounding, comparisons, logic, bits, complex, dtypes.

Exponentials and their kin are in `special`, choices between values in `choice`, powers in `power`.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from dualflow.core.batching import leading
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.define import conjugated, elementwise
from dualflow.core.doors import DTYPES_OF
from dualflow.core.op import Op, bind, wrap
from dualflow.core.record import hang
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from jit.errors import DTypeError
from jit.types import TensorType, as_dtype, kind

# ----- arithmetic -----
add = elementwise(
    "add",
    1,
    1,
    operator="add",
    commutative=True,
    adds=True,
    doc="Sum of `x1` and `x2`.",
    example="[1.0, 6.0]; [2.0, 3.0] -> [3.0, 9.0]",
)
subtract = elementwise(
    "subtract",
    1,
    -1,
    operator="sub",
    doc="`x1` less `x2`.",
    example="[1.0, 6.0]; [2.0, 3.0] -> [-1.0, 3.0]",
)
multiply = elementwise(
    "multiply",
    lambda y, a, b: b,
    lambda y, a, b: a,
    operator="mul",
    commutative=True,
    doc="Product of `x1` and `x2`.",
    example="[1.0, 6.0]; [2.0, 3.0] -> [2.0, 18.0]",
)


def _divide_jvp(tangents: tuple[Any, ...], y: Any, a: Any, b: Any) -> Any:
    t1, t2 = tangents
    if t2 is None:
        return t1 / b
    return -(t2 * y) / b if t1 is None else (t1 - t2 * y) / b


divide = elementwise(
    "divide",
    accepts="inexact",
    vjps=(lambda g, y, a, b: g / conjugated(b), lambda g, y, a, b: -(g * conjugated(y / b))),
    jvp=_divide_jvp,
    operator="truediv",
    doc="`x1` divided by `x2`.",
    example="[1.0, 6.0]; [2.0, 3.0] -> [0.5, 2.0]",
)
floor_divide = elementwise(
    "floor_divide",
    accepts="real",
    operator="floordiv",
    arity=2,
    doc="`x1` divided by `x2`, rounded down. No gradient flows. An integer by zero gives zero.",
    example="[7, -7]; [2, 2] -> [3, -4]",
)
remainder = elementwise(
    "remainder",
    1,
    lambda y, a, b: -floor_divide(a, b),
    accepts="real",
    operator="mod",
    doc="What `floor_divide` leaves of `x1`; has the sign of `x2`. An integer by zero gives zero.",
    example="[7, -7]; [2, 2] -> [1, 1]",
)
negative = elementwise(
    "negative",
    -1,
    operator="neg",
    doc="Each element with its sign changed.",
    example="[-2.0, 0.0, 3.0] -> [2.0, -0.0, -3.0]",
)
positive = elementwise(
    "positive",
    1,
    operator="pos",
    doc="Each element as it is.",
    example="[-2.0, 0.0, 3.0] -> [-2.0, 0.0, 3.0]",
)


def _abs_vjp(g: Any, y: Any, x: Any) -> Any:
    return g * direction(x, y)


def direction(x: Any, size: Any) -> Any:
    """The number of absolute value 1 (0 for 0) that points to where `x` lies."""
    if kind(x.dtype) != "complex":
        return sign(x)
    return x / functions["where"](size == 0, 1, size)


def _abs_jvp(tangents: tuple[Any, ...], y: Any, x: Any) -> Any:
    t = conjugated(direction(x, y)) * tangents[0]
    return real(t) if kind(x.dtype) == "complex" else t


abs = elementwise(
    "abs",
    result="real",
    vjps=(_abs_vjp,),
    jvp=_abs_jvp,
    operator="abs",
    doc="Absolute value of each element. The gradient at 0 is 0.",
    example="[-2.0, 0.0, 3.0] -> [2.0, 0.0, 3.0]",
)
sign = elementwise(
    "sign",
    doc="-1, 0 or 1 by the sign of each element; z / abs(z) for complex ones. No gradient flows.",
    example="[-2.0, 0.0, 3.0] -> [-1.0, 0.0, 1.0]",
)

# ----- rounding -----


def _round(xp: Any, x: Any) -> Any:
    return x if kind(x.dtype) == "integer" else xp.rint(x)


ceil = elementwise(
    "ceil",
    accepts="real",
    doc="The least integer not below each element. No gradient flows.",
    example="[1.2, -1.2] -> [2.0, -1.0]",
)
floor = elementwise(
    "floor",
    accepts="real",
    doc="The greatest integer not above each element. No gradient flows.",
    example="[1.2, -1.2] -> [1.0, -2.0]",
)
trunc = elementwise(
    "trunc",
    accepts="real",
    doc="Each element without its fraction. No gradient flows.",
    example="[1.2, -1.2] -> [1.0, -1.0]",
)
round = elementwise(
    "round",
    evaluate=_round,
    doc="The integer nearest to each element, the even one of two equally near. No gradient flows.",
    example="[0.5, 1.5, -1.2] -> [0.0, 2.0, -1.0]",
)


def rounded(self: Tensor, ndigits: int | None = None) -> Tensor:
    """Python's `round(x, ndigits)`: to decimal digits, as NumPy does it."""
    if not ndigits:
        return round(self)
    scale = 10.0 ** builtins.abs(ndigits)
    return round(self * scale) / scale if ndigits > 0 else round(self / scale) * scale


Tensor.__round__ = rounded

# ----- comparisons -----


def _comparison(
    name: str, operator: str, sign_: str, accepts: str = "real", *, example: str
) -> Any:
    return elementwise(
        name,
        accepts=accepts,
        result="bool",
        operator=operator,
        arity=2,
        commutative=accepts == "any",
        doc=f"Whether `x1 {sign_} x2`, for each pair of elements.",
        example=example,
    )


equal = _comparison(
    "equal", "eq", "==", "any", example="[1, 2, 3]; [3, 2, 1] -> [False, True, False]"
)
not_equal = _comparison(
    "not_equal", "ne", "!=", "any", example="[1, 2, 3]; [3, 2, 1] -> [True, False, True]"
)
less = _comparison("less", "lt", "<", example="[1, 2, 3]; [3, 2, 1] -> [True, False, False]")
less_equal = _comparison(
    "less_equal", "le", "<=", example="[1, 2, 3]; [3, 2, 1] -> [True, True, False]"
)
greater = _comparison("greater", "gt", ">", example="[1, 2, 3]; [3, 2, 1] -> [False, False, True]")
greater_equal = _comparison(
    "greater_equal", "ge", ">=", example="[1, 2, 3]; [3, 2, 1] -> [False, True, True]"
)
isfinite = elementwise(
    "isfinite",
    result="bool",
    doc="Whether each element is neither infinite nor NaN.",
    example="[1.0, float('inf'), float('nan')] -> [True, False, False]",
)
isinf = elementwise(
    "isinf",
    result="bool",
    doc="Whether each element is infinite.",
    example="[1.0, float('inf'), float('nan')] -> [False, True, False]",
)
isnan = elementwise(
    "isnan",
    result="bool",
    doc="Whether each element is NaN.",
    example="[1.0, float('inf'), float('nan')] -> [False, False, True]",
)
signbit = elementwise(
    "signbit",
    accepts="floating",
    result="bool",
    doc="Whether each element has a minus sign, as -0.0 has.",
    example="[1.0, -0.0] -> [False, True]",
)

# ----- logic and bits -----


def _of_two(name: str, accepts: str, operator: str | None, doc: str, *, example: str) -> Any:
    return elementwise(
        name,
        accepts=accepts,
        operator=operator,
        arity=2,
        commutative="shift" not in name,
        doc=doc,
        example=example,
    )


logical_and = _of_two(
    "logical_and",
    "bool",
    None,
    "Whether both `x1` and `x2` are true.",
    example="[True, True, False]; [True, False, False] -> [True, False, False]",
)
logical_or = _of_two(
    "logical_or",
    "bool",
    None,
    "Whether `x1` or `x2` or both are true.",
    example="[True, True, False]; [True, False, False] -> [True, True, False]",
)
logical_xor = _of_two(
    "logical_xor",
    "bool",
    None,
    "Whether exactly one of `x1` and `x2` is true.",
    example="[True, True, False]; [True, False, False] -> [False, True, False]",
)
logical_not = elementwise(
    "logical_not",
    accepts="bool",
    doc="Whether each element is false.",
    example="[True, False] -> [False, True]",
)
bitwise_and = _of_two(
    "bitwise_and",
    "integral",
    "and",
    "The bits set in both `x1` and `x2`.",
    example="[6, 5]; [3, 4] -> [2, 4]",
)
bitwise_or = _of_two(
    "bitwise_or",
    "integral",
    "or",
    "The bits set in `x1` or `x2` or both.",
    example="[6, 5]; [3, 4] -> [7, 5]",
)
bitwise_xor = _of_two(
    "bitwise_xor",
    "integral",
    "xor",
    "The bits set in one of `x1` and `x2`.",
    example="[6, 5]; [3, 4] -> [5, 1]",
)
bitwise_left_shift = _of_two(
    "bitwise_left_shift",
    "integer",
    "lshift",
    "The bits of `x1`, `x2` places higher.",
    example="[1, 6]; [2, 1] -> [4, 12]",
)
bitwise_right_shift = _of_two(
    "bitwise_right_shift",
    "integer",
    "rshift",
    "The bits of `x1`, `x2` places lower; keeps the sign.",
    example="[1, 6]; [2, 1] -> [0, 3]",
)
bitwise_invert = elementwise(
    "bitwise_invert",
    accepts="integral",
    operator="invert",
    doc="Each bit flipped.",
    example="[0, 5] -> [-1, -6]",
)

# ----- parts of complex numbers -----
conj = elementwise(
    "conj",
    vjps=(lambda g, y, x: conjugated(g),),
    jvp=lambda tangents, y, x: conjugated(tangents[0]),
    doc="The complex conjugate of each element.",
    example="[1 + 2j] -> [(1-2j)]",
)
real = elementwise(
    "real",
    result="real",
    vjps=(lambda g, y, x: g,),  # the sweep makes it complex
    jvp=lambda tangents, y, x: real(tangents[0]),
    doc="The real part of each element.",
    example="[1 + 2j] -> [1.0]",
)
imag = elementwise(
    "imag",
    accepts="complex",
    result="real",
    vjps=(lambda g, y, x: g * 1j,),
    jvp=lambda tangents, y, x: imag(tangents[0]),
    doc="The imaginary part of each element.",
    example="[1 + 2j] -> [2.0]",
)

# ----- moving between dtypes -----
COMPLEX = DTYPES_OF["complex"]


def _astype_type(x: TensorType, *, dtype: Any) -> TensorType:
    if kind(x.dtype) == "complex" and kind(dtype) != "complex":
        raise DTypeError(
            f"astype: {x.dtype} to {dtype} would drop the imaginary part",
            "a complex dtype",
            "df.real(x), or df.abs(x)",
        )
    return x.with_dtype(dtype)


def flows(dtype: Any) -> bool:
    """Whether values of `dtype` have gradients."""
    return kind(dtype) in ("floating", "complex")


_astype = Op(
    name="astype",
    evaluate=lambda xp, x, *, dtype: x.astype(dtype),
    infer=_astype_type,
    lower=lambda form, x, *, dtype: form.pointwise("astype", x, dtype=dtype),
    vjps=(lambda g, y, x, *, dtype: g if flows(dtype) else None,),  # the sweep converts it
    jvp=lambda tangents, y, x, *, dtype: astype(tangents[0], dtype) if flows(dtype) else None,
    batch=leading,
)


@api
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Tensor:
    """The values of `x` in another dtype.

    Args:
        x: Tensor of any shape and dtype.
        dtype: The dtype wanted: `df.float32`, `np.float32` or `"float32"`.
        copy: Accepted for the array API's sake; tensors are immutable, so it makes no difference.
        device: Where the result lies; where `x` does when None.

    Returns:
        Tensor of the shape of `x`. Floats become integers by dropping the fraction.

    Raises:
        DTypeError: A complex tensor would lose its imaginary part.

    Example:
        >>> import dualflow as df
        >>> df.astype(df.asarray([1.7, -1.7]), df.int64).tolist()
        [1, -1]
    """
    x, dtype = as_tensor(x), as_dtype(dtype)
    if device is not None:
        x = functions["to_device"](x, device)
    if x.dtype == dtype:
        return x
    plain = x.dtype not in COMPLEX and not (dtype.kind == "u" and flows(x.dtype))
    if plain and context.trace is None and x.raw.__class__ is np.ndarray:
        y = wrap(context.run(x.raw.astype, dtype))
        if x.record is not None:
            hang(_astype, (x,), {"dtype": dtype}, [y])
        return y
    return bind(_astype, (x,), {"dtype": dtype})
