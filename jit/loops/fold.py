"""Folding: what an instruction is known to give, from literals and from how operands were made.

Integers and bools only: float arithmetic is never touched, so no bit of a result can change.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from jit.loops.ir import INDEX, Let, Lit, Operand, Var, VType
from jit.types import bool_

DType = np.dtype[Any]
Definitions = Mapping[Var, Let]
Builder = Callable[[str, tuple[Operand, ...], VType], Operand]


def _quotient(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


# Of integers and of bools: name -> Python. Results wrap around.
NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "negative": operator.neg,
    "quotient": _quotient,
    "rest": lambda x, y: x - y * _quotient(x, y),
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "minimum": min,
    "maximum": max,
    "shift_left": operator.lshift,
    "shift_right": operator.rshift,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "logical_and": lambda x, y: bool(x and y),
    "logical_or": lambda x, y: bool(x or y),
    "logical_xor": lambda x, y: bool(x) != bool(y),
    "logical_not": operator.not_,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
DIVISIONS = {"quotient", "rest", "floor_divide", "remainder"}
COMMUTATIVE = {
    *("add", "multiply", "minimum", "maximum", "equal", "not_equal"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor"),
}
# Names whose result is x where the other operand is this number: x + 0, x * 1, x & true.
NEUTRAL = {
    **dict.fromkeys(("add", "subtract", "shift_left", "shift_right"), 0),
    **dict.fromkeys(("multiply", "quotient", "floor_divide"), 1),
}
BOOL_NEUTRAL = {
    **dict.fromkeys(("logical_and", "bitwise_and"), True),
    **dict.fromkeys(("logical_or", "bitwise_or", "logical_xor", "bitwise_xor"), False),
}
# Names whose result is the number, whatever x is: x * 0, x and false.
ABSORBING = {"multiply": 0, "logical_and": False, "logical_or": True}
BOOL_ABSORBING = {**ABSORBING, "bitwise_and": False, "bitwise_or": True}
# What they give for x, x.
ITSELF = {
    **dict.fromkeys(("equal", "less_equal", "greater_equal"), True),
    **dict.fromkeys(("not_equal", "less", "greater"), False),
    **dict.fromkeys(("subtract", "bitwise_xor", "logical_xor"), 0),
}
IDEMPOTENT = {"minimum", "maximum", "bitwise_and", "bitwise_or"}
BOOL_IDEMPOTENT = {*IDEMPOTENT, "logical_and", "logical_or"}


@cache
def _limits(dtype: DType) -> tuple[int, int]:
    """Least number and count of the numbers of an integer dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max) - int(info.min) + 1


def literal(value: Any, type: VType) -> Lit:
    """`value` as an integer or bool of this type; integers wrap around."""
    if type.dtype == bool_:
        return Lit(bool(value), type)
    least, count = _limits(type.dtype)
    return Lit((int(value) - least) % count + least, type)


def key(x: Operand) -> Any:
    """Equal for operands that are surely the same."""
    if type(x) is not Lit:
        return x
    value = x.value.hex() if isinstance(x.value, float) else x.value  # -0.0 is not 0.0
    return value, x.type.dtype.num, x.type.lanes


def ordered(op: str, args: tuple[Operand, ...]) -> tuple[Operand, ...]:
    """The operands with a literal last where the order does not matter; integers and bools."""
    if op in COMMUTATIVE and type(args[0]) is Lit and args[0].type.dtype.kind in "biu":
        return args[::-1]
    return args


def fold(op: str, args: tuple[Operand, ...], type_: VType, made: Definitions) -> Operand | None:
    """The operand or literal that `op` gives, None where that is not known.

    Args:
        op: Any instruction.
        args: Its operands, as `ordered` leaves them.
        type_: Of the result.
        made: How variables were made.
    """
    if op == "where":
        return _where(*args)
    if op == "splat":
        x = args[0]
        return Lit(x.value, type_) if type(x) is Lit else None
    if op == "extract":
        return _extract(args[0], type_, made)
    if not args or args[0].type.dtype.kind not in "biu":
        return None
    if op in ("astype", "positive"):
        return _astype(args[0], type_)
    if all(type(x) is Lit for x in args):
        return _number(op, args, type_)
    return _special(op, args, type_) if len(args) == 2 else None


def _where(condition: Operand, x: Operand, y: Operand) -> Operand | None:
    if type(condition) is Lit:
        return x if condition.value else y
    return x if x is y else None


def _extract(x: Operand, type_: VType, made: Definitions) -> Operand | None:
    if type(x) is Lit:
        return Lit(x.value, type_)
    source = made.get(x)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return source.args[0] if source is not None and source.op == "splat" else None


def _astype(x: Operand, type_: VType) -> Operand | None:
    if x.type.dtype == type_.dtype:
        return x
    if type(x) is Lit and type_.dtype.kind in "biu":
        return literal(x.value, type_)
    return None


def _number(op: str, args: tuple[Operand, ...], type_: VType) -> Operand | None:
    function = NUMBERS.get(op)
    numbers = [x.value for x in args]  # pyright: ignore[reportAttributeAccessIssue]
    if function is None or (op in DIVISIONS and numbers[1] == 0):
        return None
    if op in ("shift_left", "shift_right") and not 0 <= numbers[1] < 64:
        return None
    return literal(function(*numbers), type_)


def _special(op: str, args: tuple[Operand, ...], type_: VType) -> Operand | None:
    x, y = args
    is_bool = x.type.dtype == bool_
    if x is y:
        if op in ITSELF:
            return literal(ITSELF[op], type_)
        return x if op in (BOOL_IDEMPOTENT if is_bool else IDEMPOTENT) else None
    if type(y) is not Lit:
        return None
    neutral = (BOOL_NEUTRAL if is_bool else NEUTRAL).get(op)
    if neutral is not None and y.value == neutral:
        return x
    absorbing = (BOOL_ABSORBING if is_bool else ABSORBING).get(op)
    if absorbing is not None and y.value == absorbing:
        return literal(absorbing, type_)
    return literal(0, type_) if op in ("rest", "remainder") and y.value == 1 else None


def regroup(
    op: str, args: tuple[Operand, ...], made: Definitions, build: Builder
) -> Operand | None:
    """Index arithmetic with its constant moved outwards, where an address can hold it.

    (x + 1) + 2 -> x + 3, (x + 1) + y -> (x + y) + 1, (x + 1) * 2 -> x * 2 + 2, x - 1 -> x + -1;
    integers wrap around, so this is exact.
    """
    x, y = args

    def plus(a: Operand, b: Operand | int) -> Operand:
        return build("add", (a, b if not isinstance(b, int) else literal(b, INDEX)), INDEX)

    if op == "subtract" and type(y) is Lit:
        return plus(x, -int(y.value))
    x, more = apart(x, made)
    if op == "multiply":
        return _scaled(x, y, more, made, build) if type(y) is Lit else None
    if op == "add" and type(y) is Lit:
        return plus(x, more + int(y.value)) if more else None
    y, less = apart(y, made)
    more += less if op == "add" else -less
    if args[0] is x and args[1] is y:
        return None
    return plus(build(op, (x, y), INDEX), more)


def apart(x: Operand, made: Definitions) -> tuple[Operand, int]:
    """`x` as another operand plus a constant."""
    let = made.get(x) if type(x) is Var else None
    if let is not None and let.op == "add" and type(let.args[1]) is Lit:
        return let.args[0], int(let.args[1].value)
    return x, 0


def _scaled(x: Operand, y: Lit, more: int, made: Definitions, build: Builder) -> Operand | None:
    """(x + more) * y."""
    if more:
        scaled = build("multiply", (x, y), INDEX)
        return build("add", (scaled, literal(more * int(y.value), INDEX)), INDEX)
    let = made.get(x) if type(x) is Var else None
    if let is not None and let.op == "multiply" and type(let.args[1]) is Lit:
        factor = literal(int(let.args[1].value) * int(y.value), INDEX)
        return build("multiply", (let.args[0], factor), INDEX)
    return None
