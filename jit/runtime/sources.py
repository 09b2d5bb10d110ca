"""Which sources a package has, as Python tells what it must compile anew: by sizes and times."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

BYTECODE = "__pycache__"


@cache
def sources_of(package: Path) -> str:
    """The sha256 of names, sizes and times of all modules in a folder; nobody reads them."""
    folder = os.fspath(package)
    lines = [
        f"{path.removeprefix(folder)} {size} {time}\n"
        for path, size, time in sorted(modules(folder))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def modules(folder: str) -> list[tuple[str, int, int]]:
    """The modules below a folder: path, size, time of the last change."""
    found, folders = list[tuple[str, int, int]](), [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((entry.path, status.st_size, status.st_mtime_ns))
                elif entry.name != BYTECODE and entry.is_dir():
                    folders.append(entry.path)
    return found
