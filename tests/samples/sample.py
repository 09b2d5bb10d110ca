"""Sample: one call of a public function that must work, or fail with its documented message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A call `df.<name>(*args, **kwargs)` that must work.

    Attributes:
        args: NumPy arrays (they become tensors), Python values, or lists of arrays.
        kwargs: Keyword arguments.
        reference: The same on NumPy arrays, in float64; None: the NumPy function of this name.
        differentiable: Positions of array arguments to differentiate by; None: all floating ones.
        rtol: Bound on the relative error of float32 against the float64 reference.
        numeric: Compare gradients with finite differences (False near kinks, for random numbers).
        order2: Also the second derivative.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    differentiable: tuple[int, ...] | None = None
    rtol: float = 2e-6
    numeric: bool = True
    order2: bool = True


@dataclass(frozen=True)
class Refused:
    """A call that must raise: the error's class name and words of its message."""

    args: tuple[Any, ...]
    error: str
    words: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def rng(seed: int = 0) -> np.random.Generator:
    """A generator with a fixed seed, so that samples are the same in every process."""
    return np.random.default_rng(seed)


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values around 0, no two alike."""
    return rng(seed).normal(size=shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values between 0.5 and 2."""
    return rng(seed).uniform(0.5, 2.0, size=shape).astype(np.float32)


def integers(*shape: int, low: int = -5, high: int = 6, seed: int = 0) -> np.ndarray[Any, Any]:
    """Int64 values in [low, high)."""
    return rng(seed).integers(low, high, size=shape)


def bools(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Bools, both values."""
    return rng(seed).integers(0, 2, size=shape).astype(bool)
