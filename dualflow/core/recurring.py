"""Recurring: work of one form that keeps coming, until it has cost what compiling it costs."""

from __future__ import annotations

from typing import Generic, TypeVar

Code = TypeVar("Code")
ON_GPU = 4  # times as long compiling takes for a GPU


class Recurring(Generic[Code]):
    """What is known of work of one form.

    Attributes:
        spent: Seconds that it took so far, op by op.
        compiled: What does it in one call; None before, and where that cannot be.
        hopeless: Whether it cannot be.
    """

    __slots__ = ("spent", "compiled", "hopeless")

    def __init__(self) -> None:
        self.spent = 0.0
        self.compiled: Code | None = None
        self.hopeless = False

    def is_due(self, seconds: float, place: str) -> bool:
        """Whether it has cost what compiling takes on a device: `seconds` on the processor."""
        return self.spent > seconds * (1 if place == "cpu" else ON_GPU)
