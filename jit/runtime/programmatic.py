"""Programmatic launches: a kernel comes to the GPU while the one before it ends.

Its first instruction, `griddepcontrol.wait` (see `jit.runtime.cubin`), waits until that is through
and what it has stored is seen. So nothing but the time between two kernels changes. A kernel that
is launched as usual does not wait. CuPy has no such call, so it goes to the driver itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from jit.config import config
from jit.runtime.cubin import generation
from jit.runtime.cuda import gpu_target

NAME = "programmatic"  # among the passes that may be left out
FIRST = 90  # the first generation that can
SERIALIZATION = 6  # the attribute's number

Launcher = Callable[..., None]


class Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_: ClassVar = [
        ("id", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("value", ctypes.c_int),
        ("more", ctypes.c_char * 60),
    ]


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_: ClassVar = [
        *[(name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")],
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("count", ctypes.c_uint),
    ]


@cache
def driver() -> Any | None:
    """The driver's library; None where it is missing, or older than such launches."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return library if hasattr(library, "cuLaunchKernelEx") else None


def launcher(device: int) -> Launcher | None:
    """What launches kernels behind others on a device, as `cupy.cuda.driver.launchKernel` does.

    None where the device or its driver cannot.
    """
    if NAME in config().passes_off or driver() is None:
        return None
    return launch if generation(gpu_target(device)) >= FIRST else None


def launch(function: int, *rest: int) -> None:
    """A launch that begins before the one before it in the stream has ended.

    Args:
        function: A kernel that waits for others at its start.
        *rest: Blocks and threads, three numbers each; bytes of shared memory; stream; the address
            of the addresses of parameters; that of other options.

    Raises:
        RuntimeError: The driver refuses.
    """
    *sizes, stream, parameters, extra = rest
    library, attribute = driver(), Attribute(SERIALIZATION, 0, 1)
    assert library is not None
    given = Config(*sizes, stream, ctypes.pointer(attribute), 1)
    words = [ctypes.c_void_p(word) for word in (function, parameters, extra)]
    status = library.cuLaunchKernelEx(ctypes.byref(given), *words)
    if status != 0:
        raise RuntimeError(f"cuLaunchKernelEx fails with status {status}")
