"""Answers: whether checks have held, and what guards ask, brought to the host behind launches.

They come by one copy to memory that the device writes by itself. Launches behind it may be under
way before anybody waits.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from jit.runtime.cuda import cupy, failed
from jit.runtime.tables import address


class Answers:
    """What the host reads of a run.

    Args:
        size: In bytes.
        name: Of what is asked, for messages.
        source: The user's line of it.

    Attributes:
        bytes: What came last.
    """

    def __init__(self, size: int, name: str, source: str | None) -> None:
        cuda = cupy().cuda
        self._name, self._source = name, source
        self._memory = cuda.alloc_pinned_memory(size)
        self.bytes = np.frombuffer(self._memory, np.uint8, size)
        self._place = address(self.bytes)
        self._status = ctypes.c_int32.from_address(self._place)
        self._event = cuda.Event(disable_timing=True)

    def fetch(self, source: int, stream: Any) -> None:
        """Puts the copy on a stream.

        Args:
            source: The address on the device.
            stream: Behind what is on it.
        """
        runtime = cupy().cuda.runtime
        kind = runtime.memcpyDeviceToHost
        runtime.memcpyAsync(self._place, source, self.bytes.nbytes, kind, stream.ptr)
        self._event.record(stream)

    def wait(self) -> int:
        """Waits for the copy, not for what is on the stream behind it; the status word.

        Raises:
            DeviceError: What was to be computed before has failed.
        """
        try:
            self._event.synchronize()
        except RuntimeError as error:
            raise failed(error, self._name, self._source) from error
        return self._status.value
