"""History: whether gradients can flow back from a tensor of a recording."""

from __future__ import annotations

from typing import Any

from dualflow.autodiff.sweep import Sweep
from dualflow.core.context import using
from dualflow.core.record import Record
from dualflow.core.tensor import Tensor


class _Look(Sweep):
    """What a sweep would meet.

    Attributes:
        released: The record at which it would fail.
    """

    released: Record | None = None

    def _meet_released(self, record: Record) -> None:
        self.released = self.released or record


def look(x: Any, start: int) -> tuple[bool, Record | None]:
    """Whether gradients can flow back from `x`; if the call has released a record of it, that.

    Args:
        x: Of the recording.
        start: The tick at which the recording began; what came before is for its inputs to tell.
    """
    if x.__class__ is not Tensor or x.record is None:
        return False, None
    with using(trace=None):
        released = _Look([x], lambda record: record.tick > start).released
    return released is None, released


def is_tracked(x: Any, start: int) -> bool:
    """Whether gradients can flow back from `x`: it has records, and the call released none."""
    return look(x, start)[0]
