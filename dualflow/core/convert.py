"""What users pass where a tensor is expected, as tensors: numbers, lists, arrays, Variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core import backend
from dualflow.core.context import context
from dualflow.core.number import KINDS
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.dims import Dim
from jit.errors import DTypeError
from jit.runtime import blocks
from jit.types import as_dtype, dtypes, float32, weak_dtype

SCALARS = (bool, int, float, complex)


def as_tensor(x: Any, dtype: Any = None) -> Tensor:
    """`x` as a Tensor, for an op to read.

    Args:
        x: A Tensor, a Variable (its current value), a number, nested lists, a NumPy or CuPy array.
        dtype: The dtype wanted; the natural one when None.

    Raises:
        DTypeError: `x` is nothing of these.
    """
    if x.__class__ is Tensor:
        tensor = x
    elif isinstance(x, Tensor):  # a Variable
        tensor = read(x)
    elif isinstance(x, Dim):
        tensor = functions["extent"](x)
    else:
        tensor = from_data(x, dtype)
    if dtype is not None and tensor.dtype != as_dtype(dtype):
        tensor = functions["astype"](tensor, dtype)
    return tensor


def read(variable: Any) -> Tensor:
    """The tensor an op reads from a variable; tapes and the trace are told of the read."""
    for tape in context.tapes:
        tape.saw(variable)
    return variable.tensor if context.trace is None else context.trace.read(variable)


def from_data(x: Any, dtype: Any = None) -> Tensor:
    """A new Tensor with a copy of the values in `x`, which may hold tensors in lists."""
    if isinstance(x, Tensor):
        tensor = as_tensor(x)
        return tensor if dtype is None else functions["astype"](tensor, dtype)
    if isinstance(x, list | tuple):
        return from_sequence(x, dtype)
    if isinstance(x, np.ndarray) and context.trace is not None:
        return captured(x, dtype)
    target = None if dtype is None else as_dtype(dtype)
    if type(x) in KINDS and context.trace is not None:
        number: Any = x
        if number.number_owner.live:
            value = number.number_value
            return context.trace.number(x, held(value, target or weak_dtype(value, None)))
    if isinstance(x, SCALARS) and not isinstance(x, np.generic):
        return Tensor(place(held(x, target or weak_dtype(x, None))))
    if isinstance(x, np.ndarray | np.generic):
        return Tensor(place(copied(known_dtype(np.asarray(x)), target)))
    if hasattr(x, "__cuda_array_interface__"):
        return Tensor(on_gpu(x, target, copy=True))
    if hasattr(x, "__array__"):
        return Tensor(place(copied(known_dtype(np.asarray(x)), target)))
    raise DTypeError(
        f"{type(x).__name__} {x!r:.60} cannot become a tensor",
        "a number, nested lists of numbers, a NumPy array or a Tensor",
        "convert it first",
    )


def copied(array: Any, dtype: Any = None) -> Any:
    """A copy of an array of NumPy's; a large one starts where a page does, as results do."""
    size = array.size * (array.dtype if dtype is None else dtype).itemsize
    if size < blocks.RECYCLED or not array.flags.c_contiguous:
        return np.array(array, dtype=dtype)
    copy = blocks.take_array(array.shape, dtype or array.dtype)
    np.copyto(copy, array, casting="unsafe")
    return copy


def from_sequence(items: Any, dtype: Any) -> Tensor:
    """Nested lists of numbers; tensors inside are stacked, so that gradients flow."""
    if any(isinstance(item, Tensor) for item in items):
        return functions["stack"]([as_tensor(item, dtype) for item in items])
    if any(isinstance(item, list | tuple) and _holds(item, Tensor) for item in items):
        return functions["stack"]([from_sequence(item, dtype) for item in items])
    if context.trace is not None and _holds(items, np.ndarray):
        return captured(items, dtype)
    try:
        array = np.array(items)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype == object or array.dtype.name not in dtypes:
        raise DTypeError(
            f"a list {items!r:.60} cannot become a tensor",
            "numbers in lists of equal lengths",
            "pad the rows",
        )
    if dtype is not None:
        array = held(items, as_dtype(dtype))
    elif array.dtype == np.uint64 and not _holds_numpy(items):
        array = held(items, dtypes["int64"])
    elif array.dtype == np.float64 and not _holds_numpy(items):
        array = array.astype(float32)
    elif array.dtype == np.complex128 and not _holds_numpy(items):
        array = array.astype(np.complex64)
    return Tensor(place(array))


def held(items: Any, dtype: np.dtype[Any]) -> Any:
    """Python numbers, or nested lists of them, as an array of `dtype`.

    Raises:
        DTypeError: The dtype does not hold one of them.
    """
    try:
        return context.run(np.array, items, dtype)
    except (OverflowError, TypeError):
        raise DTypeError(
            f"{items!r:.60} does not fit {dtype}", f"numbers within {dtype}", "a wider dtype"
        ) from None


def known_dtype(array: Any) -> Any:
    """`array`, after checking that its dtype is one of ours and in native byte order."""
    if array.dtype.name not in dtypes:
        raise DTypeError(
            f"an array of dtype {array.dtype} cannot become a tensor", f"one of {', '.join(dtypes)}"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def on_gpu(x: Any, dtype: Any = None, *, copy: bool = False) -> Any:
    """An array of CuPy's on the GPU where another library has put `x`.

    Args:
        x: Something with a `__cuda_array_interface__`.
        dtype: The dtype wanted; its own when None.
        copy: False shares its memory.
    """
    if context.trace is not None:  # its memory may change before the next call
        context.trace.refuse(
            f"an array of {type(x).__module__.partition('.')[0]} on the GPU is read",
            "make it a tensor outside of the function",
        )
    module = backend.cupy()
    array = x if isinstance(x, module.ndarray) else module.asarray(x)
    if copy or dtype not in (None, array.dtype):
        with backend.active(backend.device_of(array)):
            array = array.astype(dtype or array.dtype)
    return known_dtype(array)


def shared(x: Any) -> Any:
    """An array whose memory is that of `x`, which is none of ours; None if there is no such."""
    if isinstance(x, np.ndarray):
        return x
    others = not isinstance(x, Tensor) and hasattr(x, "__cuda_array_interface__")
    return on_gpu(x) if others else None


def place(array: Any) -> Any:
    """`array` on the device in force."""
    return array if context.device == "cpu" else backend.to_device(array, context.device)


def captured(x: Any, dtype: Any) -> Tensor:
    """An array, or lists with arrays in them, as an input of what is being recorded."""
    tensor = context.trace.capture_array(x)
    return tensor if dtype is None else functions["astype"](tensor, dtype)


def _holds(items: Any, class_: type) -> bool:
    """Whether there is an instance of a class in nested lists."""
    return any(
        isinstance(item, class_) or (isinstance(item, list | tuple) and _holds(item, class_))
        for item in items
    )


def _holds_numpy(items: Any) -> bool:
    """Whether nested lists hold NumPy values, which keep their dtype, rather than Python floats."""
    if isinstance(items, list | tuple):
        return any(_holds_numpy(item) for item in items)
    return isinstance(items, np.ndarray | np.generic) and not isinstance(items, float | complex)
