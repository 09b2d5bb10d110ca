"""Cells: where the inputs of a graph beyond its arguments are read and written at each call."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dualflow.core import tree
from dualflow.core.convert import from_data
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.guards.places import Place
from dualflow.tracing.joins.frames import Opaque


class Holder(Protocol):
    """Something with a tensor, such as a Variable."""

    @property
    def tensor(self) -> Tensor:
        """What it holds now."""
        ...


class Cell(Holder, Protocol):
    """A place that holds a tensor."""

    @property
    def holder(self) -> Holder:
        """Where to read that tensor with the fewest steps: the cell, or what it stands for."""
        ...


class TensorCell:
    """A tensor from outside: immutable, so always the same."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.holder = self


class StateCell:
    """A tensor that Python keeps in a place of its own, such as an attribute.

    Args:
        place: Where.
        before: What is there while recording.
    """

    def __init__(self, place: Place, before: Tensor) -> None:
        self.place = place
        self.before = before
        self.holder = self

    @property
    def tensor(self) -> Tensor:
        """What is there now."""
        return self.place.read()


class ArrayCell:
    """A NumPy array from outside, or nested lists with arrays in them, whose values may change."""

    def __init__(self, source: Any) -> None:
        self.holder = self
        self.source = fixed(source)
        self.arrays = [x for x in tree.flatten(self.source)[0] if isinstance(x, np.ndarray)]
        self._seen = self._types()

    def _types(self) -> list[tuple[Any, ...]]:
        return [(x.shape, x.dtype) for x in self.arrays]

    @property
    def tensor(self) -> Tensor:
        """A copy of what is there now."""
        return from_data(self.source)

    def holds(self) -> bool:
        """Whether shapes and dtypes are those that were recorded."""
        return self._types() == self._seen

    def still(self, tensor: Tensor) -> bool:
        """Whether the values are those that `tensor` has, to the bit."""
        return self.holds() and self.tensor.raw.tobytes() == tensor.raw.tobytes()


def fixed(source: Any) -> Any:
    """Nested lists as tuples, which nobody can change later."""
    return tuple(map(fixed, source)) if isinstance(source, list | tuple) else source


class NumberCell:
    """A Python number in a dtype, which the prologue of a path computes at each call.

    Args:
        index: Which of the prologue's arrays it is.
        tensor: What it was while recording.
    """

    def __init__(self, index: int, tensor: Tensor) -> None:
        self.index = index
        self.tensor = tensor
        self.holder = self


class VariableCell:
    """A Variable."""

    def __init__(self, variable: Variable) -> None:
        self.variable = self.holder = variable

    @property
    def tensor(self) -> Tensor:
        """Its value."""
        return self.variable.tensor

    def write(self, data: Any) -> None:
        """Gives it a new value."""
        variable = self.variable
        variable.tensor = Tensor(data, None, variable.tensor.record)


class GradCell:
    """The gradient that a Variable has collected, looked up through its owner at each call."""

    def __init__(self, owner: Variable) -> None:
        self.owner = owner
        self.holder = self
        self._told: tuple[str | None, str | None, str] | None = None  # names of owner and gradient

    @property
    def variable(self) -> Variable:
        """`owner.grad`."""
        grad = self.owner._grad
        assert grad is not None  # an entry guard of the path says so
        return grad

    @property
    def tensor(self) -> Tensor:
        """The value of `owner.grad`."""
        return self.variable.tensor

    def write(self, data: Any) -> None:
        """Gives `owner.grad` a new value."""
        self.variable.tensor = Tensor(data)

    def replace(self, data: Any) -> None:
        """Makes a new `owner.grad`, or removes it when `data` is None."""
        self.owner.grad = None if data is None else Tensor(data)

    def take(self, grad: Variable) -> None:
        """Makes a Variable that nobody knows `owner.grad`, as assigning it does."""
        owner = self.owner
        name = owner.name
        if self._told is None or self._told[0] != name:
            self._told = name, f"{name}.grad" if name else None, owner.label()
        _, grad.name, grad.grad_of = self._told
        owner._grad = grad


def read_of(cell: Cell) -> Any:
    """The Variable, tensor or array that a cell reads.

    Raises:
        Opaque: It is none of them.
    """
    if isinstance(cell, VariableCell):
        return cell.variable
    if isinstance(cell, ArrayCell) and len(cell.arrays) == 1 and cell.arrays[0] is cell.source:
        return cell.source
    raise Opaque
