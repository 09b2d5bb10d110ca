"""The workloads: what they compute, and their data, the same numbers in every process.

Everything is float32, labels and tokens int64. A step is forward, backward and update, and gives
the loss before the update; those of W5 and W6 give gradients instead of an update. `of_numpy` is
the reference: it states every step by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Data = dict[str, Any]
STEPS = 5  # from the initial weights that are held against the reference
MILLION = 1 << 20


@dataclass(frozen=True)
class Workload:
    """One of them.

    Attributes:
        name: In tables and on the command line.
        title: What it is.
        data: Makes its data.
        flops: Additions and multiplications of a step's products and convolutions.
        bytes: What a step has to read and write at least; 0 where arithmetic is the limit.
        bound: Relative error up to which a float32 step counts as the same work.
    """

    name: str
    title: str
    data: Callable[[], Data]
    flops: float = 0
    bytes: float = 0
    bound: float = 1e-4


class Draw:
    """Numbers from a seed, in the order in which they are asked for."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Normal numbers."""
        return single(self.rng.standard_normal(shape) * scale)

    def uniform(self, fan: int, *shape: int) -> np.ndarray:
        """Uniform numbers up to 1 / sqrt(fan): the usual start of linear layers."""
        return single(self.rng.uniform(-(fan**-0.5), fan**-0.5, shape))

    def below(self, high: int, *shape: int) -> np.ndarray:
        """Integers."""
        return self.rng.randint(0, high, shape).astype(np.int64)

    def linear(self, fan: int, out: int) -> list[np.ndarray]:
        """Weight and bias of a linear layer."""
        return [self.uniform(fan, fan, out), self.uniform(fan, out)]


def single(array: Any) -> np.ndarray:
    """Contiguous, in float32."""
    return np.ascontiguousarray(array, dtype=np.float32)


# ----- data -----


def by_hand() -> Data:
    """Two products with a relu between them."""
    draw = Draw(1)
    x, target = draw.normal(64, 1000), draw.normal(64, 10)
    return {"x": x, "target": target, "params": [draw.normal(1000, 100), draw.normal(100, 10)]}


def mlp() -> Data:
    """Two linear layers with a relu between them."""
    draw = Draw(2)
    x, target = draw.normal(64, 1000), draw.normal(64, 10)
    return {"x": x, "target": target, "params": draw.linear(1000, 100) + draw.linear(100, 10)}


def two_layers() -> Data:
    """Two products."""
    draw = Draw(3)
    x, target = draw.normal(64, 1000), draw.normal(64, 1000)
    return {"x": x, "target": target, "params": [draw.normal(1000, 100), draw.normal(100, 1000)]}


def parallel() -> Data:
    """Two blocks, each of two linear layers side by side."""
    draw = Draw(4)
    layers = [(1000, 100)] * 2 + [(100, 10)] * 2
    params = [array for fan, out in layers for array in draw.linear(fan, out)]
    return {"x": draw.normal(64, 1000), "target": draw.normal(64, 10), "params": params}


def elementwise(size: int) -> Data:
    """One long vector."""
    return {"x": Draw(5).normal(size)}


def lenet() -> Data:
    """64 images; convolutions' weights by output, input, row, column."""
    draw = Draw(8)
    params = [draw.uniform(25, 6, 1, 5, 5), draw.uniform(25, 6)]
    params += [draw.uniform(150, 16, 6, 5, 5), draw.uniform(150, 16)]
    for fan, out in ((256, 120), (120, 84), (84, 10)):
        params += draw.linear(fan, out)
    return {"x": draw.normal(64, 1, 28, 28), "labels": draw.below(10, 64), "params": params}


# ----- all of them -----

MLP_FLOPS = 2 * 64 * (1000 * 100 * 2 + 100 * 10 * 3)
LENET_FLOPS = 2 * 64 * (24**2 * 150 * 2 + 8**2 * 16 * 150 * 3 + (256 * 120 + 120 * 84 + 840) * 3)
ALL = (
    Workload("W1", "two products 1000-100-10, gradients by hand, batch 64", by_hand, MLP_FLOPS),
    Workload("W2", "MLP 1000-100-10, Adam, batch 64", mlp, MLP_FLOPS),
    Workload("W3", "two products 1000-100-1000, SGD", two_layers, 2 * 64 * 1000 * 100 * 5),
    Workload("W4", "parallel layers 1000-100-10, Adam", parallel, 2 * MLP_FLOPS),
    *(
        Workload(
            f"W5-{what}-{count}M",
            f"elementwise chain, {what}, {count}M floats",
            lambda size=count * MILLION: elementwise(size),
            bytes=arrays * 4 * count * MILLION,
            bound=1e-3,  # a sum of so many numbers, in whatever order
        )
        for count in (1, 16)
        for what, arrays in (("value", 1), ("gradient", 2))
    ),
    Workload("W8", "LeNet, cross-entropy, SGD with momentum, batch 64", lenet, LENET_FLOPS),
)
BY_NAME = {workload.name: workload for workload in ALL}
