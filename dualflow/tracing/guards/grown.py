"""Grown: lists and sets that recorded code does nothing with but add to them.

What such a list holds decides nothing, so no guard is about it. A value that is read leaves no
trace in Python; so the code that can name the list is read: each place that loads it must look up
`append` or `extend` on it (`add` on a set), extend it by `+=` and put it back under its name, or
hand it to a local name of which the same holds.
"""

from __future__ import annotations

import dis
from collections.abc import Hashable, Iterable, Sequence
from types import CodeType
from typing import Any

from dualflow.tracing.guards import policy
from dualflow.tracing.guards.bytecode import listing
from dualflow.tracing.guards.stack import use_of

UNTOLD = frozenset(("__self__", "locals"))  # a list by way of its method, or of its local name
METHODS = {list: frozenset(("append", "extend")), set: frozenset(("add",))}
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_ATTR", "LOAD_METHOD")
FASTS = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW")
NO_LOADS = (
    *("STORE_GLOBAL", "STORE_NAME", "STORE_ATTR", "STORE_DEREF", "STORE_FAST"),
    *("LOAD_CLOSURE", "MAKE_CELL", "DELETE_FAST"),
    *FASTS,
)
# A way to a list: the name that code loads; or (id of a dict, key) for one that is an item.
Way = Hashable


class Grown:
    """What code does with lists that it reaches by known ways.

    Args:
        codes: The code that ran.
        ways: By id of a list or dict, how code can reach it; None among them if nobody knows.

    Attributes:
        by_operator: Ids of lists that are extended by `+=`, which nobody counts.
    """

    def __init__(self, codes: Iterable[CodeType], ways: dict[int, set[Way]]) -> None:
        self._codes = list(codes)
        self._ways = ways
        self.by_operator: set[int] = set()
        self._methods: frozenset[str] = frozenset()
        self._extends = False

    def only(self, holder: Any) -> bool:
        """Whether a list or a set is added to at most."""
        ways = self._ways.get(id(holder), {None})
        self._methods, self._extends = METHODS.get(type(holder), frozenset()), False
        if not all(map(self._is_harmless, ways)):
            return False
        if self._extends:
            self.by_operator.add(id(holder))
        named = any(not self._methods.isdisjoint(code.co_names) for code in self._codes)
        return named or self._extends

    def _is_harmless(self, way: Way) -> bool:
        if isinstance(way, str):
            return all(self._uses(code, way, ()) for code in self._codes)
        if not isinstance(way, tuple):
            return False
        holder, key = way
        outer = self._ways.get(holder, {None})
        return all(
            isinstance(name, str) and all(self._uses(code, name, (key,)) for code in self._codes)
            for name in outer
        )

    def _uses(self, code: CodeType, name: str, keys: tuple[Hashable, ...]) -> bool:
        """Whether all that code does with what has a name is to append to the item of some keys."""
        if name in code.co_consts and not policy.NAMING.isdisjoint(code.co_names):
            return False  # `getattr(a, "log")`
        if not UNTOLD.isdisjoint(code.co_names):
            return False
        if name not in (*code.co_names, *code.co_freevars, *code.co_cellvars):
            return True
        lines = listing(code)
        return all(
            instruction.opname in LOADS and self._appended(lines, number, keys)
            for number, instruction in enumerate(lines)
            if instruction.argval == name and instruction.opname not in NO_LOADS
        )

    def _appended(
        self,
        lines: Sequence[dis.Instruction],
        number: int,
        keys: tuple[Hashable, ...],
        known: frozenset[Any] = frozenset(),
    ) -> bool:
        """Whether what an instruction pushes is a list, or leads to one, that is appended to.

        Args:
            lines: Of the code.
            number: Of the instruction.
            keys: Under which the list is found in what is pushed.
            known: Local names that are looked at already.
        """
        if keys and is_of_another_item(lines, number, keys[0]):
            return True
        use = use_of(lines, number)
        if use is None:
            return False
        taker, above = use.instruction, use.above
        if taker.opname == "POP_TOP":
            return True
        if is_operator(taker) and not keys and len(above) == 1 and "extend" in self._methods:
            self._extends = True
            return is_put_back(lines, use.number, lines[number].argval)
        if taker.opname == "STORE_FAST" and not above:
            name = taker.argval
            return name in known or all(
                x.opname in FASTS and self._appended(lines, k, keys, known | {name})
                for k, x in enumerate(lines)
                if x.opname.startswith("LOAD_FAST") and name in words(x.argval)
            )
        if keys and taker.opname == "BINARY_SUBSCR" and len(above) == 1:
            return self._appended(lines, use.number, keys[1:], known)
        if keys and taker.opname == "CONTAINS_OP" and not above:  # of a key of the dict
            return isinstance(keys[0], str)
        looked_up = taker.opname in ("LOAD_METHOD", "LOAD_ATTR") and not above
        return looked_up and not keys and taker.argval in self._methods


def is_of_another_item(lines: Sequence[dis.Instruction], number: int, key: Hashable) -> bool:
    """Whether the dict that an instruction pushes is only read or set at another constant key."""
    rest = [x for x in lines[number + 1 : number + 12] if x.opname not in ("CACHE", "EXTENDED_ARG")]
    if not rest or rest[0].opname != "LOAD_CONST":
        return False
    constant = rest[0].argval
    next_ones = tuple(x.opname for x in rest[1:4])
    at_once = next_ones[:1] in (("BINARY_SUBSCR",), ("STORE_SUBSCR",), ("DELETE_SUBSCR",))
    by_operator = next_ones == ("COPY", "COPY", "BINARY_SUBSCR")  # then it is stored at this key
    return isinstance(constant, str) and constant != key and (at_once or by_operator)


def is_operator(instruction: dis.Instruction) -> bool:
    """Whether an instruction is `+=`."""
    return instruction.opname == "BINARY_OP" and instruction.argrepr == "+="


def is_put_back(lines: Sequence[dis.Instruction], number: int, name: Any) -> bool:
    """Whether what an instruction gives is stored under a name, in a scope or an object."""
    rest = [x for x in lines[number + 1 : number + 6] if x.opname != "CACHE"]
    if rest and rest[0].opname == "SWAP":
        return len(rest) > 1 and rest[1].opname == "STORE_ATTR" and rest[1].argval == name
    return bool(rest) and rest[0].opname in NO_LOADS[:5] and rest[0].argval == name


def words(argument: Any) -> tuple[Any, ...]:
    """The names that an instruction is about: newer ones are about two."""
    return argument if isinstance(argument, tuple) else (argument,)
