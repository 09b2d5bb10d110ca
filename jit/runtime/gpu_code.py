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
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from jit.codegen.llvm import ENTRY, emit
from jit.codegen.ptx import dynamic_bytes
from jit.dims import Extent, evaluate
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.ir import Kernel
from jit.loops.text import format_kernel
from jit.runtime import cubin
from jit.runtime.cache import disk_cache
from jit.runtime.library import symbol_of, toolchain
from jit.target import Target

KEPT = 4096  # kernels that are remembered


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


_codes: OrderedDict[str, GpuCode] = OrderedDict()
_lock = threading.Lock()


def gpu_code(kernel: Kernel, target: Target) -> GpuCode:
    """The code of a naive kernel: known, found on the disk, or made.

    Args:
        kernel: As the planner makes it for `target`.
        target: From `jit.target.gpu`.
    """
    key = content_key(kernel, target)
    with _lock:
        found = _codes.get(key)
        if found is None:
            disk = disk_cache()
            entry = disk.get(key) if disk else None
            if entry is None:
                entry = made(key, kernel, target)
                if disk:
                    disk.put(key, entry)
            found = _codes[key] = described(key, kernel, entry)
        _codes.move_to_end(key)
        while len(_codes) > KEPT:
            _codes.popitem(last=False)
    return found


def content_key(kernel: Kernel, target: Target) -> str:
    """The sha256 of everything that the code of `kernel` depends on."""
    sizes = " ".join(size.hint for size in kernel.sizes)
    text = f"{kernel.grid} {sizes}\n{format_kernel(kernel, named=False)}"
    parts = text, target.key, toolchain(), cubin.version(), cubin.WAIT
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def made(key: str, kernel: Kernel, target: Target) -> bytes:
    """What is kept of a kernel: a line of numbers, and its image."""
    whole = expand(scheduled(kernel, target))
    text = emit(whole, target).replace(f"@{ENTRY}(", f"@{symbol_of(key)}(", 1)
    code = cubin.ptx(text, target)
    image = cubin.cubin(code, target) or code
    return f"{whole.threads} {whole.items} {dynamic_bytes(whole)}\n".encode() + image


def described(key: str, kernel: Kernel, entry: bytes) -> GpuCode:
    """A kernel's code from what is kept of it."""
    head, _, image = entry.partition(b"\n")
    threads, items, shared = map(int, head.split())
    sizes = tuple([size.hint for size in kernel.sizes])
    return GpuCode(symbol_of(key), image, (threads, 1, 1), -(-kernel.grid // items), sizes, shared)
