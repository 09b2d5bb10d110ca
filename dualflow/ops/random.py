"""Random numbers: a generator whose state is a Variable, and samplers that transform its bits.

Each call of a sampler takes the generator's state and moves it on by one, with an ordinary write
to a Variable: recording, rollback and both modes need nothing special. The default generator
starts from seed 0 in every process.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dualflow.core.axes import canonical_shape
from dualflow.core.context import context, using
from dualflow.core.define import creation
from dualflow.core.doors import fits
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable, convert
from dualflow.ops.choice import minimum, where
from dualflow.ops.elementwise import astype
from dualflow.ops.parameters import not_negative, probability, whole
from dualflow.ops.philox import one_call, random_bits, unit_numbers
from dualflow.ops.power import sqrt
from dualflow.ops.shape import reshape
from dualflow.ops.special import log, log1p
from dualflow.ops.words import joined_words, normals, unit64, within_range
from jit.errors import DTypeError
from jit.forms.special import ratio
from jit.types import as_dtype, bool_, float32, float64, int64, kind, product

# ----- generators -----


class Generator:
    """A stream of random numbers.

    Args:
        seed: Any integer; its lowest 64 bits count.

    Attributes:
        state: Variable of uint64 [seed, number of calls so far].

    Example:
        >>> import dualflow as df
        >>> a, b = df.random.Generator(7), df.random.Generator(7)
        >>> bool((df.random.normal(3, generator=a) == df.random.normal(3, generator=b)).all())
        True
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = Variable(start(seed), trainable=False, name="random state")

    def seed(self, seed: int) -> None:
        """Starts anew from `seed`."""
        self.state.assign(start(seed))

    def take(self) -> Tensor:
        """The state for one call; the next call gets another."""
        own, place = self.state, context.device
        if own.device != place and getattr(own.tensor.symbol, "owner", None) is None:
            convert(own, place)  # but a recording that has taken numbers leaves it where it was
        state = own.read_value()
        own.assign(state + one_call(own.device))
        return functions["to_device"](state, place)

    def __repr__(self) -> str:
        return f"Generator(state={self.state.tolist()})"


def start(seed: int) -> np.ndarray[Any, Any]:
    """The state before the first call."""
    return np.array([int(seed) % 2**64, 0], np.uint64)


with using(trace=None):  # whoever imports this, and when
    default_generator = Generator(0)


def seed(n: int) -> None:
    """Starts the default generator anew.

    Args:
        n: Any integer; the same one gives the same numbers again.

    Example:
        >>> import dualflow as df
        >>> df.random.seed(1)
        >>> x = df.random.uniform(2)
        >>> df.random.seed(1)
        >>> bool((x == df.random.uniform(2)).all())
        True
    """
    default_generator.seed(n)


def get_state() -> Tensor:
    """The state of the default generator, for `set_state`.

    Returns:
        Tensor of uint64 (2,).
    """
    return default_generator.state.read_value()


def set_state(state: Any) -> None:
    """Puts the default generator back to where it was.

    Args:
        state: What `get_state` returned.

    Example:
        >>> import dualflow as df
        >>> state = df.random.get_state()
        >>> x = df.random.normal(2)
        >>> df.random.set_state(state)
        >>> bool((x == df.random.normal(2)).all())
        True
    """
    own = default_generator.state
    own.assign(functions["to_device"](state, own.device) if isinstance(state, Tensor) else state)


def state_of(generator: Generator | None) -> Tensor:
    """The state for one call of a sampler."""
    return (default_generator if generator is None else generator).take()


def bits_of(generator: Generator | None, shape: Any) -> Tensor:
    """Fresh uint32 words."""
    return random_bits(state_of(generator), shape)


# ----- uniform numbers -----

HALF_BITS = {"float16": 11, "bfloat16": 8}  # as many as make numbers below 1 that the dtype holds


def floating_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """The floating dtype that is asked for; float32 when None."""
    target = as_dtype(dtype or float32)
    if kind(target) != "floating":
        raise DTypeError(f"{name}: dtype {target}", "a floating dtype", "dtype=df.float32")
    return target


def _unit(generator: Generator | None, shape: tuple[Any, ...], dtype: np.dtype[Any]) -> Tensor:
    """Numbers in [0, 1): multiples of 2**-24, of 2**-53 in float64."""
    if dtype == float64:
        return unit64(bits_of(generator, (*shape, 2)))
    if dtype == float32 and context.trace is None:
        return unit_numbers(state_of(generator), shape)
    bits = HALF_BITS.get(dtype.name, 24)
    return astype(bits_of(generator, shape) >> (32 - bits), dtype) * 2.0**-bits


@creation
def uniform(
    shape: Any = (),
    low: Any = 0.0,
    high: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers between `low` and `high`, all equally likely.

    Args:
        shape: Of the result.
        low: The least number, or a tensor that broadcasts with `shape`.
        high: The bound above, which is not reached but by rounding.
        dtype: A floating dtype. Between 0 and 1 there are 2**24 different numbers, 2**53 in
            float64.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `high` is below `low`.

    Example:
        >>> import dualflow as df
        >>> df.random.uniform((2, 3)).shape
        (2, 3)
    """
    if isinstance(low, int | float) and isinstance(high, int | float) and high < low:
        raise ValueError(f"uniform: there is no number from {low} up to {high}")
    target = floating_dtype("uniform", dtype)
    u = _unit(generator, canonical_shape("uniform", shape), target)
    return moved(u, low, _difference(high, low))


def _difference(high: Any, low: Any) -> Any:
    return high if _is(low, 0) else high - low


def moved(x: Tensor, shift: Any, scale: Any) -> Tensor:
    """`x * scale + shift`, without the ops that change nothing."""
    x = x if _is(scale, 1) else x * scale
    return x if _is(shift, 0) else x + shift


def _is(x: Any, number: int) -> bool:
    return isinstance(x, int | float) and x == number


# ----- normal numbers -----


@creation
def normal(
    shape: Any = (),
    mean: Any = 0.0,
    std: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers.

    G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", 1958: two
    uniform numbers make a radius and an angle, whose cosine and sine make two normal numbers.

    Args:
        shape: Of the result.
        mean: The mean, a number or a tensor that broadcasts with `shape`; gradients flow to it.
        std: The standard deviation, likewise.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape. float32 numbers reach 6.8 standard deviations from the mean.

    Raises:
        ValueError: `std` is negative.

    Example:
        >>> import dualflow as df
        >>> df.random.normal((2, 3), std=0.1).shape
        (2, 3)
    """
    not_negative("normal", std=std)
    target = floating_dtype("normal", dtype)
    extents = canonical_shape("normal", shape)
    wide = float64 if target == float64 else float32
    size = product(extents)
    pairs = (size + 1) // 2
    words = bits_of(generator, (pairs, 2, 2) if wide == float64 else (pairs, 2))
    z = normals(words, dtype=wide)
    flat = reshape(z, (2 * pairs,))[:size]
    return moved(astype(reshape(flat, extents), target), mean, std)


@api
@creation
def randn(*shape: Any, dtype: Any = float32, generator: Generator | None = None) -> Tensor:
    """Normally distributed numbers with mean 0 and standard deviation 1.

    Args:
        *shape: The extents of the result, or one tuple of them.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Example:
        >>> import dualflow as df
        >>> df.randn(2, 3).shape
        (2, 3)
    """
    extents = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    return normal(extents, dtype=dtype, generator=generator)


@creation
def truncated_normal(
    shape: Any = (),
    mean: Any = 0.0,
    std: Any = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers, as far as they lie between two bounds.

    Args:
        shape: Of the result.
        mean: Of the distribution before it is cut, a number or a tensor that broadcasts with
            `shape`.
        std: Its standard deviation, likewise.
        low: The lower bound, in standard deviations from the mean.
        high: The upper bound, likewise.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: Not -6 <= low < high <= 6, or `std` is negative.

    Example:
        >>> import dualflow as df
        >>> bool((abs(df.random.truncated_normal(100)) <= 2).all())
        True
    """
    if not -6 <= low < high <= 6:
        raise ValueError(f"truncated_normal: low={low}, high={high}, not -6 <= low < high <= 6")
    not_negative("truncated_normal", std=std)
    target = floating_dtype("truncated_normal", dtype)
    u = _unit(generator, canonical_shape("truncated_normal", shape), float64)
    p_low, p_high = (0.5 * math.erfc(-bound / math.sqrt(2)) for bound in (low, high))
    z = functions["clip"](_quantile(u * (p_high - p_low) + p_low), low, high)
    return moved(astype(z, target), mean, std)


# M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988) 477-484: numerators and denominators, highest power first.
CENTRE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
TAILS = (
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
        1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
        4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
        1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
        2.05319162663775882187e0, 1.0,
    ),
)  # fmt: skip


def _quantile(p: Tensor) -> Tensor:
    """Where the normal distribution function is `p`, float64 between 1e-10 and 1 - 1e-10."""
    q = p - 0.5
    centre = q * ratio(CENTRE, 0.180625 - q * q)
    tail = ratio(TAILS, sqrt(-log(minimum(p, 1 - p))) - 1.6)
    return where(functions["abs"](q) <= 0.425, centre, where(q < 0, -tail, tail))


# ----- other distributions -----


@creation
def exponential(
    shape: Any = (), scale: Any = 1.0, *, dtype: Any = float32, generator: Generator | None = None
) -> Tensor:
    """Exponentially distributed numbers: waiting times whose mean is `scale`.

    Args:
        shape: Of the result.
        scale: The mean, a number or a tensor that broadcasts with `shape`; gradients flow to it.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `scale` is negative.

    Example:
        >>> import dualflow as df
        >>> bool((df.random.exponential(100) >= 0).all())
        True
    """
    not_negative("exponential", scale=scale)
    target = floating_dtype("exponential", dtype)
    u = _unit(generator, canonical_shape("exponential", shape), target)
    return moved(-log1p(-u), 0.0, scale)


@creation
def bernoulli(
    shape: Any = (), p: Any = 0.5, *, dtype: Any = bool_, generator: Generator | None = None
) -> Tensor:
    """True with probability `p`.

    Args:
        shape: Of the result.
        p: The probability, a number or a tensor that broadcasts with `shape`.
        dtype: Of the result; ones and zeros in a dtype that is not bool.
        generator: The default one when None.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `p` is no probability.

    Example:
        >>> import dualflow as df
        >>> df.random.bernoulli(3, 1.0).tolist()
        [True, True, True]
    """
    probability("bernoulli", p)
    u = _unit(generator, canonical_shape("bernoulli", shape), float32)
    return astype(u < p, dtype)


@creation
def randint(
    shape: Any, low: int, high: int, *, dtype: Any = int64, generator: Generator | None = None
) -> Tensor:
    """Whole numbers from `low` up to, and without, `high`, all equally likely.

    Args:
        shape: Of the result.
        low: The least number.
        high: The bound above.
        dtype: An integer dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape: 64 random bits modulo `high - low`, which favours no number by more
        than `high - low` in 2**64.

    Raises:
        ValueError: There is no number between `low` and `high`.
        DTypeError: The dtype does not hold all of them, or is none of integers; or a bound is no
            whole number.

    Example:
        >>> import dualflow as df
        >>> bool((df.random.randint(100, 1, 7) <= 6).all())
        True
    """
    low, high = whole("randint", "low", low), whole("randint", "high", high)
    if not low < high:
        raise ValueError(f"randint: there is no number from {low} up to {high}")
    target = as_dtype(dtype)
    if kind(target) != "integer":
        raise DTypeError(f"randint: dtype {target}", "an integer dtype", "dtype=df.int64")
    if not (fits(low, target) and fits(high - 1, target)):
        raise DTypeError(
            f"randint: {low} to {high - 1} do not fit {target}", "a wider dtype", "dtype=df.int64"
        )
    pairs = bits_of(generator, (*canonical_shape("randint", shape), 2))
    return within_range(pairs, low=low, count=high - low, dtype=target)


def words64(generator: Generator | None, shape: tuple[Any, ...]) -> Tensor:
    """Fresh uint64 words."""
    return joined_words(bits_of(generator, (*shape, 2)))
