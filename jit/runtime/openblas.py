"""NumPy's OpenBLAS: its threads spin after each product, which halves the speed of ours."""

from __future__ import annotations

import ctypes
from pathlib import Path

SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def use_one_thread() -> None:
    """Limits each OpenBLAS of this process to one thread; without one, nothing happens."""
    for path in loaded():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in SETTERS:
            if (setter := getattr(library, name, None)) is not None:
                setter(ctypes.c_int(1))


def loaded() -> list[str]:
    """The paths of the OpenBLAS libraries in this process."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[-1] for line in lines if "openblas" in line.lower()}
    return sorted(path for path in paths if path.startswith("/"))
