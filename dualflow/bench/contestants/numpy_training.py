"""What all training by hand in NumPy has in common: updates, a loss, and types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any
Step = Callable[[], Any]
Back = Callable[..., Any]
Gradients = Callable[[], tuple[Array, Sequence[Array]]]
Update = Callable[[Sequence[Array], Sequence[Array]], None]


def doubles(data: Any) -> Any:
    """The same data in float64; integers as they are."""
    if isinstance(data, dict):
        return {key: doubles(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(doubles, data))
    return data.astype(np.float64) if getattr(data, "dtype", None) == np.float32 else data


def training(params: list[Array], gradients: Gradients, update: Update) -> Step:
    """A step of training, which gives the loss."""

    def step() -> Array:
        loss, slopes = gradients()
        update(params, slopes)
        return loss

    return step


# ----- updates -----


def sgd(rate: float, momentum: float = 0.0) -> Update:
    """Down the slope, or down a running sum of slopes."""
    sums: list[Array] = []

    def update(params: Sequence[Array], slopes: Sequence[Array]) -> None:
        if momentum and not sums:
            sums.extend(np.zeros_like(p) for p in params)
        for total, slope in zip(sums, slopes):
            total *= momentum
            total += slope
        for p, slope in zip(params, sums or slopes):
            p -= rate * slope

    return update


def adam(rate: float, decay: float = 0.0) -> Update:
    """Adam; AdamW where weights decay."""
    state: list[tuple[Array, Array]] = []
    steps = 0

    def update(params: Sequence[Array], slopes: Sequence[Array]) -> None:
        nonlocal steps
        steps += 1
        if not state:
            state.extend((np.zeros_like(p), np.zeros_like(p)) for p in params)
        size, widen = rate / (1 - 0.9**steps), (1 - 0.999**steps) ** -0.5
        for p, slope, (mean, square) in zip(params, slopes, state):
            mean *= 0.9
            mean += 0.1 * slope
            square *= 0.999
            square += 0.001 * slope * slope
            if decay:
                p *= 1 - rate * decay
            p -= size * mean / (np.sqrt(square) * widen + 1e-8)

    return update


# ----- functions -----


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean over rows, and its gradient."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(1, keepdims=True)
    loss = (np.log(sums[:, 0]) - shifted[rows, labels]).mean()
    powers /= sums
    powers[rows, labels] -= 1
    powers *= 1 / len(labels)
    return loss, powers
