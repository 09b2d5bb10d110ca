"""Captured: NumPy arrays from outside that ops were given in one recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualflow.core.context import using
from dualflow.core.op import Symbol
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import ArrayCell


class Captured:
    """Arrays as inputs of a graph, read anew at each call.

    Args:
        symbol: Makes an input of a cell and of the tensor that it holds now.
    """

    def __init__(self, symbol: Callable[[ArrayCell, Tensor], Symbol]) -> None:
        self._symbol = symbol
        self._known: dict[int, tuple[ArrayCell, Tensor]] = {}

    def capture(self, array: Any) -> Tensor:
        """The tensor of an array, or of nested lists with arrays in them."""
        with using(trace=None):
            known = self._known.get(id(array))
            if known is not None and known[0].still(known[1]):
                return known[1]
            cell = ArrayCell(array)
            tensor = cell.tensor
        tensor.symbol = self._symbol(cell, tensor)
        again = known is not None or not isinstance(array, np.ndarray)  # a list may change
        self._known[-len(self._known) if again else id(array)] = (cell, tensor)
        return tensor

    def arrays(self) -> list[Any]:
        """All of them."""
        return [x for cell, _ in self._known.values() for x in cell.arrays]

    def same(self) -> bool:
        """Whether they are what they were when they were met."""
        with using(trace=None):
            return all(cell.still(tensor) for cell, tensor in self._known.values())

    def clear(self) -> None:
        """Lets go of them."""
        self._known.clear()
