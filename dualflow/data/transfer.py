"""Transfer: batches go to a GPU on a stream of their own, while the model computes on another.

The values are put into pinned memory, from which the GPU fetches them without the processor. The
memory that they come to is that of the stream which will read it: the copy waits for what that
stream was told to do before, as some of it may still use the memory, and the reader waits for the
copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dualflow.core import tree
from dualflow.core.backend import active, pinned
from dualflow.core.tensor import Tensor
from jit.runtime.cuda import cupy


class Sent(NamedTuple):
    """A batch on its way.

    Attributes:
        batch: With tensors whose values may not be there yet.
        arrival: The event after which they are.
    """

    batch: Any
    arrival: Any


class Transfer:
    """Copies to one GPU.

    Args:
        device: Its name.
        ahead: How many copies may be under way.
    """

    def __init__(self, device: str, ahead: int) -> None:
        self.device, self._ahead = device, ahead
        with active(device):
            self._reader = cupy().cuda.get_current_stream()
            self._stream = cupy().cuda.Stream(non_blocking=True)
        self._busy: deque[tuple[Any, list[Any]]] = deque()  # pinned memory, until it was read

    def send(self, batch: Any) -> Sent:
        """Starts the copies of a batch; other threads than the reader's may do so."""
        staged: list[Any] = []
        with active(self.device):
            self._release()
            self._stream.wait_event(self._reader.record())
            sent = tree.tree_map(lambda x: self._sent(x, staged), batch)
            arrival = self._stream.record()
        self._busy.append((arrival, staged))
        return Sent(sent, arrival)

    def received(self, sent: Iterator[Sent]) -> Iterator[Any]:
        """The batches, each when the current stream waits for its copy."""
        for batch, arrival in sent:
            with active(self.device):
                cupy().cuda.get_current_stream().wait_event(arrival)
            yield batch

    def _sent(self, x: Any, staged: list[Any]) -> Any:
        if not isinstance(x, Tensor):
            return x
        array = x.concrete("a copy to a GPU")
        if not isinstance(array, np.ndarray) or array.nbytes == 0:
            return x.to(self.device)
        module, source = cupy(), pinned(array)
        staged.append(source)
        with self._reader:
            there = module.ndarray(array.shape, array.dtype)
        runtime = module.cuda.runtime
        kind = runtime.memcpyHostToDevice
        address, stream = source.ctypes.data, self._stream.ptr
        runtime.memcpyAsync(there.data.ptr, address, array.nbytes, kind, stream)
        return Tensor(there)

    def _release(self) -> None:
        """Gives pinned memory back that was read, and waits if too much is not."""
        while self._busy and (self._busy[0][0].done or len(self._busy) > self._ahead):
            self._busy.popleft()[0].synchronize()
