"""Frames: the memory of one call at a time on a GPU, and its launches as CUDA graphs.

The launches between two host steps are captured once for the addresses that they are called with,
and replayed when these come again. Capturing runs nothing, and nothing is allocated in it: all
memory is there before. Graphs and arena come from a pool of their own, which eager code never uses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from jit.runtime.cuda import allocate, capturing, cupy, failed, pool
from jit.runtime.gpu_arenas import SHARED, Arena, behind, give, take
from jit.runtime.gpu_clock import Watch
from jit.runtime.gpu_code import GpuCode
from jit.runtime.gpu_table import ARENA, Row, Stretch, Table, words_of
from jit.runtime.library_call import LibraryCall
from jit.runtime.program import Launch
from jit.runtime.programmatic import Launcher, launcher

SHORTEST = 3  # launches of a program that is captured
MOST_SHARED = 8  # the driver's number of an attribute: bytes that launches may ask for
KEPT = 8  # graphs of a stretch, for as many sets of addresses

_functions: dict[tuple[int, bytes], Any] = {}  # by device and image: kept as long as the process


def function(device: int, code: GpuCode) -> int:
    """The driver's handle of a kernel on the active device, which loads it when it is new there."""
    key = device, code.image or code.symbol.encode()
    found = _functions.get(key)
    if found is None:
        module = cupy().cuda.function.Module()
        module.load(code.image)
        found = _functions[key] = module, module.get_function(code.symbol)
        if code.shared:
            cupy().cuda.driver.funcSetAttribute(found[1].ptr, MOST_SHARED, code.shared)
    return found[1].ptr


def prepared(row: Row, device: int) -> tuple[int, ...] | LibraryCall:
    """The arguments of the driver's call, but for stream and parameters; or a library's call."""
    code = row.code
    if isinstance(code, LibraryCall):
        return code
    return (function(device, code), *row.blocks, *code.threads, code.shared)


class Frame:
    """What one call at a time uses.

    Args:
        table: What is launched.
        device: The number of the GPU.
        more: How many words there are behind the bases.

    Attributes:
        bases: The address of each base; those of inputs and outputs are set by the call. Behind
            them are words that only the call uses.
        arena: The memory of temporaries, within a call.
    """

    def __init__(self, table: Table, device: int, more: int = 0) -> None:
        self.table, self.device = table, device
        self.bases = np.zeros(table.bases + more, np.int64)
        self._lent: Arena | None = None
        self.arena: Any = None
        self._token = object()  # arenas remember it, not the frame
        if table.arena < SHARED:
            self.arena = allocate(table.arena, self._temporaries, pool())
            self.bases[ARENA] = self.arena.ptr
            self._clear(current())
        self.words = np.zeros(len(table.index), np.int64)
        first = self.words.ctypes.data
        self.pointers = np.arange(len(self.words), dtype=np.int64) * 8 + first
        self._launches = [prepared(row, device) for row in table.rows]
        self._graphs: list[OrderedDict[Hashable, Any]] = [OrderedDict() for _ in table.stretches]
        self._key: Hashable = None
        self._places: Callable[[], None] | None = None
        self._stream = current()

    def follow(self, stream: Any) -> None:
        """Puts what comes behind the work of before, if that is on another stream."""
        self._stream = behind(self._stream, stream)

    @property
    def _temporaries(self) -> str:
        return f"the temporaries of {self.table.program.name}"

    def _clear(self, stream: Any) -> None:
        """Nothing has failed so far."""
        start = self.arena.ptr + self.table.ledger
        cupy().cuda.runtime.memsetAsync(start, 0, self.table.ledger_bytes, stream.ptr)

    def enter(self, stream: Any, beside: int) -> bool:
        """Takes memory for a call; whether it lies elsewhere than before.

        Args:
            stream: Where the call is launched.
            beside: Bytes that its results need.

        Raises:
            OutOfMemoryError: There is no room.
        """
        if self.table.arena < SHARED:
            return False
        asked = self.table.arena, self.device, self._temporaries, self._token
        lent = self._lent = take(*asked, beside)
        self.arena = lent.memory
        lent.stream = behind(lent.stream, stream)
        if lent.user is not self._token:
            self._clear(stream)
            lent.user = self._token
        moved = self.bases[ARENA] != self.arena.ptr
        self.bases[ARENA] = self.arena.ptr
        return bool(moved)

    def leave(self) -> None:
        """Ends a call: what it took is free again."""
        if self._lent is not None:
            give(self._lent, self.device)
            self._lent = self.arena = None

    def begin(self, key: Hashable | None, places: Callable[[], None]) -> None:
        """Starts a call.

        Args:
            key: Equal for calls with the same addresses; None: that shows in `bases`.
            places: Sets those of `bases` that are not set yet, when they are needed.
        """
        self._places = places
        if key is None:
            self.settle()
            key = self.bases[: self.table.bases].tobytes()
        self._key = key

    def settle(self) -> None:
        """Takes over the addresses in `bases`: no launch but that of a graph does without."""
        if self._places is not None:
            self._places()
            self.words[:] = words_of(self.table, self.bases)
            self._places = None

    def run(self, number: int, stretch: Stretch, stream: Any) -> None:
        """The launches of a stretch: as a graph, if their addresses have come before."""
        graphs, key = self._graphs[number], self._key
        graph = graphs.get(key)
        if graph is not None:
            graphs.move_to_end(key)
            self._replay(graph, stretch, stream)
        elif len(self.table.rows) < SHORTEST:
            self._launch(stretch, stream.ptr)
        elif key in graphs:
            graph = graphs[key] = self._captured(stretch)
            graphs.move_to_end(key)
            self._replay(graph, stretch, stream)
        else:
            graphs[key] = None  # if they come again, they are captured
            if len(graphs) > KEPT:
                graphs.popitem(last=False)
            self._launch(stretch, stream.ptr)

    def _replay(self, graph: Any, stretch: Stretch, stream: Any) -> None:
        """All launches of a stretch at once; what goes wrong is told at the line of the first."""
        try:
            graph.launch(stream)
        except RuntimeError as error:
            first = self.table.rows[stretch.rows.start].launch
            label = f"{self.table.program.name}, from {first.label} on"
            raise failed(error, label, first.source) from error

    def _launch(self, stretch: Stretch, stream: int, behind: Launcher | None = None) -> None:
        """Launches one after the other.

        Args:
            stretch: Which ones.
            stream: Where to.
            behind: What launches a kernel that is behind another; by default as the first one.
        """
        self.settle()
        plain = launch = cupy().cuda.driver.launchKernel
        rows, pointers = self.table.rows, self.pointers.ctypes.data
        for k in stretch.rows:
            given, at = self._launches[k], pointers + 8 * rows[k].start
            try:
                if isinstance(given, LibraryCall):
                    given.launch(stream, at)
                    launch = plain  # the library's kernels say in their own ways when they end
                else:
                    launch(*given, stream, at, 0)
                    launch = behind or plain
            except RuntimeError as error:
                raise failed(error, rows[k].launch.label, rows[k].launch.source) from error

    def _captured(self, stretch: Stretch) -> Any:
        """The stretch as a graph; nothing is run."""
        stream = cupy().cuda.Stream(non_blocking=True)
        with capturing(stream) as end:
            self._launch(stretch, stream.ptr, launcher(self.device))
            return end()

    def timed(self, stretch: Stretch, stream: Any) -> list[float]:
        """The seconds that each launch of a stretch takes on the device, one after the other."""
        seconds = []
        for k in stretch.rows:
            stream.synchronize()
            watch = Watch(stream)
            self._launch(Stretch(range(k, k + 1), None), stream.ptr)
            watch.stop()
            wait(stream, self.table.rows[k].launch)
            seconds.append(watch.seconds())
        return seconds


def wait(stream: Any, launch: Launch) -> None:
    """Waits for a launch; what goes wrong in it is told at its line."""
    try:
        stream.synchronize()
    except RuntimeError as error:
        raise failed(error, launch.label, launch.source) from error


def current() -> Any:
    """The stream that work goes to."""
    return cupy().cuda.get_current_stream()
