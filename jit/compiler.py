"""From a Graph to something that runs: the stages of compilation, in their order."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from jit.config import config
from jit.errors import DeviceError
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.op import OpDef
from jit.passes.algebra import Algebra
from jit.passes.base import GraphPass, PassRecord, run_passes
from jit.passes.cleanup import CommonSubexpressions, DeadCode
from jit.passes.fold import FoldConstants

COMPILATIONS, PASSES = 1, 2  # levels of JIT_DEBUG
TARGETS = {"interpreter": "interpreted"}  # a target and the mode that its code runs in


@dataclass(frozen=True, eq=False)
class Executable:
    """A graph made ready for a target; call it with arrays.

    Attributes:
        graph: After all passes.
        mode: How it runs: "interpreted".
        kernels: How many steps a call takes.
        seconds: What each phase of compilation took.
        passes: What each pass did.
    """

    graph: Graph
    program: Program
    mode: str
    seconds: Mapping[str, float]
    passes: Sequence[PassRecord]

    @property
    def kernels(self) -> int:
        return len(self.program.steps)

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The graph's outputs for `arrays`, one for each of its inputs; they may share memory.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DualflowError: From an op, at the user's line.
        """
        return self.program(arrays)


def compile(
    graph: Graph,
    target: str = "interpreter",
    *,
    ops: Mapping[str, OpDef] = MappingProxyType({}),
    xp: ModuleType = np,
) -> Executable:
    """Make `graph` ready to run.

    Args:
        graph: Stays as it is.
        target: What to run it on: "interpreter".
        ops: Op records by name that passes may bring into the graph beside those it has.
        xp: The array module of the interpreter.

    Raises:
        DeviceError: There is no such target.
        GraphError: The graph is not valid (checked under JIT_CHECK=1).
    """
    if target not in TARGETS:
        raise DeviceError(
            f"jit.compile: there is no target {target!r}",
            f"one of {', '.join(map(repr, TARGETS))}",
            "leave `target` out",
        )
    start = time.perf_counter()
    given = len(graph.nodes)
    with collector_paused():
        graph, passes = run_passes(graph, pipeline(ops))
        optimised = time.perf_counter()
        program = Program(graph, xp)
    seconds = {"passes": optimised - start, "program": time.perf_counter() - optimised}
    tell(graph, given, seconds, passes)
    return Executable(graph, program, TARGETS[target], seconds, passes)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection inside: visiting the many objects of the passes doubles their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def tell(
    graph: Graph, given: int, seconds: Mapping[str, float], passes: Sequence[PassRecord]
) -> None:
    """Levels 1 and 2 of JIT_DEBUG: the compilation, and what each pass did."""
    debug = config().debug
    if debug >= COMPILATIONS:
        spent = 1e3 * sum(seconds.values())
        line = f"# {graph.name}: compiled, {given} -> {len(graph.nodes)} nodes, {spent:.1f} ms\n"
        sys.stderr.write(line)
    if debug >= PASSES:
        for each in passes:
            change = f"{each.before} -> {each.after} nodes"
            sys.stderr.write(f"#   {each.name}: {change}, {1e3 * each.seconds:.1f} ms\n")


def pipeline(ops: Mapping[str, OpDef] = MappingProxyType({})) -> tuple[GraphPass, ...]:
    """The passes over graphs, in the order in which `compile` runs them."""
    return (
        DeadCode(),
        FoldConstants(),
        CommonSubexpressions(),  # so that the same value is one value to the rules
        Algebra(ops),
        CommonSubexpressions(),  # what the rules made equal
        DeadCode(),  # what the rules left unused
    )
