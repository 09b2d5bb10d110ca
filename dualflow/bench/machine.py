"""The machine and the versions that figures were measured with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("dualflow", "numpy", "ml_dtypes", "optree", "llvmlite", "scikit-learn")


def machine() -> dict[str, Any]:
    """Processor, cores, memory and operating system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": cores(),
        "threads": threads(),
        "memory_bytes": pages,
        "system": platform.platform(),
    }


def processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """How many threads kernels run on."""
    from jit.runtime.threads import num_threads

    return num_threads()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, "missing" where one is not installed."""
    return {"python": sys.version.split()[0]} | {name: version(name) for name in PACKAGES}


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
