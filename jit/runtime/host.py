"""This machine as LLVM sees it, remembered on disk: who finds all code there needs no LLVM.

What was said holds for the LLVM that said it, and as long as the machine runs: another start of it
asks again, and so does a processor that the system describes in other words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from jit.dataclass import dataclass
from jit.runtime.cache import disk_cache
from jit.target import Target

START = Path("/proc/sys/kernel/random/boot_id")
PROCESSORS = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1 << 10, "M": 1 << 20}
DESCRIBED = {"vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags"}


@dataclass(frozen=True)
class Host:
    """What LLVM says.

    Attributes:
        target: The machine.
        tools: Its own version and that of llvmlite.
    """

    target: Target
    tools: str


def known_host(ask: Callable[[], Host], asked: Sequence[Path]) -> Host:
    """What LLVM has said of this machine, or says now.

    Args:
        ask: Loads LLVM for that.
        asked: The files of LLVM and of who asks it.
    """
    disk, key = disk_cache(), identity(asked)
    if disk is None or key is None:
        return ask()
    entry = disk.get(key)
    if entry is not None:
        said = json.loads(entry)
        return Host(Target(**said["target"]), said["tools"])
    host = ask()
    disk.put(key, json.dumps(asdict(host)).encode())
    return host


def identity(asked: Sequence[Path]) -> str | None:
    """The sha256 of what tells this machine and its LLVM from others; None where nothing does."""
    try:
        start, processor = START.read_text(), first_processor()
        files = [(str(path), path.stat()) for path in asked]
    except OSError:
        return None
    if "flags" not in processor or not files:
        return None
    known = [f"{path} {status.st_size} {status.st_mtime_ns}" for path, status in files]
    parts = ("host", start, repr(sorted(processor.items())), *known)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def first_processor() -> dict[str, str]:
    """What the system says of the first processor: all of them are alike to LLVM, too."""
    found: dict[str, str] = {}
    with PROCESSORS.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, text = line.partition(":")
            if not line.strip():
                break
            if name.strip() in DESCRIBED:
                found[name.strip()] = text.strip()
    return found


def largest_cache(folder: Path = CACHES) -> int:
    """Bytes of the largest cache that the first core stores to; 0 where the system does not say.

    Cores may have one each, or some together; what others have is as far as memory.
    """
    found = [0]
    for each in folder.glob("index*"):
        with suppress(OSError, KeyError, ValueError):
            size, kind = [(each / name).read_text().strip() for name in ("size", "type")]
            if kind != "Instruction":
                found.append(int(size[:-1]) * UNITS[size[-1:]])
    return max(found)
