"""`quotients`: divisions by one number, turn after turn, by its inverse where nothing is extreme.

    for i in 0 .. 64 step 4 {           ok = d and all of x0 .. x3 are neither large nor small
      q0 = divide(x0, d)                if ok {
      ...                        ->       q0 = corrected(x0 * (1 / d))
    }                                     ...
                                        }
                                        if not ok { q0 = divide(x0, d) ... }

A machine divides by a dozen instructions and a branch of each quotient's own, which others wait
for. With r = 1 / d, rounded, q = x r is wrong by a little, and q + (x - q d) r, where x - q d is
exact, rounds as the quotient does: machines compute it so, as long as no exponent is extreme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jit.loops.affine import Forms
from jit.loops.ir import (
    TRUTH,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Statement,
    Store,
    Var,
    operands,
)
from jit.loops.rewrite import Rewrite
from jit.types import float32

FEWEST = 4  # divisions of a turn that are worth a question
SMALL, LARGE = 2.0**-60, 2.0**60
PLAIN = (Let, Load, Store)


def quotients(kernel: Kernel) -> Kernel:
    """`kernel` with loops that divide by one number in two ways; no bit is another one."""
    rewrite = _Quotients(kernel)
    rewrite.copy(kernel.body)
    return replace(kernel, body=tuple(rewrite.body))


def divides_by_one(loop: For) -> list[Let]:
    """The divisions of a loop without loops by what is made before it."""
    if not all(isinstance(s, PLAIN) for s in loop.body):
        return []
    own = {s.var for s in loop.body if isinstance(s, Let | Load)} | {loop.var}
    return [s for s in loop.body if isinstance(s, Let) and is_plain(s) and s.args[1] not in own]


def is_plain(s: Let) -> bool:
    """Whether this is a division of single float32 numbers."""
    return s.op == "divide" and s.var.type.lanes == 1 and s.var.type.dtype == float32


class _Quotients(Rewrite):
    """Writes loops in two ways.

    Attributes:
        fast: The divisions that are computed by an inverse.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.forms = Forms(kernel)
        self.fast: set[Var] = set()

    def loop(self, s: For) -> None:
        """A loop, in two ways if it divides often enough."""
        found = divides_by_one(s)
        first = self._first(s, found) if len(found) >= FEWEST else None
        if first is None:
            return super().loop(s)
        plain = self._all([x.args[1] for x in found])
        var = self.env[s.var] = Var(s.var.type, s.var.hint)
        start, stop = self.operand(s.start), self.operand(s.stop)
        body = self.within(lambda: self._ways(s, first, found, plain))
        return self.body.append(For(var, start, stop, s.step, body))

    def _ways(
        self, s: For, first: Sequence[Statement], found: Sequence[Let], plain: Operand
    ) -> None:
        self.copy(first)
        rest = [x for x in s.body if x not in first]
        plain = self.value("logical_and", (plain, self._all([x.args[0] for x in found])), TRUTH)
        self.fast = {x.var for x in found}
        self.body.append(If(plain, self.block(rest)))
        self.fast = set()
        self.body.append(If(self.value("logical_not", (plain,), TRUTH), self.block(rest)))

    def let(self, s: Let) -> None:
        """A value; a division by an inverse if nothing is extreme."""
        if s.var not in self.fast:
            return super().let(s)
        x, d = map(self.operand, s.args)
        type_ = s.var.type
        inverse = self._inverse(d)
        about = self.value("multiply", (x, inverse), type_)
        left = self.value("fma", (self.value("negative", (d,), type_), about, x), type_)
        self.env[s.var] = self.value("fma", (left, inverse, about), type_, hint=s.var.hint)
        return None

    def _inverse(self, d: Operand) -> Operand:
        return self.value("divide", (Lit(1.0, d.type), d), d.type)

    def _all(self, numbers: Sequence[Operand]) -> Operand:
        """Whether numbers are neither large nor small, nor NaN."""
        holds: Operand = Lit(value=True, type=TRUTH)
        for x in dict.fromkeys(map(self.operand, numbers)):
            size = self.value("abs", (x,), x.type)
            for op, limit in (("greater_equal", SMALL), ("less_equal", LARGE)):
                part = self.value(op, (size, Lit(limit, x.type)), TRUTH)
                holds = self.value("logical_and", (holds, part), TRUTH)
        return holds

    def _first(self, s: For, found: Sequence[Let]) -> list[Statement] | None:
        """What the dividends are made by, if it can all come before the rest of the turn."""
        needed: set[Operand] = {x.args[0] for x in found}
        first: list[Statement] = []
        for x in reversed(s.body):
            if isinstance(x, Let | Load) and x.var in needed:
                needed.update(operands(x))
                first.insert(0, x)
        stored: list[Store] = []
        for x in s.body:
            if isinstance(x, Store):
                stored.append(x)
            elif isinstance(x, Load) and x in first and not self._apart(x, stored):
                return None
        return None if any(x in first for x in found) else first

    def _apart(self, load: Load, stored: Sequence[Store]) -> bool:
        """Whether a load is of none of the elements that are stored before."""
        same = [x.index for x in stored if x.buffer is load.buffer]
        return all(self.forms.difference(load.index, at) for at in same)
