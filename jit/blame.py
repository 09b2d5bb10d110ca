"""Blame: which stage of compilation makes a graph give other results, and at which op.

Each stage gives something that can be run: a pass a graph, fusion naive kernels, schedules other
kernels, and so on. The first stage whose result is wrong is the one. Before that the graph is cut
down, from behind and from the front, to what is still wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jit.apart import Apart, Runner, stages
from jit.dataclass import dataclass
from jit.dims import free_symbols
from jit.errors import GuardMiss, LaunchFailed, NoNativeCode
from jit.forms.native import lower_for_code
from jit.forms.oracle import evaluate_lowered, evaluate_program
from jit.interpreted import Interpreted
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Node, Value
from jit.native import NativeCode
from jit.passes.base import GraphPass, Stages
from jit.planner import ADDITION, plan
from jit.runtime.cpu import host_target
from jit.runtime.program import Launch, Program

Arrays: TypeAlias = "Sequence[Any]"
Values: TypeAlias = "Callable[[Graph, Arrays], Mapping[Value, Any]]"  # of every node, as it should
Differs: TypeAlias = "Callable[[Any, Any], str | None]"
Wrong: TypeAlias = "Callable[[Graph, Arrays], str | None]"  # how what is made of a graph is wrong

MOST = 1e6  # additions that are worth being interpreted: a minute
NEAR = 1e-3  # relative: forms in NumPy sum in another order
UNTOLD = "schedule or code generation"  # of what is too large to be interpreted


@dataclass(frozen=True)
class Blame:
    """A fault, narrowed down.

    Attributes:
        stage: The pass, or what comes after passes: "lowering", "fusion", "schedule", "elementary
            functions", "code generation", "memory plan".
        node: The op with which it begins.
        what: The difference, in words.
        graph: The smallest graph found in which it shows.
        arrays: What that graph is given.
    """

    stage: str
    node: Node
    what: str
    graph: Graph
    arrays: list[Any]


class Judge:
    """Knows what is right.

    Args:
        values: Every value of a graph for these inputs, as it should be.
        differs: How two arrays differ, in words; None if they do not.
    """

    def __init__(self, values: Values, differs: Differs) -> None:
        self.values, self.differs = values, differs

    def blame(self, graph: Graph, arrays: Arrays, passes: Iterable[GraphPass]) -> Blame | None:
        """The stage by which a graph goes wrong; None if it does not.

        Args:
            graph: As it was recorded.
            arrays: One for each input.
            passes: What runs before code is made.
        """
        for each in passes:
            wrong = self.wrong_pass(each)
            if wrong(graph, arrays) is not None:
                node, small, given = self.narrowed(graph, arrays, wrong)
                return Blame(each.name, node, wrong(small, given) or "", small, list(given))
            graph = each.run(graph)
        if self.wrong_code(graph, arrays) is None:
            return None
        node, small, given = self.narrowed(graph, arrays, self.wrong_code)
        what = self.wrong_code(small, given) or ""
        return Blame(self.stage_of(small, given), node, what, small, list(given))

    # ----- is it wrong? -----

    def wrong_pass(self, each: GraphPass) -> Wrong:
        """Whether a pass changes the results of a graph."""

        def wrong(graph: Graph, arrays: Arrays) -> str | None:
            after = each.run(graph)
            made = self.values(after, arrays)
            return self.difference(graph, arrays, [made[x] for x in after.outputs])

        return wrong

    def wrong_code(self, graph: Graph, arrays: Arrays) -> str | None:
        """Whether the code of a graph gives other results."""
        try:
            made = code_of(graph)(list(arrays))
        except GuardMiss:
            return "a guard sees another answer"
        return self.difference(graph, arrays, made)

    def difference(self, graph: Graph, arrays: Arrays, made: Arrays) -> str | None:
        """How results are wrong."""
        right = self.values(graph, arrays)
        found = (self.differs(x, right[value]) for x, value in zip(made, graph.outputs))
        return next((what for what in found if what is not None), None)

    # ----- less of it -----

    def narrowed(self, graph: Graph, arrays: Arrays, wrong: Wrong) -> tuple[Node, Graph, Arrays]:
        """The op with which a graph is wrong for the first time, and a small graph that is."""
        values = self.values(graph, arrays)
        count = earliest(len(graph.nodes), lambda n: wrong(beginning(graph, n), arrays) is not None)
        nodes = graph.nodes[:count]
        wanted = list(graph.outputs) if count == len(graph.nodes) else needed(graph, count)
        own = [x for x in wanted if x.node is nodes[-1]]

        def small(first: int, outputs: list[Value]) -> tuple[Graph, Arrays] | None:
            """The nodes from `first` on, if they are wrong by themselves."""
            part, inputs = piece(nodes[first:], outputs)
            given = [values[x] for x in inputs]
            return (part, given) if outputs and wrong(part, given) is not None else None

        for last in range(1, count + 1):  # the last op alone, the last two, ...
            if last & (last - 1) == 0 and (found := small(count - last, own)) is not None:
                return nodes[-1], *found
        found = small(0, own) or small(0, [x for x in wanted if x.node is not None])
        return nodes[-1], *(found or (beginning(graph, count), arrays))

    # ----- which stage of code generation? -----

    def stage_of(self, graph: Graph, arrays: Arrays) -> str:
        """The stage after passes by which the code of a graph is wrong."""
        target = host_target()
        try:
            forms = lower_for_code(graph)
        except NoNativeCode:
            return "interpreter"
        program = plan(graph.name, forms, target).program
        runners = stages(target)
        if self.is_right(graph, arrays, program, runners["code generation"]):
            return "memory plan"
        if work(program) > MOST:
            return UNTOLD
        for stage, runner in runners.items():
            if not self.is_right(graph, arrays, program, runner):
                return self.before_kernels(graph, arrays) if stage == "fusion" else stage
        return "memory plan"

    def is_right(self, graph: Graph, arrays: Arrays, program: Program, run: Runner) -> bool:
        """Whether kernels give what they should, each in memory of its own."""
        try:
            outputs = Apart(program, arrays, run).outputs
        except (GuardMiss, LaunchFailed):
            return False
        right = self.values(graph, arrays)
        made = [x.reshape(right[value].shape) for x, value in zip(outputs, graph.outputs)]
        return self.difference(graph, arrays, made) is None

    def before_kernels(self, graph: Graph, arrays: Arrays) -> str:
        """The stage before there are kernels, if it is at fault."""
        right = [self.values(graph, arrays)[x] for x in graph.outputs]
        if not all(map(near, evaluate_lowered(graph, arrays), right)):
            return "lowering"
        if not all(map(near, evaluate_program(lower_for_code(graph), arrays), right)):
            return "merging"
        return "fusion"


def code_of(graph: Graph) -> NativeCode | Interpreted:
    """The code of a graph as it is, without passes."""
    try:
        return NativeCode.made(graph, (), Stages(graph.name))
    except NoNativeCode:
        return Interpreted(graph)


def earliest(last: int, is_wrong: Callable[[int], bool]) -> int:
    """A number that is wrong while the one before is not; `last` is wrong, and 0 is not."""
    good = 0
    while last - good > 1:
        middle = (good + last) // 2
        if is_wrong(middle):
            last = middle
        else:
            good = middle
    return last


def needed(graph: Graph, count: int) -> list[Value]:
    """What later nodes, or the outputs, need of the first `count` nodes."""
    wanted = set(graph.outputs).union(*[node.inputs for node in graph.nodes[count:]])
    made = [x for node in graph.nodes[:count] if node.op is not constant for x in node.outputs]
    return [x for x in made if x in wanted]


def beginning(graph: Graph, count: int) -> Graph:
    """The first `count` nodes; what the rest needs of them is their result."""
    if count == len(graph.nodes):
        return graph
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in graph.nodes[:count]:
        new.append_copy(node, new_of)
    new.outputs = [new_of[value] for value in needed(graph, count)]
    return new


def piece(nodes: Sequence[Node], outputs: Sequence[Value]) -> tuple[Graph, list[Value]]:
    """What some nodes compute of `outputs`, as a graph, and the values that are its inputs."""
    wanted, kept = set(outputs), list[Node]()
    for node in reversed(nodes):
        if not node.op.pure or not wanted.isdisjoint(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    kept.reverse()
    own = {x for node in kept for x in node.outputs}
    outside = [x for node in kept for x in node.inputs if x not in own]
    constants = [x for x in dict.fromkeys(outside) if x.node is not None and x.node.op is constant]
    inside = own.union(constants)
    inputs = [x for x in dict.fromkeys((*outside, *outputs)) if x not in inside]
    new = Graph("repro")
    new_of = {value: new.input(value.type, f"x{k}") for k, value in enumerate(inputs)}
    for node in (*[x.node for x in constants if x.node is not None], *kept):
        new.append_copy(node, new_of)
    new.outputs = [new_of[value] for value in outputs]
    return new, inputs


def work(program: Program) -> float:
    """About how many additions a program takes; infinitely many where sizes vary."""
    launches = [step for step in program.launches() if isinstance(step, Launch)]
    if any(free_symbols(step.kernel.grid) for step in launches):
        return float("inf")
    return sum(step.cost * int(step.kernel.grid) for step in launches) / ADDITION  # pyright: ignore[reportArgumentType]


def near(x: Any, y: Any) -> bool:
    """Whether two arrays agree but for rounding."""
    with np.errstate(all="ignore"):
        scale = float(np.max(np.abs(y[np.isfinite(y)]), initial=1.0)) if y.dtype.kind == "f" else 1
        return bool(np.allclose(x, y, rtol=NEAR, atol=NEAR * scale, equal_nan=True))
