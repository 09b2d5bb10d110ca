"""Devices: their names, the array module of each, and the only moves between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import numpy as np

from dualflow.core.context import context
from jit.errors import DeviceError
from jit.runtime.cuda import cupy
from jit.runtime.hosts import MOST, HostArray, copied, is_host, number_of

ON_CPU = nullcontext()
CUDA = "__cuda_array_interface__"  # what classes of arrays on a GPU have
on_gpu = set[type]()  # classes of arrays that were met there
_names: dict[int, str] = {}  # of GPUs, by their numbers


def array_module(array: Any) -> Any:
    """The module whose functions take `array`: numpy or cupy."""
    return np if isinstance(array, np.ndarray | np.generic) else cupy()


def gives_views(array: Any) -> bool:
    """Whether parts of an array, and its axes in another order, are views: NumPy's and CuPy's."""
    return array.__class__ is np.ndarray or hasattr(array.__class__, CUDA)


def are_alike(a: Any, b: Any) -> bool:
    """Whether two arrays, NumPy's or of one GPU, have one shape and dtype; None is no array."""
    kind = a.__class__
    if kind is not b.__class__:
        return False
    if kind is np.ndarray:
        return a.dtype is b.dtype and a.shape == b.shape
    alike = kind in on_gpu and a.dtype is b.dtype and a.shape == b.shape
    return alike and a.data.device_id == b.data.device_id


def canonical_device(device: str | None) -> str:
    """`"gpu"` as `"gpu:0"`, after checking that the device exists.

    Raises:
        DeviceError: The name is unknown or the device is not there.
    """
    if device in (None, "cpu", "cpu:0"):
        return "cpu"
    name, _, index = str(device).partition(":")
    if name not in ("cpu", "gpu", "cuda") or (index and not index.isdigit()):
        raise DeviceError(
            f"there is no device {device!r}", '"cpu", "gpu" or "gpu:1"', 'device="cpu"'
        )
    number = int(index or 0)
    if name == "cpu":
        if number >= MOST:
            expected = f"cpu:0 to cpu:{MOST - 1}"
            raise DeviceError(f"there is no device {device!r}", expected, 'device="cpu"')
        return f"cpu:{number}"
    count = cupy().cuda.runtime.getDeviceCount()
    if number >= count:
        raise DeviceError(
            f"there is no device {device!r}", f"gpu:0 to gpu:{count - 1}", 'device="gpu:0"'
        )
    return f"gpu:{number}"


def device_of(array: Any) -> str:
    """Where an array lies."""
    kind = array.__class__
    if kind is np.ndarray:
        return "cpu"
    if kind not in on_gpu:
        if isinstance(array, np.ndarray | np.generic):
            return array.place if isinstance(array, HostArray) else "cpu"
        on_gpu.add(kind)
    return gpu_name(array.data.device_id)


def gpu_name(number: int) -> str:
    """The name of a GPU."""
    return _names.get(number) or _names.setdefault(number, f"gpu:{number}")


def place_of_all(arrays: Sequence[Any]) -> str | None:
    """The one device, of those that compile what keeps coming, on which all arrays lie.

    None where they lie on several, or on further devices of the processor, or nowhere.
    """
    kinds = {x.__class__ for x in arrays}
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is np.ndarray:
        return "cpu"
    numbers = {x.data.device_id for x in arrays} if hasattr(kind, CUDA) else ()
    return gpu_name(*numbers) if len(numbers) == 1 else None


def module_for(device: str) -> Any:
    """The array module that creates arrays on a canonical device."""
    return np if is_host(device) else cupy()


def active(device: str) -> Any:
    """A `with` block in which CuPy works on a device; other GPUs are not touched by accident."""
    if is_host(device) or has_one_gpu():
        return ON_CPU
    return cupy().cuda.Device(number_of(device))


def has_one_gpu() -> bool:
    """Whether any GPU is the only one."""
    return count_of_devices(cupy()) == 1


@cache
def count_of_devices(module: Any) -> int:
    """How many GPUs CuPy sees."""
    return module.cuda.runtime.getDeviceCount()


def to_device(array: Any, device: str) -> Any:
    """`array` itself where it is there already, else a copy on `device`."""
    if device_of(array) == device:
        return array
    with context.aside():  # what CuPy looks up where it is used first is no state of a function
        return copied(array, device)


def pins() -> bool:
    """Whether there is a GPU, and CuPy, for which memory can be pinned."""
    try:
        return count_of_devices(cupy()) > 0
    except DeviceError:
        return False


def pinned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy in memory that stays where it is, so that a GPU reads it without the processor."""
    memory = cupy().cuda.alloc_pinned_memory(max(array.nbytes, 1))
    copy = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy


def by_host(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """`evaluate` of an op that CuPy has no function for: arrays on a GPU go through the host."""

    def run(xp: Any, *arrays: Any, **attrs: Any) -> Any:
        if xp is np:
            return evaluate(np, *arrays, **attrs)
        return through_host(partial(evaluate, **attrs), arrays, device_of(arrays[0]))

    return run


def through_host(function: Callable[..., Any], arrays: Sequence[Any], device: str) -> Any:
    """What a function of NumPy arrays gives, for arrays on a GPU: what CuPy cannot do.

    The arrays are copied to the host, and the results back.
    """
    given = [to_device(x, "cpu") if hasattr(x, "dtype") else x for x in arrays]
    out = function(np, *given)
    if isinstance(out, tuple):
        return tuple([to_device(np.asarray(y), device) for y in out])
    return to_device(np.asarray(out), device)


def exported(
    array: Any,
    stream: Any,
    version: tuple[int, int] | None,
    device: tuple[Any, int] | None,
    copy: bool | None,  # noqa: FBT001 - the protocol's words, passed on
) -> Any:
    """A DLPack capsule of the values of a tensor, which nobody may change through it.

    Version 1 of the protocol can say so, and shares memory; before it, values are copied. Of a
    tensor without elements there is nothing to share, nor to change.
    """
    if not isinstance(array, np.ndarray):
        return array.__dlpack__(stream=stream, max_version=version, dl_device=device, copy=copy)
    if version is None or version[0] < 1:
        array = array if copy is False and array.size else array.copy()
    elif not copy:
        array = array.view()
        array.flags.writeable = False
    return array.__dlpack__(stream=stream, max_version=version, dl_device=device, copy=copy)


def imported(x: Any, copy: bool | None) -> Any:  # noqa: FBT001 - the protocol's word
    """The array that an object of another library offers by DLPack, sharing its memory."""
    on_gpu = x.__dlpack_device__()[0] == 2
    module = cupy() if on_gpu else np
    return module.from_dlpack(x) if copy is None else module.from_dlpack(x, copy=copy)
