"""Ranges: between which numbers an index is, as far as a kernel's text tells.

A GPU divides 32 bits by a number in three instructions, 64 bits in twenty.
"""

from __future__ import annotations

from jit.loops.ir import INDEX, For, Kernel, Let, Lit, Operand

Range = tuple[int, int]  # the least and the greatest
BLOCKS = 1 << 31  # of a grid, at most
HALF = 1 << 31  # where unsigned and signed numbers of 32 bits part


class Ranges:
    """What is known of the indices of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        grid = kernel.grid if isinstance(kernel.grid, int) else BLOCKS
        self._known: dict[Operand, Range] = {kernel.item: (0, max(0, grid - 1))}
        if kernel.thread is not None:
            self._known[kernel.thread] = (0, kernel.threads - 1)
        self._less: dict[Operand, tuple[Operand, ...]] = {}  # truth -> what is less than what

    def of(self, x: Operand) -> Range | None:
        """The range of an operand, if it is known."""
        if isinstance(x, Lit):
            return int(x.value), int(x.value)
        return self._known.get(x)

    def is_half(self, x: Operand) -> bool:
        """Whether an operand is a number of 31 bits, surely."""
        found = self.of(x)
        return found is not None and found[0] >= 0 and found[1] < HALF

    def loop(self, s: For) -> None:
        """A loop begins."""
        start, stop = self.of(s.start), self.of(s.stop)
        if start is not None and stop is not None and s.step > 0:
            self._known[s.var] = start[0], max(start[0], stop[1] - 1)

    def note(self, let: Let) -> None:
        """An instruction."""
        if let.op == "less":
            self._less[let.var] = let.args
        if let.var.type != INDEX:
            return
        found = self._made(let.op, let.args)
        if found is not None and found[0] > -(1 << 62) and found[1] < 1 << 62:
            self._known[let.var] = found

    def _made(self, op: str, args: tuple[Operand, ...]) -> Range | None:
        if op == "where":
            less, args = self._less.get(args[0]), args[1:]
            if less in (args, args[::-1]):  # of the lesser one, or of the greater one
                op = "minimum" if less == args else "maximum"
        given = [x for x in map(self.of, args) if x is not None]
        if len(given) != 2:
            return self._rest(op, args)
        (a, b), (c, d) = given
        match op:
            case "add":
                return a + c, b + d
            case "subtract":
                return a - d, b - c
            case "multiply":
                ends = (a * c, a * d, b * c, b * d)
                return min(ends), max(ends)
            case "where":
                return min(a, c), max(b, d)
            case "quotient" if a >= 0 and c > 0:
                return a // d, b // c
            case "rest" if a >= 0 and c > 0:
                return 0, min(b, d - 1)
            case "minimum":
                return min(a, c), min(b, d)
            case "maximum":
                return max(a, c), max(b, d)
            case _:
                return None

    def _rest(self, op: str, args: tuple[Operand, ...]) -> Range | None:
        """What is left of an unknown number lies around 0."""
        divisor = self.of(args[1]) if op == "rest" and len(args) == 2 else None
        if divisor is None or divisor[0] <= 0:
            return None
        return 1 - divisor[1], divisor[1] - 1
