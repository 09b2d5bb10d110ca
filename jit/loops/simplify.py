"""Cleaning a kernel: `simplify` folds, shares and drops, `hoist` moves values out of loops.

LLVM runs no middle end on kernels, so what these two leave behind is executed.
"""

from __future__ import annotations

from dataclasses import replace

from jit.loops.fold import DIVISIONS
from jit.loops.ir import (
    ASSIGNING,
    Alloc,
    Buffer,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Mma,
    Operand,
    Statement,
    Store,
    Var,
    VType,
    operands,
    walk,
)
from jit.loops.rewrite import Rewrite
from jit.types import bool_


def simplify(kernel: Kernel) -> Kernel:
    """Folds integers and bools, shares equal values, drops what nobody reads.

    Loops of no turns disappear, those of one dissolve, as do conditions and masks that are known.
    Float arithmetic stays as it is.

        for i in 0 .. 1 step 1 {
          a = add(i, 4)                        x = load X[4]
          b = multiply(a, 1)         ->        store Y[4] = x
          x = load X[b]
          store Y[a] = x
        }
    """
    rewrite = Rewrite(kernel)
    rewrite.copy(kernel.body)
    return replace(kernel, body=without_dead(tuple(rewrite.body)))


def without_dead(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements without values that nobody reads and local memory that nobody loads."""
    loaded = {s.buffer for s in walk(body) if isinstance(s, Load)}
    used: set[Operand] = set()

    def live(s: Statement) -> Statement | None:
        if isinstance(s, ASSIGNING):
            return s if s.var in used else None
        if isinstance(s, For | If):
            inner = block(s.body)
            return s if inner is s.body else replace(s, body=inner) if inner else None
        if isinstance(s, Store | Alloc) and s.buffer.scope != "param":
            return s if s.buffer in loaded else None
        return s

    def block(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        kept: list[Statement] = []
        for s in reversed(statements):
            if (left := live(s)) is not None:
                kept.append(left)
                used.update([x for x in operands(left) if type(x) is Var])
        same = len(kept) == len(statements) and all(map(_is, kept, reversed(statements)))
        return statements if same else tuple(reversed(kept))

    return block(body)


def _is(a: object, b: object) -> bool:
    return a is b


def hoist(kernel: Kernel) -> Kernel:
    """Values that do not change in a loop move out of it, as far as they can.

    So do loads from read-only memory that each turn makes, masked by the loop having turns.

        for r in 0 .. R step 1 {              s = load S[0] where less(0, R)
          for c in 0 .. 8 step 1 {            for r in 0 .. R step 1 {
            a = multiply(r, 8)        ->        a = multiply(r, 8)
            b = add(a, c)                       for c in 0 .. 8 step 1 {
            s = load S[0]                         b = add(a, c)
            ...                                   ...
    """
    return replace(kernel, body=_Hoist(kernel).result)


class _Hoist:
    """Writes each statement into the outermost block where it may stand.

    Attributes:
        blocks: The open blocks, outermost first; what is appended to one stands before the loop
            that is being written.
        owners: The loop or condition whose body each block is.
        depth: Variable -> the block that makes it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.blocks: list[list[Statement]] = [[]]
        self.owners: list[For | If | None] = [None]
        self.depth: dict[Operand, int] = {}
        self.constant: set[Buffer] = {b for b in kernel.buffers if b.access == "in"}
        self._write(kernel.body)
        self.result = tuple(self.blocks[0])

    def _write(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Let):
                self._place(s, self._home(s, crossing=True) if is_safe(s) else len(self.blocks) - 1)
            elif isinstance(s, Load):
                self._load(s)
            elif isinstance(s, For | If):
                self.blocks.append([])
                self.owners.append(s)
                if isinstance(s, For):
                    self.depth[s.var] = len(self.blocks) - 1
                self._write(s.body)
                self.owners.pop()
                self.blocks[-2].append(replace(s, body=tuple(self.blocks.pop())))
            else:
                if isinstance(s, Exchange | Mma):
                    self.depth[s.var] = len(self.blocks) - 1
                self.blocks[-1].append(s)

    def _place(self, s: Let | Load, at: int) -> None:
        self.depth[s.var] = at
        self.blocks[at].append(s)

    def _home(self, s: Let | Load, *, crossing: bool) -> int:
        """The block outside of as many loops as can be, and otherwise as far in as can be.

        `crossing`: conditions may be left, too.
        """
        here = len(self.blocks) - 1
        home = max((self.depth.get(x, 0) for x in operands(s)), default=0)
        if not crossing:
            conditions = [i for i, s in enumerate(self.owners) if isinstance(s, If)]
            home = max(home, *conditions, 0)
        while home < here and isinstance(self.owners[home + 1], If):
            home += 1
        return home

    def _load(self, s: Load) -> None:
        here = len(self.blocks) - 1
        home = self._home(s, crossing=False) if s.buffer in self.constant else here
        guards = self._guards(home)
        if guards:  # what says that the loops have turns must be known there
            home = max(home, *[self.depth.get(x, 0) for f in guards for x in operands(f)])
            guards = self._guards(home)
        self._place(self._masked(s, guards, home), home)

    def _guards(self, home: int) -> list[For]:
        """The loops between a block and here that may have no turns."""
        return [f for f in self.owners[home + 1 :] if isinstance(f, For) and _may_be_empty(f)]

    def _masked(self, s: Load, loops: list[For], at: int) -> Load:
        """The load where all the loops have turns."""
        mask = s.mask
        for f in loops:
            turns: Operand = self._value("less", at, f.start, f.stop)
            if s.var.type.lanes > 1:
                turns = self._value("splat", at, turns, lanes=s.var.type.lanes)
            mask = turns if mask is None else self._value("logical_and", at, mask, turns)
        return s if mask is s.mask else replace(s, mask=mask)

    def _value(self, op: str, at: int, *args: Operand, lanes: int | None = None) -> Var:
        let = Let(Var(VType(bool_, lanes or args[0].type.lanes)), op, args)
        self._place(let, at)
        return let.var


def is_safe(let: Let) -> bool:
    """Whether an instruction may run where it did not: divisors must not be 0."""
    if let.op not in DIVISIONS or let.var.type.dtype.kind == "f":
        return True
    return type(let.args[1]) is Lit and let.args[1].value not in (0, -1)


def _may_be_empty(loop: For) -> bool:
    start, stop = loop.start, loop.stop
    return not (type(start) is Lit and type(stop) is Lit and start.value < stop.value)
