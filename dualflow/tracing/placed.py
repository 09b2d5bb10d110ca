"""Placed: where a recording computes; a graph does so on one device."""

from __future__ import annotations

from collections.abc import Sequence

from dualflow.core.tensor import Tensor


class Placed:
    """Mixed into a recording.

    Attributes:
        device: Where its tensors lie; None before the first.
    """

    device: str | None = None

    def refuse(self, reason: str, remedy: str) -> None:
        """Says why no graph can do what the call did."""
        raise NotImplementedError

    def saw(self, outputs: Sequence[Tensor]) -> None:
        """An op has computed `outputs`."""
        if outputs[0].raw is None:
            return
        place = outputs[0].device
        if self.device is None:
            self.device = place
        elif place != self.device:
            self.refuse(f"it computes on {self.device} and on {place}", "decorate the parts")

    @property
    def target(self) -> str | None:
        """What the graph is compiled for; None is the default."""
        return None if self.device == "cpu" else self.device
