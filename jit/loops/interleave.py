"""Interleaving: chains of instructions that wait for themselves are written in turns.

A polynomial is a chain: each step waits for the one before, for as long as the processor could do
eight others. It looks ahead, but no further than one chain or two; so the chains of one block that
do not need each other, of tanh(x) and of exp(x), are written side by side. This is list scheduling
(P. B. Gibbons and S. S. Muchnick, "Efficient Instruction Scheduling for a Pipelined Architecture",
1986) on whole vectors: of what is ready, next comes what the longest way is still ahead of. While
more is alive than registers hold, only what ends something comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from jit.loops.ir import Buffer, For, If, Kernel, Let, Load, Statement, Store, operands
from jit.target import Target

# Cycles until others can use a result; those of most instructions are 1.
LATENCY = {
    "fma": 4,
    "pairs": 6,
    "add": 3,
    "subtract": 3,
    "multiply": 3,
    "divide": 11,
    "inverse": 11,
    "sqrt": 15,
}
LOAD_LATENCY = 5
FEWEST = 24  # vector instructions of a block that is worth it
DENSE = 4  # how many of them there are for each access to memory, at least
MOST = 500  # statements that are ordered together
Line: TypeAlias = "Let | Load | Store"


def interleaved(kernel: Kernel, target: Target) -> Kernel:
    """`kernel`, in direct instructions, with the statements of its longest blocks in turns.

    Args:
        kernel: Where the blocks are.
        target: The machine: how many registers it has. GPUs keep busy by other threads.
    """
    if target.is_gpu or target.hurry:
        return kernel
    return replace(kernel, body=_block(kernel.body, target))


def _block(body: Sequence[Statement], target: Target) -> tuple[Statement, ...]:
    done: list[Statement] = []
    run: list[Line] = []
    for s in body:
        if isinstance(s, Let | Load | Store) and len(run) < MOST:
            run.append(s)
            continue
        done += _in_turns(run, target)
        run = []
        done.append(replace(s, body=_block(s.body, target)) if isinstance(s, For | If) else s)
    return (*done, *_in_turns(run, target))


def _in_turns(run: list[Line], target: Target) -> Sequence[Line]:
    vectors = sum(isinstance(s, Let) and s.var.type.lanes > 1 for s in run)
    accesses = sum(not isinstance(s, Let) for s in run)
    if vectors < max(FEWEST, DENSE * accesses):
        return run
    return _Turns(run, target).order()


class _Turns:
    """Straight-line code, numbered as it was written.

    Attributes:
        before: Of each statement, those that have to come first.
        after: Of each statement, those that have to come later.
        ahead: Cycles from a statement to the end, along the longest way.
        room: Machine registers that a result takes while it is needed.
        uses: Of each result, how many statements still need it.
        known: The cycle when all that a statement needs is there.
        clock: The cycle of the next statement.
        alive: Machine registers that are taken.
    """

    def __init__(self, run: list[Line], target: Target) -> None:
        self.run = run
        self.before = _needs(run)
        self.after: list[list[int]] = [[] for _ in run]
        for i, needed in enumerate(self.before):
            for j in needed:
                self.after[j].append(i)
        self.ahead = [0] * len(run)
        for i in reversed(range(len(run))):
            longest = max((self.ahead[j] for j in self.after[i]), default=0)
            self.ahead[i] = _latency(run[i]) + longest
        self.room = [
            _room(s, target.vector_bytes) if self.after[i] else 0 for i, s in enumerate(run)
        ]
        self.uses = [len(x) for x in self.after]
        self.known = [0.0] * len(run)
        self.clock, self.alive = 0.0, 0
        self.most = target.registers + target.registers // 4  # a few wait in memory: no harm

    def order(self) -> list[Line]:
        """All statements in turns."""
        waits = [len(x) for x in self.before]
        ready = [i for i, count in enumerate(waits) if not count]
        found: list[Line] = []
        while ready:
            i = min(ready, key=self._rank)
            ready.remove(i)
            found.append(self.run[i])
            self._place(i)
            for j in self.after[i]:
                waits[j] -= 1
                if not waits[j]:
                    ready.append(j)
        return found

    def _rank(self, i: int) -> tuple[bool, float, int]:
        """Least of what comes next: it has to fit, then to be soonest, then to be most urgent."""
        grows = self.room[i] - sum(self.room[j] for j in self.before[i] if self.uses[j] == 1)
        if self.alive + grows <= self.most:
            return False, max(self.clock, self.known[i]), -self.ahead[i]
        return True, grows, self.ahead[i]

    def _place(self, i: int) -> None:
        start = max(self.clock, self.known[i])
        self.alive += self.room[i]
        for j in self.before[i]:
            self.uses[j] -= 1
            self.alive -= 0 if self.uses[j] else self.room[j]
        ends = start + _latency(self.run[i])
        for j in self.after[i]:
            self.known[j] = max(self.known[j], ends)
        self.clock = start + max(1, self.room[i]) / 2  # two of the machine's at a time


def _needs(run: Sequence[Line]) -> list[set[int]]:
    """Of each statement, which ones come first: values, and what is done to the same memory."""
    made: dict[object, int] = {}
    stored: dict[Buffer, int] = {}
    loaded: dict[Buffer, list[int]] = {}
    needs = []
    for i, s in enumerate(run):
        needed = {made[x] for x in operands(s) if x in made}
        if isinstance(s, Load | Store) and s.buffer in stored:
            needed.add(stored[s.buffer])
        if isinstance(s, Store):
            needed.update(loaded.pop(s.buffer, ()))
            stored[s.buffer] = i
        else:
            made[s.var] = i
            if isinstance(s, Load):
                loaded.setdefault(s.buffer, []).append(i)
        needs.append(needed)
    return needs


def _latency(s: Line) -> int:
    if isinstance(s, Let):
        return LATENCY.get(s.op, 1) if s.var.type.dtype.kind == "f" else 1
    return LOAD_LATENCY if isinstance(s, Load) else 1


def _room(s: Line, vector_bytes: int) -> int:
    """Machine registers of a result; a truth of vectors takes those of what was compared."""
    if isinstance(s, Store) or s.var.type.lanes == 1:
        return 0
    dtype = s.args[-1].type.dtype if isinstance(s, Let) and s.args else s.var.type.dtype
    return max(1, s.var.type.lanes * dtype.itemsize // vector_bytes)
