"""What a compiled graph consists of, and what each part costs: records, and a table for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from jit.dataclass import dataclass


@dataclass(frozen=True)
class Part:
    """A kernel, a step on the host, or a step of the interpreter.

    Attributes:
        label: What it computes: the names of its ops.
        source: The user's line.
        ops: The name of each op in it, in their order.
        lines: The line of each of them.
    """

    label: str
    source: str | None = None
    ops: tuple[str, ...] = field(default=(), compare=False)
    lines: tuple[str | None, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Cost:
    """What a part of one call took.

    Attributes:
        part: What.
        seconds: How long.
        count: How many launches these were.
        bytes: What was read and written, each array once; None where that is not known.
        operations: Additions and multiplications; None where that is not known.
    """

    part: Part
    seconds: float
    count: int = 1
    bytes: int | None = None
    operations: int | None = None

    def __str__(self) -> str:
        label = self.part.label + (f" x{self.count}" if self.count > 1 else "")
        columns = f"{label[:38]:<38}  {self.part.source or '':<22}{1e6 * self.seconds:>10.1f} us"
        return f"{columns}{rate(self.operations, self.seconds)}{rate(self.bytes, self.seconds)}"


@dataclass(frozen=True)
class Held:
    """Temporaries that are there when most are.

    Attributes:
        label: The ops of the launch that computes it.
        source: The user's line.
        bytes: Its size; of several from one line, the sum.
        count: How many there are.
    """

    label: str
    source: str | None
    bytes: int
    count: int = 1

    def __str__(self) -> str:
        often = f" x{self.count}" if self.count > 1 else ""
        line = f" ({self.source})" if self.source else ""
        return f"{megabytes(self.bytes)} of {self.label or 'a host step'}{often}{line}"


@dataclass(frozen=True)
class Recomputed:
    """What a limit of memory has led to.

    Attributes:
        limit: Bytes that temporaries should fit.
        before: What they need where nothing is computed again.
        after: What they need now.
        again: The launches that run once more: their ops, and their lines.
        time: What that adds to the time of a call, as a part of it, by a rough model.
        work: What it adds to the additions and multiplications of products, likewise.
        largest: What holds most memory when they need most.
    """

    limit: int
    before: int
    after: int
    again: tuple[tuple[str, str | None], ...]
    time: float
    work: float
    largest: tuple[Held, ...]

    @property
    def fits(self) -> bool:
        """Whether the limit is met."""
        return self.after <= self.limit

    def __str__(self) -> str:
        sizes = f"temporaries {megabytes(self.before)}"
        if self.after != self.before:
            sizes += f" -> {megabytes(self.after)}"
        verdict = "" if self.fits else " missed"
        told = f"{sizes}, limit {megabytes(self.limit)}{verdict}"
        if not self.again:
            return told
        return f"{told}: {len(self.again)} again, +{self.time:.0%} time, +{self.work:.0%} FLOPs"


def megabytes(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def counted(number: int, noun: str) -> str:
    """`1 kernel`, `2 kernels`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def rate(amount: int | None, seconds: float) -> str:
    """Billions in a second, in a column of their own."""
    return f"{'-' if not amount or seconds <= 0 else f'{1e-9 * amount / seconds:.1f}':>10}"


def table(costs: Sequence[Cost]) -> str:
    """Costs below each other, with their units."""
    head = f"{'':<38}  {'':<22}{'time':>13}{'GFLOP/s':>10}{'GB/s':>10}"
    return "\n".join([head.rstrip(), *map(str, costs)])


class Watched:
    """A compiled graph whose calls tell where their time goes.

    A clock between the parts slows calls down, and many calls would say much: so calls number 1, 2,
    4, 8 and so on are timed.

    Args:
        name: Of the graph.
        code: What runs; it has a method `timed`, which gives outputs and costs.
    """

    def __init__(self, name: str, code: Any) -> None:
        self.name, self.code, self.calls = name, code, 0

    def __call__(self, arrays: list[Any], donate: Any = ()) -> list[Any]:
        self.calls += 1
        if self.calls & (self.calls - 1):
            return self.code(arrays, donate)
        results, costs = self.code.timed(arrays)
        whole = 1e6 * sum(cost.seconds for cost in costs)
        sys.stderr.write(f"# {self.name}: call {self.calls}, {whole:.1f} us\n{table(costs)}\n")
        return results
