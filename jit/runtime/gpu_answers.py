"""Answers: whether checks have held, and what guards ask, brought to the host behind launches.

They come by one copy to memory that the device writes by itself. Launches behind it may be under
way before anybody waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.runtime.cuda import cupy, failed


class Answers:
    """What the host reads of a run.

    Args:
        size: In bytes.
        name: For messages.
    """

    def __init__(self, size: int, name: str) -> None:
        cuda = cupy().cuda
        self._name = name
        self._memory = cuda.alloc_pinned_memory(size)
        self._bytes = np.frombuffer(self._memory, np.uint8, size)
        self._event = cuda.Event(disable_timing=True)

    def fetch(self, source: int, stream: Any) -> None:
        """Puts the copy on a stream.

        Args:
            source: The address on the device.
            stream: Behind what is on it.
        """
        runtime, here = cupy().cuda.runtime, self._bytes
        kind = runtime.memcpyDeviceToHost
        runtime.memcpyAsync(here.ctypes.data, source, here.nbytes, kind, stream.ptr)
        self._event.record(stream)

    def wait(self) -> Any:
        """Waits for the copy, not for what is on the stream behind it; the bytes.

        Raises:
            DeviceError: What was to be computed before has failed.
        """
        try:
            self._event.synchronize()
        except RuntimeError as error:
            raise failed(error, self._name, None) from error
        return self._bytes
