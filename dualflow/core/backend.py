"""The one switch between array modules: NumPy on the CPU, CuPy on a GPU (imported when used)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from jit.errors import DeviceError

INSTALL_HINT = "pip install dualflow[gpu], on a machine with an NVIDIA GPU"


def array_module(array: Any) -> Any:
    """The module whose functions take `array`: numpy or cupy."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    return cupy()


def cupy() -> Any:
    """The cupy module.

    Raises:
        DeviceError: CuPy is not installed or finds no GPU.
    """
    try:
        module = importlib.import_module("cupy")
        count = module.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise DeviceError(
            f"no GPU can be used here: {error}", "CuPy and a GPU", INSTALL_HINT
        ) from None
    if count == 0:
        raise DeviceError(
            "CuPy is installed, but there is no GPU", "at least one GPU", INSTALL_HINT
        )
    return module


def canonical_device(device: str | None) -> str:
    """`"gpu"` as `"gpu:0"`, after checking that the device exists.

    Raises:
        DeviceError: The name is unknown or the device is not there.
    """
    if device in (None, "cpu", "cpu:0"):
        return "cpu"
    name, _, index = str(device).partition(":")
    if name not in ("gpu", "cuda") or (index and not index.isdigit()):
        raise DeviceError(
            f"there is no device {device!r}", '"cpu", "gpu" or "gpu:1"', 'device="cpu"'
        )
    number = int(index or 0)
    count = cupy().cuda.runtime.getDeviceCount()
    if number >= count:
        raise DeviceError(
            f"there is no device {device!r}", f"gpu:0 to gpu:{count - 1}", 'device="gpu:0"'
        )
    return f"gpu:{number}"


def device_of(array: Any) -> str:
    """Where an array lies."""
    return "cpu" if isinstance(array, np.ndarray) else f"gpu:{array.device.id}"


def module_for(device: str) -> Any:
    """The array module that creates arrays on a canonical device."""
    return np if device == "cpu" else cupy()


def to_device(array: Any, device: str) -> Any:
    """`array` itself where it is there already, else a copy on `device`."""
    if device_of(array) == device:
        return array
    module = cupy()
    if device == "cpu":
        return module.asnumpy(array)
    with module.cuda.Device(int(device.partition(":")[2])):
        return module.asarray(array)
