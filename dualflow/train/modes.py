"""How a step runs: compiled, eagerly, or whichever of the two turns out to be faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from dualflow.tracing.decorator import function

MODES = ("compiled", "eager", "auto")
TIMED = 5  # calls of each kind, of which the first does not count


def in_mode(mode: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` in a mode.

    Args:
        mode: "compiled", "eager" or "auto".
        step: A training step or the like; both modes of it give the same numbers.

    Raises:
        ValueError: Another word.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}: {', '.join(MODES)}")
    if mode == "eager":
        return step
    compiled = function(step)
    return compiled if mode == "compiled" else Faster(step, compiled)


class Faster:
    """The faster of two functions that do the same.

    It runs one some times, then the other, and stays with what took less. The first call of each is
    left out: there the compiled one compiles.

    Args:
        eager: The one.
        compiled: The other.

    Attributes:
        chosen: What it stays with; None while it tries.
    """

    def __init__(self, eager: Callable[..., Any], compiled: Callable[..., Any]) -> None:
        self._tried = [(eager, []), (compiled, [])]
        self.chosen: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        if self.chosen is not None:
            return self.chosen(*args)
        function, seconds = next(pair for pair in self._tried if len(pair[1]) < TIMED)
        start = time.perf_counter()
        result = function(*args)
        seconds.append(time.perf_counter() - start)
        if all(len(taken) == TIMED for _, taken in self._tried):
            self.chosen = min(self._tried, key=lambda pair: median(pair[1][1:]))[0]
        return result
