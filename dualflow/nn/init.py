"""Initial values of parameters: functions that assign to a Variable, under PyTorch's names.

They draw from `df.random`, or a generator of it, so `df.random.seed` makes a net the same in every
run and mode. Shapes are (out, in, ...), as layers keep their weights.
"""

from __future__ import annotations

import math

from dualflow import random
from dualflow.core.context import no_grad
from dualflow.core.devices import placed
from dualflow.core.variable import Variable
from dualflow.ops.basic import full
from dualflow.ops.create import arange, eye, zeros
from dualflow.ops.elementwise import astype
from dualflow.ops.linalg import matmul
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import sum
from dualflow.ops.shape import matrix_transpose, reshape
from jit.errors import ShapeError
from jit.types import float64, format_shape

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
NEWTON_STEPS = 50  # a singular value grows by half each time until it is near 1


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much a layer's weights must grow to make up for the function that follows.

    Args:
        nonlinearity: What follows: "linear", "conv2d" and other layers, "sigmoid", "tanh", "relu",
            "leaky_relu", "selu".
        param: Slope of the leaky relu, 0.01 when None.

    Returns:
        The factor of the standard deviation.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity not in GAINS:
        raise ValueError(
            f"calculate_gain: {nonlinearity!r} is none of {', '.join([*GAINS, 'leaky_relu'])}"
        )
    return GAINS[nonlinearity]


def fans(variable: Variable) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input reaches."""
    shape = [int(d) for d in variable.shape]
    if len(shape) < 2:
        raise ShapeError(
            f"init: shape {format_shape(variable.shape)} has no inputs and outputs to count",
            "two dimensions or more: (out, in, ...)",
            "nn.init.uniform_ or nn.init.zeros_",
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


@placed
def uniform_(
    variable: Variable, a: float = 0.0, b: float = 1.0, generator: random.Generator | None = None
) -> Variable:
    """Draws uniformly from [a, b)."""
    return _assign(
        variable, random.uniform(variable.shape, a, b, dtype=variable.dtype, generator=generator)
    )


@placed
def normal_(
    variable: Variable,
    mean: float = 0.0,
    std: float = 1.0,
    generator: random.Generator | None = None,
) -> Variable:
    """Draws from a normal distribution."""
    return _assign(
        variable,
        random.normal(variable.shape, mean, std, dtype=variable.dtype, generator=generator),
    )


@placed
def constant_(variable: Variable, val: float) -> Variable:
    """Fills with one number."""
    return _assign(variable, full(variable.shape, val, dtype=variable.dtype))


def zeros_(variable: Variable) -> Variable:
    """Fills with zeros."""
    return constant_(variable, 0.0)


def ones_(variable: Variable) -> Variable:
    """Fills with ones."""
    return constant_(variable, 1.0)


@placed
def eye_(variable: Variable) -> Variable:
    """The identity: ones on the diagonal of a matrix, zeros elsewhere."""
    rows, columns = (int(n) for n in variable.shape)
    return _assign(variable, eye(rows, columns, dtype=variable.dtype))


@placed
def dirac_(variable: Variable, groups: int = 1) -> Variable:
    """Filters that hand on their input channel: the identity of convolution.

    Args:
        variable: Weights (out, in / groups, ...).
        groups: Within each group the first channels are handed on.
    """
    outputs, inputs, *window = (int(n) for n in variable.shape)
    per_group = outputs // groups
    count = min(per_group, inputs)
    channel = arange(count)
    center = tuple(n // 2 for n in window)
    values = zeros(variable.shape, dtype=variable.dtype)
    for group in range(groups):
        values = values.at[(group * per_group + channel, channel, *center)].set(1.0)
    return _assign(variable, values)


@placed
def trunc_normal_(
    variable: Variable,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: random.Generator | None = None,
) -> Variable:
    """Draws from a normal distribution, as far as it lies between `a` and `b`."""
    low, high = (a - mean) / std, (b - mean) / std
    settings = {"dtype": variable.dtype, "generator": generator}
    values = random.truncated_normal(variable.shape, mean, std, low, high, **settings)
    return _assign(variable, values)


@placed
def orthogonal_(
    variable: Variable, gain: float = 1.0, generator: random.Generator | None = None
) -> Variable:
    """A random matrix with orthogonal rows or columns, all of length `gain` (Saxe et al., 2014).

    It is the orthogonal part of a normal matrix, found by the iteration of Newton and Schulz.

    Args:
        variable: What to fill; dimensions behind the first count as one.
        gain: The length.
        generator: Draws the numbers; the default one when None.
    """
    rows = int(variable.shape[0])
    x = random.normal((rows, int(variable.size) // rows), dtype=float64, generator=generator)
    tall = x.shape[0] > x.shape[1]
    x = matrix_transpose(x) if tall else x
    x = x / sqrt(sum(square(x)))
    for _ in range(NEWTON_STEPS):
        x = 1.5 * x - 0.5 * matmul(matmul(x, matrix_transpose(x)), x)
    x = matrix_transpose(x) if tall else x
    return _assign(variable, astype(reshape(gain * x, variable.shape), variable.dtype))


def xavier_uniform_(
    variable: Variable, gain: float = 1.0, generator: random.Generator | None = None
) -> Variable:
    """Uniform with variance `2 gain^2 / (inputs + outputs)` (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6.0 / math.fsum(fans(variable)))
    return uniform_(variable, -bound, bound, generator)


def xavier_normal_(
    variable: Variable, gain: float = 1.0, generator: random.Generator | None = None
) -> Variable:
    """Normal with variance `2 gain^2 / (inputs + outputs)` (Glorot and Bengio, 2010)."""
    return normal_(variable, 0.0, gain * math.sqrt(2.0 / math.fsum(fans(variable))), generator)


def kaiming_uniform_(
    variable: Variable,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Variable:
    """Uniform with variance `gain^2 / fan` (He et al., 2015).

    Args:
        variable: What to fill.
        a: Slope of the leaky relu that follows.
        mode: "fan_in" keeps the size of values, "fan_out" that of gradients.
        nonlinearity: See `calculate_gain`.
        generator: Draws the numbers; the default one when None.
    """
    bound = math.sqrt(3.0) * _kaiming_std(variable, a, mode, nonlinearity)
    return uniform_(variable, -bound, bound, generator)


def kaiming_normal_(
    variable: Variable,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Variable:
    """Normal with variance `gain^2 / fan` (He et al., 2015); arguments as in `kaiming_uniform_`."""
    return normal_(variable, 0.0, _kaiming_std(variable, a, mode, nonlinearity), generator)


def _kaiming_std(variable: Variable, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode={mode!r}: fan_in or fan_out")
    fan = fans(variable)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def _assign(variable: Variable, value: object) -> Variable:
    with no_grad():
        return variable.assign(value)
