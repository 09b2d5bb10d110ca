"""Arrays: whether Python looked into a NumPy array, or only ops were given it.

Ops read an array anew at each call. What Python itself takes from it is a value like any other, and
leaves no trace; so the code that can name the array is read: each place that loads it must hand
it to an op, as was seen while recording.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.tracing.guards.bytecode import listing
from dualflow.tracing.guards.stack import use_of

ABOUT = frozenset(("shape", "dtype", "ndim", "size", "nbytes", "itemsize"))  # not its values
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_ATTR", "LOAD_CLASSDEREF")
LOCALS = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_CLOSURE")
# What they make of an array shares its memory: views, and lists that hold it.
PASSES = ("BINARY_SUBSCR", "BINARY_SLICE", "LOAD_ATTR", "BUILD_LIST", "BUILD_TUPLE")


class Given:
    """Which arrays were given to ops, by which instructions.

    Args:
        codes: The code that is looked at, by id.
    """

    def __init__(self, codes: dict[int, CodeType]) -> None:
        self._codes = codes
        self._places: dict[int, set[tuple[int, int]]] = {}  # id of array: (id of code, offset)
        self._names: dict[int, set[tuple[int, str]]] = {}  # id of array: (id of code, local name)

    def note(self, array: Any) -> None:
        """An op is given an array, or nested lists with arrays in them."""
        arrays = [x for x in tree.flatten(array)[0] if isinstance(x, np.ndarray)]
        arrays += [x.base for x in arrays if x.base is not None]
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if id(code) in self._codes:
                for x in arrays:
                    self._note(x, code, frame)
            frame = frame.f_back

    def _note(self, array: Any, code: CodeType, frame: FrameType) -> None:
        self._places.setdefault(id(array), set()).add((id(code), frame.f_lasti))
        names = self._names.setdefault(id(array), set())
        names.update((id(code), name) for name, x in frame.f_locals.items() if x is array)

    def looked_into(self, array: Any, names: set[str | None]) -> bool:
        """Whether Python may have taken values from an array.

        Args:
            array: It.
            names: By which it can be reached; None among them if it is in a container.
        """
        if None in names:
            return True
        places = self._places.get(id(array), set())
        local = self._names.get(id(array), set())
        for code in self._codes.values():
            if names.isdisjoint(code.co_names) and names.isdisjoint(code.co_freevars):
                mine = {name for key, name in local if key == id(code)}
                if not mine:
                    continue
            if self._looks(code, names, places, local):
                return True
        return False

    def _looks(
        self,
        code: CodeType,
        names: set[str | None],
        places: set[tuple[int, int]],
        local: set[tuple[int, str]],
    ) -> bool:
        lines = listing(code)
        for number, instruction in enumerate(lines):
            name = instruction.argval
            if instruction.opname == "LOAD_METHOD" and name in names:
                return True
            loaded = instruction.opname in LOADS and name in names
            loaded = loaded or (instruction.opname in LOCALS and (id(code), name) in local)
            if loaded and not self._harmless(code, lines, number, places, local):
                return True
        return False

    def _harmless(
        self,
        code: CodeType,
        lines: Sequence[dis.Instruction],
        number: int,
        places: set[tuple[int, int]],
        local: set[tuple[int, str]],
    ) -> bool:
        """Whether what an instruction pushes goes to an op, or to a name that is known."""
        use = use_of(lines, number)
        if use is None:
            return False
        taker, after = use.instruction, lines[use.number + 1 : use.number + 2]
        ends = after[0].offset if after else taker.offset + 2  # behind its caches
        at = range(taker.offset, ends)
        if taker.opname == "POP_TOP" or any(key == id(code) and k in at for key, k in places):
            return True
        if taker.opname.startswith("STORE_"):
            return (id(code), taker.argval) in local and not use.above
        if taker.opname == "LOAD_ATTR" and taker.argval in ABOUT:
            return True
        return taker.opname in PASSES and self._harmless(code, lines, use.number, places, local)
