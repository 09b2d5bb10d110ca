"""Where a call from the graph spends its time: each part measured, told by its ops and its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.compiler import Executable
from jit.dataclass import dataclass
from jit.report import Part


@dataclass(frozen=True)
class Step:
    """The kernels, or steps of the interpreter, of one kind that one line of the program made.

    Attributes:
        op: The ops in it.
        line: The user's line, as "nets.py:15"; None where it is not known.
        count: How many these are.
        seconds: What they take in a call.
        share: Their part of the time of all steps, 0 to 1.
        flops: Additions and multiplications in a second; None where they are not known.
    """

    op: str
    line: str | None
    count: int
    seconds: float
    share: float
    flops: float | None = None


def step_times(
    executable: Executable, arrays: Sequence[Any], *, repeats: int = 5
) -> tuple[Step, ...]:
    """Runs a graph part by part with a clock at each.

    Args:
        executable: What to run.
        arrays: An array for each of its inputs.
        repeats: Runs; of each part the median counts.

    Returns:
        Steps by ops and line, the slowest first.
    """
    runs = [executable.timed(list(arrays)) for _ in range(repeats)]
    taken = np.median([[cost.seconds for cost in run] for run in runs], axis=0)
    groups: dict[Part, list[tuple[int, float, int]]] = {}
    for cost, seconds in zip(runs[0], taken, strict=True):
        each = (cost.count, float(seconds), cost.operations or 0)
        groups.setdefault(cost.part, []).append(each)
    total = float(np.sum(taken)) or 1.0
    found = []
    for part, parts in groups.items():
        count, seconds, operations = (sum(column) for column in zip(*parts, strict=True))
        flops = operations / seconds if operations and seconds else None
        found.append(Step(part.label, part.source, count, seconds, seconds / total, flops))
    return tuple(sorted(found, key=lambda step: -step.seconds))
