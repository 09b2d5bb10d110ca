"""Entry: the arrays that come to a call on a GPU, read by native code where that can be.

It looks at each: class, dtype, shape, device, where it lies, and who else refers to it if its
memory shall be taken. In Python that takes a microsecond for each, here a hundredth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import numpy as np

from jit.runtime import cupy_abi
from jit.runtime.cublas import ALIGNED
from jit.runtime.cuda import cupy
from jit.runtime.gpu_entry_code import code
from jit.runtime.native import addresses_of, maker
from jit.runtime.own_code import linked
from jit.runtime.tables import Words, address

Input = tuple[int, tuple[int, ...], "np.dtype[Any]"]
HERE, COPIED, BY_PYTHON = 0, 1, 2  # how an input is read
HOW, PLACE, DTYPE, RANK, DIMS, MOST = range(6)  # of a row
HELD = 2  # references to an array that a list and one holder have
IMPORTS = ("PyLong_AsVoidPtr", "PyLong_FromLongLong", "PyList_Type", "_Py_NoneStruct")


class Entry:
    """What reads the arrays of calls.

    Args:
        inputs: Of each the number of its base, its shape and dtype.
        bases: Where addresses go; behind them there is a place for each input that is copied.
        device: The number of the GPU.
        given: Those whose memory is taken.

    Attributes:
        read: `read(arrays)` writes their addresses: 0 if they are those of the call before, 1 if
            not; negative if an array is not as it must be, or not to be had.
        copied: Inputs that lie somewhere else each time: number, and place of the address.
        by_python: Inputs that `read` leaves alone.
    """

    def __init__(
        self, inputs: Sequence[Input], bases: Words, device: int, given: Sequence[int]
    ) -> None:
        self._inputs, self._bases, self._device = inputs, bases, device
        self._given = frozenset(given)
        self._first = len(bases) - len(inputs)
        self.copied: list[tuple[int, int]] = []
        self.by_python: list[int] = []
        self._rows = np.zeros((len(inputs), 6), np.int64)
        dims = [np.array(shape, np.int64) for _, shape, _ in inputs]
        for k, (base, shape, dtype) in enumerate(inputs):
            most = HELD if k in self._given else 0
            self._rows[k] = HERE, base, id(dtype), len(shape), address(dims[k]), most
            if 0 in shape:
                self.leave(k)
        self._alive = dims, inputs
        self.read = self._native() or self._in_python

    def leave(self, number: int) -> None:
        """Has an input read by somebody else from now on."""
        self._rows[number, HOW] = BY_PYTHON
        self.copied = [x for x in self.copied if x[0] != number]
        if number not in self.by_python:
            self.by_python.append(number)

    def copy(self, number: int) -> None:
        """Has the address of an input written aside from now on: it will be copied."""
        place = self._first + number
        if self._rows[number, HOW] == HERE:
            self._rows[number, [HOW, PLACE]] = COPIED, place
            self.copied.append((number, place))

    def _native(self) -> Callable[[list[Any]], int] | None:
        made = functions(cupy())
        if made is None:
            return None
        kind = cupy().ndarray
        words = [id(kind), len(self._inputs), address(self._rows), address(self._bases)]
        plan = np.array([*words, self._device], np.int64)
        return made[0](address(plan), (plan, self._rows, self._alive, self._bases, kind))

    def _in_python(self, arrays: Sequence[Any]) -> int:
        moved, kind, bases = 0, cupy().ndarray, self._bases
        if len(arrays) != len(self._inputs):
            return -1
        for k in self._given:  # before anything here refers to them
            if not is_free(arrays, k):
                return -1 - k
        for k, (array, (_, shape, dtype)) in enumerate(zip(arrays, self._inputs, strict=True)):
            how, place = self._rows[k, :2]
            if how == BY_PYTHON:
                continue
            if array.__class__ is not kind or array.dtype != dtype or array.shape != shape:
                return -1 - k
            data = array.data
            lies = array.flags.c_contiguous and data.device_id == self._device
            if not lies or data.ptr % ALIGNED or not data.ptr:
                return -1 - k
            moved |= how == HERE and bases[place] != data.ptr
            bases[place] = data.ptr
        return int(moved)


@cache
def functions(module: Any) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """What makes `read` of a plan, and `unheld`; None where arrays are laid out in another way."""
    if not cupy_abi.as_expected(module):
        return None
    found = linked(code(), ["read", "unheld"], addresses_of(IMPORTS))
    return maker("read", found["read"]), maker("unheld", found["unheld"])


@cache
def unheld(module: Any) -> Callable[[list[Any]], Any]:
    """A function that is true if nobody but this list refers to its arrays."""
    made = functions(module)
    return made[1](0) if made else unheld_in_python


def unheld_in_python(arrays: list[Any]) -> bool:
    """The same where native code cannot look."""
    for k in range(len(arrays)):
        if getrefcount(arrays[k]) != ONLY_OURS or getweakrefcount(arrays[k]):
            return False
    return True


def is_free(arrays: Sequence[Any], number: int) -> bool:
    """Whether only `arrays` and one holder refer to an array with memory of its own."""
    count = getrefcount(arrays[number])
    array = arrays[number]
    return (
        count <= ALONE
        and not isinstance(array, np.ndarray)
        and array.base is None
        and getweakrefcount(array) == 0
        and array.flags.c_contiguous
        and array.data.ptr % ALIGNED == 0
    )


def _counted(holders: int) -> int:
    """What CPython counts for an object that a list and other holders refer to, asked as above."""
    arrays = [object()]
    others = [arrays[0] for _ in range(holders)]
    return getrefcount(arrays[0]) + 0 * len(others)


ONLY_OURS, ALONE = _counted(0), _counted(1)
