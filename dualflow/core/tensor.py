"""Tensor: an immutable array value, concrete (with data) or symbolic (with a type, an owner)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow import names
from dualflow.core import backend
from dualflow.core.context import context
from dualflow.core.methods import Methods
from dualflow.core.numpy_protocol import NumPyProtocols
from dualflow.core.registry import functions
from dualflow.core.source import is_users
from jit.errors import DTypeError, TraceError
from jit.types import TensorType, as_dtype, format_shape, product

if TYPE_CHECKING:
    from jit.dims import Dim


class Tensor(Methods, NumPyProtocols):
    """An immutable n-dimensional array that remembers how it came to be.

    Made by `df.asarray`, creation functions and ops. Hashes by identity.

    Attributes:
        raw: The NumPy or CuPy array, for dualflow itself: `x.numpy()` is for users, who must not
            reach past a recording. None for a symbolic tensor.
        record: How it was computed, while somebody watches; see `dualflow.core.record`.
        symbol: What it stands for in a recording, None outside of recordings.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([[1.0, 2.0], [3.0, 4.0]])
        >>> (x @ x.T).shape
        (2, 2)
    """

    __slots__ = ("raw", "record", "symbol", "__weakref__")
    raw: Any
    record: Any
    symbol: Any

    def __init__(self, data: Any, symbol: Any = None, record: Any = None) -> None:
        self.raw = data
        self.symbol = symbol
        self.record = record

    # ----- what it is -----

    @property
    def type(self) -> TensorType:
        """Shape and dtype together."""
        data, symbol = self.raw, self.symbol
        if data is None or (symbol is not None and symbol.varies):
            return symbol.type
        return TensorType(data.shape, data.dtype)

    @property
    def shape(self) -> tuple[int | Dim, ...]:
        """The extent of each dimension."""
        symbol = self.symbol
        if symbol is None:
            return self.raw.shape
        if self.raw is None:
            return symbol.type.shape
        if symbol.varies:
            return symbol.shape(self.raw, is_users(sys._getframe(1)))
        return self.raw.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements, a `numpy.dtype`."""
        data = self.raw
        return self.symbol.type.dtype if data is None else data.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int | Dim:
        """The number of elements."""
        return self._size(sys._getframe(1))

    @property
    def nbytes(self) -> int | Dim:
        """The size of the elements in bytes."""
        return self._size(sys._getframe(1)) * self.dtype.itemsize

    def _size(self, asking: FrameType) -> int | Dim:
        symbol = self.symbol
        if symbol is not None and symbol.varies and self.raw is not None:
            return product(symbol.shape(self.raw, is_users(asking)))
        return self.type.size

    @property
    def device(self) -> str:
        """Where it lies: `"cpu"` or `"gpu:0"`."""
        if self.raw is None:
            value = self.symbol.value  # of a batch of examples, all of them
            if isinstance(value, Tensor):
                return value.device
            return "cpu" if getattr(self.symbol.owner, "runs", False) else context.device
        return backend.device_of(self.raw)

    @property
    def is_symbolic(self) -> bool:
        """Whether it stands for values that are not there yet, in a graph that is being built."""
        return self.raw is None

    def alias(self, symbol: Any, record: Any = None) -> Tensor:
        """Another tensor of the same array, for dualflow itself."""
        return Tensor(self.raw, symbol, record)

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        return functions["matrix_T"](self)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions swapped."""
        return functions["matrix_transpose"](self)

    @property
    def real(self) -> Tensor:
        """The real part."""
        return functions["real"](self)

    @property
    def imag(self) -> Tensor:
        """The imaginary part."""
        return functions["imag"](self)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow back through this tensor."""
        return self.record is not None

    @property
    def grad(self) -> Any:
        """None: only Variables collect gradients."""
        return None

    @property
    def at(self) -> Any:
        """`x.at[i].set(v)` and `x.at[i].add(v)`: a copy with some elements changed."""
        return functions["at"](self)

    # ----- values that leave for Python -----

    def concrete(self, how: str) -> Any:
        """The array, for Python to look at; a trace is told that the value leaves it.

        Args:
            how: What the user wrote, such as `.numpy()`; it stands in messages.
        """
        if self.raw is None and hasattr(self.symbol.owner, "level"):
            raise TraceError(
                f"{how} asks for the value of one example, of many that are computed at once",
                "a function that vmap maps looks at no values",
                "df.where for a choice, or a loop over the examples",
            )
        if context.trace is not None:
            context.trace.escape(self, how)
        if context.tapes and self.record is not None:
            for tape in context.tapes:
                tape.note_cut(how)
        if self.raw is None:
            if self.symbol.owner is None:
                raise functions["leaked"](how, self)
            raise TraceError(
                f"{how} asks for the value of a symbolic tensor, {self.type}",
                "a concrete tensor: a graph has no values before it runs",
                "use ops, df.where and df.cond for choices, or call the function with values",
            )
        return self.raw

    def answer(self, how: str, python_type: type) -> Any:
        """A bool or an int that Python decides by; a trace guards on it."""
        if self.size != 1:
            raise DTypeError(
                f"{how} of a tensor of shape {format_shape(self.shape)} is ambiguous",
                "exactly one element",
                "x.any(), x.all(), or df.where for a choice per element",
            )
        data = self.concrete(how) if self.raw is None else self.raw
        try:
            value = python_type(data.item())
        except (ValueError, OverflowError):  # int() of a nan: if it is caught, nothing guards that
            if context.trace is not None:
                context.trace.escape(self, how)
            raise
        if context.trace is not None:
            context.trace.ask(self, value)
        return value

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a read-only NumPy array that shares memory where it can."""
        array = backend.to_device(self.concrete(".numpy()"), "cpu")
        view = array.view()
        view.flags.writeable = False
        return view

    def item(self) -> bool | int | float | complex:
        """The only element as a Python number."""
        return self.concrete(".item()").item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.concrete(".tolist()").tolist()

    def __bool__(self) -> bool:
        return self.answer("bool()", bool)

    def __int__(self) -> int:
        return self.answer("int()", int)

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(
                f"a tensor of dtype {self.dtype} cannot be an index",
                "an integer",
                "x.astype(df.int64)",
            )
        return self.answer("an index", int)

    def __float__(self) -> float:
        return float(self.concrete("float()").item())

    def __complex__(self) -> complex:
        return complex(self.concrete("complex()").item())

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-dimensional tensor")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-dimensional tensor")
        return iter([self[k] for k in range(len(self))])

    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType] - `==` is elementwise

    def __format__(self, spec: str) -> str:
        trace = context.trace
        if trace is not None and self.raw is not None:
            text = format(self.raw.item(), spec) if spec else self._written(self.raw)
            if trace.formats(self, spec, text):
                return text
        if not spec:
            return str(self)
        return format(self.concrete("format()").item(), spec)

    def __repr__(self) -> str:
        if self.raw is None and not (context.trace is not None and context.trace.runs):
            return f"Tensor(symbolic, shape={self.shape}, dtype={self.dtype})"
        if context.trace is not None and self.raw is not None:
            text = self._written(self.raw)
            if context.trace.formats(self, "!r", text):
                return text
        return self._written(self.concrete("repr()"))

    def _written(self, array: Any) -> str:
        data = backend.to_device(array, "cpu")
        text = np.array2string(data, separator=", ", prefix="Tensor(", threshold=100, edgeitems=3)
        place = "" if self.device == "cpu" else f", device={self.device}"
        return f"Tensor({text}, shape={data.shape}, dtype={self.dtype}{place})"

    # ----- moving and copying -----

    def astype(self, dtype: Any) -> Tensor:
        """The values in another dtype."""
        return functions["astype"](self, dtype)

    def to(self, target: Any) -> Tensor:
        """The tensor on a device (`"cpu"`, `"gpu:0"`), or in a dtype."""
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "gpu", "cuda"):
            return functions["to_device"](self, target)
        return self.astype(as_dtype(target))

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """The tensor on a device, by the array API's name; `stream` is CuPy's affair."""
        del stream
        return functions["to_device"](self, device)

    def detach(self) -> Tensor:
        """The same values, without history: no gradient flows back."""
        return functions["stop_gradient"](self)

    def copy(self) -> Tensor:
        """The same values; tensors are immutable, so nothing is copied until it must be."""
        return functions["positive"](self) if self.dtype.kind != "b" else self

    def backward(self, gradient: Any = None, *, retain_graph: bool = False) -> None:
        """Adds the gradients of this tensor to the `.grad` of every trainable Variable behind it.

        Args:
            gradient: Cotangent of this tensor's shape; ones when it is None, for scalars.
            retain_graph: Keep the record, for another call.
        """
        functions["backward"](self, gradient, retain_graph=retain_graph)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Tensor, (np.array(backend.to_device(self.concrete("pickle"), "cpu")),))

    # ----- interchange -----

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:  # noqa: FBT001
        array = backend.to_device(self.concrete("__array__()"), "cpu")
        if copy is not False:
            return np.array(array, dtype=dtype)
        view = np.asarray(array, dtype=dtype, copy=False).view()  # others may have this memory
        view.flags.writeable = False
        return view

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return functions["namespace"](api_version)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        array = self.concrete("__dlpack__()")
        return backend.exported(array, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> Any:
        array = self.raw if self.raw is not None else self.concrete("__dlpack_device__()")
        return array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory on a GPU, for others to read; a tensor on the CPU has no such attribute."""
        return self.concrete("__cuda_array_interface__").__cuda_array_interface__

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be changed; y = x.at[index].set(value) gives a changed copy"
        )

    def __getitem__(self, index: Any) -> Tensor:
        return functions["getitem"](self, index)

    def __getattr__(self, name: str) -> Any:
        if name in OF_GRAPHS:
            added = getattr(getattr(self.symbol, "owner", None), "methods", {})
            if name in added:
                return partial(added[name], self)
        if name in ONLY_VARIABLES:
            raise AttributeError(functions["rebound"](self, name))
        raise AttributeError(names.missing_attribute(type(self), name))


OF_GRAPHS = ("eval", "get_shape")  # methods of tensors in graphs that are built by hand
ONLY_VARIABLES = ("assign", "assign_add", "assign_sub", "read_value", "trainable", "zero_")
