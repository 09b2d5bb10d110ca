"""Random numbers of a graph, which each run of a session draws anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.context import using
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.ops.random import Generator
from dualflow.ops.streams import Passing, split


class RunGenerator(Generator):
    """A stream of random numbers of which each run of a session sees another part.

    Each call of a sampler, when the graph is built, has a number of its own; a run gives all of
    them one seed.

    Args:
        start: A symbolic tensor for the state at the beginning of a run.
    """

    def __init__(self, start: Tensor) -> None:
        self.start, self.count = start, 0
        self.state = Passing(start)  # pyright: ignore[reportAttributeAccessIssue] - reads and moves

    def take(self) -> Tensor:
        """The state for one call, which differs from run to run."""
        calls = np.array([0, self.count], np.uint64)
        self.count += 1
        return self.start + as_tensor(calls)

    def seed(self, seed: int) -> None:
        """Runs are seeded by the default generator.

        Raises:
            TypeError: Always.
        """
        raise TypeError("numbers of a graph are drawn when it runs: df.random.seed(n) before that")

    def __repr__(self) -> str:
        return f"RunGenerator({self.count} calls)"


def of_this_run() -> Any:
    """The state that a run begins with, as an array: the default generator moves on by a call."""
    with using(trace=None):
        (made,) = split(None, 1)
        return made.state.read_value().numpy()
