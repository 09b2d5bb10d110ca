"""What CuPy has, of what NumPy has: the stand-in offers nothing else. Written by this module."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("cupy_names.txt")


def listed(cupy: ModuleType) -> str:
    """The names by where they are, a section each."""
    sections = {"functions": (np, cupy), "arrays": (np.ndarray, cupy.ndarray)}
    lines = [f"CuPy {cupy.__version__}"]
    for title, (ours, theirs) in sections.items():
        lines += ["", f"[{title}]", *common(ours, theirs)]
    return "\n".join(lines) + "\n"


def common(ours: Any, theirs: Any) -> list[str]:
    """Public callables and attributes that both have."""
    return [x for x in dir(ours) if not x.startswith("_") and hasattr(theirs, x)]


def read() -> dict[str, frozenset[str]]:
    """The names of each section."""
    found: dict[str, frozenset[str]] = {}
    for part in FILE.read_text(encoding="utf-8").split("\n\n")[1:]:
        title, *names = part.split()
        found[title.strip("[]")] = frozenset(names)
    return found


if __name__ == "__main__":
    import cupy

    FILE.write_text(listed(cupy), encoding="utf-8")
