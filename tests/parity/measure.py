"""Errors of our functions, in units in the last place, over ordinary and edge values."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from mpmath import mp, mpf

import dualflow as df
from jit.types import kind
from tests.ops import laws
from tests.parity.exact import TABLE, Exact, function
from tests.samples import REFUSED, SAMPLES

FLOATS = ("float64", "float32", "bfloat16", "float16")
COUNT = 60  # random values of each kind
Array = np.ndarray[Any, Any]


@dataclass
class Found:
    """What is known of a function in a dtype.

    Attributes:
        worst: The largest error, in ULP.
        apart: How many results differ in the bits between the modes.
        odd: Arguments, results, and what NumPy gives, where they differ in more than rounding.
    """

    worst: float = 0.0
    apart: int = 0
    odd: list[tuple[tuple[float, ...], float, float]] = field(default_factory=list)


# ----- functions of each element, against mpmath -----


def ordinary(dtype: np.dtype[Any]) -> Array:
    """Random numbers: near 0, of the usual size, and over all exponents with both signs."""
    rng, limits = np.random.default_rng(1), ml_dtypes.finfo(dtype)
    exponents = rng.uniform(limits.minexp - limits.nmant, limits.maxexp - 0.01, COUNT)
    spread = 2.0**exponents * rng.choice([-1, 1], COUNT)
    near, usual = rng.uniform(-1, 1, COUNT), rng.uniform(-20, 20, COUNT)
    return np.concatenate([near, usual, spread]).astype(dtype)


def edges(dtype: np.dtype[Any]) -> Array:
    """Zeros, infinities, NaN, denormals, the largest, whole and half numbers, with both signs."""
    limits = ml_dtypes.finfo(dtype)
    tiny, least, most = (
        float(x) for x in (limits.smallest_normal, limits.smallest_subnormal, limits.max)
    )
    some = [0.0, math.inf, math.nan, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 100.0]
    some += [least, 3 * least, tiny, tiny - least, most, most / 2]
    return np.array([*some, *(-x for x in some)]).astype(dtype)


def arguments(name: str, dtype: np.dtype[Any]) -> list[Array]:
    """The arguments of a function: pairs of random numbers, and all pairs of edges."""
    x, e = ordinary(dtype), edges(dtype)
    if name not in BINARY:
        return [np.concatenate([x, e])]
    pairs = np.array(list(itertools.product(e, e))).astype(dtype)
    rng = np.random.default_rng(2)
    return [np.concatenate([rng.permutation(x), pairs[:, k]]) for k in range(2)]


BINARY = set("add subtract multiply divide maximum minimum remainder floor_divide".split())
BINARY |= set("copysign nextafter logaddexp pow hypot atan2".split())


def of_function(name: str, dtype: str) -> Found:
    """A function of each element in both modes, against mpmath and NumPy."""
    exact = TABLE[name]
    xs = arguments(name, np.dtype(getattr(df, dtype)))
    eager, compiled = both(function(name), xs)
    found = Found(apart=differing(eager, compiled))
    wide = [x.astype(np.float64) for x in xs]
    with np.errstate(all="ignore"):
        special = np.asarray(exact.edges(*(xs if exact.own else wide))).astype(np.float64)
    with mp.workprec(exact.bits):
        for *point, y, theirs in zip(*wide, eager.astype(np.float64), special, strict=True):
            judge(found, exact, tuple(map(float, point)), float(y), float(theirs), eager.dtype)
    return found


def both(python: Any, arrays: list[Array]) -> tuple[Array, Array]:
    """The result of a function, eager and from a graph."""
    tensors = [df.asarray(x) for x in arrays]
    recorded = df.function(lambda *xs: python(*xs), strict=True)
    recorded(*tensors)
    return python(*tensors).numpy(), recorded(*tensors).numpy()


def differing(a: Array, b: Array) -> int:
    """How many elements have other bits; every NaN is one."""
    a, b = laws.widened(a), laws.widened(b)
    same = (a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
    return int(np.sum(~same))


def judge(
    found: Found, exact: Exact, point: tuple[float, ...], y: float, theirs: float, dtype: Any
) -> None:
    """Takes one result into account."""
    value = value_of(exact, point)
    if value is None:  # NumPy's in float64, rounded
        with np.errstate(all="ignore"):
            theirs = float(np.asarray(theirs).astype(dtype))
        if not alike(y, theirs, 0 if exact.own else 2 * float(ml_dtypes.finfo(dtype).eps)):
            found.odd.append((point, y, theirs))
        return
    floor = exact.floor * float(ml_dtypes.finfo(dtype).smallest_normal)
    if not (y == 0 and abs(value) < floor):
        found.worst = max(found.worst, error(y, value, exact.least, dtype))
    if value == 0 and y == 0 and math.copysign(1, y) != math.copysign(1, theirs):
        found.odd.append((point, y, theirs))


def value_of(exact: Exact, point: tuple[float, ...]) -> Any:
    """The exact value, or None where there is no finite real one."""
    if not all(math.isfinite(x) and abs(x) <= exact.limit for x in point):
        return None
    try:
        value = exact.value(*map(mpf, point))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if isinstance(value, mpf) and mp.isfinite(value) else None


def alike(y: float, theirs: float, rtol: float) -> bool:
    """Both NaN, or nearly equal, zeros with the same sign."""
    if math.isnan(y) or math.isnan(theirs):
        return math.isnan(y) and math.isnan(theirs)
    if y == theirs:
        return y != 0 or math.copysign(1, y) == math.copysign(1, theirs)
    return math.isfinite(theirs) and abs(y - theirs) <= rtol * abs(theirs)


def error(y: float, value: Any, least: float, dtype: Any) -> float:
    """How far off a result is, in ULP; what is too large for the dtype counts as its largest."""
    limits = ml_dtypes.finfo(dtype)
    most = mpf(float(limits.max))
    if math.isnan(y):
        return math.inf
    y_ = mpf(y) if math.isfinite(y) else mpf(math.copysign(1, y)) * most
    value = max(-most, min(most, value))
    size = max(abs(value), mpf(least))
    exponent = max(int(mp.frexp(size)[1]) - 1, int(limits.minexp)) if size else int(limits.minexp)
    return float(abs(y_ - value) / mp.ldexp(1, exponent - int(limits.nmant)))


# ----- all other functions, on their samples, against NumPy in float64 -----

OF_PARAMETERS = {"sgd_update", "momentum_update", "adam_update"}  # which are not integers
DTYPES = ("float32", "bfloat16", "float16", "complex64", "int32")


def of_samples(name: str, dtype: str) -> Found | None:
    """A function on its samples in both modes; None where it takes no such numbers."""
    found = None
    if dtype == "int32" and name in OF_PARAMETERS:
        return None
    for case in laws.cases(name, None if dtype == "float32" else dtype):
        found = found or Found()
        laws.seed()
        results = laws.tensors_of(case.call(*case.tensors()))
        recorded = df.function(case.call, strict=True)
        for _ in range(2):
            laws.seed()
            again = laws.tensors_of(recorded(*case.tensors()))
        found.apart += sum(not laws.same_bits(a, b) for a, b in zip(results, again, strict=True))
        for ours, theirs in zip(results, case.reference(), strict=True):
            found.worst = max(found.worst, relative(ours.numpy(), np.asarray(theirs)))
    return found


def relative(ours: Array, theirs: Array) -> float:
    """The largest error in roundings of the largest element; infinite for other kinds of value."""
    if kind(ours.dtype) not in ("floating", "complex"):
        return 0.0 if np.array_equal(ours, theirs) else math.inf
    with np.errstate(all="ignore"):
        narrow = laws.widened(theirs.astype(ours.dtype))
        a, b = laws.widened(ours), np.where(np.isinf(narrow), narrow, theirs)
        plain = np.isfinite(a) & np.isfinite(b)
        apart = np.abs(a - b)[plain]
    if not np.array_equal(a[~plain], b[~plain], equal_nan=True):
        return math.inf
    scale = max(laws.largest(b), float(ml_dtypes.finfo(ours.dtype).smallest_normal))
    return float(np.max(apart, initial=0.0)) / (scale * laws.rounding(ours.dtype))


def of_errors(name: str) -> tuple[int, int]:
    """How many calls that must fail do so with one text in both modes, and of how many."""
    same = 0
    for refused in REFUSED.get(name, []):
        args, kwargs = laws.as_tensors((refused.args, refused.kwargs))
        texts = set()
        for python in (laws.CALLED[name], df.function(laws.CALLED[name])):
            try:
                python(*args, **kwargs)
            except Exception as raised:
                texts.add(f"{type(raised).__name__}: {raised}".split("\n  at ")[0])
            else:
                texts.add("nothing")
        same += len(texts) == 1 and "nothing" not in texts
    return same, len(REFUSED.get(name, []))


def sampled() -> list[str]:
    """The functions that the first table does not hold, and that are not random."""
    return sorted(set(SAMPLES) - set(TABLE) - {"randn"})
