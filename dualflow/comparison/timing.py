"""Times of two modes: measured in turn, and weighed against the first call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.runtime.cuda import synchronize


@dataclass(frozen=True)
class Timing:
    """Seconds per call.

    Attributes:
        median: Half of the calls took less.
        lower: A quarter took less.
        upper: A quarter took more.
        calls: How many were measured.
    """

    median: float
    lower: float
    upper: float
    calls: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The summary of measured calls.

        Raises:
            ValueError: There are none.
        """
        if len(seconds) == 0:
            raise ValueError("no calls were measured")
        lower, median, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
        return cls(median, lower, upper, len(seconds))


@dataclass(frozen=True)
class FirstCall:
    """What calls cost that had to be recorded first.

    Attributes:
        tracing: Seconds in which the program ran and was recorded.
        compiling: Seconds in which graphs became executables.
        recordings: How many calls were recorded.
    """

    tracing: float
    compiling: float
    recordings: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.tracing + self.compiling


def break_even(cost: float, eager: float, compiled: float) -> int | None:
    """The call from which on the first call's cost has paid off.

    Args:
        cost: Seconds of the first call, or of all recordings.
        eager: Seconds of an eager call.
        compiled: Seconds of a later call.

    Returns:
        At least 1; None where a later call is not faster, so that the cost never pays off.
    """
    gain = eager - compiled
    if not gain > 0:
        return None
    return max(1, math.ceil(max(cost, 0.0) / gain))


def interleaved(calls: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Seconds that each of several functions takes, measured in turn.

    A slow spell of the machine then hits all of them alike. Every other round goes backwards, so
    that none always runs on the caches that the same other one has left.

    Args:
        calls: Functions without arguments.
        repeats: Rounds.

    Returns:
        A list of `repeats` times for each function.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    turns = list(zip(calls, seconds, strict=True))
    for _ in range(repeats):
        for call, taken in turns:
            started = time.perf_counter()
            call()
            synchronize()
            taken.append(time.perf_counter() - started)
        turns.reverse()
    return seconds
