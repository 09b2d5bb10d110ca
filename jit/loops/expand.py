"""Expansion: every instruction of a kernel that is not direct becomes direct ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jit.loops.direct import is_direct
from jit.loops.ir import (
    Check,
    Choose,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Load,
    Mma,
    Operand,
    Prefetch,
    Statement,
    Store,
    Var,
    operands,
)
from jit.loops.math.table import formula
from jit.loops.ordinary import FEWEST, Ordinary, ahead, divisors, pieces, readers
from jit.loops.statements import Statements
from jit.loops.writer import Writer
from jit.types import bfloat16, float32

NARROWED = (float32, bfloat16)


def expand(kernel: Kernel) -> Kernel:
    """`kernel` in direct instructions."""
    expansion = _Expansion() if kernel.thread is None else _OfThreads(kernel)
    return replace(kernel, body=tuple(expansion.block(kernel.body)))


def expand_let(notation: Statements, let: Let) -> Operand:
    """Writes what `let` computes in direct instructions, and returns the result."""
    operation = formula(let.op, let.args[-1].type.dtype, let.var.type.dtype)
    return operation(notation, *(notation.value(x) for x in let.args)).x


class _Expansion:
    """One walk over a kernel; variables of expanded instructions get other names."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.notation: Statements = Statements(self.writer)
        self.renamed: dict[Var, Operand] = {}

    def block(self, body: Sequence[Statement]) -> list[Statement]:
        outer, self.writer.body = self.writer.body, []
        self.lines(body)
        inner, self.writer.body = self.writer.body, outer
        return inner

    def lines(self, body: Sequence[Statement]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        statement = self.read(statement)
        match statement:
            case Let(var=var, args=args) if args and not self.is_direct(statement):
                self.renamed[var] = expand_let(self.notation, statement)
            case For() | If():
                block = tuple(self.block(statement.body))
                same = block == statement.body
                self.writer.body.append(statement if same else replace(statement, body=block))
            case _:
                self.writer.body.append(statement)

    def is_direct(self, let: Let) -> bool:
        """Whether an instruction stays."""
        return is_direct(let.op, let.args[-1].type.dtype, let.var.type.dtype)

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


def narrows(let: Let) -> bool:
    """Whether it rounds float32 to bfloat16, for which GPUs have an instruction."""
    return let.op == "astype" and (let.args[0].type.dtype, let.var.type.dtype) == NARROWED


class _OfThreads(_Expansion):
    """A walk over a kernel of threads, which asks once for a line whether its numbers are ordinary.

    Attributes:
        readers: How often each value is read.
        splats: Of vectors of one number, that number.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.readers = readers(kernel.statements())
        lets = [s for s in kernel.statements() if isinstance(s, Let)]
        self.splats: dict[Operand, Operand] = {s.var: s.args[0] for s in lets if s.op == "splat"}

    def is_direct(self, let: Let) -> bool:
        """Whether an instruction stays; a division need not where numbers are ordinary."""
        ordinary = isinstance(self.notation, Ordinary) and let.op == "divide"
        return narrows(let) or (super().is_direct(let) and not ordinary)

    def statement(self, statement: Statement) -> None:
        """Writes a statement, and notes what is known of a sum where numbers are ordinary."""
        super().statement(statement)
        match statement, self.notation:
            case Let(op="add", var=var, args=args), Ordinary() as ordinary:
                ordinary.added(var, [self.new(x) for x in args])
            case _:
                pass

    def lines(self, body: Sequence[Statement]) -> None:
        """Writes a block."""
        for piece in pieces(body):
            line, rest = ahead(piece)
            super().lines(rest if self.in_two_ways(line) else piece)

    def in_two_ways(self, line: Sequence[Let | Load]) -> bool:
        """Writes a line for ordinary numbers, and again for others; False: nothing is written."""
        start, plain, known = len(self.writer.body), self.notation, dict(self.renamed)
        self.notation = ordinary = Ordinary(self.writer)
        often = divisors(line, self.splats)
        special = set[Operand]()  # what is made in two ways
        again: list[Let] = []
        for s in line:
            before = ordinary.count
            for x in often.intersection(operands(s)):
                ordinary.often.add(self.new(x))
                if x in self.splats:
                    ordinary.splats[self.new(x)] = self.new(self.splats[x])
            self.statement(s)
            if ordinary.count > before or not special.isdisjoint(operands(s)):
                special.add(s.var)
                again += [s] if isinstance(s, Let) else []
        self.notation = plain
        if ordinary.count < FEWEST or len(again) < len(special):
            del self.writer.body[start:]
            self.renamed = known
            return False
        inside = readers(line)
        results = [s.var for s in again if self.readers[s.var] > inside[s.var]]
        self.join(ordinary.fails(), again, results)
        return True

    def join(self, fails: Operand, again: Sequence[Let], results: Sequence[Var]) -> None:
        """Writes instructions again for where a condition holds; results are those of either."""
        notation = self.notation
        usual = tuple(notation.value(self.new(x)) for x in results)
        places = notation.keep(usual)
        with self.writer.when(fails):
            for s in again:
                own = replace(s, var=Var(s.var.type, s.var.hint))
                self.statement(own)
                self.renamed[s.var] = self.new(own.var)
            notation.put(places, [notation.value(self.new(x)) for x in results])
        for var, value in zip(results, notation.get(places, usual), strict=True):
            self.renamed[var] = value.x
