"""What earlier processes found out about a function whose mode is chosen: that its graph serves.

A trial costs calls in Python, the first of which load what only they need. So what a call took in
Python when a graph was clearly faster is kept on disk, beside the code of kernels: a process that
finds it records at once, and times only its graph. It is found by the code of the function and the
kind of its calls, which takes next to nothing where there is none, and holds for the machine and
the sources of these packages that it names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from dualflow.core.op import PACKAGE
from dualflow.tracing.signature import Call, Identity
from jit.ir.op import JIT
from jit.runtime.cache import disk_cache
from jit.runtime.sources import sources_of


def recalled(python: Callable[..., Any], call: Call) -> float | None:
    """Seconds that such a call took in Python, when a graph was clearly faster; None: unknown."""
    disk = disk_cache()
    key = key_of(python, call) if disk else None
    entry = disk.get(key) if disk and key else None
    if entry is None:
        return None
    found = json.loads(entry)
    return found["seconds"] if found["of"] == surroundings() else None


def keep(python: Callable[..., Any], call: Call, seconds: float | None) -> None:
    """Keeps what a call takes in Python, as a graph is clearly faster; None: it is not."""
    disk = disk_cache()
    key = key_of(python, call) if disk else None
    if disk and key:
        disk.put(key, json.dumps({"seconds": seconds, "of": surroundings()}).encode())


def key_of(python: Callable[..., Any], call: Call) -> str | None:
    """What it is found by; None where no other process can have such calls."""
    code = getattr(python, "__code__", None)
    if code is None or any(isinstance(part, Identity) for part in call.key[1]):
        return None
    told = f"{code.co_filename} {code.co_firstlineno} {code.co_qualname} {code.co_code.hex()}"
    parts = ("trial", told, repr(call.key))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def surroundings() -> str:
    """What else both modes depend on."""
    from jit.runtime.cpu import host  # loaded when something is compiled

    made = host()
    return f"{made.target.key} {made.tools} {sources_of(PACKAGE)} {sources_of(JIT)}"
