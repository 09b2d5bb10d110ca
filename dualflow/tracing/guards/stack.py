"""Stack: what becomes of a value that an instruction pushes, as far as straight code tells."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from typing import Any

from jit.dataclass import dataclass

# How many values an instruction takes from the stack; those of unknown ones nobody asks.
TAKES: dict[str, int] = {
    **dict.fromkeys(("BINARY_OP", "BINARY_SUBSCR", "COMPARE_OP", "CONTAINS_OP", "IS_OP"), 2),
    **dict.fromkeys(("STORE_ATTR", "LIST_APPEND", "LIST_EXTEND"), 2),
    **dict.fromkeys(("STORE_SUBSCR", "BINARY_SLICE"), 3),
    **dict.fromkeys(("LOAD_ATTR", "LOAD_METHOD", "GET_ITER", "RETURN_VALUE", "POP_TOP"), 1),
    **dict.fromkeys(("UNARY_NEGATIVE", "UNARY_NOT", "UNARY_INVERT", "UNPACK_SEQUENCE"), 1),
    **dict.fromkeys(("STORE_FAST", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME"), 1),
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_DEREF", "LOAD_CONST"), 0),
    **dict.fromkeys(("LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_SMALL_INT", "LOAD_CLOSURE"), 0),
    **dict.fromkeys(("PUSH_NULL", "PRECALL", "KW_NAMES", "CACHE", "NOP", "RESUME"), 0),
    **dict.fromkeys(("EXTENDED_ARG", "NOT_TAKEN"), 0),
}
COUNTED = {
    "BUILD_STRING": 0,
    "BUILD_TUPLE": 0,
    "BUILD_LIST": 0,
    "BUILD_SET": 0,
    "BUILD_SLICE": 0,
    "BUILD_CONST_KEY_MAP": 1,
    "CALL": 2,
}


@dataclass(frozen=True, slots=True)
class Use:
    """What takes a value.

    Attributes:
        number: Of the instruction, in its code.
        instruction: It.
        above: The instructions that pushed what lies above the value then, from below.
    """

    number: int
    instruction: dis.Instruction
    above: Sequence[dis.Instruction]


def use_of(code: Sequence[dis.Instruction], number: int) -> Use | None:
    """What takes the value on top of the stack after instruction `number`; None: nobody knows."""
    above: list[dis.Instruction] = []
    for k in range(number + 1, len(code)):
        instruction = code[k]
        taken = takes(instruction)
        if taken is None:
            return None
        if taken > len(above):
            return Use(k, instruction, above)
        del above[len(above) - taken :]
        above += [instruction] * leaves(instruction, taken)
    return None


def takes(instruction: dis.Instruction) -> int | None:
    """How many values an instruction takes; None if that is not known, or it may jump."""
    name = instruction.opname
    if name == "FORMAT_VALUE":  # the format lies above the value
        return 1 + ((instruction.arg or 0) & 4 == 4)
    if name == "BUILD_MAP":  # keys and values
        return 2 * (instruction.arg or 0)
    if name in COUNTED:
        return COUNTED[name] + (instruction.arg or 0)
    return TAKES.get(name)


def leaves(instruction: dis.Instruction, taken: int) -> int:
    """How many values an instruction pushes; of a call, CPython 3.11 tells that by halves."""
    if instruction.opname in ("PRECALL", "CALL"):
        return int(instruction.opname == "CALL")
    return taken + dis.stack_effect(instruction.opcode, argument(instruction), jump=False)


def argument(instruction: dis.Instruction) -> int | None:
    """The argument as `dis.stack_effect` wants it."""
    return instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None


def constant_arguments(
    code: Sequence[dis.Instruction], names: frozenset[str], position: int
) -> Iterator[Any]:
    """The constant that each mention of a function is given at a position; None: no constant."""
    for number, instruction in enumerate(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in names:
            use = use_of(code, number)
            constant = None
            if use is not None and use.instruction.opname == "CALL" and len(use.above) > position:
                pushed = use.above[position]
                constant = pushed.argval if pushed.opname == "LOAD_CONST" else None
            yield constant
