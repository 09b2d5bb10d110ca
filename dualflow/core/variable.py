"""Variable: mutable state. It holds the current value as a Tensor; assigning swaps that Tensor.

A value that somebody read (a record, a user) is therefore never changed behind their back, and
assigning cuts history.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core.backend import are_alike
from dualflow.core.context import Epoch, context, no_grad, using
from dualflow.core.convert import as_tensor, from_data, read
from dualflow.core.record import Leaf, note_cut
from dualflow.core.registry import functions
from dualflow.core.source import user_frame
from dualflow.core.tensor import Tensor
from jit.errors import DeviceError, DTypeError, ShapeError, TraceError
from jit.types import TensorType, format_shape, kind

if TYPE_CHECKING:
    from jit.dims import Dim


class Variable(Tensor):
    """A tensor-valued cell that ops read and `assign` changes.

    Args:
        value: Initial value: a Tensor, a NumPy array, nested lists, a number.
        dtype: Dtype of the cell; the value's own when None.
        trainable: Work on it is recorded, and `backward()` collects its gradient in `.grad`.
        name: For messages and summaries.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0, 2.0], name="w")
        >>> w.assign_sub([0.5, 0.5]).tolist()
        [0.5, 1.5]
    """

    __slots__ = ("tensor", "leaf", "name", "_grad", "grad_of", "born")

    def __init__(
        self,
        value: Any,
        dtype: Any = None,
        trainable: bool = True,  # noqa: FBT001, FBT002 - TensorFlow's order
        name: str | None = None,
    ) -> None:
        if value.__class__ is Tensor and dtype is None:
            tensor: Tensor = value
        else:
            with no_grad():
                tensor = from_data(value, dtype)
        if trainable and kind(tensor.dtype) not in ("floating", "complex"):
            trainable = False
        self.name = name
        self.leaf = Leaf(self) if trainable else None
        self.tensor = tensor.alias(tensor.symbol, self.leaf)
        self._grad: Variable | None = None
        self.grad_of: Any = None
        frame = user_frame() if trainable else None  # for messages; it takes a microsecond
        self.born = frame and (frame.f_code.co_filename, frame.f_lineno)
        if context.trace is not None:
            context.trace.created(self)

    # ----- the current value, as a Tensor's parts -----

    @property
    def raw(self) -> Any:  # type: ignore[override]
        """The current array."""
        return self.tensor.raw

    @property
    def type(self) -> TensorType:
        """Shape and dtype of the current value."""
        return self.tensor.type

    @property
    def shape(self) -> tuple[int | Dim, ...]:
        """The extents of the current value."""
        return self.tensor.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements."""
        return self.tensor.dtype

    @property
    def device(self) -> str:
        """Where the current value lies."""
        return self.tensor.device

    @property
    def is_symbolic(self) -> bool:
        """Whether the current value is not there yet."""
        return self.tensor.is_symbolic

    @property
    def size(self) -> int | Dim:
        """The number of elements of the current value."""
        return self.tensor.size

    @property
    def record(self) -> Any:  # type: ignore[override]
        """Where gradients of reads end: this variable's leaf, None if it is not trainable."""
        return self.tensor.record

    @property
    def symbol(self) -> Any:  # type: ignore[override]
        """What the current value stands for in a recording."""
        return read(self).symbol

    def read_value(self) -> Tensor:
        """The current value, which later assignments do not change."""
        return functions["identity"](self)

    def concrete(self, how: str) -> Any:
        return read(self).concrete(how)

    def answer(self, how: str, python_type: type) -> Any:
        return read(self).answer(how, python_type)

    # ----- changing it -----

    def assign(self, value: Any) -> Variable:
        """Replaces the value.

        Args:
            value: A tensor of this shape and dtype, or Python numbers.

        Returns:
            The variable itself.

        Raises:
            ShapeError: The shape differs.
            DTypeError: The dtype differs; nothing is narrowed silently.
        """
        tensor, old, trace = value, self.tensor, context.trace
        plain = trace is None and value.__class__ is Tensor and value.symbol is None
        if not plain or old.symbol is not None or not are_alike(value.raw, old.raw):
            tensor = self._fitting(value)
        if tensor.is_symbolic:
            if trace is None:
                raise TraceError(
                    f"assign: {self.label()} was given a symbolic tensor, which has no values",
                    "values; a graph built by hand sets variables of its own",
                    "df.graph.assign(variable, value) of a df.graph.GraphVariable",
                )
            trace.publish(tensor)
        if tensor.record is not None:
            note_cut("assign()")
        before = self.tensor  # its record is the leaf: a tape that watches goes on watching
        after = self.tensor = tensor.alias(tensor.symbol, before.record)
        if trace is not None:
            trace.wrote(self, before, after)
        return self

    def _fitting(self, value: Any) -> Tensor:
        """What is assigned as a tensor, which fits."""
        place, tensor = self.device, value
        if value.__class__ is not Tensor:
            with no_grad() if place == context.device else using(recording=False, device=place):
                tensor = as_tensor(
                    value, None if isinstance(value, Tensor | np.ndarray) else self.dtype
                )
        if tensor.device != place:
            raise DeviceError(
                f"assign: {self.label()} lies on {place}, the value on {tensor.device}",
                f"a value on {place}",
                f'{self.name or "v"}.assign(value.to("{place}"))',
            )
        if tensor.dtype != self.dtype:
            raise DTypeError(
                f"assign: {self.label()} holds {self.dtype}, the value is {tensor.dtype}",
                f"a value of dtype {self.dtype}",
                f"{self.name or 'v'}.assign(value.astype({str(self.dtype)!r}))",
            )
        if tensor.shape != self.shape:
            raise ShapeError(
                f"assign: {self.label()} has shape {format_shape(self.shape)}, "
                f"the value has {format_shape(tensor.shape)}",
                "a value of the same shape",
                "reshape the value, or make a new Variable",
            )
        return tensor

    def assign_add(self, value: Any) -> Variable:
        """Adds `value` in place."""
        return self.assign(functions["add"](self, value))

    def assign_sub(self, value: Any) -> Variable:
        """Subtracts `value` in place."""
        return self.assign(functions["subtract"](self, value))

    def zero_(self) -> Variable:
        """Sets all elements to zero."""
        return self.assign(functions["zeros_like"](self))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.assign(self.at[index].set(value))

    # ----- gradients -----

    @property
    def trainable(self) -> bool:
        """Whether gradients are collected for this variable."""
        if context.trace is not None:
            context.trace.asked_trainable(self)
        return self.leaf is not None

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value != self.trainable:
            changed(self)
            self.leaf = Leaf(self) if value else None
            self.tensor = self.tensor.alias(self.tensor.symbol, self.leaf)

    @property
    def requires_grad(self) -> bool:
        """PyTorch's word for `trainable`."""
        return self.trainable

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.trainable = value

    @property
    def grad(self) -> Variable | None:
        """The sum of the gradients that `backward()` brought; None before the first."""
        if context.trace is not None:
            context.trace.touched_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if context.trace is not None:
            context.trace.touched_grad(self)
        if value is not None and not isinstance(value, Variable):
            value = Variable(
                value, trainable=False, name=f"{self.name}.grad" if self.name else None
            )
        if value is not None:
            value.grad_of = self.label()
        self._grad = value

    # ----- people and files -----

    def label(self) -> str:
        """How messages call it."""
        return f"Variable {self.name!r}" if self.name else "a Variable"

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        trainable = ", trainable" if self.trainable else ""
        values = Tensor.__repr__(read(self))
        shape = format_shape(self.shape)
        return f"Variable({name}shape={shape}, dtype={self.dtype}{trainable})\n{values}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        copy = Variable(self.detach(), trainable=self.trainable, name=self.name)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        values = np.array(functions["to_device"](self, "cpu").concrete("pickle"))
        return (Variable, (values, None, self.trainable, self.name))


def _in_place(name: str) -> Any:
    def assign(self: Variable, other: Any) -> Variable:
        return self.assign(functions[name](self, other))

    assign.__doc__ = f"Assigns the result of {name} to the variable itself."
    return assign


for _operator, _name in {
    "__iadd__": "add",
    "__isub__": "subtract",
    "__imul__": "multiply",
    "__itruediv__": "divide",
    "__ifloordiv__": "floor_divide",
    "__imod__": "remainder",
    "__ipow__": "pow",
    "__imatmul__": "matmul",
}.items():
    setattr(Variable, _operator, _in_place(_name))


def clear_grads(variables: Iterable[Variable], *, set_to_none: bool) -> None:
    """Forgets gradients: `.grad` becomes None, or zeros where there is one.

    Args:
        variables: Whose gradients.
        set_to_none: None rather than zeros.
    """
    for variable in list(variables):
        if set_to_none:
            variable.grad = None
        elif (grad := variable.grad) is not None:
            grad.zero_()


def convert(variable: Variable, target: Any) -> None:
    """Moves a Variable and its gradient to a device, or to another floating dtype, in place.

    Args:
        variable: What to convert.
        target: A device or a dtype.
    """
    cells = [variable] if variable._grad is None else [variable, variable._grad]
    for cell in cells:
        with no_grad():
            value = cell.tensor.to(target)
        if value.dtype == cell.dtype or kind(value.dtype) == kind(cell.dtype) == "floating":
            changed(cell)
            cell.tensor = Tensor(value.raw, None, cell.leaf)


def changed(variable: Variable) -> None:
    """Says that something of a Variable changes that recordings rely on, besides its value."""
    Epoch.number += 1
    if context.trace is not None:
        context.trace.changed(variable)
