"""`parted`: a loop becomes several where conditions on its variable change: no turn asks any more.

    for i in 0 .. 58 step 1 {               store Y[0] = 0
      inside = less(i - 1, 56) ..           for i in 1 .. 57 step 1 {
      x = load X[i - 1] where inside   ->     x = load X[i - 1]
      store Y[i] = where(inside, x, 0)        store Y[i] = x
    }                                       }
                                            store Y[57] = 0

Padded images are such loops, and rows that are put together of several arrays. A turn that asks
takes several times as long as one that copies; and where it asks for what lies behind an array, in
memory that nobody has, a thousand times as long. A loop over an item's share, whose ends are not
known, becomes as many, of which most have no turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from jit.dataclass import dataclass
from jit.loops.ir import INDEX, TRUTH, For, Kernel, Let, Lit, Operand, Var, index, walk
from jit.loops.rewrite import Rewrite
from jit.loops.simplify import without_dead

ENDS = 3  # parts: what lies before, inside and behind; or more, if none of them is short
MOST = 8  # parts of a loop: each is code
MIRRORED = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


@dataclass(frozen=True)
class Flip:
    """A condition on a loop's variable.

    Attributes:
        at: The first turn in which it is not what it was before.
        before: What it was.
    """

    at: int
    before: bool


def parted(kernel: Kernel, chosen: Callable[[For], bool], least: int) -> Kernel:
    """`kernel` with loops in parts.

    Args:
        kernel: Simplified.
        chosen: Which loops may be.
        least: Turns of the longest part of a loop, of the shortest where there are many: otherwise
            nothing is gained.
    """
    rewrite = _Part(kernel, chosen, least)
    rewrite.copy(kernel.body)
    if not rewrite.changed:
        return kernel
    return replace(kernel, body=without_dead(tuple(rewrite.body)))


class _Part(Rewrite):
    def __init__(self, kernel: Kernel, chosen: Callable[[For], bool], least: int) -> None:
        super().__init__(kernel)
        self.chosen, self.least = chosen, least
        self.changed = False
        self.known: dict[Var, bool] = {}  # conditions, in the part that is written

    def loop(self, s: For) -> None:
        found = flips(s) if s.step == 1 and self.chosen(s) else {}
        ends = sorted({x.at for x in found.values() if _may_be_within(x.at, s)})
        known = [int(x.value) for x in (s.start, s.stop) if isinstance(x, Lit)]
        turns = [last - first for first, last in pairwise(sorted([*known, *ends]))]
        weighed = max(turns, default=0) if len(ends) < ENDS else min(turns)
        if not 1 <= len(ends) < MOST or (turns and weighed < self.least):
            return super().loop(s)
        self.changed = True
        outer = self.known
        starts = [self.operand(s.start), *[self._within(x, s) for x in ends]]
        first = s.start.value if isinstance(s.start, Lit) else -math.inf
        firsts = [first, *ends]  # of the turns that a part may have
        for number, (first, last) in enumerate(pairwise([*starts, self.operand(s.stop)])):
            holds = {var: x.before == (firsts[number] < x.at) for var, x in found.items()}
            self.known = {**outer, **holds}
            self._part(s, f"{s.var.hint}_{number}", first, last)
        self.known = outer
        return None

    def _within(self, turn: int, s: For) -> Operand:
        """A turn, or the nearest one that the loop has, or would have next."""
        found: Operand = index(turn)
        for bound, op in ((s.start, "greater"), (s.stop, "less")):
            if not isinstance(bound, Lit):  # else it is known to be on the right side
                end = self.operand(bound)
                beyond = self.value(op, (found, end), TRUTH)
                found = self.value("where", (beyond, found, end), INDEX)
        return found

    def _part(self, s: For, hint: str, first: Operand, last: Operand) -> None:
        var = self.env[s.var] = Var(INDEX, hint)
        if body := self.block(s.body):
            self.body.append(For(var, first, last, 1, body))

    def let(self, s: Let) -> None:
        if s.var in self.known:
            self.env[s.var] = Lit(self.known[s.var], TRUTH)
        else:
            super().let(s)


def _may_be_within(turn: int, loop: For) -> bool:
    start, stop = loop.start, loop.stop
    after = not isinstance(start, Lit) or int(start.value) < turn
    return after and (not isinstance(stop, Lit) or turn < int(stop.value))


def flips(loop: For) -> Mapping[Var, Flip]:
    """The conditions in a loop that compare its variable, moved by a number, with a number."""
    moved: dict[Operand, int] = {loop.var: 0}
    found: dict[Var, Flip] = {}
    for s in walk(loop.body):
        if not isinstance(s, Let) or len(s.args) != 2 or s.var.type.lanes != 1:
            continue
        (x, y), op = s.args, s.op
        if isinstance(x, Lit) and op in ("add", *MIRRORED):
            x, y, op = y, x, MIRRORED.get(op, op)
        if x not in moved or not isinstance(y, Lit):
            continue
        number = int(y.value)
        if op in ("add", "subtract"):
            moved[s.var] = moved[x] + (number if op == "add" else -number)
        elif op in MIRRORED:
            strict = op in ("less_equal", "greater")
            found[s.var] = Flip(number - moved[x] + strict, before=op.startswith("less"))
    return found
