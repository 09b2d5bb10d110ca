"""The notation of formulas: operators on values, for whatever carries the values.

A formula is a function `f(w, *values)`. `w` makes literals and direct instructions; `x * y + 1`
reads as in mathematics and rounds after each operation, `w.fma(x, y, z)` rounds once. The same
formula writes statements of a kernel (`jit.loops.expand`) or computes NumPy arrays
(`jit.loops.values`), and never asks how many lanes there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from jit.types import dtypes

DType = np.dtype[Any]
State: TypeAlias = "tuple[Value, ...]"
Other: TypeAlias = "Value | float"
Span: TypeAlias = tuple[float, float]

# Integers as wide as a float, and what is known of its bits.
_FLOATS = [dtypes[name] for name in ("float16", "bfloat16", "float32", "float64")]
SIGNED = dict(zip(_FLOATS, (dtypes[name] for name in ("int16", "int16", "int32", "int64"))))
UNSIGNED = dict(zip(_FLOATS, (dtypes[name] for name in ("uint16", "uint16", "uint32", "uint64"))))
MANTISSA = dict(zip(_FLOATS, (10, 7, 23, 52)))
BIAS = dict(zip(_FLOATS, (15, 127, 127, 1023)))
INFINITY = {dtype: (2 * BIAS[dtype] + 1) << MANTISSA[dtype] for dtype in _FLOATS}


class Value:
    """What a formula computes with: an operand of a kernel, or an array.

    Attributes:
        w: The notation it belongs to.
        x: What `w` carries.
        dtype: Of each lane.
    """

    __slots__ = ("dtype", "w", "x")

    def __init__(self, w: Notation, x: Any, dtype: DType) -> None:
        self.w, self.x, self.dtype = w, x, dtype

    def __add__(self, y: Other) -> Value:
        return self.w.let("add", self, y)

    def __radd__(self, y: Other) -> Value:
        return self.w.let("add", y, self)

    def __sub__(self, y: Other) -> Value:
        return self.w.let("subtract", self, y)

    def __rsub__(self, y: Other) -> Value:
        return self.w.let("subtract", y, self)

    def __mul__(self, y: Other) -> Value:
        return self.w.let("multiply", self, y)

    def __rmul__(self, y: Other) -> Value:
        return self.w.let("multiply", y, self)

    def __truediv__(self, y: Other) -> Value:
        return self.w.let("divide", self, y)

    def __rtruediv__(self, y: Other) -> Value:
        return self.w.let("divide", y, self)

    def __neg__(self) -> Value:
        return self.w.let("negative", self)

    def __abs__(self) -> Value:
        return self.w.let("abs", self)

    def __lt__(self, y: Other) -> Value:
        return self.w.let("less", self, y)

    def __le__(self, y: Other) -> Value:
        return self.w.let("less_equal", self, y)

    def __gt__(self, y: Other) -> Value:
        return self.w.let("greater", self, y)

    def __ge__(self, y: Other) -> Value:
        return self.w.let("greater_equal", self, y)

    def eq(self, y: Other) -> Value:
        """Whether both are equal."""
        return self.w.let("equal", self, y)

    def ne(self, y: Other) -> Value:
        """Whether they differ; NaN differs from itself."""
        return self.w.let("not_equal", self, y)

    def __and__(self, y: Other) -> Value:
        return self.w.let("bitwise_and", self, y)

    def __or__(self, y: Other) -> Value:
        return self.w.let("bitwise_or", self, y)

    def __xor__(self, y: Other) -> Value:
        return self.w.let("bitwise_xor", self, y)

    def __invert__(self) -> Value:
        return self.w.let("bitwise_invert", self)

    def __lshift__(self, y: Other) -> Value:
        return self.w.let("shift_left", self, y)

    def __rshift__(self, y: Other) -> Value:
        return self.w.let("shift_right", self, y)

    def sqrt(self) -> Value:
        """The square root, rounded once."""
        return self.w.let("sqrt", self)

    def round(self) -> Value:
        """The nearest integer, the even one of two."""
        return self.w.let("round", self)

    def floor(self) -> Value:
        """The greatest integer not above."""
        return self.w.let("floor", self)

    def trunc(self) -> Value:
        """Without the fraction."""
        return self.w.let("trunc", self)

    def copysign(self, y: Other) -> Value:
        """This magnitude with the sign of `y`."""
        return self.w.let("copysign", self, y)

    def astype(self, name: DType | str) -> Value:
        """In another dtype; floats become integers only if these hold them."""
        dtype = dtypes[name] if isinstance(name, str) else name
        return self if dtype == self.dtype else self.w.let("astype", self, dtype=dtype)

    def bits(self) -> Value:
        """The bits of a float as a signed integer."""
        return self.bitcast(SIGNED[self.dtype])

    def pattern(self) -> Value:
        """The bits of a float as an unsigned integer."""
        return self.bitcast(UNSIGNED[self.dtype])

    def bitcast(self, name: DType | str) -> Value:
        """The same bits as another dtype."""
        dtype = dtypes[name] if isinstance(name, str) else name
        return self if dtype == self.dtype else self.w.let("bitcast", self, dtype=dtype)


class Notation(ABC):
    """Makes values; what they are made of is up to the subclass."""

    @abstractmethod
    def instruction(self, op: str, args: Sequence[Value], dtype: DType | None) -> Value:
        """The direct instruction `op` of values."""

    @abstractmethod
    def number(self, value: float, like: Value) -> Value:
        """A literal in the dtype and lanes of `like`."""

    @abstractmethod
    def rarely(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        """`usual`, but `unusual(*inputs)` in the lanes where a condition holds.

        It reads no other values, and is skipped when there are no such lanes.
        """

    @abstractmethod
    def repeat(self, count: int, state: State, step: Callable[..., State]) -> State:
        """`state = step(*state)`, `count` times."""

    def counts_on(self, condition: Callable[[], Value]) -> bool:
        """Whether a formula has to do only for lanes where a condition holds.

        There the bits are to be those of the formula that does for all.
        """
        return False

    def lies(self, x: Value, low: float, high: float) -> Value:
        """`x`, of which a formula knows between which numbers it lies."""
        return x

    def span(self, x: Value) -> Span | None:
        """Between which numbers `x` lies, if the notation can tell."""
        return None

    def known(self, x: Value) -> float | None:
        """The number that `x` is for certain, if the notation can tell."""
        return None

    def shared_inverse(self, x: Value) -> Value | None:
        """1 / x, rounded, if so much is divided by `x` that it is worth it.

        Whoever takes it counts on `is_moderate` of what is divided.
        """
        return None

    def let(self, op: str, *args: Other, dtype: DType | None = None) -> Value:
        """The direct instruction `op`; numbers take the dtype of the last value among `args`."""
        like = [x for x in args if isinstance(x, Value)][-1]
        return self.instruction(op, [self.constant(x, like) for x in args], dtype)

    def constant(self, x: Other, like: Value) -> Value:
        """`x`, a literal like `like` if it is a number."""
        return x if isinstance(x, Value) else self.number(x, like)

    def fma(self, a: Other, b: Other, c: Other) -> Value:
        """A * b + c, rounded once."""
        return self.let("fma", a, b, c)

    def where(self, condition: Value, a: Other, b: Other) -> Value:
        """`a` where the condition holds, else `b`; one of both is a value."""
        like = a if isinstance(a, Value) else b
        assert isinstance(like, Value)
        args = [condition, self.constant(a, like), self.constant(b, like)]
        return self.instruction("where", args, None)

    def at_least(self, x: Value, low: float) -> Value:
        """`x`, or `low` if that is greater; NaN stays."""
        bound = self.number(low, x)
        return self.where(bound > x, bound, x)

    def at_most(self, x: Value, high: float) -> Value:
        """`x`, or `high` if that is less; NaN stays."""
        bound = self.number(high, x)
        return self.where(bound < x, bound, x)

    def horner(self, x: Value, coefficients: Sequence[Other]) -> Value:
        """The polynomial with these coefficients, lowest power first."""
        *rest, last = coefficients
        sum_: Other = last
        for c in reversed(rest):
            sum_ = self.fma(sum_, x, c)
        return self.constant(sum_, x)

    def paired(self, x: Value, square: Value, coefficients: Sequence[float]) -> Value:
        """`horner`, but in pairs of terms: half as many steps wait for each other.

        That is the first step of G. Estrin, "Organization of computer systems" (1960).
        """
        pairs = [self.fma(b, x, a) for a, b in zip(coefficients[::2], coefficients[1::2])]
        return self.horner(square, [*pairs, *coefficients[2 * len(pairs) :]])

    def power_of_two(self, exponent: Value, like: Value) -> Value:
        """2 to the power of an integer that is within the normal range of `like`'s dtype."""
        dtype = like.dtype
        return ((exponent + BIAS[dtype]) << MANTISSA[dtype]).bitcast(dtype)
