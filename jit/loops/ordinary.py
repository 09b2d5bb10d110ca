"""Ordinary numbers: a thread computes what does for those, and all that there is for others.

    y = exp(x)                                ok = x is neither large nor small
    store Y[i] = 1 / (1 + y)         ->       y = a part of exp(x) ...
                                              if not ok { y = all of exp(x) ... }

The formulas of elementary functions spend a third of their instructions on numbers that hardly ever
come: what is infinite, next to nothing, or NaN. A straight line of instructions asks once whether
there is such a number, and goes on without a branch until then. Both ways give the same bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from jit.loops.ir import Let, Lit, Load, Operand, Statement, Store, Var, operands
from jit.loops.math.basics import is_moderate
from jit.loops.math.notation import Span, State, Value
from jit.loops.statements import Statements
from jit.loops.writer import Writer
from jit.types import float32

FEWEST = 4  # numbers that are worth a question
OFTEN = 3  # divisions by a number that are worth its inverse


class Ordinary(Statements):
    """Formulas for ordinary numbers.

    Attributes:
        conditions: What has to hold, by the number of lanes.
        count: Of the numbers that are asked about.
        spans: Between which numbers values lie.
        often: Numbers by which many are divided.
        splats: Of vectors of one number, that number.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self.splats: dict[Operand, Operand] = {}
        self.conditions: dict[int, Value] = {}
        self.count = 0
        self.spans: dict[Operand, Span] = {}
        self.often: set[Operand] = set()
        self._inverses: dict[Operand, Value] = {}

    def counts_on(self, condition: Callable[[], Value]) -> bool:
        """Notes a condition."""
        self._note(condition())
        return True

    def rarely(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        """What is usual; that it is, is a condition."""
        self._note(~where)
        return usual

    def lies(self, x: Value, low: float, high: float) -> Value:
        """Notes what is known."""
        self.spans[x.x] = low, high
        return x

    def span(self, x: Value) -> Span | None:
        """Of a number, or what was noted."""
        return (x.x.value, x.x.value) if isinstance(x.x, Lit) else self.spans.get(x.x)

    def shared_inverse(self, x: Value) -> Value | None:
        """The inverse of a number by which many are divided."""
        if x.x not in self.often:
            return None
        whole: Operand = x.x
        one = self.splats.get(whole, whole)
        if one not in self._inverses:
            number = self.value(one)
            self._note(is_moderate(number))
            self._inverses[one] = self.let("inverse", number)
        return self.value(self.writer.splat(self._inverses[one].x, x.x.type.lanes))

    def added(self, var: Var, args: Sequence[Operand]) -> None:
        """Notes what is known of a sum."""
        a, b = (self.span(self.value(x)) for x in args)
        if a and b:
            self.spans[var] = a[0] + b[0], a[1] + b[1]

    def _note(self, holds: Value) -> None:
        lanes = holds.x.type.lanes
        before = self.conditions.get(lanes)
        self.conditions[lanes] = holds if before is None else before & holds
        self.count += lanes

    def fails(self) -> Operand:
        """Whether a condition does not hold."""
        missed = [self.any(~holds) for holds in self.conditions.values()]
        found = missed[0]
        for other in missed[1:]:
            found = self.writer.let("logical_or", found, other)
        return found


def pieces(body: Sequence[Statement]) -> Iterator[Sequence[Statement]]:
    """A block in parts: instructions, loads and stores in a row, and each other statement."""
    piece: list[Statement] = []
    for s in body:
        if isinstance(s, Let | Load | Store):
            piece.append(s)
            continue
        yield piece
        yield [s]
        piece = []
    yield piece


def ahead(piece: Sequence[Statement]) -> tuple[list[Let | Load], list[Statement]]:
    """What needs nothing that is loaded behind a store, and the rest of a piece."""
    line: list[Let | Load] = []
    rest: list[Statement] = []
    waits = set[Operand]()
    stores = False
    for s in piece:
        stores = stores or isinstance(s, Store)
        if isinstance(s, Let | Load):
            if waits.isdisjoint(operands(s)) and not (stores and isinstance(s, Load)):
                line.append(s)
                continue
            waits.add(s.var)
        rest.append(s)
    return line, rest


def readers(every: Iterable[Statement]) -> Counter[Operand]:
    """How often values are read."""
    return Counter(x for s in every for x in operands(s))


def divisors(line: Iterable[Statement], splats: Container[Operand]) -> set[Operand]:
    """The numbers by which a line divides often; `splats` are vectors of one."""
    found = Counter[Operand]()
    for s in line:
        if isinstance(s, Let) and is_division(s):
            found[s.args[1]] += s.var.type.lanes if s.args[1] in splats else 1
    return {x for x, count in found.items() if count >= OFTEN}


def is_division(s: Let) -> bool:
    """Whether this is a division of float32 numbers."""
    return s.op == "divide" and s.var.type.dtype == float32
