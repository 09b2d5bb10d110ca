"""What the core itself needs: constants, identity, the cut of gradients, moves between devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core import backend
from dualflow.core.axes import canonical_shape
from dualflow.core.batching import leading
from dualflow.core.context import context
from dualflow.core.convert import as_tensor, from_data, held, shared
from dualflow.core.define import creation
from dualflow.core.doors import fits
from dualflow.core.number import KINDS
from dualflow.core.op import Op, bind, homes, wrap
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from jit.errors import DTypeError
from jit.types import TensorType, as_dtype, int64, kind, known_dtypes, weak_dtype

_identity = Op(
    name="identity",
    evaluate=lambda xp, x: x,
    infer=lambda x: x,
    lower=lambda form, x: x,
    vjps=(lambda g, y, x: g,),
    jvp="linear",
    batch=leading,
)
_stop_gradient = Op(
    name="stop_gradient",
    evaluate=lambda xp, x: x,
    infer=lambda x: x,
    lower=lambda form, x: x,
    batch=leading,
)
# A Variable that is read after it was assigned: a gradient goes to the Variable, the first
# argument, and not back into what was assigned.
_assigned = Op(
    name="assigned",
    evaluate=lambda xp, old, new: new,
    infer=lambda old, new: new,
    lower=lambda form, old, new: new,
    vjps=(lambda g, y, old, new: g, None),
    jvp=lambda tangents, y, old, new: tangents[0],
    batch=leading,
)
_full = Op(
    name="full",
    evaluate=lambda xp, *, shape, value, dtype: xp.full(shape, value, dtype),
    infer=lambda *, shape, value, dtype: TensorType(shape, dtype),
    lower=lambda form, *, shape, value, dtype: form.constant(value, dtype, shape),
)
_extent = Op(
    name="extent",
    evaluate=lambda xp, *, extent: xp.asarray(extent, int64),
    infer=lambda *, extent: TensorType((), int64),
    lower=lambda form, *, extent: form.index((), lambda: extent, int64),
)

# Gradients go back where values came from: a graph that has no values yet is told both ends.
_to_device = Op(
    name="to_device",
    evaluate=lambda xp, x, *, device, source: backend.to_device(x, device),
    infer=lambda x, *, device, source: x,
    lower=lambda form, x, *, device, source: form.extern(
        "to_device", (x,), TensorType(x.shape, x.dtype), lambda a: backend.to_device(a, device)
    ),
    vjps=(lambda g, y, x, *, device, source: moved(g, source, device),),
    jvp="linear",
    moves=True,
)


def moved(x: Tensor, device: str, source: str) -> Tensor:
    """`x`, which lies on `source`, on another device."""
    return bind(_to_device, (x,), {"device": device, "source": source})


functions["identity"] = lambda x: bind(_identity, (as_tensor(x),))
functions["extent"] = lambda extent: bind(_extent, (), {"extent": extent})


@api
def stop_gradient(x: Any, /) -> Tensor:
    """`x` as a value without history: no gradient flows back through it.

    Args:
        x: Tensor of any shape and dtype.

    Returns:
        Tensor with the same values.

    Example:
        >>> import dualflow as df
        >>> df.grad(lambda x: x * df.stop_gradient(x))(df.asarray(3.0)).item()
        3.0
    """
    return bind(_stop_gradient, (as_tensor(x),))


@api
@creation
def full(shape: Any, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """A tensor filled with one number.

    Args:
        shape: Its shape, or the extent of its only dimension.
        fill_value: A number, or a tensor of one element.
        dtype: By default float32 for a float, int64 for an int, bool for a bool, complex64 for a
            complex number.

    Returns:
        Tensor of that shape.

    Raises:
        ShapeError: An extent is negative.
        DTypeError: The dtype does not hold the number.

    Example:
        >>> import dualflow as df
        >>> df.full((2, 2), 7).tolist()
        [[7, 7], [7, 7]]
    """
    extents = canonical_shape("full", shape)
    if isinstance(fill_value, Tensor):
        value = functions["reshape"](as_tensor(fill_value, dtype), ())
        return functions["broadcast_to"](value, extents)
    value = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    dtype = weak_dtype(value, None) if dtype is None else as_dtype(dtype)
    lost = isinstance(value, complex) and kind(dtype) != "complex"
    if lost or (kind(dtype) == "integer" and isinstance(value, int) and not fits(value, dtype)):
        raise DTypeError(f"full: {value} does not fit {dtype}", "a wider dtype", "dtype=None")
    known = not homes or all(isinstance(extent, int) for extent in extents)
    if known and context.trace is None and context.device == "cpu":
        return wrap(np.full(extents, held(value, dtype), dtype))
    if type(value) in KINDS:
        return functions["broadcast_to"](as_tensor(value, dtype), extents)
    return bind(_full, (), {"shape": extents, "value": value, "dtype": dtype})


@api
@creation
def asarray(obj: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of the values in `obj`.

    Args:
        obj: A number, nested lists, a NumPy or CuPy array, a Tensor or a Variable. Python floats
            make float32, Python ints int64; arrays keep their dtype.
        dtype: The dtype wanted instead.
        copy: False shares the memory of a NumPy array, or of an array on a GPU, whose library has a
            `__cuda_array_interface__`; nobody may write to it any more.

    Returns:
        Tensor.

    Raises:
        DTypeError: `obj` holds something else than numbers.

    Example:
        >>> import dualflow as df
        >>> df.asarray([1.0, 2.0]).dtype
        dtype('float32')
    """
    own = shared(obj) if copy is False and context.trace is None else None
    if own is not None and own.dtype in known_dtypes and dtype in (None, own.dtype):
        return Tensor(own)
    if isinstance(obj, Tensor | np.ndarray):
        return as_tensor(obj, dtype)
    made = from_data(obj, dtype)
    if context.trace is not None:
        context.trace.made(made)
    return made


@api
def to_device(x: Any, device: str, /) -> Tensor:
    """`x` on a device.

    Args:
        x: Tensor of any shape and dtype.
        device: `"cpu"`, `"gpu"` or `"gpu:1"`.

    Returns:
        Tensor with the same values; `x` itself if it is there already.

    Raises:
        DeviceError: There is no such device.
    """
    x, target = as_tensor(x), backend.canonical_device(device)
    source = x.device
    if source == target:
        return x
    if x.raw is None:  # what is put off is computed now; where nothing has values, it says so
        x.concrete("to_device")
    return moved(x, target, source)


@api
def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor of the values of another library's array, by the DLPack protocol.

    Args:
        x: An array with `__dlpack__` and `__dlpack_device__`: NumPy's, CuPy's, PyTorch's.
        device: Where the tensor lies; where `x` lies when None.
        copy: None and False share its memory, which must then not be written to any more.

    Returns:
        Tensor of its shape and dtype.

    Raises:
        DTypeError: `x` does not have the protocol, or its dtype is none of ours.

    Example:
        >>> import dualflow as df
        >>> import numpy as np
        >>> df.from_dlpack(np.arange(3)).tolist()
        [0, 1, 2]
    """
    if isinstance(x, Tensor):
        tensor = as_tensor(x)
    elif isinstance(x, np.ndarray):
        tensor = asarray(x, copy=bool(copy))
    elif hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        tensor = asarray(backend.imported(x, copy), copy=False)
    else:
        raise DTypeError(
            f"from_dlpack: {type(x).__name__} has no __dlpack__", "an array", "df.asarray(x)"
        )
    return tensor if device is None else to_device(tensor, device)
