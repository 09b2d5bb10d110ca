"""Recorded: what is left of a finished recording, as plain data; a path is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dualflow.autodiff.sweep import is_inexact
from dualflow.core import tree
from dualflow.core.context import Epoch, context
from dualflow.tracing.cells import ArrayCell, Cell, GradCell, StateCell, TensorCell, VariableCell
from dualflow.tracing.compiling import DEFAULT, CompileOptions
from dualflow.tracing.guards.check import Check, Guard
from dualflow.tracing.guards.equals import Equals
from dualflow.tracing.leaves import Leaf, Leaves, Outputs, Spent
from dualflow.tracing.passed import is_repeated, left_by, nodes_of, shared
from dualflow.tracing.scalars import Prologue
from dualflow.tracing.settings import Settings
from dualflow.tracing.trace import Trace
from jit.dataclass import dataclass
from jit.dims import Guess
from jit.ir.graph import Graph, Node, Value

if TYPE_CHECKING:
    from jit.compiler import Device


@dataclass
class Recorded:
    """A way through a function, or a stretch of one.

    Attributes:
        graph: What is computed, with its outputs.
        cells: Where the arrays of the graph's inputs beyond the arguments are read.
        leaves: Where each leaf of the result comes from, and then those that effects are given.
        build: Does the effects, and makes the result of its leaves.
        bare: Makes the result only; None where `build` does nothing else.
        tracked: The leaves that gradients flow back from.
        spent: Those from which they would, had the call not released a record on the way: which
            leaf, that record, and whether the leaf's own leads to a Variable.
        written: What is assigned at the end: cells, each with the output that it is given.
        replaced: Which gradients are other Variables then: the output that each holds, or none.
        answers: What the guards expect, in program order.
        decided: What it relies on of numbers and extents that vary, in words.
        guesses: What was guessed of extents; compiling may add to them.
        finish: Makes the prologue, once the graph is compiled.
        check: What asks whether state outside of the arguments is as it was.
        equals: The arguments that may come as other objects.
        unrecorded: Nodes through which no gradient may flow.
        effects: What is done besides computing, in words.
        states: What people call the numbers that Python keeps somewhere.
        settings: What it relies on in dualflow's own objects.
        target: What the graph is compiled for: where its tensors lie; None is the default.
        compiling: How it becomes code.
        cuts: Where gradients end, for tapes that ask why there is none.
    """

    graph: Graph
    cells: list[Cell]
    leaves: list[Leaf]
    build: Callable[[list[Any]], Any]
    tracked: list[int]
    written: list[tuple[VariableCell | GradCell, int]]
    replaced: list[tuple[GradCell, int | None]]
    answers: tuple[bool | int, ...]
    decided: list[str]
    guesses: list[Guess]
    finish: Callable[[], Prologue | None]
    check: Check
    equals: Equals
    unrecorded: set[Node]
    effects: Sequence[str] = ()
    states: Sequence[str] = ()
    spent: Sequence[Spent] = ()
    settings: Settings = field(default_factory=Settings)
    bare: Callable[[list[Any]], Any] | None = None
    target: Device | None = None
    compiling: CompileOptions = DEFAULT
    cuts: Mapping[str, str | None] = field(default_factory=dict)


def recorded(trace: Trace, result: Any) -> Recorded:
    """What a path needs of a whole recording.

    Args:
        trace: The finished recording.
        result: What the recording call returned.
    """
    check = entry_check(trace)
    things, spec = tree.flatten(result)
    count, bare = len(things), builder(result, spec)
    lasting = [True] * count + [keeps for _, keeps in trace.ledger.leaves()]
    things += [x for x, _ in trace.ledger.leaves()]
    outputs = Outputs()
    leaves = Leaves(trace, outputs, things, lasting)
    written, replaced = written_by(trace, outputs), replaced_by(trace, outputs)
    trace.graph.outputs = outputs.values
    trace.graph.outputs = [*outputs.values, *looked_up(trace.graph)]
    return Recorded(
        graph=trace.graph,
        cells=trace.cells,  # all of them: an output may have been one more input
        leaves=leaves.found,
        build=trace.ledger.after(bare, count, result),
        bare=lambda leaves: bare(leaves[:count]),
        effects=[*[effect.told for effect in trace.ledger.effects], *left_by(result)],
        tracked=leaves.tracked,
        spent=[spent for spent in leaves.spent if spent[0] < count],
        written=written,
        replaced=replaced,
        answers=tuple(trace.answers),
        decided=trace.scalars.decided(),
        guesses=trace.scalars.guesses,
        finish=trace.scalars.finish,
        states=trace.scalars.states,
        settings=trace.settings,
        target=trace.target,
        compiling=trace.compiling,
        check=check,
        equals=trace.equals,
        unrecorded=trace.unrecorded,
        cuts=trace.cuts,
    )


def looked_up(graph: Graph) -> list[Value]:
    """Further outputs of a graph, so that it fails by values wherever Python does."""
    from jit.forms.unread import unread  # loaded when something was recorded

    return unread(graph)


def entry_check(trace: Trace) -> Check:
    """Asks whether state outside of the arguments is as it was: Python's, and what dualflow keeps.

    Of dualflow's own objects that is: gradients there or not, settings, types of arrays.
    """
    settings = trace.settings
    assert trace.check is not None
    constants: dict[str, Any] = {"Epoch": Epoch, "settings": settings, "context": context}
    guards: list[Guard] = []

    def guard(differs: str, told: Callable[[], str], *things: Any) -> None:
        names = [f"own{len(constants) + k}" for k in range(len(things))]
        constants.update(zip(names, things, strict=True))
        guards.append(Guard(differs.format(*names), names[0], told=told))

    for variable, grad in trace.variables.grads.items():
        sign, now = ("not ", "there") if grad is None else ("", "None")
        told = partial("the .grad of {} is {} now".format, variable.label(), now)
        guard(f"{{}}._grad is {sign}None", told, variable)
        if grad is not None and trace.check.knows(grad):
            told = f"the .grad of {variable.label()} is another".format
            guard("{}._grad is not {}", told, variable, grad)
    moved = "Epoch.number != settings.epoch and not {}()"
    guard(moved, lambda: f"{settings.changed()} changed", settings.hold)
    if unwatched := unwatched_cells(trace):
        watched = " or ".join(["{}.tensor.record is not None"] * len(unwatched))
        holders = [cell.holder for cell in unwatched]
        told = "gradients to a tensor from outside are wanted now".format
        guard(f"context.recording and ({watched})", told, *holders)
    for cell in trace.cells:
        if isinstance(cell, ArrayCell):
            guard(
                "not {}()", lambda: "an array from outside changed its shape or dtype", cell.holds
            )
    return trace.check.extended(guards, constants)


def unwatched_cells(trace: Trace) -> list[TensorCell | VariableCell | StateCell]:
    """Inputs from outside that nobody watched: the results of a path carry no gradients to them."""
    found: list[TensorCell | VariableCell | StateCell] = []
    for cell in trace.cells:
        if isinstance(cell, TensorCell | VariableCell | StateCell):
            tensor = cell.before if isinstance(cell, StateCell) else cell.tensor
            if isinstance(cell, VariableCell):
                tensor = trace.variables.before.get(cell.variable, tensor)
            if tensor.record is None and is_inexact(tensor):
                found.append(cell)
    return found


def written_by(trace: Trace, outputs: Outputs) -> list[tuple[VariableCell | GradCell, int]]:
    """What a call assigns when it is done: cells, each with the output that it is given."""
    pairs = [(v, grad) for v, grad in trace.variables.grads.items() if grad is not None]
    owners = {id(grad): v for v, grad in pairs if v._grad is grad}
    gone = {id(grad) for v, grad in pairs if v._grad is not grad}
    writes: list[tuple[VariableCell | GradCell, int]] = []
    for variable in trace.variables.written:
        if id(variable) not in gone:
            owner = owners.get(id(variable))
            cell = VariableCell(variable) if owner is None else GradCell(owner)
            writes.append((cell, outputs.index(trace, trace.variables.held(variable))))
    return writes


def replaced_by(trace: Trace, outputs: Outputs) -> list[tuple[GradCell, int | None]]:
    """Which gradients are other Variables after a call: the output that each holds, or none."""
    changed = [v for v, grad in trace.variables.grads.items() if v._grad is not grad]
    return [
        (GradCell(v), None if v._grad is None else outputs.index(trace, v._grad.tensor))
        for v in changed
    ]


def builder(result: Any, spec: tree.TreeSpec) -> Callable[[list[Any]], Any]:
    """What makes a result like this one of its leaves: a list in two places is one list in both."""
    build = builder_of(spec)
    if not is_repeated(nodes_of(result)):
        return build
    bare = shared(tree.unflatten(spec, [None] * spec.num_leaves), result, {})
    return lambda leaves: shared(build(leaves), bare, {})


def builder_of(spec: tree.TreeSpec) -> Callable[[list[Any]], Any]:
    """What puts leaves together, without optree where it is a leaf, a list or a tuple."""
    if spec.is_leaf():
        return itemgetter(0)
    children = spec.children()
    if spec.type in (list, tuple) and all(child.is_leaf() for child in children):
        return spec.type
    return partial(tree.unflatten, spec)
