"""Kept: things that Python keeps, and that an argument may be one and the same with.

A recording works on copies of tensors, lists and dicts that it was passed, so `x is self.last` is
never true there. Where code may ask that, calls that pass what it can come to anyway are left to
Python.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from types import CodeType, FunctionType, MethodType
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.tracing.guards import policy
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.guards.objects import attributes_in

MOST = 200  # functions that are looked into, of those that one may call


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
    return any(names_of(x).compares for x in codes_in(code))


def asking(python: Any) -> list[FunctionType]:
    """The functions that a function may call by name, itself first, whose code compares.

    Functions come by globals, closures, and the methods of what these hold.
    """
    waiting, seen, found = [python], set[int](), list[FunctionType]()
    while waiting and len(seen) < MOST:
        function = waiting.pop(0)
        if not isinstance(function, FunctionType):
            waiting += [function.__func__] if isinstance(function, MethodType) else []
            continue
        code = function.__code__
        if id(code) in seen or not policy.is_users(function.__globals__.get("__name__")):
            continue
        seen.add(id(code))
        if compares(code):
            found.append(function)
        for x in named_in(function):
            waiting += called_by(x, attributes_of(code))
    return found


def named_in(function: FunctionType) -> Iterator[Any]:
    """What a function finds in its closure, or by names in its module."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield cell.cell_contents
    for code in codes_in(function.__code__):
        for name in names_of(code).globals & function.__globals__.keys():
            yield function.__globals__[name]


def called_by(x: Any, attributes: frozenset[str]) -> Iterator[Any]:
    """The Python functions behind something callable, and its methods of some names."""
    yield x
    if "__wrapped__" in (own := attributes_in(x) or {}):  # by decorators, `df.function` among them
        yield own["__wrapped__"]
    kind = x if isinstance(x, type) else type(x)
    if policy.is_users(kind.__module__):
        for base in kind.__mro__[:-1]:
            yield from [base.__dict__[name] for name in attributes & base.__dict__.keys()]


def attributes_of(code: CodeType) -> frozenset[str]:
    """The names of attributes in code and in what is written in it, and of calls."""
    return frozenset(
        {"__call__", "forward"}.union(*[names_of(x).attributes for x in codes_in(code)])
    )


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """Code, and what is written in it."""
    yield code
    for x in code.co_consts:
        if isinstance(x, CodeType):
            yield from codes_in(x)
