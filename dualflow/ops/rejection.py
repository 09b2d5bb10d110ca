"""Samplers that try until a number is accepted, in a fixed number of tries: gamma, poisson and kin.

All tries of an element are made side by side, so that a graph of fixed shape computes them; the
first that is accepted counts. Where none is, which is stated, the number is near the mode.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from dualflow.core.axes import canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast, creation
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import maximum, minimum, where
from dualflow.ops.elementwise import astype
from dualflow.ops.parameters import at_most, not_negative, probability, whole_float
from dualflow.ops.power import sqrt
from dualflow.ops.random import Generator, bits_of, floating_dtype, moved
from dualflow.ops.shape import broadcast_to
from dualflow.ops.special import cos, exp, log, log1p, sin
from dualflow.ops.words import unit64
from jit.errors import DTypeError, ShapeError
from jit.types import as_dtype, float32, float64, format_shape, int64, kind

PAIRS = 3  # of tries for a number of gamma: each fails with probability 0.049 at most
TRIES = 12  # for a number of poisson: each fails with probability 0.24 at most
FEW = 12.0  # means from which on poisson tries; it counts up to smaller ones
MOST = 56  # up to where: the rest has less than 2**-53
TURN = 6.283185307179586


def inside(generator: Generator | None, shape: tuple[Any, ...], wide: Any) -> Tensor:
    """Uniform numbers between 0 and 1, both left out."""
    if wide == float64:
        return minimum(unit64(bits_of(generator, (*shape, 2))) + 2.0**-54, 1 - 2.0**-53)
    u = (astype(bits_of(generator, shape), float32) + 0.5) * 2.0**-32
    return minimum(u, 1 - 2.0**-24)


def first_of(accepted: Tensor, values: Tensor, otherwise: Tensor, tries: int) -> Tensor:
    """The first accepted value along the last axis."""
    return reduce(
        lambda rest, k: where(accepted[..., k], values[..., k], rest),
        reversed(range(tries)),
        otherwise,
    )


def parameter(name: str, what: str, x: Any, shape: tuple[Any, ...], dtype: Any) -> Tensor:
    """A positive parameter, with an element for each of the result.

    Raises:
        ValueError: A number is not positive.
        ShapeError: A tensor does not broadcast with `shape`.
    """
    if isinstance(x, int | float) and not x > 0:
        raise ValueError(f"{name}: {what}={x} is not positive")
    given = astype(as_tensor(x), dtype)
    if broadcast(name, given.shape, shape) != shape:
        raise ShapeError(
            f"{name}: {what} of shape {format_shape(given.shape)} for {format_shape(shape)}",
            "a shape that broadcasts to it",
        )
    return broadcast_to(functions["stop_gradient"](given), shape)


# ----- gamma -----


def gamma_parts(generator: Generator | None, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """A number of gamma as a factor, and the logarithm of another one, which may be tiny.

    G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", ACM TOMS 26
    (2000) 363-372; for alpha below 1 a number of alpha + 1 times a power of a uniform one.
    """
    wide, shape = alpha.dtype, alpha.shape
    raised = where(alpha < 1, alpha + 1, alpha)
    d = raised - 1 / 3
    u = inside(generator, (*shape, 4 * PAIRS + 1), wide)
    radius, angle = sqrt(log(u[..., :PAIRS]) * -2.0), u[..., PAIRS : 2 * PAIRS] * TURN
    x = functions["concat"]([radius * cos(angle), radius * sin(angle)], axis=-1)
    root = 1 + x / (3 * sqrt(d))[..., None]
    v = maximum(root, 0.0) ** 3
    safe = where(root > 0, v, 1.0)
    bound = 0.5 * x * x + d[..., None] * (1 - v + log(safe))
    accepted = (root > 0) & (log(u[..., 2 * PAIRS : 4 * PAIRS]) < bound)
    found = first_of(accepted, v, functions["ones_like"](d), 2 * PAIRS)
    boost = where(alpha < 1, log(u[..., 4 * PAIRS]) / alpha, 0.0)
    return d * found, boost


def wide_of(target: Any) -> Any:
    """The dtype that numbers are drawn in."""
    return float64 if target == float64 else float32


@creation
def gamma(
    shape: Any = (),
    alpha: Any = 1.0,
    scale: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Gamma distributed numbers: the waiting time for `alpha` arrivals, if that is a whole number.

    G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", 2000, with six
    tries an element. They all fail once in 70 million elements at most, which then are close to the
    mode: no distribution function is off by more than 2e-8.

    Args:
        shape: Of the result.
        alpha: The shape of the distribution, positive; a number or a tensor that broadcasts to
            `shape`. No gradient flows to it.
        scale: The factor of all numbers; a number or a tensor, to which gradients flow.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape; the mean is `alpha * scale`. Tiny numbers, as small `alpha` makes
        them, are rounded to 0.

    Raises:
        ValueError: `alpha` is not positive.
        ShapeError: `alpha` does not broadcast to `shape`.

    Example:
        >>> import dualflow as df
        >>> bool((df.random.gamma(100, 0.5) >= 0).all())
        True
    """
    target, extents = floating_dtype("gamma", dtype), canonical_shape("gamma", shape)
    alpha = parameter("gamma", "alpha", alpha, extents, wide_of(target))
    found, boost = gamma_parts(generator, alpha)
    return moved(astype(found * exp(boost), target), 0.0, scale)


@creation
def beta(
    shape: Any = (),
    a: Any = 1.0,
    b: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Beta distributed numbers: the share of one of two gamma distributed numbers in their sum.

    Args:
        shape: Of the result.
        a: Shape of the first, positive; a number or a tensor that broadcasts to `shape`.
        b: Shape of the second, likewise.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape, between 0 and 1; the mean is `a / (a + b)`. No gradient flows. It is
        as exact as `gamma`.

    Raises:
        ValueError: `a` or `b` is not positive.
        ShapeError: One of them does not broadcast to `shape`.

    Example:
        >>> import dualflow as df
        >>> bool((df.random.beta(100, 2.0, 3.0) <= 1).all())
        True
    """
    target, extents = floating_dtype("beta", dtype), canonical_shape("beta", shape)
    parts = [
        parameter("beta", name, x, extents, wide_of(target)) for name, x in (("a", a), ("b", b))
    ]
    (x, far), (y, near) = [gamma_parts(generator, alpha) for alpha in parts]
    return astype(1 / (1 + exp(log(y) + near - log(x) - far)), target)


# ----- poisson -----


def count_dtype(name: str, dtype: Any) -> Any:
    """The dtype of counts, checked."""
    target = as_dtype(dtype)
    if kind(target) not in ("integer", "floating"):
        raise DTypeError(f"{name}: dtype {target}", "an integer or floating dtype", "df.int64")
    return target


def _counted(u: Tensor, rate: Tensor) -> Tensor:
    """How many arrivals there are before the distribution function exceeds `u`, for small rates."""
    term = total = exp(-rate)
    found = functions["zeros_like"](rate)
    for k in range(1, MOST):
        found = found + astype(u >= total, float64)
        term = term * rate / k
        total = total + term
    return found


def _tried(u: Tensor, v: Tensor, rate: Tensor) -> Tensor:
    """Numbers of arrivals for large rates, out of pairs of uniform numbers.

    W. Hörmann, "The transformed rejection method for generating Poisson random variables",
    Insurance: Mathematics and Economics 12 (1993) 39-45: algorithm PTRS, without its squeezes.
    """
    mean = rate[..., None]
    b = 0.931 + 2.53 * sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    u = u - 0.5
    us = 0.5 - functions["abs"](u)
    k = functions["floor"]((2 * a / us + b) * u + mean + 0.43)
    counts = maximum(k, 0.0)
    height = log(v * inverse / (a / (us * us) + b))
    chance = counts * log(mean) - mean - functions["gammaln"](counts + 1)
    accepted = (k >= 0) & (height <= chance)
    return first_of(accepted, k, functions["floor"](rate), TRIES)


@creation
def poisson(
    shape: Any = (), rate: Any = 1.0, *, dtype: Any = int64, generator: Generator | None = None
) -> Tensor:
    """Numbers of arrivals, of which `rate` are expected.

    Below a rate of 12 the distribution function is inverted, to 53 bits. From there on W. Hörmann,
    "The transformed rejection method for generating Poisson random variables", 1993, with twelve
    tries an element, in float64. They all fail once in 30 million elements at most, which then are
    close to the mode.

    Args:
        shape: Of the result.
        rate: The mean, from 0 to 2**31; a number or a tensor that broadcasts to `shape`. No
            gradient flows to it.
        dtype: Of the result: an integer or floating dtype that holds the numbers.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `rate` is negative, or beyond 2**31.
        DTypeError: `dtype` is of bools or complex numbers.
        ShapeError: `rate` does not broadcast to `shape`.

    Example:
        >>> import dualflow as df
        >>> bool((df.random.poisson(100, 3.0) >= 0).all())
        True
    """
    target, extents = count_dtype("poisson", dtype), canonical_shape("poisson", shape)
    if isinstance(rate, int | float):
        if not rate >= 0:
            raise ValueError(f"poisson: rate={rate} is negative")
        at_most("poisson", 2**31, rate=rate)
        rate = as_tensor(rate, dtype=float64)
    rate = parameter("poisson", "rate", rate, extents, float64)
    few = _counted(inside(generator, extents, float64), minimum(rate, FEW))
    u = inside(generator, (*extents, 2 * TRIES), float64)
    many = _tried(u[..., :TRIES], u[..., TRIES:], maximum(rate, FEW))
    return astype(where(rate < FEW, few, many), target)


# ----- binomial -----


def _counted_successes(u: Tensor, n: Tensor, p: Tensor) -> Tensor:
    """How many successes there are before the distribution function exceeds `u`, for few."""
    term = total = exp(n * log1p(-p))
    odds, found = p / (1 - p), functions["zeros_like"](n)
    for k in range(MOST):
        found = found + astype(u >= total, float64)
        term = term * odds * (maximum(n - k, 0.0) / (k + 1))
        total = total + term
    return minimum(found, n)


def _tried_successes(u: Tensor, v: Tensor, n: Tensor, p: Tensor) -> Tensor:
    """Numbers of successes where many are expected, out of pairs of uniform numbers.

    W. Hörmann, "The generation of binomial random variates", Journal of Statistical Computation
    and Simulation 46 (1993) 101-110: algorithm BTRS, without its squeezes.
    """
    n, p = n[..., None], p[..., None]
    spread = sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    u = u - 0.5
    us = 0.5 - functions["abs"](u)
    k = functions["floor"]((2 * a / us + b) * u + n * p + 0.5)
    counts = functions["clip"](k, 0.0, n)
    height = log(v * (2.83 + 5.1 / b) * spread / (a / (us * us) + b))
    mode = functions["floor"]((n + 1) * p)
    chance = _ways(n, counts) - _ways(n, mode) + (counts - mode) * log(p / (1 - p))
    accepted = (k >= 0) & (k <= n) & (height <= chance)
    return first_of(accepted, k, mode[..., 0], TRIES)


def _ways(n: Tensor, k: Tensor) -> Tensor:
    """The logarithm of in how many ways k can be chosen, but for a constant."""
    return -functions["gammaln"](k + 1) - functions["gammaln"](n - k + 1)


@creation
def binomial(
    shape: Any = (),
    n: Any = 1,
    p: Any = 0.5,
    *,
    dtype: Any = int64,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of successes in `n` trials, each of which succeeds with probability `p`.

    Below a mean of 12 the distribution function is inverted, to 53 bits. From there on W. Hörmann,
    "The generation of binomial random variates", 1993, with twelve tries an element, in float64.
    They all fail once in 4 million elements at most, which then are the mode.

    Args:
        shape: Of the result.
        n: How many trials, up to 2**31; a number or a tensor that broadcasts to `shape`.
        p: The probability, likewise. No gradient flows to it.
        dtype: Of the result: an integer or floating dtype that holds the numbers.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `n` is negative, beyond 2**31 or no whole number, or `p` no probability.
        DTypeError: `dtype` is of bools or complex numbers.
        ShapeError: `n` or `p` does not broadcast to `shape`.

    Example:
        >>> import dualflow as df
        >>> df.random.binomial(3, 10, 1.0).tolist()
        [10, 10, 10]
    """
    target, extents = count_dtype("binomial", dtype), canonical_shape("binomial", shape)
    not_negative("binomial", n=n)
    at_most("binomial", 2**31, n=n)
    whole_float("binomial", n=n)
    probability("binomial", p)
    n = parameter("binomial", "n", as_tensor(n), extents, float64)
    p = parameter("binomial", "p", as_tensor(p), extents, float64)
    rare = minimum(p, 1 - p)  # failures are counted where they are fewer
    mean = n * rare
    few = mean < FEW
    below = where(few, rare, minimum(rare, FEW / maximum(n, 1.0)))
    counted = _counted_successes(inside(generator, extents, float64), n, below)
    u = inside(generator, (*extents, 2 * TRIES), float64)
    many = where(few, 4 * FEW, n), where(few, 0.5, rare)
    tried = _tried_successes(u[..., :TRIES], u[..., TRIES:], *many)
    found = where(few, counted, tried)
    return astype(where(p > 0.5, n - found, found), target)
