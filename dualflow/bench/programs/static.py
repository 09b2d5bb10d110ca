"""static: a two-layer net, whose graph is the same in every step. All data is one batch."""

from __future__ import annotations

import dualflow as df
from dualflow import nn, optim
from dualflow.bench.programs.workload import Training, Workload

INPUTS, HIDDEN, OUTPUTS = 1000, 100, 10


def make() -> Training:
    """The net of the classic first example: linear, ReLU, linear."""
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    optimizer = optim.Adam(model.parameters(), lr=1e-4)

    def step(x: df.Tensor, y: df.Tensor) -> df.Tensor:
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Training(step, dict(model.named_parameters()))


def data(batch: int) -> list[tuple[df.Tensor, df.Tensor]]:
    """Random inputs and targets."""
    return [(df.random.normal((batch, INPUTS)), df.random.normal((batch, OUTPUTS)))]


STATIC = Workload(
    "static", "two-layer net 1000-100-10, Adam", make, data, batch=64, epochs=500, quick=40
)
