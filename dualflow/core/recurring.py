"""Recurring: work of one form that keeps coming, until it has cost what compiling it costs."""

from __future__ import annotations

from typing import Generic, TypeVar

Code = TypeVar("Code")


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
