"""The stand-in's `cupy.cuda`: devices, memory, streams, graphs, and launches that are recorded.

A launch runs at once, unless its stream captures: then the graph runs it, with the parameters that
it was captured with. What a function of a loaded module does is told by `functions`, by its name.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

ALIGNMENT = 512  # of memory, in bytes, and what sizes are rounded to
Launch = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class State:
    """What the machine of the stand-in is, and what was asked of it.

    Attributes:
        devices: How many there are.
        device: The active one.
        capacity: Bytes of memory of each device; asking for more fails.
        counts: How often something was done.
        log: Launches and graphs in order.
        functions: What the functions of loaded modules do, by name: given their parameters.
    """

    def __init__(self) -> None:
        self.devices, self.device = 1, 0
        self.capacity = 1 << 40
        self.counts: Counter[str] = Counter()
        self.log: list[tuple[Any, ...]] = []
        self.functions: dict[str, Callable[[list[int]], None]] = {"spin": lambda words: None}
        self.parameters: dict[str, int] = {"spin": 1}  # see `jit.runtime.gpu_clock`
        self.stream: Any = None

    def count(self, what: str) -> None:
        self.counts[what] += 1


state = State()


class OutOfMemoryError(MemoryError):
    """As CuPy's, which is no subclass of a CUDA error either."""

    __module__ = "cupy.cuda.memory"


class Memory:
    """A block of a device, which a later one of its size takes over, as in CuPy's pool.

    What is called again and again so finds its memory where it was, whatever else Python does.
    """

    free: ClassVar[dict[tuple[int, int], list[np.ndarray[Any, Any]]]] = {}

    def __init__(self, size: int, device: int) -> None:
        self.size, self.device_id = max(size, 1), device
        self._key = device, -(-self.size // ALIGNMENT)
        blocks = self.free.get(self._key)
        raw = blocks.pop() if blocks else np.empty(ALIGNMENT * (self._key[1] + 1), np.uint8)
        raw.fill(0xA5)  # garbage
        start = -raw.ctypes.data % ALIGNMENT
        self.block, self._raw = raw[start : start + self.size], raw
        self.ptr = self.block.ctypes.data

    def __del__(self) -> None:
        if sys.getrefcount(self._raw) == 3:  # this one, its block, and the argument: nobody else
            self.free.setdefault(self._key, []).append(self._raw)

    def view(self, address: int, size: int) -> Any:
        start = address - self.ptr
        return self.block[start : start + size]


class MemoryPointer:
    """A place in a block."""

    def __init__(self, mem: Memory, address: int) -> None:
        self.mem, self.ptr = mem, address

    @property
    def device_id(self) -> int:
        return self.mem.device_id

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr + offset)


class UnownedMemory:
    """Memory that somebody else holds."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int) -> None:
        self.ptr, self.size, self.device_id, self._owner = ptr, size, device_id, owner

    def view(self, address: int, size: int) -> Any:
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def alloc(size: int) -> MemoryPointer:
    """New memory on the active device, aligned as CUDA's is, filled with garbage."""
    if size > state.capacity:
        raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
    memory = Memory(size, state.device)
    state.count("allocated")
    return MemoryPointer(memory, memory.ptr)


class Pool:
    """A memory pool."""

    def malloc(self, size: int) -> MemoryPointer:
        return alloc(size)

    def free_all_blocks(self) -> None:
        state.count("pools freed")

    def used_bytes(self) -> int:
        return 0

    def total_bytes(self) -> int:
        return 0


class Device:
    """A device; a `with` block in which it is active."""

    def __init__(self, id: int | None = None) -> None:
        self.id = state.device if id is None else int(id)
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(state.device)
        state.device = self.id
        return self

    def __exit__(self, *exc: object) -> None:
        state.device = self._before.pop()

    def synchronize(self) -> None:
        state.count("synchronised")

    @property
    def compute_capability(self) -> str:
        return "90"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]


class Event:
    def __init__(self, **flags: Any) -> None:
        self.at = 0
        self.done = False  # as far as anybody can tell

    def record(self, stream: Any = None) -> None:
        self.at = next(clock)
        state.log.append(("record", stream, self))

    def synchronize(self) -> None:
        state.count("synchronised")
        state.log.append(("synchronise", None, self))


clock = itertools.count()


class Stream:
    """A stream; the null stream cannot capture."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.is_null, self.non_blocking = null, non_blocking
        self.ptr = 0 if null else id(self)
        self.captured: list[Launch] | None = None
        if not null:
            streams[self.ptr] = self

    def __enter__(self) -> Stream:
        self._outer, state.stream = state.stream, self
        return self

    def __exit__(self, *exc: object) -> None:
        state.stream = self._outer

    def begin_capture(self, mode: Any = None) -> None:
        del mode
        if self.is_null:
            raise RuntimeError("cudaErrorStreamCaptureImplicit")
        self.captured = []

    def end_capture(self) -> Graph:
        launches, self.captured = self.captured, None
        assert launches is not None
        state.count("captured")
        return Graph(launches)

    def synchronize(self) -> None:
        state.count("synchronised")

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        state.count("waited")
        state.log.append(("wait", self, event))


streams: dict[int, Stream] = {}
Stream.null = streams[0] = Stream(null=True)


class Graph:
    """What a stream has captured."""

    def __init__(self, launches: list[Launch]) -> None:
        self.launches = launches

    def launch(self, stream: Any = None) -> None:
        del stream
        state.count("replayed")
        state.log.append(("graph", len(self.launches)))
        for launch in self.launches:
            run(launch)


class Function:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Module:
    """A loaded image."""

    def load(self, image: bytes) -> None:
        self.image = image
        state.count("loaded")

    def get_function(self, name: str) -> Function:
        found = [ptr for ptr, known in names.items() if known == name]
        if not found:
            found = [next(numbers)]
            names[found[0]] = name
        return Function(found[0])


numbers = itertools.count(1000, 16)
names: dict[int, str] = {}


SHARED, MOST_SHARED = 48 << 10, 8  # bytes that any launch may ask for; the attribute for more
most_shared: dict[int, int] = {}  # of functions


def set_attribute(f: int, attribute: int, value: int) -> None:
    """`cupy.cuda.driver.funcSetAttribute`: how much shared memory launches may ask for."""
    assert attribute == MOST_SHARED
    most_shared[f] = value


def launch_kernel(f: int, *rest: int) -> None:
    """`cupy.cuda.driver.launchKernel`: reads the parameters as CUDA does, when it is called."""
    gx, gy, gz, bx, by, bz, shared, stream, parameters, _extra = rest
    fits = shared <= max(SHARED, most_shared.get(f, 0))
    if min(gx, gy, gz, bx, by, bz) < 1 or bx * by * bz > 1024 or not fits:
        raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
    count = state.parameters[names[f]]
    pointers = (ctypes.c_void_p * count).from_address(parameters)
    words = tuple([ctypes.c_int64.from_address(p or 0).value for p in pointers])
    launch = f, (gx, gy, gz), (bx, by, bz), words
    captured = streams[stream].captured
    if captured is not None:
        captured.append(launch)
        return
    state.count("launched")
    run(launch)


def launch_behind(f: int, *rest: int) -> None:
    """A programmatic launch: there is one before it, which it waits for."""
    *_, stream, _parameters, _extra = rest
    assert streams[stream].captured, "there is nothing that it is launched behind"
    state.count("behind")
    launch_kernel(f, *rest)


def run(launch: Launch) -> None:
    function, grid, block, words = launch
    state.log.append(("launch", names[function], grid, block))
    state.functions[names[function]](list(words))


def memcpy(target: int, source: int, size: int, kind: int = 0, stream: int = 0) -> None:
    """Any copy: all memory is the host's."""
    state.count({1: "to device", 2: "to host"}.get(kind, "copied"))
    launch_free = streams[stream].captured is None
    assert launch_free, "a copy in a capture is not what the stand-in records"
    state.log.append(("copy", streams[stream], size))
    ctypes.memmove(target, source, size)


def alloc_pinned_memory(size: int) -> Any:
    """Memory of the host that a device reads by itself."""
    state.count("pinned")
    return np.empty(size, np.uint8)


def memset(target: int, value: int, size: int, stream: int = 0) -> None:
    del stream
    ctypes.memset(target, value, size)


# Of an H100: clocks in kHz, bits of the memory's bus, processors, generation.
ATTRIBUTES = {13: 1_980_000, 36: 2_619_000, 37: 5120, 16: 132, 75: 9, 76: 0}


def cuda_of() -> Any:
    """The namespace `cupy.cuda`."""
    runtime = SimpleNamespace(
        getDeviceCount=lambda: state.devices,
        getDevice=lambda: state.device,
        setDevice=lambda number: setattr(state, "device", number),
        free=lambda ptr: None,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        memcpyAsync=memcpy,
        memcpy=memcpy,
        memsetAsync=memset,
        memcpyHostToDevice=1,
        memcpyDeviceToHost=2,
        memcpyDeviceToDevice=3,
        memGetInfo=lambda: (state.capacity, 80 * 10**9),
        deviceSynchronize=lambda: state.count("synchronised"),
        deviceGetAttribute=lambda number, device: ATTRIBUTES[number],
        getDeviceProperties=lambda number: {"name": b"stand-in", "multiProcessorCount": 4},
    )
    return SimpleNamespace(
        alloc=alloc,
        alloc_pinned_memory=alloc_pinned_memory,
        Device=Device,
        Event=Event,
        Stream=Stream,
        Graph=Graph,
        MemoryPool=Pool,
        MemoryPointer=MemoryPointer,
        UnownedMemory=UnownedMemory,
        runtime=runtime,
        driver=SimpleNamespace(launchKernel=launch_kernel, funcSetAttribute=set_attribute),
        function=SimpleNamespace(Module=Module),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        get_current_stream=lambda device_id=-1: state.stream or Stream.null,
        get_elapsed_time=lambda start, stop: float(stop.at - start.at),
    )


__name__ = "cupy"  # to a recording: whose code it skips
