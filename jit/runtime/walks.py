"""Walks: what lies behind some boxes, written down by native code as a key.

A box says from which record it comes, and a record which boxes it was made of. Two walks give the
same words where they meet the same in the same order: types of arrays, what was done with them,
when, and who shares what. Python takes 2 us for a record, native code 0.1.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np

from jit.dataclass import dataclass
from jit.runtime.boxes import places_of
from jit.runtime.native import native

WORDS, ROWS = 1 << 17, 1 << 14  # of a walk: what is longer is left to Python
LISTS = 5  # that are filled, and stand at the end of what native code reads
STATE = 6  # numbers that only native code looks at


class Slots(NamedTuple):
    """A class and those of its slots that are read, in the order in which `walker` tells."""

    kind: type[Any]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """What was met.

    Attributes:
        words: Equal for walks that meet the same; attrs and `others` are not in them.
        records: In the order in which they were met.
        boxes: Likewise.
        ends: Likewise.
        marked: A record for each different dict of attrs.
        others: Inputs that are neither boxes nor floats.
    """

    words: bytes
    records: list[Any] = field(repr=False)
    boxes: list[Any] = field(repr=False)
    ends: list[Any]
    marked: list[Any] = field(repr=False)
    others: list[Any]


def walker(
    boxes: Slots, records: Slots, parts: Slots, ends: Slots, there: type[Any] | None = None
) -> Callable[[Sequence[Any], int, int], Walk | None] | None:
    """`walk(boxes, first, last)`: what lies behind boxes, of records between two ticks.

    It is None where a box has another thing than an array of NumPy or CuPy, where inputs are no
    tuple, and where there is too much of all that.

    Args:
        boxes: Their array and their record.
        records: What was done, inputs, attrs, tick, and types of results: None where there is one.
        parts: Of several results one: the record and which one.
        ends: Stand for records, behind which there is nothing; and something that marks them.
        there: The class of arrays on a GPU, if they are laid out as `cupy_abi` says.

    Returns:
        None where objects are laid out in another way.
    """
    made = native().walk
    asked = (boxes, records, parts, ends)
    places = [places_of(kind, names) for kind, names in asked]
    usual = float.__basicsize__ == tuple.__basicsize__ == 24
    if made is None or None in places or not usual:
        return None
    words, rows = (ctypes.c_int32 * WORDS)(), (ctypes.c_int64 * (3 * ROWS))()
    flat = [x for (kind, _), found in zip(asked, places) for x in (id(kind), *(found or ()))]
    room = ctypes.addressof(words), WORDS, ctypes.addressof(rows), ROWS - 1
    states = *[0] * (STATE + LISTS), 0 if there is None else id(there)
    numbers = *flat, id(np.ndarray), id(tuple), id(float), *room, *states
    plan = (ctypes.c_int64 * len(numbers))(*numbers)
    run = made(ctypes.addressof(plan), (plan, words, rows, asked, there))

    def walk(boxes: Sequence[Any], first: int, last: int) -> Walk | None:
        lists = [], [], [], [], []
        key = run(list(boxes), first, last, *lists)
        return None if key is None else Walk(key, *lists)

    return walk
