"""Effects: on which line recorded code changed something that it also reads, or only changes."""

from __future__ import annotations

import os
from types import CodeType, FrameType
from typing import Any

from dualflow.core.source import line_of
from dualflow.tracing.guards.bytecode import line_of_item_store, line_of_name
from dualflow.tracing.guards.check import Guard

STORES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME", "DELETE_")


class Effects:
    """What the code of one recording may have changed.

    Attributes:
        codes: The code that ran.
    """

    def __init__(self) -> None:
        self.codes: list[CodeType] = []
        self._mutated: dict[int, tuple[Any, str]] = {}  # by id of a container

    def mutated(self, container: Any, frame: FrameType) -> None:
        """A method that changes its object is called."""
        self._mutated.setdefault(id(container), (container, line_of(frame)))

    def line(self, guard: Guard) -> str | None:
        """Where what a guard is about was changed, as far as the code tells."""
        if guard.owner in self._mutated:
            return self._mutated[guard.owner][1]
        name = "" if guard.origin is None else guard.origin.name
        for code in self.codes:
            if (line := line_of_name(code, name, STORES)) is not None:
                return place_of(code, line)
        for code in self.codes:
            if (line := line_of_item_store(code)) is not None:
                return place_of(code, line)
        return None


def place_of(code: CodeType, line: int) -> str:
    """`nets.py:14`."""
    return f"{os.path.basename(code.co_filename)}:{line}"
