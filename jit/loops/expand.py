"""Expansion: every instruction of a kernel that is not direct becomes direct ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jit.loops.direct import is_direct
from jit.loops.ir import (
    Buffer,
    Check,
    Choose,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Mma,
    Operand,
    Prefetch,
    Statement,
    Store,
    Var,
    VType,
    index,
    operands,
)
from jit.loops.math.notation import Notation, State, Value
from jit.loops.math.table import formula
from jit.loops.writer import Writer

__all__ = ["Statements", "expand", "expand_let", "is_direct"]

DType = np.dtype[Any]


class Statements(Notation):
    """Formulas as statements of a kernel.

    Attributes:
        writer: Where they go.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.buffers = 0

    def value(self, x: Operand) -> Value:
        """An operand of the kernel as a value."""
        return Value(self, x, x.type.dtype)

    def instruction(self, op: str, args: Sequence[Value], dtype: DType | None) -> Value:
        """Writes `op`."""
        return self.value(self.writer.let(op, *(x.x for x in args), dtype=dtype))

    def number(self, value: float, like: Value) -> Value:
        """A literal, rounded to the dtype."""
        dtype = like.dtype
        return self.value(Lit(dtype.type(value).item(), VType(dtype, like.x.type.lanes)))

    def known(self, x: Value) -> float | None:
        """The number that `x` is for certain."""
        return x.x.value if isinstance(x.x, Lit) else None

    def rarely(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        """An `if` around what is rarely needed, which goes lane by lane: that is less code."""
        places = self._keep(usual)
        lanes = where.x.type.lanes
        with self.writer.when(self._any(where)):
            if lanes == 1:
                self._put(places, unusual(*inputs))
            else:
                self._put(places, self._by_lane(where, usual, inputs, unusual))
        return self._get(places, usual)

    def _by_lane(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        sources = self._keep((where, *inputs), "stack")
        results = self._keep(usual, "stack")
        with self.writer.loop(index(0), index(where.x.type.lanes)) as lane:
            condition, *values = (self.value(self.writer.load(x, lane)) for x in sources)
            with self.writer.when(condition.x):
                for place, value in zip(results, unusual(*values), strict=True):
                    self.writer.store(place, lane, value.x)
        return self._get(results, usual)

    def repeat(self, count: int, state: State, step: Callable[..., State]) -> State:
        """A loop."""
        places = self._keep(state)
        with self.writer.loop(index(0), index(count)):
            self._put(places, step(*self._get(places, state)))
        return self._get(places, state)

    def _any(self, truth: Value) -> Operand:
        """Whether a lane is true: halves are joined, which the machine does by one test."""
        x: Operand = truth.x
        lanes = width = x.type.lanes
        while width > 1:
            half = (width + 1) // 2
            order = [i + half if i + half < width else i for i in range(lanes)]
            upper = self.writer.let("shuffle", x, x, immediates=order)
            x, width = self.writer.let("logical_or", x, upper), half
        return x if lanes == 1 else self.writer.let("extract", x, immediates=(0,))

    def _keep(self, state: State, scope: str = "register") -> list[Buffer]:
        places = []
        for value in state:
            lanes = value.x.type.lanes
            places.append(self.writer.alloc(f"state{self.buffers}", value.dtype, lanes, scope))
            self.buffers += 1
        self._put(places, state)
        return places

    def _put(self, places: Sequence[Buffer], state: Sequence[Value]) -> None:
        for place, value in zip(places, state, strict=True):
            self.writer.store(place, index(0), value.x)

    def _get(self, places: Sequence[Buffer], like: State) -> State:
        lanes = [x.x.type.lanes for x in like]
        return tuple(self.value(self.writer.load(p, index(0), n)) for p, n in zip(places, lanes))


def expand(kernel: Kernel) -> Kernel:
    """`kernel` in direct instructions."""
    expansion = _Expansion()
    return replace(kernel, body=tuple(expansion.block(kernel.body)))


def expand_let(notation: Statements, let: Let) -> Operand:
    """Writes what `let` computes in direct instructions, and returns the result."""
    operation = formula(let.op, let.args[-1].type.dtype, let.var.type.dtype)
    return operation(notation, *(notation.value(x) for x in let.args)).x


class _Expansion:
    """One walk over a kernel; variables of expanded instructions get other names."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.notation = Statements(self.writer)
        self.renamed: dict[Var, Operand] = {}

    def block(self, body: Sequence[Statement]) -> list[Statement]:
        outer, self.writer.body = self.writer.body, []
        for statement in body:
            self.statement(statement)
        inner, self.writer.body = self.writer.body, outer
        return inner

    def statement(self, statement: Statement) -> None:
        statement = self.read(statement)
        match statement:
            case Let(var=var, args=args) if args and not _direct(statement):
                self.renamed[var] = expand_let(self.notation, statement)
            case For() | If():
                block = tuple(self.block(statement.body))
                same = block == statement.body
                self.writer.body.append(statement if same else replace(statement, body=block))
            case _:
                self.writer.body.append(statement)

    def read(self, statement: Statement) -> Statement:
        """`statement` with the new names of what it reads."""
        new = self.new
        if not any(x in self.renamed for x in operands(statement) if isinstance(x, Var)):
            return statement
        match statement:
            case Let(args=args):
                return replace(statement, args=tuple(new(x) for x in args))
            case Load(index=at, mask=mask, other=other):
                return replace(
                    statement, index=new(at), mask=mask and new(mask), other=other and new(other)
                )
            case Store(index=at, value=value, mask=mask):
                return replace(statement, index=new(at), value=new(value), mask=mask and new(mask))
            case For(start=start, stop=stop):
                return replace(statement, start=new(start), stop=new(stop))
            case If(condition=condition):
                return replace(statement, condition=new(condition))
            case Check(condition=condition, mask=mask):
                return replace(statement, condition=new(condition), mask=mask and new(mask))
            case Prefetch(index=at) | Choose(index=at):
                return replace(statement, index=new(at))
            case Exchange(value=value, thread=thread):
                return replace(statement, value=new(value), thread=new(thread))
            case Mma(a=a, b=b, c=c):
                return replace(statement, a=new(a), b=new(b), c=new(c))
            case _:
                return statement

    def new(self, x: Operand) -> Operand:
        return self.renamed.get(x, x) if isinstance(x, Var) else x


def _direct(let: Let) -> bool:
    return is_direct(let.op, let.args[-1].type.dtype, let.var.type.dtype)
