"""What a program of the main job consists of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import field
from typing import Any

import dualflow as df
from jit.dataclass import dataclass


@dataclass(frozen=True)
class Training:
    """A net with its optimiser, ready to be trained.

    Attributes:
        step: A step of training, from a batch to the loss before the update.
        parameters: The Variables that the steps change, by name.
        correct: How many held-out examples the net gets right; its argument decorates the function
            that asks. None where there is nothing to get right.
        parts: Decorates the functions that a step calls again and again, if there are such.
    """

    step: Callable[..., df.Tensor]
    parameters: dict[str, df.Variable]
    correct: Callable[[Callable[..., Any]], int] | None = None
    parts: Callable[[Callable[..., Any]], None] | None = None

    def decorated(self, decorate: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """The step, and its parts, in a mode.

        Args:
            decorate: `df.function`, or what leaves functions as they are.
            **options: Of the step.
        """
        if self.parts is not None:
            self.parts(decorate)
        return decorate(self.step, **options)


@dataclass(frozen=True)
class Workload:
    """A program and the settings that it usually runs with.

    Attributes:
        name: What the command line calls it.
        net: The net and its optimiser in a few words.
        make: A new `Training`; the same one after the same seed.
        data: From a batch size, what an epoch iterates over: tuples of arguments of a step.
        batch: The usual batch size.
        epochs: The usual number of passes over the data.
        held_out: How many examples `correct` asks about.
        quick: Epochs that show whether everything runs.
        options: Of `df.function`.
        fixed_batch: The batch size is part of the program.
    """

    name: str
    net: str
    make: Callable[[], Training]
    data: Callable[[int], Collection[tuple[Any, ...]]]
    batch: int
    epochs: int
    quick: int
    held_out: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    fixed_batch: bool = False
