"""The workloads: what they compute, and their data, the same numbers in every process.

Everything is float32, labels and tokens int64. A step is forward, backward and update, and gives
the loss before the update; those of W5 and W6 give gradients instead of an update. `of_numpy` is
the reference: it states every step by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Data = dict[str, Any]
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
        steps: From the initial weights that are held against the reference.
        of: The workload whose first step is timed, in new processes; empty where later steps are.
    """

    name: str
    title: str
    data: Callable[[], Data]
    flops: float = 0
    bytes: float = 0
    bound: float = 1e-4
    steps: int = 5
    of: str = ""


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


def normalised() -> Data:
    """Logits to normalise, and labels."""
    draw = Draw(6)
    x, labels = draw.normal(4096, 1024), draw.below(1024, 4096)
    weight, bias = (draw.normal(1024, scale=0.1) for _ in range(2))
    return {"x": x, "labels": labels, "params": [1 + weight, bias]}


def lstm() -> Data:
    """32 steps of 32 sequences; gates in the order i, f, g, o."""
    draw = Draw(7)
    x, target = draw.normal(32, 32, 64), draw.normal(32, 10)
    cell = [draw.uniform(128, 64, 512), draw.uniform(128, 128, 512), draw.uniform(128, 512)]
    return {"x": x, "target": target, "params": cell + draw.linear(128, 10)}


def lenet() -> Data:
    """64 images; convolutions' weights by output, input, row, column."""
    draw = Draw(8)
    params = [draw.uniform(25, 6, 1, 5, 5), draw.uniform(25, 6)]
    params += [draw.uniform(150, 16, 6, 5, 5), draw.uniform(150, 16)]
    for fan, out in ((256, 120), (120, 84), (84, 10)):
        params += draw.linear(fan, out)
    return {"x": draw.normal(64, 1, 28, 28), "labels": draw.below(10, 64), "params": params}


def gpt() -> Data:
    """Tokens, the next ones, and the weights of a decoder of `GPT_LAYERS` layers.

    Parameters: embeddings of tokens and positions; for each layer weight and bias of a norm, of
    queries, keys and values, of the projection, of a norm, and of both layers of the MLP; then the
    last norm and the head.
    """
    draw, width = Draw(10), GPT_WIDTH

    def normed() -> list[np.ndarray]:
        return [np.ones(width, np.float32), np.zeros(width, np.float32)]

    def linear(fan: int, out: int) -> list[np.ndarray]:
        return [draw.normal(fan, out, scale=0.02), np.zeros(out, np.float32)]

    params = [draw.normal(rows, width, scale=0.02) for rows in (GPT_TOKENS, GPT_LENGTH)]
    for _ in range(GPT_LAYERS):
        params += normed() + linear(width, 3 * width) + linear(width, width)
        params += normed() + linear(width, 4 * width) + linear(4 * width, width)
    params += [*normed(), draw.normal(width, GPT_TOKENS, scale=0.02)]
    tokens = draw.below(GPT_TOKENS, 4, GPT_LENGTH + 1)
    now, following = (np.ascontiguousarray(part) for part in (tokens[:, :-1], tokens[:, 1:]))
    return {"x": now, "labels": following, "params": params}


def vgg(batch: int) -> Data:
    """Large images, labels, and the weights of VGG16."""
    rng, params, channels = np.random.default_rng(9), [], 3

    def normal(*shape: int, fan: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan) ** 0.5)

    for out in (width for width in VGG if width):
        params += [normal(out, channels, 3, 3, fan=9 * channels), np.zeros(out, np.float32)]
        channels = out
    for fan, out in ((25088, 4096), (4096, 4096), (4096, 1000)):
        params += [normal(fan, out, fan=fan), np.zeros(out, np.float32)]
    x = rng.standard_normal((batch, 3, 224, 224), dtype=np.float32)
    return {"x": x, "labels": rng.integers(0, 1000, batch), "params": params}


def trees() -> Data:
    """50 trees of random shape: a leaf is the row of its vector, a node a pair of trees."""
    draw = Draw(14)

    def shape(leaves: int, numbers: Iterator[int]) -> Any:
        if leaves == 1:
            return next(numbers)
        left = int(draw.rng.randint(1, leaves))
        return shape(left, numbers), shape(leaves - left, numbers)

    found = []
    for _ in range(50):
        leaves = int(draw.rng.randint(15, 26))
        tree = shape(leaves, iter(range(leaves)))
        found.append((tree, draw.normal(leaves, 1, 64), draw.below(5, 1)))
    params = [draw.uniform(64, 64, 192), draw.uniform(64, 192)]
    params += draw.linear(128, 320) + draw.linear(64, 5)
    return {"trees": found, "params": params}


def eight() -> Data:
    """Eight numbers."""
    return {"x": Draw(12).normal(8)}


def fifty() -> Data:
    """50 short parameters and their gradients."""
    draw = Draw(12)
    draw.normal(8)
    params = [draw.normal(16) for _ in range(50)]
    return {"params": params, "slopes": [draw.normal(16) for _ in range(50)]}


def operands() -> Data:
    """Two short vectors."""
    draw = Draw(11)
    return {"x": draw.normal(8), "y": draw.normal(8)}


def channels_last(data: Data, dense: int, side: int) -> Data:
    """The data of a net of convolutions with channels last.

    Args:
        data: Of the workload.
        dense: Which parameter is the weight of the first linear layer.
        side: Of the images that it reads.
    """
    params = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in data["params"]]
    rows, out = params[dense].shape
    blocks = params[dense].reshape(rows // side**2, side, side, out)
    params[dense] = blocks.transpose(1, 2, 0, 3).reshape(rows, out)
    return data | {"x": data["x"].transpose(0, 2, 3, 1), "params": params}


# ----- all of them -----

OPS = ("add", "exp", "matmul", "sum", "reshape", "index")
CHAIN = 25  # times that y is added and multiplied

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling
VGG_FLOPS = 2 * 15.47e9  # of one image, forward
GPT_LAYERS, GPT_WIDTH, GPT_HEADS, GPT_LENGTH, GPT_TOKENS = 4, 256, 4, 256, 512
GPT_WEIGHTS = 12 * GPT_WIDTH**2 * GPT_LAYERS + GPT_WIDTH * GPT_TOKENS
GPT_FLOPS = 6 * 4 * GPT_LENGTH * GPT_WEIGHTS + 3 * GPT_LAYERS * 4 * 4 * GPT_LENGTH**2 * GPT_WIDTH
LSTM_FLOPS = 2 * 32 * 32 * (64 * 512 * 2 + 128 * 512 * 3)

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
    Workload(
        "W6", "layer norm, cross-entropy, gradients, 4096x1024", normalised, bytes=2 * 4 << 22
    ),
    Workload("W7", "LSTM of 32 steps, width 128, batch 32, SGD", lstm, LSTM_FLOPS),
    Workload("W8", "LeNet, cross-entropy, SGD with momentum, batch 64", lenet, LENET_FLOPS),
    Workload("W9-inference", "VGG16, one image, forward", lambda: vgg(1), VGG_FLOPS, steps=1),
    Workload(
        "W9-training",
        "VGG16, cross-entropy, SGD, batch 4",
        lambda: vgg(4),
        3 * 4 * VGG_FLOPS,
        steps=2,
    ),
    Workload("W10", "GPT, 4 layers, width 256, 4x256 tokens, AdamW", gpt, GPT_FLOPS),
    *(Workload(f"W11-{op}", f"{op} on 8 floats, eager", operands) for op in OPS),
    *(Workload(f"W11-{op}-recorded", f"{op} on 8 floats, recorded", operands) for op in OPS),
    Workload("W11-chain", "50 ops on 8 floats, forward and backward", operands, bound=1e-3),
    Workload("W12-small", "a call of x * 2 + 1 on 8 floats", eight),
    Workload("W12-parameters", "a call that updates 50 parameters", fifty),
    Workload("W14", "Tree-LSTM over 50 trees of random shape, SGD", trees, steps=2),
)
FIRST_STEPS = tuple(
    replace(
        workload,
        name=f"W13-{workload.name}",
        title=f"the first step of {workload.name}, with what an earlier process left on disk",
        flops=0,
        bytes=0,
        steps=1,
        of=workload.name,
    )
    for workload in ALL
    if workload.name in ("W2", "W7", "W10")
)
BY_NAME = {workload.name: workload for workload in (*ALL, *FIRST_STEPS)}
