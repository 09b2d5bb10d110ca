"""The pool of native threads that share out the items of large launches.

Its threads never touch Python: `pthread_create` starts them on code made here. Control block and
code live as long as the process. A caller publishes a launch and how many chunks of it are left;
whoever takes a chunk lowers that number by compare-and-swap, the caller too, which then waits for
chunks that were taken, and for nobody else. Idle threads spin a while and then park.

Words of the control block, each on a cache line of its own:

    ticket     chunks left (low half); number of the launch (high half), parked threads wait on it
    launch     its entry in the launch table, the slots, how many chunks: written before the ticket
    done       chunks that are computed
    busy       1 while a caller uses the pool; a second caller computes its chunks alone
    parked     how many threads wait in the kernel
    threads    how many may work, with the caller; those beyond wait on this word
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

from jit.runtime import openblas
from jit.runtime.forks import pools
from jit.runtime.own_code import linked
from jit.runtime.threads_code import BUSY, DONE, PARKED, THREADS, code, supported

ARGUMENTS = (
    512  # offset of the arguments of the threads: address of the block, number of the thread
)
MOST = 512
BLOCK = ARGUMENTS + 16 * MOST


class Pool:
    """The threads of this process; `pool()` is the only one.

    Attributes:
        parallel: Address of the native function (block, launch, slots) that shares out a launch.
        block: Address of the control block.
        ready: Whether as many threads run as may work.
    """

    def __init__(self, count: int) -> None:
        imports = {name: _libc(name) for name in ("syscall", "sched_yield")} if supported() else {}
        names = ["parallel", "work", "announce"] if supported() else ["parallel"]
        self._code = linked(code(), names, imports)
        self.parallel = self._code["parallel"]
        self.block = _forever(BLOCK)
        self.ready = False
        self.count = 0
        self._started = 0
        self._lock = Lock()
        self.resize(count)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def resize(self, count: int) -> None:
        """Lets `count` threads work, the caller included."""
        self.count = min(count, MOST) if supported() else 1
        self.ready = self._started >= self.count - 1
        if supported():
            announce = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)(self._code["announce"])
            announce(self.block + THREADS, self.count)

    def start(self) -> None:
        """Starts the threads that are still missing; with fewer than asked for, those will do."""
        with self._lock, _signals_blocked():
            if self.count > 1:
                openblas.use_one_thread()
            while self._started < self.count - 1 and self._start_one(self._started + 1):
                self._started += 1
            self.ready = True

    def _start_one(self, number: int) -> bool:
        argument = self.block + ARGUMENTS + 16 * number
        ctypes.c_void_p.from_address(argument).value = self.block
        ctypes.c_int64.from_address(argument + 8).value = number
        libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
        work, given = ctypes.c_void_p(self._code["work"]), ctypes.c_void_p(argument)
        if libc.pthread_create(ctypes.byref(thread), None, work, given) != 0:
            return False
        libc.pthread_detach(thread)
        return True

    def _reset(self) -> None:
        """The child of a fork has none of the threads; the launch of another caller is not its."""
        self._lock = Lock()
        self._started = 0
        self.ready = self.count == 1
        ctypes.c_int32.from_address(self.block).value = 0  # no chunks left
        for word in (BUSY, DONE, PARKED):
            ctypes.c_int32.from_address(self.block + word).value = 0


def pool() -> Pool:
    """The pool of this process; its threads start with the first launch that is worth it."""
    with pools:
        return _pool()


@cache
def _pool() -> Pool:
    return Pool(default_threads())


def num_threads() -> int:
    """How many threads compute, the caller included: `OMP_NUM_THREADS`, or one for each core."""
    return pool().count


def set_num_threads(count: int) -> None:
    """Lets `count` threads compute, the caller included. No result depends on how many there are.

    Args:
        count: From now on, in this process.

    Raises:
        ValueError: It is less than one.

    Example:
        >>> before = num_threads()
        >>> set_num_threads(1)
        >>> num_threads()
        1
        >>> set_num_threads(before)
    """
    if count < 1:
        raise ValueError(f"set_num_threads: count (={count}) must be at least 1")
    pool().resize(count)


def default_threads() -> int:
    """`OMP_NUM_THREADS`, or the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, quota())))


def quota(root: Path = Path("/sys/fs/cgroup"), member: Path = Path("/proc/self/cgroup")) -> float:
    """How many cores the control groups of this process grant; infinity if they do not say.

    Args:
        root: Where the groups are mounted, of version 1 or 2.
        member: The file that names the groups.
    """
    granted = math.inf
    for folder in _groups(root, member):
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                most, period = " ".join([(folder / name).read_text() for name in files]).split()
                if float(most) > 0:
                    granted = min(granted, float(most) / float(period))
            except (OSError, ValueError):  # not there, or "max"
                continue
    return granted


def _groups(root: Path, member: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, and of those around them."""
    yield from (root, root / "cpu")
    try:
        lines = member.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = root / "cpu" if controllers else root
        for part in Path(path.lstrip("/")).parts:
            folder /= part
            yield folder


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Threads that start inside take no signals, so these reach the threads that wait for them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _libc(name: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


def _forever(size: int) -> int:
    """Zeroed memory that this process keeps to its end, and a child of a fork gets as a copy."""
    if hasattr(mmap, "MAP_ANONYMOUS"):
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        mapping = mmap.mmap(-1, size)
    keep: Callable[[object], None] = ctypes.pythonapi.Py_IncRef
    keep(ctypes.py_object(mapping))
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))
