"""Times on a GPU as the device sees them, and what it could do at most.

    watch = Watch(stream)      # what is launched from here on
    ...launches...
    watch.stop()               # up to here
    stream.synchronize()
    watch.seconds()

Before the clock starts the device is kept busy for a while, so that what is launched waits for it
rather than it for Python.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from jit.dataclass import dataclass
from jit.runtime.cuda import bind, cupy

BUSY = 400_000  # cycles of the device, 0.2 to 0.3 milliseconds: what loads a library takes long
SPIN = b"""\
.version 7.0
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
\t.reg .pred %p;
\t.reg .b64 %r<5>;
\tld.param.u64 %r1, [cycles];
\tmov.u64 %r2, %clock64;
again:
\tmov.u64 %r3, %clock64;
\tsub.s64 %r4, %r3, %r2;
\tsetp.lt.u64 %p, %r4, %r1;
\t@%p bra again;
\tret;
}
"""
# The runtime's numbers of attributes: kHz, bits, processors, generation.
CLOCK, MEMORY_CLOCK, MEMORY_BITS, PROCESSORS, MAJOR, MINOR = 13, 36, 37, 16, 75, 76
LANES = {(7, 5): 64, (8, 0): 64}  # of float32 in a processor; later ones have 128


class Watch:
    """Times what comes on a stream after it.

    Args:
        stream: Which.
    """

    def __init__(self, stream: Any) -> None:
        module = cupy()
        bind()
        self._stream = stream
        self._start, self._stop = module.cuda.Event(), module.cuda.Event()
        cycles = ctypes.c_uint64(BUSY)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(cycles))
        at = ctypes.addressof(parameters)
        function = spin(module.cuda.runtime.getDevice())
        module.cuda.driver.launchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream.ptr, at, 0)
        self._start.record(stream)

    def stop(self) -> None:
        """What comes later does not count."""
        self._stop.record(self._stream)

    def seconds(self) -> float:
        """How long it took; the stream must have been waited for."""
        return 1e-3 * cupy().cuda.get_elapsed_time(self._start, self._stop)


def current() -> Any:
    """The stream that work goes to."""
    return cupy().cuda.get_current_stream()


@cache
def spin(device: int) -> int:
    """The driver's handle of a kernel that keeps the active device busy."""
    del device  # each has its own
    module = cupy().cuda.function.Module()
    module.load(SPIN)
    _modules.append(module)
    return module.get_function("spin").ptr


_modules: list[Any] = []  # code lives as long as its module


@dataclass(frozen=True)
class Limits:
    """What a device could do at most.

    Attributes:
        operations: Additions and multiplications of float32 in a second.
        bytes: Read and written in a second.
    """

    operations: float
    bytes: float

    def share(self, operations: float, size: float, seconds: float) -> float:
        """How much of its time a kernel would take if nothing but these limits held it."""
        least = max(operations / self.operations, size / self.bytes)
        return least / seconds if seconds > 0 else 0.0


def limits(device: int) -> Limits | None:
    """The limits of a device by its data; None where the driver does not tell."""
    ask = cupy().cuda.runtime.deviceGetAttribute
    numbers = (CLOCK, MEMORY_CLOCK, MEMORY_BITS, PROCESSORS, MAJOR, MINOR)
    try:
        clock, memory, bits, processors, *generation = (ask(k, device) for k in numbers)
    except Exception:  # each version of CUDA has its own idea of what can be asked
        return None
    lanes = LANES.get(tuple(generation), 128)
    found = Limits(2e3 * clock * lanes * processors, 2e3 * memory * bits / 8)
    return found if found.operations > 0 and found.bytes > 0 else None
