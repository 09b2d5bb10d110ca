"""Exact values of functions of one or two real numbers, by mpmath; and what NumPy says at edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from mpmath import mp
from scipy import special

import dualflow as df

WIDE = 2400  # bits that hold a sum of any two float64


@dataclass(frozen=True)
class Exact:
    """A function that mpmath knows.

    Attributes:
        value: The exact value; complex, or an error, where there is no real one.
        edges: In NumPy, for infinities, NaN, signs of zeros, and arguments beyond `limit`.
        bound: What the design allows, in units in the last place.
        own: Whether NumPy is asked in the dtype itself, not in float64.
        floor: Results below this, in smallest normal numbers, may be 0.
        limit: The magnitude of arguments from which mpmath, which would take long, is not asked.
        least: Errors count in units of numbers of this size, at least: where such terms cancel.
        bits: With how many mpmath computes.
    """

    value: Callable[..., Any]
    edges: Callable[..., Any]
    bound: float = 2.0
    own: bool = False
    floor: float = 0.0
    limit: float = float("inf")
    least: float = 0.0
    bits: int = 200


def of(name: str, **extra: Any) -> Exact:
    """A function that has one name in mpmath and NumPy."""
    return Exact(getattr(mp, name.replace("arc", "a")), getattr(np, name), **extra)


def rounded_once(value: Callable[..., Any], edges: Callable[..., Any], bits: int = 200) -> Exact:
    """What IEEE 754 rounds correctly."""
    return Exact(value, edges, bound=0.5, own=True, bits=bits)


def as_numpy(*args: Any) -> None:
    """What NumPy itself defines."""


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def signed_root(x: Any) -> Any:
    return mp.cbrt(x) if x >= 0 else -mp.cbrt(-x)


def floored(a: Any, b: Any) -> Any:
    return mp.floor(a / b)


def elu(x: Any) -> Any:
    return np.where(x > 0, x, np.expm1(np.where(x > 0, 0, x)))


def erfinv(x: Any) -> Any:
    """SciPy's, which loses the sign of 0."""
    return np.copysign(special.erfinv(x), x)


def gammaln(x: Any) -> Any:
    """SciPy's; towards minus infinity C's, which is infinite."""
    return np.where(x == -np.inf, np.inf, special.gammaln(x))


def trigamma(x: Any) -> Any:
    """SciPy's; towards minus infinity there is no limit."""
    return np.where(x == -np.inf, np.nan, special.polygamma(1, x))


def angle(a: Any, b: Any) -> Any:
    """Of a point; mpmath knows no sign of 0."""
    return mp.atan2(a, b) if a and b else None


EXPONENTIAL = {"limit": 1e4}
TABLE: dict[str, Exact] = {
    "add": rounded_once(lambda a, b: a + b, np.add, WIDE),
    "subtract": rounded_once(lambda a, b: a - b, np.subtract, WIDE),
    "multiply": rounded_once(lambda a, b: a * b, np.multiply),
    "divide": rounded_once(lambda a, b: a / b, np.divide),
    "maximum": rounded_once(max, np.maximum),
    "minimum": rounded_once(min, np.minimum),
    "remainder": Exact(lambda a, b: a - b * floored(a, b), np.remainder, bits=WIDE),
    "floor_divide": Exact(floored, np.floor_divide, bits=WIDE),
    "negative": rounded_once(lambda x: -x, np.negative),
    "abs": rounded_once(abs, np.abs),
    "square": rounded_once(lambda x: x * x, np.square),
    "sqrt": rounded_once(mp.sqrt, np.sqrt),
    "reciprocal": rounded_once(lambda x: 1 / x, np.reciprocal),
    "ceil": rounded_once(mp.ceil, np.ceil),
    "floor": rounded_once(mp.floor, np.floor),
    "trunc": rounded_once(lambda x: mp.floor(abs(x)) * mp.sign(x), np.trunc),
    "copysign": rounded_once(as_numpy, np.copysign),
    "nextafter": rounded_once(as_numpy, np.nextafter),
    "round": rounded_once(mp.nint, np.round),
    "sign": rounded_once(mp.sign, np.sign),
    "exp": of("exp", **EXPONENTIAL),
    "exp2": Exact(lambda x: mp.mpf(2) ** x, np.exp2, **EXPONENTIAL),
    "expm1": of("expm1", **EXPONENTIAL),
    "log": of("log"),
    "log1p": of("log1p"),
    "log2": Exact(lambda x: mp.log(x, 2), np.log2),
    "log10": of("log10"),
    "logaddexp": Exact(
        lambda a, b: mp.log(mp.exp(a) + mp.exp(b)), np.logaddexp, least=1.0, **EXPONENTIAL
    ),
    "pow": Exact(mp.power, np.power, **EXPONENTIAL),
    "cbrt": Exact(signed_root, np.cbrt),
    "hypot": of("hypot"),
    "sin": of("sin", bits=1300),
    "cos": of("cos", bits=1300),
    "tan": of("tan", bits=1300),
    "asin": of("arcsin"),
    "acos": of("arccos"),
    "atan": of("arctan"),
    "atan2": Exact(angle, np.arctan2),
    "sinh": of("sinh", **EXPONENTIAL),
    "cosh": of("cosh", **EXPONENTIAL),
    "tanh": of("tanh", **EXPONENTIAL),
    "asinh": of("arcsinh"),
    "acosh": of("arccosh"),
    "atanh": of("arctanh"),
    "erf": Exact(mp.erf, special.erf, **EXPONENTIAL),
    "erfc": Exact(mp.erfc, special.erfc, **EXPONENTIAL),
    "erfinv": Exact(mp.erfinv, erfinv, bound=8.0),
    "gammaln": Exact(lambda x: mp.loggamma(x).real, gammaln, bound=8.0, least=1.0),
    "digamma": Exact(mp.digamma, special.digamma, bound=8.0, least=1.0),
    "polygamma": Exact(lambda x: mp.polygamma(1, x), trigamma, bound=8.0, limit=1e3),
    "relu": rounded_once(lambda x: max(x, mp.mpf(0)), lambda x: np.maximum(x, 0.0)),
    "sigmoid": Exact(sigmoid, special.expit, floor=1, **EXPONENTIAL),
    "silu": Exact(
        lambda x: x * sigmoid(x), lambda x: x * special.expit(x), floor=128, **EXPONENTIAL
    ),
    "softplus": Exact(lambda x: mp.log1p(mp.exp(x)), lambda x: np.logaddexp(x, 0.0), **EXPONENTIAL),
    "gelu": Exact(
        lambda x: mp.ldexp(x, -1) * mp.erfc(-x / mp.sqrt(2)),
        lambda x: x * special.ndtr(x),
        least=1.0,
        **EXPONENTIAL,
    ),
    "elu": Exact(lambda x: x if x > 0 else mp.expm1(x), elu, **EXPONENTIAL),
}


def function(name: str) -> Callable[..., Any]:
    """Our function of a name."""
    if name == "polygamma":
        return partial(df.polygamma, 1)
    return getattr(df, name, None) or getattr(df.nn.functional, name)
