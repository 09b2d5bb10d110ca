"""Parts: what an argument that is no tensor adds to the key of a call.

Two arguments count as the same when a function cannot tell them apart: numbers by type and value,
functions by their code and what it closes over, partials and dataclasses by what they hold, methods
by function and instance. What defines no equality that can be trusted only equals itself.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Hashable, Iterable
from enum import Enum
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable

VALUES = (bool, int, float, complex, str, bytes, type(None), np.dtype)
ATOMS = (int, float, complex, str, bytes, tuple, frozenset)
DEEPEST = 4  # what is nested further, or contains itself, is compared by identity


class Identity:
    """Stands for an object that only equals itself, without keeping it alive where possible."""

    __slots__ = ("_ref", "_hash")

    def __init__(self, thing: Any) -> None:
        self._hash = id(thing)
        try:
            self._ref: Any = weakref.ref(thing)
        except TypeError:
            self._ref = lambda: thing

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Identity)
            and (mine := self._ref()) is not None
            and mine is other._ref()
        )

    @property
    def gone(self) -> bool:
        """Whether the object is no more: no call can be about it again."""
        return self._ref() is None

    def is_a(self, kind: type) -> bool:
        """Whether the object is there, and is of a class."""
        return isinstance(self._ref(), kind)

    def __repr__(self) -> str:
        thing = self._ref()
        if isinstance(thing, type):
            return f"class {thing.__name__}"
        return f"{type(thing).__name__} object" if thing is not None else "object that is gone"


def part_of(x: Any, depth: int = 0) -> Hashable:
    """What a leaf that is no tensor adds to the key."""
    if isinstance(x, float | complex):
        return (type(x), repr(x))  # tells 0.0 from -0.0, and nan equals nan
    if isinstance(x, VALUES):
        return (type(x), x)
    if isinstance(x, np.generic):
        return (type(x), x.tobytes())
    if isinstance(x, Tensor | Variable) or depth > DEEPEST or is_more_than_its_value(x):
        return Identity(x)  # `==` of tensors is an op
    if (inner := held_by(x)) is not None:
        return (type(x), *[part_of(item, depth + 1) for item in inner])
    if isinstance(x, set | frozenset):
        return (type(x), frozenset([part_of(item, depth + 1) for item in x]))
    try:
        if type(x).__eq__ is not object.__eq__ and type(x).__hash__ is not None:
            hash(x)
            if isinstance(x == x, bool):  # not an answer for each of its elements
                return (type(x), x)
    except (TypeError, ValueError):  # so says a memoryview
        pass
    return Identity(x)


def is_more_than_its_value(x: Any) -> bool:
    """Whether a number, a string or a tuple has attributes, by a class of the user's."""
    return (
        isinstance(x, ATOMS)
        and type(x).__module__ != "builtins"
        and not isinstance(x, Enum)
        and bool(getattr(x, "__dict__", None))
    )


def held_by(x: Any) -> list[Any] | None:
    """What makes an object what it is; None where nothing but its identity, or its own `==`, does.

    Lists and dicts are looked into where they are part of something else: as arguments they are
    trees, whose leaves come here one by one.
    """
    if isinstance(x, FunctionType):
        return held_by_function(x)
    if isinstance(x, MethodType):
        return [x.__func__, Same(x.__self__)]
    if "__func__" in getattr(x, "__dict__", ()):  # a method that is decorated itself
        return [Same(x.__func__), Same(x.__self__)]
    if isinstance(x, functools.partial):
        return [x.func, len(x.args), *x.args, *in_pairs(sorted(x.keywords.items())), vars(x)]
    if isinstance(x, slice):
        return [x.start, x.stop, x.step]
    if type(x) in (list, tuple):
        return list(x)
    if type(x) is dict:
        return in_pairs(x.items())
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and has_own_equality(type(x)):
        fields = {field.name: getattr(x, field.name, None) for field in dataclasses.fields(x)}
        others = {k: v for k, v in getattr(x, "__dict__", fields).items() if k not in fields}
        return [*fields.values(), *in_pairs(others.items())]
    return None


def in_pairs(items: Iterable[tuple[Any, Any]]) -> list[Any]:
    """Keys and values in one list."""
    return [x for pair in items for x in pair]


def held_by_function(x: FunctionType) -> list[Any] | None:
    """The code of a function and all that it may read of its own."""
    if vars(x):  # attributes, such as those of a wrapper, may be anything
        return None
    words = sorted((x.__kwdefaults__ or {}).items())
    cells = [content(cell) for cell in x.__closure__ or ()]
    names = x.__name__, x.__qualname__, x.__doc__
    defaults = x.__defaults__ or ()
    return [x.__code__, Same(x.__globals__), *names, *defaults, len(words), words, *cells]


def content(cell: CellType) -> Any:
    """What a function closes over; a container by identity, as the function may fill it."""
    try:
        inner = cell.cell_contents
    except ValueError:  # no value yet
        return Ellipsis
    return Same(inner) if isinstance(inner, list | dict | set) else inner


class Same:
    """Makes a part be compared by identity."""

    __slots__ = ("_identity",)

    def __init__(self, thing: Any) -> None:
        self._identity = Identity(thing)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._identity == other._identity

    @property
    def gone(self) -> bool:
        """Whether the object is no more."""
        return self._identity.gone


def has_own_equality(cls: type) -> bool:
    """Whether a dataclass compares its fields, as it was told to."""
    return cls.__dataclass_params__.eq  # type: ignore[attr-defined]


def is_gone(part: Any) -> bool:
    """Whether a part of a key is about an object that is no more, itself or inside."""
    if isinstance(part, Identity | Same):
        return part.gone
    return isinstance(part, tuple) and any(map(is_gone, part))


def is_lasting(x: Any) -> bool:
    """Whether an object's part stays what it is as long as the object lives."""
    if isinstance(x, FunctionType):
        return not (x.__closure__ or x.__defaults__ or x.__kwdefaults__)
    return isinstance(x, VALUES)
