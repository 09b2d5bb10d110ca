"""Created: the Variables that were made in one recording."""

from __future__ import annotations

import weakref

from dualflow.core.variable import Variable


class Created:
    """Variables by id, as they compare elementwise; none is kept alive."""

    def __init__(self) -> None:
        self._known: dict[int, weakref.ref[Variable]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, variable: Variable) -> None:
        """One was made."""
        self._known[id(variable)] = weakref.ref(variable)

    def has(self, variable: Variable) -> bool:
        """Whether it was made in the recording."""
        reference = self._known.get(id(variable))
        return reference is not None and reference() is variable

    def alive(self) -> list[Variable]:
        """Those that are still there."""
        return [v for reference in self._known.values() if (v := reference()) is not None]
