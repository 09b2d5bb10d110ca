"""Kept: things that Python keeps, and that an argument may be one and the same with.

A recording works on copies of tensors, lists and dicts that it was passed, so `x is self.last` is
never true there. Where code may ask that, calls that pass what it can come to anyway are left to
Python.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from types import CodeType
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.tracing.guards.bytecode import names_of


class Kept:
    """Tensors, lists and dicts that a recording, and calls like it, can come to.

    Attributes:
        ids: Theirs; whoever guards them keeps them alive.
        fixed: Those of tensors that are the same at each call.
        cells: Where there are others from call to call, by what tells the places.
    """

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.fixed: set[int] = set()
        self.cells: dict[Any, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.ids or self.cells)

    def add(self, ids: Collection[int], fixed: Collection[int], cells: Sequence[Any]) -> None:
        """Learns of more."""
        self.ids.update(ids)
        self.fixed.update(fixed)
        self.cells.update({cell.place.key: cell for cell in cells})

    def holds_one_of(self, things: Collection[Any]) -> bool:
        """Whether one of the things is among them."""
        given = {id(x) for x in things}
        return not given.isdisjoint(self.ids) or any(id(x) in given for x in self._now())

    def is_mixed(self) -> bool:
        """Whether a tensor that differs from call to call lies in several places by now."""
        now = [id(x) for x in self._now()]
        return len({*now}) < len(now) or not self.fixed.isdisjoint(now)

    def _now(self) -> Iterator[Tensor]:
        for cell in list(self.cells.values()):
            with suppress(LookupError, AttributeError, ValueError):  # nothing is there any more
                if isinstance(x := cell.tensor, Tensor):
                    yield x


def compares(code: CodeType) -> bool:
    """Whether code, or what is written in it, may ask if two things are one."""
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return names_of(code).compares or any(map(compares, inner))
