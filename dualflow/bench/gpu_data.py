"""The workloads of `bench gpu`, and their numbers: the same in every framework's process.

Parameters are in the order of a model's layers; weights of dense layers are (inputs, outputs),
those of convolutions (outputs, inputs, height, width).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import partial
from typing import Any

import numpy as np

from jit.dataclass import dataclass

Array = np.ndarray[Any, Any]
VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling
SEED = 20


@dataclass(frozen=True)
class Work:
    """A workload.

    Attributes:
        name: In tables and on the command line.
        kind: Which computation.
        sizes: Of that.
        small: The sizes of a quick run.
        precision: "float32"; "tf32" for products of that; "bfloat16" for mixed precision.
        large: It runs only when it is asked for.
    """

    name: str
    kind: str
    sizes: dict[str, int] = field(default_factory=dict)
    small: dict[str, int] = field(default_factory=dict)
    precision: str = "float32"
    large: bool = False


MINI = {"layers": 4, "width": 256, "heads": 4, "length": 256, "tokens": 512, "batch": 4}
GPT2 = {"layers": 12, "width": 768, "heads": 12, "length": 1024, "tokens": 50304, "batch": 8}
TINY = {"layers": 1, "width": 16, "heads": 2, "length": 8, "tokens": 16, "batch": 2}
LSTM = {"length": 32, "batch": 32, "width": 128}
LITTLE = {"length": 3, "batch": 2, "width": 8}
IMAGES = {"batch": 32, "size": 224}
WORKS = (
    Work("MLP 64x1000-100-10, Adam", "mlp", {"inputs": 1000, "hidden": 100}),
    Work("LeNet, batch 64, Adam", "lenet", {"batch": 64}, {"batch": 2}),
    Work("MLP 64x1000-100-10, Adam, TF32", "mlp", {"inputs": 1000, "hidden": 100}, {}, "tf32"),
    Work("LeNet, batch 64, Adam, TF32", "lenet", {"batch": 64}, {"batch": 2}, "tf32"),
    Work("elementwise 64M, value", "value", {"count": 1 << 26}, {"count": 1 << 10}),
    Work("elementwise 64M, value, gradient", "slope", {"count": 1 << 26}, {"count": 1 << 10}),
    Work(
        "layer norm, loss 4096x1024",
        "norm",
        {"rows": 4096, "width": 1024},
        {"rows": 4, "width": 32},
    ),
    Work("GPT-mini, AdamW", "gpt", MINI, TINY),
    Work("GPT-mini, AdamW, TF32", "gpt", MINI, TINY, "tf32"),
    Work("GPT-mini, AdamW, bfloat16", "gpt", MINI, TINY, "bfloat16"),
    Work("LSTM 32x32x128, Adam", "lstm", LSTM, LITTLE),
    Work("LSTM 32x32x128, Adam, TF32", "lstm", LSTM, LITTLE, "tf32"),
    Work(
        "layer norm, loss 8192x50304",
        "norm",
        {"rows": 8192, "width": 50304},
        {"rows": 4, "width": 48},
        large=True,
    ),
    Work("GPT-2 124M, AdamW, bfloat16", "gpt", GPT2, TINY, "bfloat16", large=True),
    *[
        Work(f"VGG16 32x224x224, SGD{said}", "vgg", IMAGES, IMAGES | {"batch": 1}, how, large=True)
        for how, said in (("float32", ""), ("tf32", ", TF32"), ("bfloat16", ", bfloat16"))
    ],
)


def sizes_of(work: Work, *, quick: bool) -> dict[str, int]:
    """The sizes of a run."""
    return work.small or work.sizes if quick else work.sizes


# ----- numbers -----


@dataclass(frozen=True)
class Entry:
    """A parameter: its shape, how far its numbers are spread, around what."""

    shape: tuple[int, ...]
    spread: float = 0.0
    middle: float = 0.0

    @property
    def dense(self) -> bool:
        """Whether it is the weight of a dense layer, or a table."""
        return len(self.shape) == 2


def dense(inputs: int, outputs: int, spread: float | None = None) -> Iterator[Entry]:
    """Weight and bias of a dense layer."""
    yield Entry((inputs, outputs), inputs**-0.5 if spread is None else spread)
    yield Entry((outputs,))


def convolution(inputs: int, outputs: int, size: int) -> Iterator[Entry]:
    """Weight and bias of a convolution."""
    yield Entry((outputs, inputs, size, size), (2 / (inputs * size * size)) ** 0.5)
    yield Entry((outputs,))


def normalisation(width: int) -> Iterator[Entry]:
    """Scale and shift."""
    yield Entry((width,), middle=1.0)
    yield Entry((width,))


def entries(work: Work, *, quick: bool) -> list[Entry]:
    """The parameters of a workload."""
    n = sizes_of(work, quick=quick)
    made: list[Iterator[Entry] | list[Entry]] = []
    if work.kind == "mlp":
        made = [dense(n["inputs"], n["hidden"]), dense(n["hidden"], 10)]
    elif work.kind == "lenet":
        made = [convolution(1, 6, 5), convolution(6, 16, 5)]
        made += [dense(400, 120), dense(120, 84), dense(84, 10)]
    elif work.kind == "lstm":
        width, spread = n["width"], n["width"] ** -0.5
        made = [[Entry((width, 4 * width), spread)] * 2 + [Entry((4 * width,), spread)] * 2]
    elif work.kind == "vgg":
        widths = [x for x in VGG if x]
        made = [convolution(i, o, 3) for i, o in zip([3, *widths], widths)]
        made += [dense(512 * 49, 4096), dense(4096, 4096), dense(4096, 1000)]
    elif work.kind == "gpt":
        made = list(_transformer(n))
    elif work.kind == "norm":
        made = [normalisation(n["width"])]
    return [entry for part in made for entry in part]


def _transformer(n: dict[str, int]) -> Iterator[Iterator[Entry] | list[Entry]]:
    width, linear = n["width"], partial(dense, spread=0.02)
    yield [Entry((n["tokens"], width), 0.02), Entry((n["length"], width), 0.02)]
    for _ in range(n["layers"]):
        yield normalisation(width)
        yield from (linear(width, 3 * width), linear(width, width))
        yield normalisation(width)
        yield from (linear(width, 4 * width), linear(4 * width, width))
    yield normalisation(width)


def parameters(work: Work, *, quick: bool) -> list[Array]:
    """The first values of all parameters."""
    rng = np.random.default_rng(SEED)
    return [numbers(rng, x.shape, x.spread, x.middle) for x in entries(work, quick=quick)]


def numbers(
    rng: np.random.Generator, shape: tuple[int, ...], spread: float, middle: float = 0.0
) -> Array:
    """Uniform numbers around a middle; those without spread are all the same."""
    if not spread:
        return np.full(shape, middle, np.float32)
    drawn = rng.random(shape, np.float32)
    drawn -= np.float32(0.5)
    drawn *= np.float32(spread * 12**0.5)
    return drawn + np.float32(middle) if middle else drawn


def batch(work: Work, *, quick: bool) -> list[Array]:
    """What a step is given: numbers, labels."""
    n, rng = sizes_of(work, quick=quick), np.random.default_rng(SEED + 1)
    draw = partial(numbers, rng, spread=1.0)
    if work.kind == "mlp":
        return [draw((64, n["inputs"])), draw((64, 10))]
    if work.kind == "lenet":
        return [draw((n["batch"], 1, 28, 28)), rng.integers(0, 10, n["batch"])]
    if work.kind == "lstm":
        return [draw((n["length"], n["batch"], n["width"])) for _ in range(2)]
    if work.kind == "gpt":
        ids = rng.integers(0, n["tokens"], (n["batch"], n["length"] + 1))
        return [np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])]
    if work.kind == "vgg":
        return [draw((n["batch"], 3, n["size"], n["size"])), rng.integers(0, 1000, n["batch"])]
    if work.kind == "norm":
        return [draw((n["rows"], n["width"])), rng.integers(0, n["width"], n["rows"])]
    return [draw((n["count"],)) for _ in range(2)]


def chosen(names: list[str], *, everything: bool = False) -> list[Work]:
    """The workloads in whose names one of some texts is; without texts the quick ones, or all."""
    if names:
        return [w for w in WORKS if any(x.lower() in w.name.lower() for x in names)]
    return [w for w in WORKS if everything or not w.large]
