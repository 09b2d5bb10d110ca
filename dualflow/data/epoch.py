"""Where the time of an epoch went: into waiting for data, or into the work on it."""

from __future__ import annotations

from jit.dataclass import dataclass


@dataclass(frozen=True)
class EpochTimes:
    """What a `DataLoader` saw of one epoch.

    Attributes:
        batches: How many were taken.
        waiting: Seconds until they were there.
        working: Seconds between taking one and asking for the next.

    Example:
        >>> import dualflow as df
        >>> print(df.data.EpochTimes(batches=10, waiting=0.5, working=1.5))
        10 batches: 0.50 s for data, 1.50 s for the work on them; the model is the bottleneck
    """

    batches: int
    waiting: float
    working: float

    @property
    def bottleneck(self) -> str:
        """What to make faster first: "loader" or "model"."""
        return "loader" if self.waiting > self.working else "model"

    def __str__(self) -> str:
        word = "batch" if self.batches == 1 else "batches"
        return (
            f"{self.batches} {word}: {self.waiting:.2f} s for data, {self.working:.2f} s for the "
            f"work on them; the {self.bottleneck} is the bottleneck"
        )
