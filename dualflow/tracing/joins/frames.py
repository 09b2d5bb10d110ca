"""Frames: the variables and operands of functions that run, and new values for variables.

Python shows the variables of a frame. The operands that lie on its stack, such as the iterator of a
`for` loop, and whether C code runs between two frames, are read from memory, on versions of CPython
whose layout is known (and was found to be right at import). Elsewhere a frame counts if it has no
operands, and if nothing was called from it.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import sys
from collections.abc import Sequence
from types import CodeType, FrameType, MethodType
from typing import Any

from dualflow.tracing.joins.code import Point, code_of

WORD = ctypes.sizeof(ctypes.c_void_p)
# Where things lie in a frame and in CPython's _PyInterpreterFrame. 3.11 marks a frame that C
# has called; later versions put one of C's own before it.
FRAME, PREVIOUS, VARIABLES = 3 * WORD, WORD, 9 * WORD
ENTRY, OWNER, OWNED_BY_C = 8 * WORD + 4, 8 * WORD + 6, 3
LAYOUTS = ((3, 11), (3, 12))
ASKING = "POP_JUMP"  # `if`, `while`, `assert`
TRUTHS = ("UNARY_NOT", "TO_BOOL")
KEEPING = ("JUMP_IF_TRUE_OR_POP", "JUMP_IF_FALSE_OR_POP")  # `and`, `or`: the operand stays
CALLS = ("CALL", "CALL_FUNCTION_EX")
ASKERS = (bool, int, operator.truth, operator.index)
UNSET = type("Unset", (), {"__repr__": lambda self: "unset"})()


class Opaque(Exception):  # noqa: N818 - the crossing is no place to join
    """The state of the program cannot be seen."""


def operands(frame: FrameType, count: int, first: int = 0) -> list[Any]:
    """Those that lie on a frame's stack, from below.

    Raises:
        Opaque: They cannot be read here.
    """
    if count == 0:
        return []
    if not READABLE:
        raise Opaque
    code = frame.f_code
    inner = [name for name in code.co_cellvars if name not in code.co_varnames]
    slots = len(code.co_varnames) + len(inner) + len(code.co_freevars)
    start = _interpreter_frame(frame) + VARIABLES + WORD * (slots + first)
    return [_object_at(start + WORD * k) for k in range(count)]


def is_entered_from_c(frame: FrameType) -> bool:
    """Whether C code has called the function of a frame."""
    if not READABLE:
        return True
    if sys.version_info < (3, 12):
        return ctypes.c_bool.from_address(_interpreter_frame(frame) + ENTRY).value
    before = _word_at(_interpreter_frame(frame) + PREVIOUS)
    return not before or ctypes.c_uint8.from_address(before + OWNER).value == OWNED_BY_C


def _interpreter_frame(frame: FrameType) -> int:
    return _word_at(id(frame) + FRAME)


def _word_at(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0


def _object_at(address: int) -> Any:
    """The object that a word of memory points to; None for a null pointer."""
    if not _word_at(address):
        return None
    return ctypes.py_object.from_address(address).value


def _is_readable() -> bool:
    """Whether memory is laid out as it should be, as far as a loop and a call can show."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in LAYOUTS:
        return False

    def inner(_: Any) -> tuple[bool, list[Any]]:
        frame = sys._getframe()
        assert frame.f_back is not None
        return is_entered_from_c(frame), operands(frame.f_back, 1)

    def outer(items: Sequence[Any]) -> tuple[bool, list[Any]]:
        for x in items:
            return inner(x)
        return True, []

    direct, found = outer([0])
    return not direct and type(found[0]) is type(iter([])) and next(map(inner, [0]))[0]


READABLE = True  # as long as it is tried
READABLE = _is_readable()


def innermost(frame: FrameType) -> tuple[Point, list[Any]]:
    """The instruction by which a frame asks a tensor, and the operands that are left then.

    Raises:
        Opaque: Other code may be in between, or the operands cannot be read.
    """
    point = code_of(frame.f_code).point(frame.f_lasti)
    if point.depth is None:
        raise Opaque
    if point.name.startswith(ASKING) or point.name in TRUTHS:
        return point, operands(frame, point.depth - 1)
    if point.name in KEEPING:
        return point, operands(frame, point.depth)
    if point.name == "CALL" and any(called(frame, point) is x for x in ASKERS):
        return point, operands(frame, point.after - 1)
    raise Opaque


def calling(frame: FrameType, callee: FrameType) -> tuple[Point, list[Any]]:
    """The instruction by which a frame runs another one, and the operands that are left then.

    Raises:
        Opaque: Other code may be in between, or the operands cannot be read.
    """
    point = code_of(frame.f_code).point(frame.f_lasti)
    if point.depth is None:
        raise Opaque
    direct = not is_entered_from_c(callee)
    if not direct and not (point.name in CALLS and runs(called(frame, point), callee.f_code)):
        raise Opaque
    return point, operands(frame, point.after - 1)


def acting(frame: FrameType, callee: FrameType) -> tuple[Point, list[Any]]:
    """The instruction by which a frame runs a method of dualflow, and the operands left then.

    Raises:
        Opaque: Other code may be in between, or the operands cannot be read.
    """
    point = code_of(frame.f_code).point(frame.f_lasti)
    if point.depth is not None and is_entered_from_c(callee):
        owner = next(iter(callee.f_locals.values()), None)
        if point.name == "BEFORE_WITH":  # the way out of it lies there already, or will
            below = operands(frame, point.after - 1)
            if getattr(below[-1], "__self__", below[-1]) is owner:
                return point, below
        elif point.name == "CALL" and operands(frame, 1, point.after - 1)[0] is owner:
            return point, operands(frame, point.after - 1)  # where a bound method lay
    return calling(frame, callee)


def called(frame: FrameType, point: Point) -> Any:
    """What a frame calls: its operand before the arguments, or the one below for a method."""
    below, above = operands(frame, 2, point.after - 1)
    return above if below is None else below


def runs(function: Any, code: CodeType) -> bool:
    """Whether calling something runs this code, with nothing of C around it that has a state."""
    while True:
        if isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__code__"):
            return function.__code__ is code
        else:
            of_class = [vars(c) for c in type(function).__mro__ if "__call__" in vars(c)]
            function = of_class[0]["__call__"] if of_class else None
            if not hasattr(function, "__code__"):
                return False


def variables(frame: FrameType, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Variables of a frame in order, UNSET where they have no value."""
    values = frame.f_locals
    return [(name, values.get(name, UNSET)) for name in names]


def plant(frame: FrameType, values: dict[str, Any]) -> None:
    """Gives variables of a frame that runs other values."""
    frame.f_locals.update(values)
    if sys.version_info < (3, 13):  # there f_locals writes through
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
