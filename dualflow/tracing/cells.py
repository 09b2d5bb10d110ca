"""Cells: where the inputs of a graph beyond its arguments are read and written at each call."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable


class Cell(Protocol):
    """A place that holds a tensor."""

    def tensor(self) -> Tensor:
        """What it holds now."""
        ...


class TensorCell:
    """A tensor from outside: immutable, so always the same."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def tensor(self) -> Tensor:
        """The tensor."""
        return self._tensor


class ArrayCell:
    """A NumPy array from outside, whose values may have changed."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.seen = (array.shape, array.dtype)

    def tensor(self) -> Tensor:
        """A copy of what the array holds now."""
        return Tensor(self.array.copy())

    def holds(self) -> bool:
        """Whether shape and dtype are those that were recorded."""
        return (self.array.shape, self.array.dtype) == self.seen


class VariableCell:
    """A Variable."""

    def __init__(self, variable: Variable) -> None:
        self.variable = variable

    def tensor(self) -> Tensor:
        """Its value."""
        return self.variable.tensor

    def write(self, data: Any) -> None:
        """Gives it a new value."""
        variable = self.variable
        variable.tensor = Tensor(data, None, variable.leaf)


class GradCell:
    """The gradient that a Variable has collected, looked up through its owner at each call."""

    def __init__(self, owner: Variable) -> None:
        self.owner = owner

    def tensor(self) -> Tensor:
        """The value of `owner.grad`."""
        grad = self.owner._grad
        assert grad is not None  # an entry guard of the path says so
        return grad.tensor

    def write(self, data: Any) -> None:
        """Gives `owner.grad` a new value; makes it when it was None or must be a new one."""
        grad = self.owner._grad
        assert grad is not None
        grad.tensor = Tensor(data)

    def replace(self, data: Any) -> None:
        """Makes a new `owner.grad`, or removes it when `data` is None."""
        self.owner.grad = None if data is None else Tensor(data)
