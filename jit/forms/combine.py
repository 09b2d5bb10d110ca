"""Combiners: what `reduce` and `scan` fold with, written in scalar instructions.

A combiner merges two tuples, each standing for some of the elements; merging is associative, and
`identity` stands for no elements. Reference executor and code generators run the same definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.errors import DTypeError, ShapeError
from jit.forms.scalar import result_dtype
from jit.types import kind

DType = np.dtype[Any]
Apply = Callable[..., Any]  # apply(name, *operands): a scalar instruction, on values or numbers


@dataclass(frozen=True)
class Combiner:
    """A way to fold tuples of values.

    Attributes:
        name: What `reduce` and `scan` call it.
        instruction: A scalar instruction whose dtypes it takes.
        identity: `(*dtypes) -> numbers`: the tuple that changes nothing when merged.
        merge: `(apply, a, b) -> tuple` in scalar instructions, where `a` comes before `b`.
        arity: The length of the tuples.
        exact: For which kinds of dtype elements may meet in any order, every bit being the same.
        later: Of pairs (value, place): `(apply, x, y)`: whether `y` wins, which comes after `x`.
        grouped: For which kinds of dtype neighbours may meet first, if order is kept.
        final: Of elements between two numbers, which one no later element changes; in pairs
            (value, place) the value.
    """

    name: str
    instruction: str
    identity: Callable[..., tuple[Any, ...]]
    merge: Callable[..., tuple[Any, ...]]
    arity: int = 1
    exact: tuple[str, ...] = ("bool", "integer")
    later: Callable[..., Any] | None = None
    grouped: tuple[str, ...] = ("bool", "integer")
    final: Callable[[Any, Any], Any] | None = None

    def check(self, dtypes: tuple[DType, ...]) -> None:
        """Refuse tuples of other lengths or dtypes.

        Raises:
            ShapeError: The length differs.
            DTypeError: The combiner is not defined for these dtypes.
        """
        if len(dtypes) != self.arity:
            raise ShapeError(
                f"{self.name} folds {self.arity} values, got {len(dtypes)}",
                "a tuple of that length, or one value by itself",
            )
        result = result_dtype(self.instruction, (dtypes[0], dtypes[0]))
        if self.arity == 1 and result != dtypes[0]:
            raise DTypeError(f"{self.name} of {dtypes[0]} gives {result}", f"values of {result}")
        if self.instruction == "greater" and kind(dtypes[1]) != "integer":
            raise DTypeError(f"{self.name} of indices of {dtypes[1]}", "integer indices")

    def of_none(self, rows: Sequence[Any]) -> list[Any]:
        """What folding none of the rows gives: arrays of the shape and dtype of one row each."""
        start = self.identity(*[x.dtype for x in rows])
        return [np.full(x.shape[1:], s, x.dtype) for s, x in zip(start, rows)]


def lowest(dtype: DType) -> Any:
    """The least number of a dtype: -inf for floats."""
    if kind(dtype) == "integer":
        return int(np.iinfo(dtype).min)
    return False if kind(dtype) == "bool" else float("-inf")


def highest(dtype: DType) -> Any:
    """The greatest number of a dtype: inf for floats."""
    if kind(dtype) == "integer":
        return int(np.iinfo(dtype).max)
    return True if kind(dtype) == "bool" else float("inf")


def _single(
    name: str,
    instruction: str,
    identity: Callable[[DType], Any],
    grouped: tuple[str, ...] = ("bool", "integer"),
    final: Callable[[Any, Any], Any] | None = None,
) -> Combiner:
    return Combiner(
        name,
        instruction,
        lambda dtype: (identity(dtype),),
        lambda apply, a, b: (apply(instruction, a[0], b[0]),),
        grouped=grouped,
        final=final,
    )


def _arg(compare: str) -> Callable[..., tuple[Any, ...]]:
    """The pair whose value wins by `compare`; NaN wins over numbers, then the lower index."""

    def merge(apply: Apply, a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, ...]:
        (x, i), (y, j) = a, b
        x_nan, y_nan = apply("not_equal", x, x), apply("not_equal", y, y)
        level = apply("logical_or", apply("equal", x, y), apply("logical_and", x_nan, y_nan))
        ahead = apply("logical_and", y_nan, apply("logical_not", x_nan))
        ahead = apply("logical_or", ahead, apply(compare, y, x))
        earlier = apply("logical_and", level, apply("less", j, i))
        ahead = apply("logical_or", ahead, earlier)
        return apply("where", ahead, y, x), apply("where", ahead, j, i)

    return merge


def _place(name: str, compare: str, identity: Callable[[DType], Any]) -> Combiner:
    """Folds pairs (value, place) to the first that wins by `compare`."""
    return Combiner(
        name,
        "greater",
        lambda dtype, place: (identity(dtype), highest(place)),
        _arg(compare),
        2,
        ANY,
        _later({"greater": "less_equal", "less": "greater_equal"}[compare]),
        final={"greater": max, "less": min}[compare],
    )


def _later(refuse: str) -> Callable[..., Any]:
    """Whether a value wins over an earlier one: neither is that NaN, nor does `refuse` hold."""

    def wins(apply: Apply, x: Any, y: Any) -> Any:
        is_number = apply("equal", x, x)
        return apply("logical_and", apply("logical_not", apply(refuse, y, x)), is_number)

    return wins


def _logsumexp(apply: Apply, a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, ...]:
    """(max, sum of exp(x - max)); infinite maxima must not meet in a difference."""
    top = apply("maximum", a[0], b[0])

    def scaled(x: Any, total: Any) -> Any:
        factor = apply("exp", apply("subtract", x, top))
        return apply("where", apply("equal", x, top), total, apply("multiply", total, factor))

    return top, apply("add", scaled(*a), scaled(*b))


def _welford(apply: Apply, a: tuple[Any, Any, Any], b: tuple[Any, Any, Any]) -> tuple[Any, ...]:
    """(mean, sum of squared deviations, count) of two sets together.

    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    (mean_a, m2_a, n_a), (mean_b, m2_b, n_b) = a, b
    count = apply("add", n_a, n_b)
    gap = apply("subtract", mean_b, mean_a)
    none = apply("equal", n_b, 0)
    share = apply("where", none, n_b, apply("divide", n_b, count))  # 0/0 where both are empty
    mean = apply("add", mean_a, apply("multiply", gap, share))
    spread = apply("multiply", apply("multiply", gap, gap), apply("multiply", n_a, share))
    return mean, apply("add", apply("add", m2_a, m2_b), spread), count


ANY = ("bool", "integer", "floating")

combiners = {
    c.name: c
    for c in (
        _single("sum", "add", lambda dtype: 0),
        _single("prod", "multiply", lambda dtype: 1),
        _single("max", "maximum", lowest, ANY, max),  # the last of equal ones, but the first NaN
        _single("min", "minimum", highest, ANY, min),
        _single("any", "logical_or", lambda dtype: False, final=max),
        _single("all", "logical_and", lambda dtype: True, final=min),
        _place("argmax", "greater", lowest),
        _place("argmin", "less", highest),
        Combiner("logsumexp", "logaddexp", lambda *_: (float("-inf"), 0), _logsumexp, 2),
        Combiner("welford", "hypot", lambda *_: (0, 0, 0), _welford, 3),
    )
}
