"""digits: a convolutional net reads handwritten digits; the last batch of an epoch is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dualflow as df
from dualflow import data, nn, optim
from dualflow.bench.programs.workload import Training, Workload

HELD_OUT = 360


def make() -> Training:
    """Two convolutions, each pooled, and a linear layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )
    optimizer = optim.Adam(model.parameters(), lr=3e-3)

    def step(x: df.Tensor, y: df.Tensor) -> df.Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def classify(x: df.Tensor) -> df.Tensor:
        with df.no_grad():
            return df.argmax(model(x), axis=1)

    def correct(decorate: Callable[..., Any]) -> int:
        _, (x, y) = data.digits(HELD_OUT)
        return int(df.sum(decorate(classify)(x) == y))

    return Training(step, dict(model.named_parameters()), correct)


def batches(batch: int) -> Any:
    """The training images, in a new random order each epoch."""
    train, _ = data.digits(HELD_OUT)
    return data.DataLoader(data.TensorDataset(*train), batch_size=batch, shuffle=True, seed=0)


DIGITS = Workload(
    "digits",
    "convolutions 16, 32 and linear, Adam",
    make,
    batches,
    batch=64,
    epochs=15,
    quick=2,
    held_out=HELD_OUT,
)
