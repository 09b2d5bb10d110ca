"""Which sources a package has, as Python tells what it must compile anew: by sizes and times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def sources_of(package: Path) -> str:
    """The sha256 of names, sizes and times of all modules in a folder; nobody reads them."""
    folder = os.fspath(package)
    lines = [
        f"{path.removeprefix(folder)} {size} {time}\n"
        for path, size, time in sorted(modules(folder))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def modules(folder: str) -> Iterator[tuple[str, int, int]]:
    """The modules below a folder: path, size, time of the last change."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns
            elif entry.is_dir():
                yield from modules(entry.path)
