"""Facts: why the disk cache has no code for a kernel, though it may have some for one like it.

The key of an entry is a hash, which says nothing. So beside the code of kernels there is a small
entry for each name of a kernel: what the code that was made under this name depended on. A kernel
that is not found is held against these facts; the nearest ones tell what differs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jit.loops.text import format_kernel

if TYPE_CHECKING:
    from jit.loops.ir import Kernel
    from jit.runtime.cache import DiskCache
    from jit.target import Target

KEPT = 16  # kernels of one name
# Parts of what code depends on, in words; what comes first matters most.
WORDS = {
    "dtypes": "dtypes",
    "kernel": "shapes, sizes or attrs",
    "cpu": "the processor",
    "features": "the features of the processor",
    "vector": "the width of vectors",
    "hurry": "how much effort is worth it",
    "tools": "the versions of jit, its sources, llvmlite or LLVM",
}
NEW = "no kernel of these ops was compiled before"

Facts = dict[str, Any]


def facts_of(kernel: Kernel, target: Target, tools: str) -> Facts:
    """What the code of a kernel depends on, part by part."""
    return {
        "dtypes": [buffer.dtype.name for buffer in kernel.buffers],
        "kernel": digest_of(kernel),
        "cpu": f"{target.triple} {target.cpu}",
        "features": target.features,
        "vector": target.vector_bytes,
        "hurry": target.hurry,
        "tools": tools,
    }


def reason(disk: DiskCache | None, kernel: Kernel, facts: Facts) -> str:
    """Why there is no code on the disk, in words; it is called when there is none."""
    if disk is None:
        return "the disk cache is off (JIT_CACHE)"
    known = known_facts(disk, kernel)
    if not known:
        return NEW
    nearest = min((differing(facts, other) for other in known), key=len)
    if not nearest:
        return "its entry is gone, or was damaged"
    if "dtypes" in nearest and "kernel" in nearest:  # the one makes the other
        nearest.remove("kernel")
    return f"{' and '.join(WORDS[part] for part in nearest)} differ from what was compiled before"


def note(disk: DiskCache | None, kernel: Kernel, facts: Facts) -> None:
    """Remembers what the code of a kernel depended on."""
    if disk is not None:
        others = [other for other in known_facts(disk, kernel) if differing(facts, other)]
        disk.put(place(kernel), json.dumps([facts, *others][:KEPT]).encode())


def known_facts(disk: DiskCache, kernel: Kernel) -> list[Facts]:
    """What is remembered of kernels of this name."""
    data = disk.get(place(kernel))
    return [] if data is None else json.loads(data)  # an entry is whole, or it is none


def differing(facts: Facts, other: Facts) -> list[str]:
    """The parts in which two kernels differ."""
    return [part for part in WORDS if facts[part] != other.get(part)]


def place(kernel: Kernel) -> str:
    """The key of the facts about kernels of this name."""
    return digest(f"facts 1 of {kernel.name}")


def digest_of(kernel: Kernel) -> str:
    """The sha256 of a kernel's text without its name."""
    known = _digests.get(kernel)
    if known is None:
        known = _digests[kernel] = digest(format_kernel(kernel, named=False))
    return known


_digests: WeakKeyDictionary[Kernel, str] = WeakKeyDictionary()


def digest(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
