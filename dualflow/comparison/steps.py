"""Where a graph spends its time: each step measured, told by op and by the user's line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualflow.core.context import quietly
from jit.ir.graph import Graph, Value


@dataclass(frozen=True)
class Step:
    """The steps of one op that one line of the program made.

    Attributes:
        op: The op's name.
        line: The user's line, as "nets.py:15"; None where it is not known.
        count: How many steps of the graph these are.
        seconds: What they take in a call.
        share: Their part of the time of all steps, 0 to 1.
    """

    op: str
    line: str | None
    count: int
    seconds: float
    share: float


def step_times(graph: Graph, arrays: Sequence[Any], *, repeats: int = 5) -> tuple[Step, ...]:
    """Runs a graph step by step with a clock at each.

    Args:
        graph: What to run.
        arrays: An array for each of its inputs.
        repeats: Runs; of each step the median counts.

    Returns:
        Steps by op and line, the slowest first.
    """
    dying = last_uses(graph)
    runs = [quietly(_timed_run, graph, arrays, dying) for _ in range(repeats)]
    taken = np.median(np.array(runs).reshape(repeats, len(graph.nodes)), axis=0)
    groups: dict[tuple[str, str | None], list[float]] = {}
    for node, seconds in zip(graph.nodes, taken, strict=True):
        groups.setdefault((node.op.name, node.source), []).append(float(seconds))
    total = float(taken.sum()) or 1.0
    found = [
        Step(op, line, len(seconds), sum(seconds), sum(seconds) / total)
        for (op, line), seconds in groups.items()
    ]
    return tuple(sorted(found, key=lambda step: -step.seconds))


def last_uses(graph: Graph) -> list[list[Value]]:
    """For each node the values that nobody reads after it."""
    last = {value: k for k, node in enumerate(graph.nodes) for value in node.inputs}
    kept = set(graph.outputs)
    dying: list[list[Value]] = [[] for _ in graph.nodes]
    for value, k in last.items():
        if value not in kept:
            dying[k].append(value)
    return dying


def _timed_run(graph: Graph, arrays: Sequence[Any], dying: list[list[Value]]) -> list[float]:
    """Seconds of each node of the graph, in order; memory is given back as a real run does."""
    values: dict[Value, Any] = dict(zip(graph.inputs, arrays, strict=True))
    seconds = []
    for node, dead in zip(graph.nodes, dying, strict=True):
        inputs = [values[value] for value in node.inputs]
        started = time.perf_counter()
        out = node.op.evaluate(np, *inputs, **node.attrs)
        seconds.append(time.perf_counter() - started)
        outputs = out if isinstance(out, tuple) else (out,)
        values.update(zip(node.outputs, map(np.asarray, outputs), strict=True))
        for value in dead:
            del values[value]
    return seconds
