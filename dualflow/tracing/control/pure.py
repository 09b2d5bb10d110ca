"""Which functions can only compute, as far as their code tells.

A branch that a call does not take is looked at before it is recorded: only if nothing that it could
do besides computing stands in its code. What is not known to be harmless is not: functions of other
packages, methods that are none of a Tensor's, assignments to anything but its own variables,
questions, loops whose end depends on values, and functions that call themselves.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable

PLAIN = (bool, int, float, complex, str, type(None), np.dtype, Tensor, Variable)
BUILTINS = "abs dict enumerate len list max min range reversed sum tuple zip".split()
PARTS = "T cond fft functional linalg map mT ndim nn scan shape size switch dtype".split()
NEVER = {
    "backward",
    "randn",
    "rebound",
    "leaked",
    "from_dlpack",
    "to_device",
    "empty",
    "empty_like",
}
STEPS = tuple(
    """BINARY BUILD CACHE CALL COMPARE_OP CONTAINS_OP COPY DICT_MERGE END_FOR EXTENDED_ARG FOR_ITER
    GET_ITER IS_OP JUMP_BACKWARD KW_NAMES LIST_APPEND LIST_EXTEND LIST_TO_TUPLE LOAD MAKE NOP
    POP_TOP PRECALL PUSH_NULL RERAISE RESUME RETURN SET_FUNCTION STORE_FAST SWAP UNARY
    UNPACK""".split()
)
STRANGE = ("LOAD_SUPER_ATTR", "LOAD_BUILD_CLASS", "LOAD_NAME")
FROM_OUTSIDE = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE", "LOAD_FAST_CHECK")
DEPTH = 20  # functions that call functions


def only_computes(function: Callable[..., Any], operands: Any) -> bool:
    """Whether all that a call of `function` can do is to compute.

    Args:
        function: The user's.
        operands: What it is given.
    """
    if not all(isinstance(x, PLAIN) for x in tree.flatten(operands)[0]):
        return False
    return is_harmless(function, ())


def is_harmless(x: Any, around: tuple[Any, ...]) -> bool:
    """Whether nothing happens when a value is used, or called.

    Args:
        x: What code refers to.
        around: The functions that are being looked at.
    """
    if isinstance(x, PLAIN):
        return True
    if isinstance(x, ModuleType):
        return x.__name__.partition(".")[0] == "dualflow" and "random" not in x.__name__
    if isinstance(x, tuple | list | dict):
        leaves = tree.flatten(x)[0]
        return all(isinstance(leaf, PLAIN) for leaf in leaves)
    if not isinstance(x, FunctionType) or len(around) > DEPTH or x.__code__ in around:
        return False
    if functions.get(x.__name__) is x:
        return x.__name__ in allowed()
    cells = dict(zip(x.__code__.co_freevars, x.__closure__ or (), strict=True))
    return is_quiet(x.__code__, x.__globals__, cells, (*around, x.__code__)) and all(
        is_harmless(default, around) for default in x.__defaults__ or ()
    )


def is_quiet(
    code: CodeType, names: dict[str, Any], cells: dict[str, Any], around: tuple[Any, ...]
) -> bool:
    """Whether code does nothing besides computing; as above for what it refers to."""
    for step in dis.get_instructions(code):
        if not step.opname.startswith(STEPS) or step.opname in STRANGE:
            return False
        if step.opname == "BINARY_OP" and step.argrepr.endswith("="):  # in place
            return False
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval not in allowed():
            return False
        if step.opname == "LOAD_GLOBAL" and not is_known(step.argval, names, around):
            return False
        inside = cells.get(step.argval) if step.opname in FROM_OUTSIDE else None
        if inside is not None and not all(is_harmless(x, around) for x in held(inside)):
            return False
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return all(is_quiet(x, names, cells, around) for x in inner)


def is_known(name: str, names: dict[str, Any], around: tuple[Any, ...]) -> bool:
    """Whether a global name stands for something harmless."""
    if name in names:
        return is_harmless(names[name], around)
    return name in BUILTINS and hasattr(builtins, name)


def held(cell: Any) -> Iterator[Any]:
    """What a cell holds; nothing if it is empty."""
    try:
        yield cell.cell_contents
    except ValueError:
        return


def allowed() -> set[str]:
    """Attributes and functions that only compute."""
    if not _allowed:
        _allowed.update(functions.keys() - NEVER, PARTS)
        _allowed.update(name for name, x in vars(np).items() if is_dtype(x))
    return _allowed


def is_dtype(x: Any) -> bool:
    """Whether something of NumPy's is the name of a dtype."""
    return isinstance(x, type) and issubclass(x, np.generic)


_allowed: set[str] = set()
