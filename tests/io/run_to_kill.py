"""A training run in a process of its own, for a test that kills it: python -m tests.io.run_to_kill

It appends the loss of each step to a file, and saves a checkpoint before it goes on: what stands
in the file after the last checkpoint is written again by the run that goes on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import dualflow as df

EPOCHS = 3


def parts():
    """Net, optimiser, schedule and loader: with dropout and random orders."""
    df.random.seed(3)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((50, 6), np.float32), random.integers(0, 3, 50)
    net = df.nn.Sequential(
        df.nn.Linear(6, 16), df.nn.ReLU(), df.nn.Dropout(0.3), df.nn.Linear(16, 3)
    )
    optimizer = df.optim.Adam(net.parameters(), lr=0.01)
    schedule = df.optim.CosineAnnealingLR(optimizer, T_max=100)
    loader = df.data.DataLoader(df.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    return net, optimizer, schedule, loader


def main(folder: Path, *, pause: float = 0.0, last: int = 0) -> None:
    """Trains to the end, from the newest checkpoint on.

    Args:
        folder: Where losses and checkpoints are.
        pause: Seconds of sleep after each step.
        last: After this step it waits for its end; 0: there is no such step.
    """
    net, optimizer, schedule, loader = parts()
    run = df.io.Checkpoints(
        folder / "run", net=net, optimizer=optimizer, schedule=schedule, loader=loader
    )

    @df.function
    def step(x, y):
        loss = df.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        return loss

    done = run.restore() or 0
    while loader.epoch < EPOCHS:
        for x, y in loader:
            loss = step(x, y).item() + float(np.random.rand())  # NumPy's state counts as well
            done += 1
            with open(folder / "losses.txt", "a") as file:
                file.write(f"{done} {loss.hex()}\n")
            run.save(done)
            time.sleep(pause)
            while done == last:
                time.sleep(pause)
    with open(folder / "losses.txt", "a") as file:
        file.write("end\n")


if __name__ == "__main__":
    np.random.seed(11)
    pause, last = float(os.environ.get("PAUSE", "0")), int(os.environ.get("LAST", "0"))
    main(Path(sys.argv[1]), pause=pause, last=last)
