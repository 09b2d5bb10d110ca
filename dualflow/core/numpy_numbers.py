"""NumPy's functions of each element that are spelled otherwise here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes

from dualflow.core.registry import functions
from jit.types import as_dtype, bool_, kind


def rounded(x: Any, decimals: int = 0) -> Any:
    """To so many decimals; integers stay what they are."""
    whole = kind(x.dtype) == "integer"
    if decimals == 0 or (whole and decimals > 0):
        return functions["round"](x)
    if whole:
        step = 10**-decimals
        return functions["astype"](functions["round"](as_double(x) / step) * step, x.dtype)
    scale = 10.0**decimals
    return functions["round"](x * scale) / scale


def as_double(x: Any) -> Any:
    """In float64, or complex128."""
    x = functions["asarray"](x)
    return functions["astype"](
        x, as_dtype("complex128" if kind(x.dtype) == "complex" else "float64")
    )


def without_nan_of_two(name: str) -> Callable[..., Any]:
    """`fmax` and `fmin`: of a number and NaN the number."""

    def chosen(a: Any, b: Any) -> Any:
        where, isnan = functions["where"], functions["isnan"]
        return where(isnan(b), a, where(isnan(a), b, functions[name](a, b)))

    return chosen


def truth(name: str) -> Callable[..., Any]:
    """A logical function; numbers are true unless they are 0."""

    def of(*xs: Any) -> Any:
        tensors = map(functions["asarray"], xs)
        return functions[name](*(x if x.dtype == bool_ else x != 0 for x in tensors))

    return of


def scaled(factor: float) -> Callable[..., Any]:
    """A unit in another: degrees in radians."""
    return lambda x: x * factor


def divided(a: Any, b: Any) -> Any:
    """Quotient, rounded down, and remainder."""
    return functions["floor_divide"](a, b), functions["remainder"](a, b)


def infinite(sign: int) -> Callable[..., Any]:
    """Whether elements are infinite, and of that sign."""
    return lambda x: functions["isinf"](x) & (x > 0 if sign > 0 else x < 0)


def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    where, angle = functions["where"], math.pi * x
    return where(x == 0, 1.0, functions["sin"](angle) / where(x == 0, 1.0, angle))


def angle(z: Any, deg: bool = False) -> Any:  # noqa: FBT001, FBT002
    """The direction of numbers in the plane."""
    found = functions["atan2"](imag(z), functions["real"](z))
    return found * (180 / math.pi) if deg else found


def imag(z: Any) -> Any:
    """The imaginary part, 0 of real numbers."""
    return functions["imag"](z) if kind(z.dtype) == "complex" else functions["zeros_like"](z)


def nan_to_num(
    x: Any,
    copy: bool = True,  # noqa: FBT001, FBT002
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Finite numbers in place of NaN and infinities: `nan`, and the largest that there are."""
    if kind(x.dtype) == "complex":
        parts = (nan_to_num(functions[k](x), copy, nan, posinf, neginf) for k in ("real", "imag"))
        return sum(part * unit for part, unit in zip(parts, (1, 1j), strict=True))
    if kind(x.dtype) != "floating":
        return x
    where, limits = functions["where"], ml_dtypes.finfo(x.dtype)
    x = where(infinite(1)(x), float(limits.max) if posinf is None else posinf, x)
    x = where(infinite(-1)(x), float(limits.min) if neginf is None else neginf, x)
    return where(functions["isnan"](x), nan, x)


def isclose(
    a: Any,
    b: Any,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,  # noqa: FBT001, FBT002
) -> Any:
    """Whether elements agree within NumPy's bounds."""
    near = (functions["abs"](a - b) <= atol + rtol * functions["abs"](b)) & functions["isfinite"](b)
    return near | same(a, b, equal_nan=equal_nan)


def same(a: Any, b: Any, *, equal_nan: bool) -> Any:
    """Whether elements are equal, and NaN too where `equal_nan`."""
    return (a == b) | ((a != a) & (b != b)) if equal_nan else a == b


def array_equal(a: Any, b: Any, equal_nan: bool = False) -> bool:  # noqa: FBT001, FBT002
    """Whether shapes and all elements are equal."""
    a, b = map(functions["asarray"], (a, b))
    return a.shape == b.shape and bool(functions["all"](same(a, b, equal_nan=equal_nan)))


def where(condition: Any, *choices: Any) -> Any:
    """One tensor or the other by elements; without them, where the condition holds."""
    return functions["where"](condition, *choices) if choices else functions["nonzero"](condition)


def heaviside(a: Any, b: Any) -> Any:
    """0 of negative numbers, 1 of positive ones, `b` of 0."""
    step = where(a < 0, 0.0, where(a > 0, 1.0, b))
    return where(functions["isnan"](a), a, step)


def fmod(a: Any, b: Any) -> Any:
    """The remainder with the sign of the first number."""
    rest = functions["remainder"](functions["abs"](a), functions["abs"](b))
    return where(functions["asarray"](a) < 0, -rest, rest)


NUMBERS: dict[str, Callable[..., Any]] = {
    "float_power": lambda a, b: functions["pow"](as_double(a), as_double(b)),
    "fmax": without_nan_of_two("maximum"),
    "fmin": without_nan_of_two("minimum"),
    **{k: truth(k) for k in ("logical_and", "logical_or", "logical_xor", "logical_not")},
    "round": rounded,
    "around": rounded,
    "deg2rad": scaled(math.pi / 180),
    "radians": scaled(math.pi / 180),
    "rad2deg": scaled(180 / math.pi),
    "degrees": scaled(180 / math.pi),
    "divmod": divided,
    "isposinf": infinite(1),
    "isneginf": infinite(-1),
    "sinc": sinc,
    "angle": angle,
    "imag": imag,
    "where": where,
    "nan_to_num": nan_to_num,
    "isclose": isclose,
    "array_equal": array_equal,
    "allclose": lambda *args, **words: bool(functions["all"](isclose(*args, **words))),
    "heaviside": heaviside,
    "fmod": fmod,
    "isreal": lambda x: imag(x) == 0,
    "iscomplex": lambda x: imag(x) != 0,
    "isrealobj": lambda x: kind(x.dtype) != "complex",
    "iscomplexobj": lambda x: kind(x.dtype) == "complex",
    "extract": lambda condition, x: functions["reshape"](x, (-1,))[
        functions["reshape"](condition, (-1,)) != 0
    ],
}
