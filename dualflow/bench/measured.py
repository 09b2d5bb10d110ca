"""One small figure with its goal: a line of `bench micro`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dualflow.comparison.timing import interleaved
from jit.dataclass import dataclass

AGAIN = 2  # times that a goal may be missed by a slow spell of the machine
BLOCK = 1e-3  # seconds
HEADER = f"{'':<10}{'case':<18}{'goal':>8}{'value':>11}   {'quartiles':<18}pass"


@dataclass(frozen=True)
class Measured:
    """One figure and its goal.

    Attributes:
        what: The op, or what else was measured.
        case: Under which circumstances.
        unit: Of the figures.
        goal: At most this.
        value: What was measured.
        lower: Lower quartile of the measurements.
        upper: Upper quartile.
        note: What else is to be said; a note on its own fails.
    """

    what: str
    case: str
    unit: str
    goal: float
    value: float
    lower: float
    upper: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the goal is met."""
        return self.value <= self.goal and not self.note

    def __str__(self) -> str:
        value = f"{self.value:.2f} {self.unit}"
        goal = f"{self.goal:g} {self.unit}"
        spread = f"{self.lower:.2f} to {self.upper:.2f}"
        verdict = "yes" if self.passed else f"NO {self.note}".rstrip()
        return f"{self.what:<10}{self.case:<18}{goal:>8}{value:>11}   {spread:<18}{verdict}"


def best(measure: Callable[[], Measured]) -> Measured:
    """What is measured; anew where it misses its goal, as a slow spell outlasts a block."""
    found = measure()
    for _ in range(AGAIN):
        if found.passed:
            break
        found = min(found, measure(), key=lambda measured: measured.value)
    return found


def ratio(
    what: str, case: str, goal: float, calls: tuple[Callable[[], Any], ...], repeats: int
) -> Measured:
    """How many times as long the second of two calls takes: the best blocks of both, in turns.

    Args:
        what: As for `Measured`.
        case: The same.
        goal: The same.
        calls: The two.
        repeats: Blocks of each.
    """
    for call in calls * 3:  # recorded, compiled, warm
        call()
    start = time.perf_counter()
    calls[0]()
    number = max(1, int(BLOCK / (time.perf_counter() - start)))

    def block(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in range(number):
            call()
        return time.perf_counter() - start

    first, second = map(np.array, interleaved([partial(block, call) for call in calls], repeats))
    lower, upper = (float(q) for q in np.quantile(second / first, (0.25, 0.75)))
    return Measured(what, case, "x", goal, float(second.min() / first.min()), lower, upper)
