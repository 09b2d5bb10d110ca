"""What the programs share: the notes' sizes, and one program run in both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import dualflow as df
from jit.runtime import threads
from tests.modes import bits

N, D_in, H, D_out = 64, 1000, 100, 10

Run = tuple[list[float], list[Any]]  # losses, and what was trained


def random_data() -> tuple[Any, Any]:
    """Inputs and targets of the notes' sizes."""
    return df.randn(N, D_in), df.randn(N, D_out)


def in_both_modes(program: Callable[[str], Run]) -> Run:
    """Runs a program from one seed, eagerly on one thread and compiled on two, to the same bits.

    Args:
        program: Takes the mode, returns losses and trained tensors.
    """
    runs, count = [], threads.num_threads()
    try:
        for mode, number in (("eager", 1), ("compiled", 2)):
            threads.set_num_threads(number)
            df.random.seed(0)
            runs.append(program(mode))
    finally:
        threads.set_num_threads(count)
    (eager_losses, eager_state), (losses, state) = runs
    assert losses == eager_losses
    assert [bits(x) for x in state] == [bits(x) for x in eager_state]
    return losses, state


def assert_close(found: Iterable[Any], expected: Iterable[Any], rtol: float = 1e-4) -> None:
    """Values agree relative to the largest of each array."""
    for x, y in zip(found, expected, strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max())


def assert_falls(losses: list[float], factor: float = 1.0) -> None:
    """The last loss is smaller than `factor` times the first."""
    assert np.isfinite(losses).all()
    assert losses[-1] < factor * losses[0], (losses[0], losses[-1])
