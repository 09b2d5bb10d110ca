"""`tf.keras.initializers`: initial values as functions of a shape (inputs before outputs)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dualflow as df

Initializer = Callable[[Any], Any]


def fans(shape: Any) -> tuple[int, int]:
    """How many numbers go into an output, and how many outputs a number goes to."""
    window = math.prod(shape[:-2])
    return window * (shape[-2] if len(shape) > 1 else 1), window * shape[-1]


class VarianceScaling:
    """Numbers whose variance keeps that of what flows through.

    Args:
        scale: A factor of the variance.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
    ) -> None:
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def __call__(self, shape: Any) -> Any:
        coming, going = fans(shape)
        fan = {"fan_in": coming, "fan_out": going, "fan_avg": (coming + going) / 2}[self.mode]
        deviation = math.sqrt(self.scale / max(fan, 1))
        if self.distribution == "uniform":
            bound = math.sqrt(3) * deviation
            return df.random.uniform(shape, -bound, bound)
        if self.distribution == "untruncated_normal":
            return df.random.normal(shape, 0.0, deviation)
        kept = deviation / 0.8796256610342398  # cutting at two deviations makes it smaller
        return df.random.truncated_normal(shape, 0.0, kept)


def GlorotUniform() -> Initializer:  # noqa: N802 - Keras's
    """Uniform, by inputs and outputs (Glorot and Bengio, 2010)."""
    return VarianceScaling(1.0, "fan_avg", "uniform")


def GlorotNormal() -> Initializer:  # noqa: N802
    """Normal, by inputs and outputs."""
    return VarianceScaling(1.0, "fan_avg")


def HeUniform() -> Initializer:  # noqa: N802
    """Uniform, by inputs, for ReLU (He et al., 2015)."""
    return VarianceScaling(2.0, "fan_in", "uniform")


def HeNormal() -> Initializer:  # noqa: N802
    """Normal, by inputs, for ReLU."""
    return VarianceScaling(2.0, "fan_in")


def RandomUniform(minval: float = -0.05, maxval: float = 0.05) -> Initializer:  # noqa: N802
    """Uniform within two numbers."""
    return lambda shape: df.random.uniform(shape, minval, maxval)


def Orthogonal(gain: float = 1.0) -> Initializer:  # noqa: N802
    """Rows, or columns, that stand upright on each other (Saxe et al., 2014)."""

    def made(shape: Any) -> Any:
        weight = df.Variable(df.zeros(tuple(shape)))
        df.nn.init.orthogonal_(weight, gain)
        return df.asarray(weight)

    return made


def Zeros() -> Initializer:  # noqa: N802
    """Zeros."""
    return df.zeros


def Ones() -> Initializer:  # noqa: N802
    """Ones."""
    return df.ones


NAMES = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "uniform": RandomUniform,
    "orthogonal": Orthogonal,
    "zeros": Zeros,
    "ones": Ones,
}


def get(identifier: Any) -> Initializer:
    """An initializer for a name; one that is given stays.

    Raises:
        ValueError: A name that is not known.
    """
    if callable(identifier):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"initializer {identifier!r}: {', '.join(NAMES)}")
    return NAMES[identifier]()
