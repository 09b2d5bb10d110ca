"""Together: kernels that need nothing of each other as one, whose items they share out.

    kernel both(X, Y0, Y1, ...) grid 5 as item {
      if less(item, 2) {                              items 0 and 1: of two launches
        at = subtract(item, 0)
        choose Y = Y0, Y1 at quotient(at, 1)
        item1 = rest(at, 1)
        ...
      }
      if logical_and(less(1, item), less(item, 5)) {  items 2 to 4: another kernel
        ...

What a part computes is not touched: the same statements run for the same items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jit.dataclass import dataclass
from jit.loops.ir import (
    INDEX,
    Buffer,
    Choose,
    If,
    Kernel,
    Let,
    Operand,
    Statement,
    Var,
    index,
)
from jit.loops.writer import Writer


@dataclass(frozen=True)
class Part:
    """Launches of one kernel.

    Attributes:
        kernel: It is scheduled, and its grid is a number.
        count: How many launches.
    """

    kernel: Kernel
    count: int = 1

    @property
    def items(self) -> int:
        """How many items all of them have."""
        assert isinstance(self.kernel.grid, int)
        return self.kernel.grid * self.count


def together(name: str, parts: Sequence[Part]) -> Kernel:
    """The kernel of all parts, one after the other.

    Its buffers and sizes are those of the parts in order: of a part the first buffer of each
    launch, the second one of each, and so on.

    Args:
        name: For people.
        parts: Different kernels with as many threads.
    """
    first = parts[0].kernel
    item = Var(INDEX, "item")
    thread = None if first.thread is None else Var(INDEX, "thread")
    buffers, sizes, body = list[Buffer](), list[Var](), list[Statement]()
    start = 0
    for number, part in enumerate(parts):
        w = _Part(part, item, thread, start, number)
        buffers += w.buffers
        sizes += w.sizes
        body += [*w.before, If(w.condition, tuple(w.body))]
        start += part.items
    return Kernel(
        name,
        tuple(buffers),
        tuple(sizes),
        start,
        item,
        tuple(body),
        first.threads,
        thread,
        parts=sum(part.count for part in parts),
    )


class _Part(Writer):
    """A part in the making.

    Attributes:
        buffers: Of all of its launches.
        sizes: Of all of its launches.
        before: What its condition is made by.
    """

    def __init__(self, part: Part, item: Var, thread: Var | None, start: int, number: int) -> None:
        super().__init__()
        self.part, self.place = part, number
        self.buffers: list[Buffer] = []
        self.sizes: list[Var] = []
        self.condition = self._inside(item, start)
        self.before, self.body = self.body, []
        self._launches(item, thread, start)

    def _inside(self, item: Var, start: int) -> Operand:
        before_end = self.let("less", item, index(start + self.part.items))
        if start == 0:
            return before_end
        return self.let("logical_and", self.let("less", index(start - 1), item), before_end)

    def _launches(self, item: Var, thread: Var | None, start: int) -> None:
        kernel = self.part.kernel
        assert isinstance(kernel.grid, int)
        at = self.let("subtract", item, index(start))
        launch = self.let("quotient", at, index(kernel.grid))
        self.body.append(Let(kernel.item, "rest", (at, index(kernel.grid))))
        if kernel.thread is not None:
            assert thread is not None
            self.body.append(Let(kernel.thread, "add", (thread, index(0))))
        for buffer in kernel.buffers:
            self._choose(buffer, launch)
        for size in kernel.sizes:
            self._choose_size(size, launch)
        self.body += kernel.body

    def _choose(self, buffer: Buffer, launch: Operand) -> None:
        names = [f"{buffer.name}_{self.place}_{k}" for k in range(self.part.count)]
        among = tuple([replace(buffer, name=name) for name in names])
        self.buffers += among
        self.body.append(Choose(buffer, among, launch))

    def _choose_size(self, size: Var, launch: Operand) -> None:
        """The size of this launch, by comparing its number with that of each."""
        own = [Var(INDEX, f"{size.hint}_{self.place}_{k}") for k in range(self.part.count)]
        self.sizes += own
        chosen: Operand = own[0]
        for k, each in enumerate(own[1:], 1):
            chosen = self.let("where", self.let("equal", launch, index(k)), each, chosen)
        self.body.append(Let(size, "add", (chosen, index(0))))
