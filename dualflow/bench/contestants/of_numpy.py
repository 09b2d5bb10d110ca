"""The workloads in NumPy, gradients and updates by hand: what all others are held against.

The mode "reference" is the same in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .numpy_images import lenet, vgg, vgg_value
from .numpy_sequences import gpt, lstm, normalised, trees
from .numpy_training import Step, adam, doubles, sgd, sigmoid, training
from .workloads import CHAIN

VERSION = np.__version__


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](doubles(data) if mode == "reference" else data)


# ----- nets of products -----


def by_hand(data: dict[str, Any]) -> Step:
    """W1: the sum of squared errors of relu(x a) b."""
    x, target, (a, b) = data["x"], data["target"], data["params"]

    def gradients() -> Any:
        hidden = x @ a
        active = np.maximum(hidden, 0)
        error = active @ b - target
        slope = 2 * error
        return np.square(error).sum(), (x.T @ ((slope @ b.T) * (hidden > 0)), active.T @ slope)

    return training([a, b], gradients, sgd(1e-6))


def mlp(data: dict[str, Any]) -> Step:
    """W2: mean squared error, Adam."""
    x, target, params = data["x"], data["target"], data["params"]
    a, a_bias, b, b_bias = params

    def gradients() -> Any:
        hidden = x @ a + a_bias
        active = np.maximum(hidden, 0)
        error = active @ b + b_bias - target
        slope = error * (2 / error.size)
        below = (slope @ b.T) * (hidden > 0)
        return np.square(error).mean(), (x.T @ below, below.sum(0), active.T @ slope, slope.sum(0))

    return training(params, gradients, adam(1e-4))


def two_layers(data: dict[str, Any]) -> Step:
    """W3: the mean over rows of the sum of squared errors."""
    x, target, (a, b) = data["x"], data["target"], data["params"]

    def gradients() -> Any:
        hidden = x @ a
        error = hidden @ b - target
        slope = error * (2 / len(x))
        return np.square(error).sum(1).mean(), (x.T @ (slope @ b.T), hidden.T @ slope)

    return training([a, b], gradients, sgd(1e-6))


def parallel(data: dict[str, Any]) -> Step:
    """W4: relu(x a + x b), and once more."""
    x, target, params = data["x"], data["target"], data["params"]
    a, a_bias, b, b_bias, c, c_bias, d, d_bias = params

    def gradients() -> Any:
        hidden = np.maximum(x @ a + a_bias + (x @ b + b_bias), 0)
        out = np.maximum(hidden @ c + c_bias + (hidden @ d + d_bias), 0)
        error = out - target
        slope = error * (2 / error.size) * (out > 0)
        below = (slope @ c.T + slope @ d.T) * (hidden > 0)
        first, second = (x.T @ below, below.sum(0)), (hidden.T @ slope, slope.sum(0))
        return np.square(error).mean(), (*first, *first, *second, *second)

    return training(params, gradients, adam(1e-4))


# ----- elementwise -----


def chain(data: dict[str, Any]) -> Step:
    """W5, the value: the sum of tanh(x) exp(-x x) + sigmoid(2 x) x."""
    x = data["x"]
    return lambda: (np.tanh(x) * np.exp(-x * x) + sigmoid(2 * x) * x).sum()


def chain_slope(data: dict[str, Any]) -> Step:
    """W5, value and gradient."""
    x = data["x"]

    def step() -> Any:
        t, e, s = np.tanh(x), np.exp(-x * x), sigmoid(2 * x)
        return (t * e + s * x).sum(), e * (1 - t * t) - 2 * x * t * e + s + 2 * x * s * (1 - s)

    return step


# ----- calls -----


def small(data: dict[str, Any]) -> Step:
    """W12 on eight numbers."""
    x = data["x"]
    return lambda: x * 2 + 1


def parameters(data: dict[str, Any]) -> Step:
    """W12 on fifty parameters."""
    params, slopes = data["params"], data["slopes"]
    return lambda: [p - 0.01 * slope for p, slope in zip(params, slopes)]


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "exp": lambda x, _: np.exp(x),
    "matmul": lambda x, y: x @ y,
    "sum": lambda x, _: x.sum(),
    "reshape": lambda x, _: x.reshape((4, 2)),
    "index": lambda x, _: x[1:5],
}


def of_op(op: str) -> Callable[[dict[str, Any]], Step]:
    """W11, one op."""

    def make(data: dict[str, Any]) -> Step:
        x, y, call = data["x"], data["y"], OPS[op]
        return lambda: call(x, y)

    return make


def chain_of_ops(data: dict[str, Any]) -> Step:
    """W11, the gradient of adding and multiplying y again and again."""
    return lambda: data["y"] ** CHAIN


MAKE: dict[str, Callable[[dict[str, Any]], Step]] = {
    "W1": by_hand,
    "W2": mlp,
    "W3": two_layers,
    "W4": parallel,
    "W5-value-1M": chain,
    "W5-gradient-1M": chain_slope,
    "W5-value-16M": chain,
    "W5-gradient-16M": chain_slope,
    "W6": normalised,
    "W7": lstm,
    "W8": lenet,
    "W10": gpt,
    "W12-small": small,
    "W9-inference": vgg_value,
    "W9-training": vgg,
    "W12-parameters": parameters,
    "W14": trees,
    **{f"W11-{op}{how}": of_op(op) for op in OPS for how in ("", "-recorded")},
    "W11-chain": chain_of_ops,
}
ONLY_REFERENCE = ("W11-chain", *(f"W11-{op}-recorded" for op in OPS))
MODES = {name: ["eager"] for name in MAKE if name not in ONLY_REFERENCE}
