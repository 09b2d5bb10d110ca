"""GpuCode: a kernel as an image for the driver, and how it is launched.

    args = [address of each buffer of the kernel..., each size..., address of the status word]
    code = gpu_code(kernel, target)
    module.load(code.image); function = module.get_function(code.symbol)
    function(code.blocks(sizes), code.threads, args, code.shared)

Addresses are multiples of `code.alignment` bytes, also those of buffers without elements, which
must be valid all the same: lanes that are masked out may read element 0. The status word is an
int32 that the caller has set to 0; a check that fails sets it to 1.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary

from jit.codegen.llvm import ENTRY, emit
from jit.codegen.ptx import dynamic_bytes
from jit.dataclass import dataclass
from jit.dims import Extent, evaluate
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.ir import Kernel
from jit.loops.text import format_kernel
from jit.progress import each
from jit.runtime import cubin
from jit.runtime.cache import DiskCache, disk_cache
from jit.runtime.library import symbol_of, toolchain
from jit.target import Target

KEPT = 4096  # kernels that are remembered
WORKERS = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
AHEAD = 2 * WORKERS  # kernels that are begun and not finished, at most


@dataclass(frozen=True)
class GpuCode:
    """A kernel for a GPU.

    Attributes:
        symbol: The name of its function.
        image: A cubin, or PTX where nvJitLink is missing.
        threads: Of a block.
        grid: How many blocks there are, over the kernel's sizes.
        sizes: The names of the kernel's sizes, in their order.
        shared: Bytes of shared memory that a launch has to ask for.
        alignment: Bytes that each address is a multiple of.
    """

    symbol: str
    image: bytes
    threads: tuple[int, int, int]
    grid: Extent
    sizes: tuple[str, ...]
    shared: int = 0
    alignment: int = 16

    def blocks(self, sizes: Sequence[int]) -> tuple[int, int, int]:
        """How many blocks a launch has; with none there is nothing to launch."""
        return int(evaluate(self.grid, dict(zip(self.sizes, sizes)))), 1, 1


class Codes(dict[Kernel, GpuCode]):
    """The code of kernels for a target; what is not there is made when it is asked for.

    Args:
        target: What it is for.
        known: What there is.
        whole: The kernels themselves, in the place of those that are asked for; None: they are.
    """

    def __init__(
        self,
        target: Target,
        known: Mapping[Kernel, GpuCode],
        whole: Callable[[], Mapping[Kernel, Kernel]] | None = None,
    ) -> None:
        super().__init__(known)
        self._target, self._whole = target, whole

    def __missing__(self, kernel: Kernel) -> GpuCode:
        whole = self._whole()[kernel] if self._whole else kernel
        made = self[kernel] = gpu_code(whole, self._target)
        return made


_codes: OrderedDict[str, GpuCode] = OrderedDict()
_lock = threading.Lock()


_making: dict[str, Future[GpuCode]] = {}  # by key, what a thread is at
_keys: WeakKeyDictionary[Kernel, dict[tuple[Target, str], str]] = WeakKeyDictionary()


def gpu_code(kernel: Kernel, target: Target) -> GpuCode:
    """The code of a naive kernel: known, found on the disk, or made.

    Args:
        kernel: As the planner makes it for `target`.
        target: From `jit.target.gpu`.
    """
    return begun(kernel, target).result()


def known(keys: Mapping[Kernel, str]) -> dict[Kernel, GpuCode] | None:
    """Code of before by its keys, in memory or from the disk; None if some is not there.

    Args:
        keys: By kernels of which nothing but sizes and grid counts.
    """
    disk, found = disk_cache(), dict[Kernel, GpuCode]()
    for kernel, key in keys.items():
        with _lock:
            code = _codes.get(key)
        if code is None:
            entry = disk.get(key) if disk else None
            if entry is None:
                return None
            code = described(key, kernel, entry)
            with _lock:
                remember(key, code)
        found[kernel] = code
    return found


def prepare(kernels: Sequence[Kernel], target: Target) -> None:
    """Makes the code of kernels, which `gpu_code` then knows: side by side.

    Python writes the text of a kernel while LLVM and nvJitLink are at others. The longest come
    first, so that in the end nobody waits for one of them alone.
    """
    if len(kernels) < 2:
        return
    left, finished = sorted(kernels, key=length), SimpleQueue[Future[GpuCode]]()
    with ThreadPoolExecutor(WORKERS) as pool:
        for k, _ in enumerate(each("compiling kernels", kernels)):
            while left and len(kernels) - len(left) < k + AHEAD:
                begun(left.pop(), target, pool.submit).add_done_callback(finished.put)
            finished.get().result()


def length(kernel: Kernel) -> int:
    """How long a kernel is; how long it takes to make code of it goes by that."""
    return sum(1 for _ in kernel.statements())


def at_once(task: Callable[..., Any], *args: Any) -> None:
    """Runs a task here and now, as a pool runs it in a thread."""
    task(*args)


def begun(kernel: Kernel, target: Target, run: Callable[..., Any] = at_once) -> Future[GpuCode]:
    """The code of a kernel, or a promise of it; `run` is given the part that needs no Python."""
    key = content_key(kernel, target)
    with _lock:
        promise = _making.get(key)
        if promise is not None:
            return promise
        promise, found = Future[GpuCode](), _codes.get(key)
        if found is not None:
            _codes.move_to_end(key)
            promise.set_result(found)
            return promise
        _making[key] = promise
    with promised(key, promise):
        disk = disk_cache()
        entry = disk.get(key) if disk else None
        if entry is None:
            head, text = written(key, kernel, target)
            run(finish, key, kernel, target, head, text, disk)
        else:
            keep(key, described(key, kernel, entry))
    return promise


@contextmanager
def promised(key: str, promise: Future[GpuCode]) -> Iterator[None]:
    """A block whose error is told to those who wait for a promise."""
    try:
        yield
    except BaseException as error:
        with _lock:
            _making.pop(key, None)
        promise.set_exception(error)


def finish(
    key: str, kernel: Kernel, target: Target, head: bytes, text: str, disk: DiskCache | None
) -> None:
    """Makes an image of a kernel's text, keeps it, and keeps the promise of it."""
    with promised(key, _making[key]):
        entry = head + image_of(text, target)
        if disk:
            disk.put(key, entry)
        keep(key, described(key, kernel, entry))


def keep(key: str, code: GpuCode) -> None:
    """From now on the code is known."""
    with _lock:
        remember(key, code)
        promise = _making.pop(key)
    promise.set_result(code)


def remember(key: str, code: GpuCode) -> None:
    """Keeps code in memory; the caller has the lock."""
    _codes[key] = code
    while len(_codes) > KEPT:
        _codes.popitem(last=False)


def content_key(kernel: Kernel, target: Target) -> str:
    """The sha256 of everything that the code of `kernel` depends on."""
    known, tools = _keys.setdefault(kernel, {}), (target, cubin.version())
    if tools not in known:
        sizes = " ".join(size.hint for size in kernel.sizes)
        text = f"{kernel.grid} {sizes}\n{format_kernel(kernel, named=False)}"
        parts = text, target.key, toolchain(), tools[1], cubin.WAIT
        known[tools] = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return known[tools]


def written(key: str, kernel: Kernel, target: Target) -> tuple[bytes, str]:
    """A line of numbers, and a kernel's text for LLVM."""
    whole = expand(scheduled(kernel, target))
    text = emit(whole, target).replace(f"@{ENTRY}(", f"@{symbol_of(key)}(", 1)
    return f"{whole.threads} {whole.items} {dynamic_bytes(whole)}\n".encode(), text


def image_of(text: str, target: Target) -> bytes:
    """What the driver is given of a kernel's text."""
    code = cubin.ptx(text, target)
    return cubin.cubin(code, target) or code


def described(key: str, kernel: Kernel, entry: bytes) -> GpuCode:
    """A kernel's code from what is kept of it."""
    head, _, image = entry.partition(b"\n")
    threads, items, shared = map(int, head.split())
    sizes = tuple([size.hint for size in kernel.sizes])
    return GpuCode(symbol_of(key), image, (threads, 1, 1), -(-kernel.grid // items), sizes, shared)
