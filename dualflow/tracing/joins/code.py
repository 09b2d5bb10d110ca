"""What bytecode tells of a point in a function: which variables live on, and what lies below.

Both are found by following every jump, once for each code object.
"""

from __future__ import annotations

import dis
from collections.abc import Sequence
from itertools import pairwise
from types import CodeType

from dualflow.tracing.guards.bytecode import listing
from dualflow.tracing.guards.stack import argument
from jit.dataclass import dataclass

REMEMBERED = 5000
ENDS = frozenset(("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"))
AWAY = frozenset(("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP"))
ALL_NAMES = frozenset(("locals", "vars", "dir", "eval", "exec", "_getframe"))  # read every variable
JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))


@dataclass(frozen=True, slots=True)
class Point:
    """An instruction of a function.

    Attributes:
        name: Of the instruction.
        depth: How many values lie on the operand stack before it; None if nobody comes here.
        after: How many lie there when it is done and Python goes on with the next one.
        live: The variables that are read after it.
    """

    name: str
    depth: int | None
    after: int
    live: frozenset[str]


class Code:
    """The points of one code object."""

    def __init__(self, code: CodeType) -> None:
        self.code = code  # kept: its id stays its own
        self._instructions = listing(code)
        self._index = {x.offset: k for k, x in enumerate(self._instructions)}
        self._handlers = [
            (
                self._index_at(entry.start),
                self._index_at(entry.end),
                self._index[entry.target],
                entry,
            )
            for entry in dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
        ]
        self._depths = self._found_depths()
        self._live = self._found_live()

    def _index_at(self, offset: int) -> int:
        """The number of the first instruction from `offset` on."""
        while offset not in self._index and offset < len(self.code.co_code):
            offset += 2
        return self._index.get(offset, len(self._instructions))

    def point(self, lasti: int) -> Point:
        """The instruction that a frame is at, whose caches follow it."""
        while lasti not in self._index:
            lasti -= 2
        k = self._index[lasti]
        x = self._instructions[k]
        depth = self._depths.get(k)
        after = 0 if depth is None else depth + effect(x, jump=False)
        live = frozenset[str]().union(*[self._live[j] for j in self._next(k)])
        return Point(x.opname, depth, after, live)

    def _next(self, k: int) -> list[int]:
        """The instructions that may come next, but for errors."""
        x = self._instructions[k]
        found = []
        if x.opname not in ENDS and x.opname not in AWAY and k + 1 < len(self._instructions):
            found.append(k + 1)
        if x.opcode in JUMPS:
            found.append(self._index[x.argval])
        return found

    def _found_depths(self) -> dict[int, int]:
        depths = {0: 0}
        waiting = [0]

        def reach(k: int, depth: int) -> None:
            if k not in depths:
                depths[k] = depth
                waiting.append(k)

        while waiting:
            k = waiting.pop()
            x, depth = self._instructions[k], depths[k]
            for start, end, target, entry in self._handlers:
                if start <= k < end:
                    reach(target, entry.depth + entry.lasti + 1)
            for j in self._next(k):
                jump = x.opcode in JUMPS and j == self._index[x.argval]
                reach(j, depth + effect(x, jump=jump))
        return depths

    def _found_live(self) -> list[frozenset[str]]:
        """For each instruction the variables that are read from it on."""
        cells = frozenset((*self.code.co_cellvars, *self.code.co_freevars))
        if not ALL_NAMES.isdisjoint(self.code.co_names):
            return [cells.union(self.code.co_varnames)] * len(self._instructions)
        live = [cells] * len(self._instructions)
        changed = True
        while changed:
            changed = False
            for k in range(len(self._instructions) - 1, -1, -1):
                found = self._live_at(k, live)
                if found != live[k]:
                    live[k], changed = found, True
        return live

    def _live_at(self, k: int, live: Sequence[frozenset[str]]) -> frozenset[str]:
        x = self._instructions[k]
        found = live[k].union(*[live[j] for j in self._next(k)])
        for start, end, target, _ in self._handlers:
            if start <= k < end:
                found |= live[target]
        for way, name in reversed(uses(x)):
            if way == "LOAD":
                found |= {name}
            elif not self._raises_here(k):
                found -= {name}
        return found

    def _raises_here(self, k: int) -> bool:
        """Whether an error at this instruction is caught, so that the old value may be read."""
        return any(start <= k < end for start, end, _, _ in self._handlers)


_known: dict[int, Code] = {}


def code_of(code: CodeType) -> Code:
    """What is known of a code object."""
    found = _known.get(id(code))
    if found is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        found = _known[id(code)] = Code(code)
    return found


def uses(x: dis.Instruction) -> list[tuple[str, str]]:
    """What an instruction does to variables, in order: pairs ("LOAD", "STORE" or "DELETE", name).

    From Python 3.13 on one instruction may do it to two, such as STORE_FAST_LOAD_FAST.
    """
    words = x.opname.split("_")
    ways = [way for way, kind in pairwise(words) if kind == "FAST"]
    names = x.argval if isinstance(x.argval, tuple) else (x.argval,)
    return list(zip(ways, names))


def effect(x: dis.Instruction, *, jump: bool) -> int:
    """How much higher the operand stack is after an instruction."""
    return dis.stack_effect(x.opcode, argument(x), jump=jump)
