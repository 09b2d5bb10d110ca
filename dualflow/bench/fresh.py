"""The environment of new processes that are timed from their start.

They find these packages as installers leave them, and as any program does that ran once: with the
bytecode of their modules. Without it Python would compile two hundred modules before the first
step; that is the case where it is told to write none, and in a checkout that is new.
"""

from __future__ import annotations

import compileall
import os
from functools import cache
from pathlib import Path

PACKAGES = Path(__file__).parents[1], Path(__file__).parents[2] / "jit"
UNWRITTEN = "PYTHONDONTWRITEBYTECODE"


def as_installed(**added: str) -> dict[str, str]:
    """The environment of this process, for one that finds bytecode and leaves it.

    Args:
        **added: Further variables.
    """
    write_bytecode()
    kept = {name: value for name, value in os.environ.items() if name != UNWRITTEN}
    return kept | added


@cache
def write_bytecode() -> None:
    """Compiles what is not compiled yet; nothing happens where that cannot be written."""
    for package in PACKAGES:
        compileall.compile_dir(package, quiet=2)
