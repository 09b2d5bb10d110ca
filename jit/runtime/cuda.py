"""CuPy, imported when a GPU is used first: arrays, memory, streams, and calls of the driver."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from jit.errors import DeviceError

INSTALL_HINT = "pip install dualflow[gpu], on a machine with an NVIDIA GPU"
_ready: ModuleType | None = None  # the module that was found to work


def cupy() -> Any:
    """The cupy module.

    Raises:
        DeviceError: CuPy is not installed, finds no GPU, or is newer than the driver.
    """
    module = sys.modules.get("cupy")
    return module if module is not None and module is _ready else _checked()


def _checked() -> Any:
    global _ready
    try:
        module = importlib.import_module("cupy")
    except Exception as error:
        raise DeviceError(
            f"no GPU can be used here: {error}", "CuPy and a GPU", INSTALL_HINT
        ) from None
    try:
        count = module.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise without_devices(module, error) from None
    if count == 0:
        raise DeviceError(
            "CuPy is installed, but there is no GPU", "at least one GPU", INSTALL_HINT
        )
    _ready = module
    return module


def without_devices(module: Any, error: Exception) -> DeviceError:
    """The error where CuPy cannot even count devices: no driver, or one that is too old."""
    driver, made_for = map(version, versions(module))
    if driver is None:
        return DeviceError(f"no GPU can be used here: {error}", "CuPy and a GPU", INSTALL_HINT)
    return DeviceError(
        f"the GPU's driver knows CUDA up to {driver}, CuPy is made for CUDA {made_for}: {error}",
        f"a driver for CUDA {made_for} or newer",
        "a newer driver, or the CuPy of an older CUDA: pip install dualflow[gpu-cuda12]",
    )


def versions(module: Any) -> tuple[int, int]:
    """CUDA's version numbers of the driver (0: there is none) and of what CuPy was made with."""
    try:
        runtime = module.cuda.runtime
        return runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except Exception:  # asking fails as counting did
        return 0, 0


def version(number: int) -> str | None:
    """`13020` as "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
