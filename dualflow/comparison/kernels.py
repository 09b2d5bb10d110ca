"""Kernels of a profile on a GPU: what each takes, moves and computes, beside what is possible."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dualflow.comparison import page
from dualflow.comparison.report import cut, duration
from jit.dataclass import dataclass

if TYPE_CHECKING:
    from dualflow.comparison.profiling import Slice
    from jit.runtime.gpu_clock import Limits

MOST = 12  # kernels that are printed


@dataclass(frozen=True)
class Kernel:
    """Launches of a kernel for the same lines.

    Attributes:
        name: What it computes.
        line: The first of the user's lines in it.
        count: How many launches.
        seconds: Of all of them.
        bytes: Read and written by all of them.
        operations: Additions and multiplications, where they are known.
        share: Of their time, what they would take if the device did all it can; None if it is not
            known, or more than all of float32: then other units than float32's have computed.
    """

    name: str
    line: str
    count: int
    seconds: float
    bytes: int
    operations: int
    share: float | None

    def cells(self) -> list[str]:
        """As text: name, line, launches, time, GB/s, GFLOP/s, share."""
        return [
            self.name,
            self.line,
            str(self.count),
            duration(self.seconds),
            per_second(self.bytes, self.seconds),
            per_second(self.operations, self.seconds),
            "" if self.share is None else f"{self.share:.0%}",
        ]


def per_second(amount: int, seconds: float) -> str:
    """Billions in a second."""
    return f"{1e-9 * amount / seconds:.0f}" if amount and seconds > 0 else ""


def of(slices: Iterable[Slice], limits: Limits | None) -> list[Kernel]:
    """Kernels from what a call did, those first that take most."""
    launches: dict[tuple[str, tuple[str, ...]], list[Slice]] = {}
    for each in slices:
        launches.setdefault((each.name, each.lines), []).append(each)
    found = []
    for (name, lines), group in launches.items():
        seconds = sum(x.seconds for x in group)
        size, operations = sum(x.bytes for x in group), sum(x.operations for x in group)
        share = None if limits is None else limits.share(operations, size, seconds)
        if share is not None and share > 1:
            share = None
        found.append(Kernel(name, lines[0], len(group), seconds, size, operations, share))
    return sorted(found, key=lambda kernel: -kernel.seconds)


def text(kernels: list[Kernel]) -> list[str]:
    """Lines for the terminal."""
    head = f"{'':<24}{'':<17}{'time':>10}{'GB/s':>7}{'GFLOP/s':>9}{'of max':>8}"
    lines = ["", head]
    for kernel in kernels[:MOST]:
        name, line, count, time, size, operations, share = kernel.cells()
        name = f"{name} x{count}" if kernel.count > 1 else name
        columns = f"{time:>10}{size:>7}{operations:>9}{share:>8}"
        lines.append(f"{cut(name, 23):<24}{cut(line, 16):<17}{columns}")
    if len(kernels) > MOST:
        rest = sum(kernel.seconds for kernel in kernels[MOST:])
        lines.append(f"{len(kernels) - MOST} others take {duration(rest)}")
    return lines


def parts(kernels: list[Kernel]) -> list[str]:
    """The parts of a page."""
    head = ["kernel", "line", "launches", "time", "GB/s", "GFLOP/s", "of what is possible"]
    table = page.table(head, [kernel.cells() for kernel in kernels], (2, 3, 4, 5, 6))
    return ["<h2>Kernels on the GPU</h2>", table]
