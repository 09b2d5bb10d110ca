"""Effects: on which line recorded code changed something that it also reads, or only changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from types import CodeType, FrameType
from typing import Any

from dualflow.core.source import line_in, line_of
from dualflow.tracing.guards.bytecode import line_of_item_store, line_of_name, names_of
from dualflow.tracing.guards.check import Guard

WRITING = frozenset("setattr delattr __setattr__ __delattr__".split())  # by any name
STORES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME", "DELETE_")


class Effects:
    """What the code of one recording may have changed.

    Attributes:
        codes: The code that ran.
    """

    def __init__(self) -> None:
        self.codes: list[CodeType] = []
        self._mutated: dict[int, tuple[Any, str]] = {}  # by id of a container
        self._grown: Counter[int] = Counter()  # by how many items, by id of a list

    def mutated(self, container: Any, method: str, frame: FrameType) -> None:
        """A method that changes its object is called."""
        key = id(container)
        self._mutated.setdefault(key, (container, line_of(frame)))
        if method in ("append", "add"):
            self._grown[key] += 1
        elif method == "extend" and type(container) is list:
            self._grown[key] -= len(container)

    def extended(self, container: Any) -> None:
        """A list was extended, which is over now."""
        self._grown[id(container)] += len(container)

    def grew(self, container: Any, count: int) -> bool:
        """Whether code that ran has added so many items, and not another thread."""
        return self._grown[id(container)] == count

    def growth(self) -> dict[int, int]:
        """How many items lists have got so far, by id."""
        return dict(self._grown)

    def naming(self, name: str) -> str | None:
        """Where code names something first."""
        lines = [(code, line_of_name(code, name)) for code in self.codes]
        return next((place_of(code, line) for code, line in lines if line is not None), None)

    def may_store(self, name: str, holder: Hashable, *, item: bool) -> bool:
        """Whether code that ran can have written something.

        Args:
            name: The attribute, global or variable.
            holder: The id of what has it.
            item: Whether it is an item of a list or dict, which may have any name.
        """
        if holder in self._mutated:
            return True
        return any(
            not WRITING.isdisjoint((names := names_of(code)).globals | names.attributes)
            or names.whole
            or (line_of_item_store(code) if item else line_of_name(code, name, STORES)) is not None
            for code in self.codes
        )

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
    return line_in(code.co_filename, line)
