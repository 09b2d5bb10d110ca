"""The machine code of the runtime itself: assembled once for a machine, kept on disk.

Its lock is not the library's: kernels are compiled beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jit.runtime import cpu
from jit.runtime.cache import disk_cache
from jit.runtime.forks import making
from jit.runtime.sources import sources_of


def linked(text: str, symbols: Sequence[str], imports: Mapping[str, int]) -> dict[str, int]:
    """The address of each of `symbols` in LLVM IR; `imports` has those that it lacks."""
    with making:
        target = cpu.host_target()
        parts = text, target.key, cpu.host().tools, sources_of(Path(cpu.__file__).parent)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        disk = disk_cache()
        code = disk.get(key) if disk else None
        if code is None:
            code = cpu.assemble(text, target)
            if disk:
                disk.put(key, code)
        addresses, held = cpu.link([code], symbols, imports)
        _libraries.append(held)
        return addresses


_libraries: list[Any] = []  # code lives as long as the process: a thread may be inside
