"""Boxes: objects of one class that hold an array each, opened and made by native code.

Boxes that other objects hold are opened where they lie, and who else refers to them is seen there.

A framework wraps arrays into objects of its own. A call with many of them spends its time on
looking into each and on making as many: 0.2 us for one in Python, 0.02 here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.runtime.native import native

WORD = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True)
class Boxes:
    """What opens boxes of one class, and makes them.

    Attributes:
        opened: `opened(*boxes)` is a list of their arrays; None where one is of another class, or
            holds something else than an array of the class asked for.
        unmarked: The same; None too where one has something in its marked slot.
        boxed: `boxed(*objects)` is a list of new boxes, in which all other slots hold None.
        plans: What native code reads for the three, as addresses; none where Python does it.
    """

    opened: Callable[..., list[Any] | None]
    unmarked: Callable[..., list[Any] | None]
    boxed: Callable[..., list[Any]]
    plans: tuple[int, ...] = ()

    def within(self, run: tuple[int, Any], first: int) -> Callable[..., list[Any] | None] | None:
        """`within(*boxes)`: opens boxes, computes, and puts the results into new boxes.

        It gives None where it has done nothing: a box holds no array, or one that does not fit,
        or a check failed; among the first boxes also where one is marked, or comes twice.

        Args:
            run: The plan of what is computed, and what must live as long as that is used.
            first: How many boxes are the first.

        Returns:
            None where objects are laid out in another way.
        """
        maker = native().within
        if maker is None or not self.plans:
            return None
        plan, held = run
        opened, unmarked, boxed = self.plans
        words = (ctypes.c_ssize_t * 5)(plan, unmarked, opened, boxed, first)
        return maker(ctypes.addressof(words), (words, held, self))


@dataclass(frozen=True, eq=False)
class At:
    """Where a box lies.

    Attributes:
        holder: What has it.
        slot: In which slot.
        alone: Nobody else may refer to the box.
    """

    holder: Any
    slot: str
    alone: bool = False


def boxes_of(
    kind: type[Any],
    inside: str,
    marked: str,
    others: Sequence[str] = (),
    array: type[Any] = np.ndarray,
) -> Boxes:
    """Native code for boxes of a class; Python, where objects are laid out in another way.

    Args:
        kind: The class; an instance is its `__slots__`, and `kind.__new__(kind)` makes it.
        inside: The slot of the array.
        marked: The slot that `unmarked` looks at.
        others: All other slots.
        array: The class of arrays.
    """
    names, functions = (inside, marked, *others), native()
    places = places_of(kind, names) if functions.opened and functions.boxed else None
    if places is None or functions.opened is None or functions.boxed is None:
        return in_python(kind, *names, array=array)
    place, mark, *rest = places
    plans = [plan_of(kind, array, place, *nones) for nones in ((), (mark,), (mark, *rest))]
    opened, unmarked, boxed = plans
    return Boxes(
        opened=functions.opened(*opened),
        unmarked=functions.opened(*unmarked),
        boxed=functions.boxed(*boxed),
        plans=tuple([address for address, _ in plans]),
    )


def held(
    kind: type[Any], inside: str, places: Sequence[At | None]
) -> Callable[[], list[Any] | None] | None:
    """`held()`: a list of the arrays in boxes that others hold.

    It has None where no place is given. It is None where a box is of another class or shared and
    must not be, and what the box holds is not looked at.

    Args:
        kind: The class of boxes.
        inside: The slot of the array.
        places: Where they lie.

    Returns:
        None where objects are laid out in another way.
    """
    maker, found = native().held, places_of(kind, [inside])
    slots = [0 if x is None else address_of(x) for x in places]
    if maker is None or found is None or None in slots:
        return None
    alone = [x is not None and x.alone for x in places]
    flat = [word for pair in zip(slots, alone, strict=True) for word in pair]
    numbers = id(kind), *found, 0, 0, 0, 0, len(places), *flat
    words = (ctypes.c_ssize_t * len(numbers))(*numbers)
    return maker(ctypes.addressof(words), (words, kind, [x and x.holder for x in places]))


def put_in(
    kind: type[Any],
    inside: str,
    marked: Sequence[str],
    places: Sequence[tuple[At, int]],
    via: tuple[type[Any], str] | None = None,
) -> Callable[[list[Any]], int] | None:
    """`put(objects)`: boxes that others hold are given an object each, in place.

    It is 0 if a box is of another class, has something in a marked slot, or somebody else refers to
    it, or to what has it; then the objects are not all there, and others must be made.

    Args:
        kind: The class of boxes.
        inside: The slot that is written.
        marked: One or two slots that must hold None.
        places: Where they lie, and the number of the object for each.
        via: Class of what lies there instead, and in which slot it has the box.

    Returns:
        None where objects are laid out in another way.
    """
    maker, found = native().put, places_of(kind, [inside, *marked])
    between = None if via is None else places_of(via[0], [via[1]])
    slots = [address_of(place) for place, _ in places]
    if maker is None or found is None or None in slots or (via and between is None):
        return None
    array, first, *second = found
    flat = [x for slot, (_, number) in zip(slots, places, strict=True) for x in (slot, number)]
    numbers = id(kind), array, first, *(second or [first]), id(via[0]) if via else 0
    numbers = *numbers, *(between or [0]), len(places), *flat
    words = (ctypes.c_ssize_t * len(numbers))(*numbers)
    return maker(ctypes.addressof(words), (words, kind, via, [place.holder for place, _ in places]))


def address_of(place: At) -> int | None:
    """The address of a slot."""
    found = places_of(type(place.holder), [place.slot])
    return None if found is None else id(place.holder) + WORD * found[0]


def plan_of(kind: type[Any], array: type[Any], place: int, *nones: int) -> tuple[int, Any]:
    """What native code reads, as an address, and what must live as long as that is used."""
    numbers = id(kind), id(array), place, len(nones), *nones
    words = (ctypes.c_ssize_t * len(numbers))(*numbers)
    return ctypes.addressof(words), (words, kind, array)


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


def in_python(
    kind: Any, inside: str, marked: str, *others: str, array: type[Any] = np.ndarray
) -> Boxes:
    """The same without native code."""
    new = kind.__new__

    def opened(*boxes: Any) -> list[Any] | None:
        if any(type(box) is not kind for box in boxes):
            return None
        arrays = [getattr(box, inside, None) for box in boxes]
        return arrays if all(type(x) is array for x in arrays) else None

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
