"""Boxes: objects of one class that hold an array each, opened and made by native code.

A framework wraps arrays into objects of its own. A call with many of them spends its time on
looking into each and on making as many: 0.2 us for one in Python, 0.02 here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jit.runtime.native import native

WORD = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True)
class Boxes:
    """What opens boxes of one class, and makes them.

    Attributes:
        opened: `opened(*boxes)` is a list of their arrays; None where one is of another class, or
            holds something else than an array of NumPy's.
        unmarked: The same; None too where one has something in its marked slot.
        boxed: `boxed(*objects)` is a list of new boxes, in which all other slots hold None.
    """

    opened: Callable[..., list[Any] | None]
    unmarked: Callable[..., list[Any] | None]
    boxed: Callable[..., list[Any]]


def boxes_of(kind: type[Any], inside: str, marked: str, others: Sequence[str] = ()) -> Boxes:
    """Native code for boxes of a class; Python, where objects are laid out in another way.

    Args:
        kind: The class; an instance is its `__slots__`, and `kind.__new__(kind)` makes it.
        inside: The slot of the array.
        marked: The slot that `unmarked` looks at.
        others: All other slots.
    """
    names, functions = (inside, marked, *others), native()
    places = places_of(kind, names) if functions.opened and functions.boxed else None
    if places is None or functions.opened is None or functions.boxed is None:
        return in_python(kind, *names)
    array, mark, *rest = places
    return Boxes(
        opened=functions.opened(*plan_of(kind, array)),
        unmarked=functions.opened(*plan_of(kind, array, mark)),
        boxed=functions.boxed(*plan_of(kind, array, mark, *rest)),
    )


def plan_of(kind: type[Any], array: int, *nones: int) -> tuple[int, Any]:
    """What native code reads, as an address, and what must live as long as that is used."""
    words = (ctypes.c_ssize_t * (3 + len(nones)))(id(kind), array, len(nones), *nones)
    return ctypes.addressof(words), (words, kind)


def places_of(kind: type[Any], names: Sequence[str]) -> list[int] | None:
    """In which words of an instance the slots are; None where that is not to be seen."""
    if kind.__new__ is not object.__new__ or kind.__itemsize__:
        return None
    values, sample = [object() for _ in names], object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        setattr(sample, name, value)
    words = (ctypes.c_ssize_t * (kind.__basicsize__ // WORD)).from_address(id(sample))
    found = [[k for k, word in enumerate(words) if word == id(value)] for value in values]
    return [k for (k,) in found] if all(len(places) == 1 for places in found) else None


def in_python(kind: Any, inside: str, marked: str, *others: str) -> Boxes:
    """The same without native code."""
    new = kind.__new__

    def opened(*boxes: Any) -> list[Any] | None:
        if any(type(box) is not kind for box in boxes):
            return None
        arrays = [getattr(box, inside, None) for box in boxes]
        return arrays if all(type(array) is np.ndarray for array in arrays) else None

    def unmarked(*boxes: Any) -> list[Any] | None:
        arrays = opened(*boxes)
        return None if any(getattr(box, marked, None) is not None for box in boxes) else arrays

    def boxed(*objects: Any) -> list[Any]:
        made = [new(kind) for _ in objects]
        for box, content in zip(made, objects, strict=True):
            setattr(box, inside, content)
            for name in (marked, *others):
                setattr(box, name, None)
        return made

    return Boxes(opened, unmarked, boxed)
