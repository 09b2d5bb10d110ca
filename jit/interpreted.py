"""Interpreted: a graph as code that runs node by node; what machine code is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from jit.ir.builtin import constant
from jit.ir.graph import Graph, Value
from jit.ir.interpret import Evaluate, Program, evaluate_of
from jit.report import Cost, Part, Recomputed


class Interpreted:
    """A graph, run by the interpreter; it has the interface of `jit.native.NativeCode`.

    Args:
        graph: What to run.
        xp: The array module.
        evaluate: What computes a node, called as the `evaluate` of its op is.

    Attributes:
        kernels: None: Python does everything.
        host_steps: All steps.
        foreign_calls: Into native code of our own: 0.
        recomputed: What a limit of memory has led to: nothing, values die as soon as they can.
    """

    kernels: Sequence[Part] = ()
    foreign_calls = 0
    recomputed: Sequence[Recomputed] = ()

    def __init__(self, graph: Graph, xp: ModuleType = np, evaluate: Evaluate = evaluate_of) -> None:
        self.program = Program(graph, xp, evaluate)
        nodes = [node for node in graph.nodes if node.op is not constant]
        self.host_steps = [Part(node.op.name, node.source) for node in nodes]

    @np.errstate(all="ignore")  # infinities and NaN are values
    def __call__(self, arrays: Sequence[Any], donate: object = ()) -> list[Any]:
        """The outputs of the graph; memory that is given away is not used.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DualflowError: From an op, at the user's line.
        """
        return self.program(arrays)

    @np.errstate(all="ignore")
    def timed(self, arrays: Sequence[Any]) -> tuple[list[Any], list[Cost]]:
        """The outputs, and what each step cost; memory is given back as a call does."""
        graph, xp = self.program.graph, self.program.xp
        values: dict[Value, Any] = dict(zip(graph.inputs, arrays, strict=True))
        costs: list[Cost] = []
        for node, dead in zip(graph.nodes, self._dying, strict=True):
            inputs = [values[value] for value in node.inputs]
            start = time.perf_counter()
            out = node.op.evaluate(xp, *inputs, **node.attrs)
            if node.op is not constant:
                part = Part(node.op.name, node.source)
                costs.append(Cost(part, time.perf_counter() - start))
            outputs = out if isinstance(out, tuple) else (out,)
            values.update(zip(node.outputs, map(xp.asarray, outputs), strict=True))
            for value in dead:
                del values[value]
        return [values[value] for value in graph.outputs], costs

    @cached_property
    def _dying(self) -> list[list[Value]]:
        """For each node the values that nobody reads after it."""
        graph = self.program.graph
        last = {value: k for k, node in enumerate(graph.nodes) for value in node.inputs}
        kept = set(graph.outputs)
        dying: list[list[Value]] = [[] for _ in graph.nodes]
        for value, k in last.items():
            if value not in kept:
                dying[k].append(value)
        return dying
