"""CuPy, imported when a GPU is used first: arrays, memory, streams, and calls of the driver."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

from jit.config import config
from jit.errors import DeviceError, LaunchError, OutOfMemoryError
from jit.runtime.cublas import library
from jit.runtime.cudnn import frontend
from jit.target import Target, gpu

INSTALL_HINT = "pip install dualflow[gpu], on a machine with an NVIDIA GPU"
_ready: ModuleType | None = None  # the module that was found to work
_forked = False  # whether a parent of this process has used it
_pools: dict[ModuleType, Any] = {}
ALREADY = nullcontext()


def cupy() -> Any:
    """The cupy module.

    Raises:
        DeviceError: CuPy is not installed, finds no GPU, or is newer than the driver.
    """
    module = sys.modules.get("cupy")
    return module if module is not None and module is _ready else _checked()


def _checked() -> Any:
    global _ready
    if _forked:
        raise DeviceError(
            "this process was forked from one that uses the GPU, and cannot use it",
            "processes that start afresh",
            'multiprocessing.get_context("spawn"), or workers that compute on the CPU',
        )
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


def _after_fork() -> None:
    global _ready, _forked
    _forked = _forked or _ready is not None
    _ready = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def array_maker(module: Any) -> Callable[..., Any]:
    """What `ndarray(shape, dtype, memory)` is, in half of the time."""
    outer, parts = module.ndarray, array_parts(module)
    if parts is None:
        return outer
    new, fill = parts

    def make(shape: tuple[int, ...], dtype: Any, memory: Any) -> Any:
        array = new(outer)
        fill(array, shape, dtype, memory)
        return array

    return make


def array_parts(module: Any) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """`new(ndarray)`, and `fill(array, shape, dtype, memory)`; None in other versions.

    CuPy's class has a part in Python around one that does all of it, whose functions these are.
    """
    inner = module.ndarray.__mro__[1]
    return (inner.__new__, inner._init) if hasattr(inner, "_init") else None


class _Thread(threading.local):
    """What the driver knows of a thread."""

    bound = False


_thread = _Thread()


def bind() -> None:
    """Lets this thread call the driver, which knows no GPU before the runtime is used."""
    if not _thread.bound:
        runtime = cupy().cuda.runtime
        runtime.setDevice(runtime.getDevice())
        runtime.free(0)
        _thread.bound = True


def active(number: int) -> Any:
    """A `with` block in which a GPU is the active one.

    Where it is so already, nothing is asked of the driver at the end, which would tell its own
    words of what failed inside.
    """
    cuda = cupy().cuda
    return ALREADY if cuda.runtime.getDevice() == number else cuda.Device(number)


def in_use() -> bool:
    """Whether this process uses a GPU."""
    return _ready is not None and sys.modules.get("cupy") is _ready


def synchronize() -> None:
    """Waits for the work of the active GPU, if one is used in this process."""
    if _ready is not None:
        _ready.cuda.runtime.deviceSynchronize()


def gpu_target(number: int) -> Target:
    """What code for a GPU is made for."""
    machine = gpu(f"sm_{cupy().cuda.Device(number).compute_capability}")
    precision = config().precision
    return replace(
        machine,
        products=precision if library() else "",
        convolutions=precision if frontend() else "",
    )


@contextmanager
def capturing(stream: Any) -> Iterator[Callable[[], Any]]:
    """A block in which a stream captures; what it gives ends the capture and gives the graph."""
    stream.begin_capture()
    open_ = True

    def end() -> Any:
        nonlocal open_
        open_ = False
        return stream.end_capture()

    try:
        yield end
    finally:
        if open_:
            stream.end_capture()


# ----- memory -----


def pool() -> Any:
    """The memory of compiled code: eager code never uses it, so no graph is in its way."""
    module = cupy()
    if module not in _pools:
        _pools[module] = module.cuda.MemoryPool()
    return _pools[module]


def allocate(size: int, what: str, source: Any) -> Any:
    """Memory on the active device.

    Args:
        size: In bytes.
        what: What it is for, in words.
        source: A pool.

    Raises:
        OutOfMemoryError: There is none, even after pools have given back what they do not use.
    """
    try:
        return source.malloc(max(size, 1))
    except MemoryError:
        free_unused()
    try:
        return source.malloc(max(size, 1))
    except MemoryError:
        raise out_of_memory(what, size) from None


def free_unused() -> None:
    """Gives the device back what lies unused in pools."""
    for each in (cupy().get_default_memory_pool(), pool()):
        each.free_all_blocks()


def out_of_memory(what: str, size: int | None = None) -> OutOfMemoryError:
    """The error: who asked, for how much, and what holds the memory of the device."""
    module = cupy()
    device = module.cuda.Device().id
    eager, compiled = module.get_default_memory_pool().used_bytes(), pool().used_bytes()
    free, total = module.cuda.runtime.memGetInfo()
    needs = "more memory" if size is None else amount(size)
    return OutOfMemoryError(
        f"{what} needs {needs}, and gpu:{device} has {amount(free)} of {amount(total)} left: "
        f"tensors hold {amount(eager)}, compiled functions {amount(compiled)}",
        "enough free memory",
        "smaller batches; let go of tensors that are not needed; other programs may hold the rest",
    )


def amount(size: int) -> str:
    """Bytes for people."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def failed(error: Exception, label: str, source: str | None) -> LaunchError:
    """The error of a launch that the GPU did not do, at the user's line."""
    told = LaunchError(
        f"{label}: the GPU reports {error}",
        "a launch that succeeds",
        "JIT_DEBUG=2, which waits for each launch, names the one at fault",
    )
    told.pin(source)
    return told
