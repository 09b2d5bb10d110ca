"""Placed: on which devices a recording computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dualflow.core.op import Op
from dualflow.core.tensor import Tensor
from jit.ir.graph import Value
from jit.runtime.hosts import anywhere, is_host

if TYPE_CHECKING:
    from jit.compiler import Device


class Placed:
    """Mixed into a recording.

    Attributes:
        devices: Where its tensors lie, in the order in which they were met.
        free: Inputs that lie nowhere in particular, such as numbers.
    """

    def __init__(self) -> None:
        self.devices: dict[str, None] = {}
        self.free = set[Value]()

    def lies(self, tensor: Tensor) -> None:
        """A tensor from outside is an input of the graph."""
        if not tensor.is_symbolic:
            self.devices[tensor.device] = None

    def as_given(self, value: Value, array: Any) -> Any:
        """An input for the compiled graph: of several devices any one takes what is free."""
        free = value in self.free and isinstance(self.target, tuple)
        return anywhere(array) if free else array

    def saw(self, op: Op, attrs: dict[str, Any], outputs: Sequence[Tensor]) -> str | None:
        """An op has computed `outputs`.

        Returns:
            Where, if the recording has begun on another device.
        """
        if outputs[0].is_symbolic:
            return None
        if op.moves:
            self.devices[attrs["source"]] = None
        place = outputs[0].device
        self.devices[place] = None
        return None if place == next(iter(self.devices)) else place

    @property
    def target(self) -> Device | None:
        """What the graph is compiled for: a device, several, or None, which is the default."""
        places = tuple(self.devices)
        first = next(iter(places), "cpu")
        if len(places) > 1 or (is_host(first) and first != "cpu"):
            return places
        return None if first == "cpu" else first
