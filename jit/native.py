"""NativeCode: a graph as launches of machine code, callable with arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jit.dims import (
    Extent,
    Guess,
    evaluate,
    free_symbols,
    guessing,
    note,
    recording_guesses,
    solve,
)
from jit.errors import LaunchFailed, NoNativeCode
from jit.forms import nodes
from jit.forms.native import lower_for_code
from jit.forms.program import FormProgram
from jit.interpreted import Interpreted
from jit.ir.graph import Graph
from jit.merging import merged
from jit.ordering import ordered
from jit.passes.base import Stages
from jit.planner import plan
from jit.plans import Plan, keep, kernels_of, plan_key, recall
from jit.report import Cost, Part
from jit.runtime.binding import Pairs, Shapes
from jit.runtime.cpu import host_target
from jit.runtime.cuda import cupy, gpu_target
from jit.runtime.executable import Executable
from jit.runtime.hosts import pool_of
from jit.runtime.library import library
from jit.runtime.program import HostStep, Launch, Repeat, Step
from jit.runtime.timing import Timing, timed
from jit.target import Target

if TYPE_CHECKING:
    from jit.runtime.gpu import GpuExecutable

Shape: TypeAlias = "tuple[int, ...]"
KEPT_SHAPES = 64
LOOPS = 4  # the level of JIT_DEBUG from which forms and launches are shown


class NativeCode:
    """A compiled graph.

    Args:
        graph: After all passes.
        donate: Pairs (input, output) that calls will offer: steps are ordered so that the output
            can take the memory of the input.
        stages: Where forms and launches are shown.
        hurry: It will run a few times only.
        gpu: The number of the GPU that it is for; None: this computer's processor.
        host: Which of the devices of the processor it is for, whose threads share large launches.

    Attributes:
        kernels: What a call launches.
        host_steps: What a call leaves to Python.
        foreign_calls: How many calls into native code it makes.
        found: How many different kernels were compiled, read from the disk, or known.

    Raises:
        NoNativeCode: Only the interpreter can run it.
    """

    def __init__(
        self,
        graph: Graph,
        donate: Pairs,
        stages: Stages,
        *,
        hurry: bool = False,
        gpu: int | None = None,
        host: int = 0,
    ) -> None:
        target = replace(host_target(), hurry=hurry) if gpu is None else gpu_target(gpu)
        self._gpu = gpu
        forms = lower_for_code(graph)
        stages.show("forms", forms, LOOPS)
        self.graph, self._given = graph, (graph.name, forms, donate, target)
        if gpu is None:
            plan, self._run, self.found = for_host(*self._given, stages, host)
        else:
            plan, self._run, self.found = for_gpu(*self._given, stages, gpu)
        program = plan.program
        self._reshaped = [(k, type_) for k, type_ in enumerate(plan.outputs) if type_]
        self._varies = any(free_symbols(value.type.shape) for value in graph.inputs)
        self._shapes: dict[Any, list[tuple[int, Shape]]] = {}  # by shapes of inputs that vary
        self.kernels = [part for step in program.steps for part in launched(step)]
        self.host_steps = [part_of(step) for step in program.steps if isinstance(step, HostStep)]
        self.foreign_calls = self._run.foreign_calls

    @cached_property
    def plan(self) -> Plan:
        """The launches with all of their kernels, for those who look at them: it is made again."""
        return planned(*self._given)

    def __call__(self, arrays: list[Any], donate: Pairs = ()) -> list[Any]:
        """The outputs of the graph.

        Args:
            arrays: One for each input; see `jit.runtime.executable` for when one may be written.
            donate: Pairs (input, output): the output may take the memory of the input.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DualflowError: From an op, at the user's line.
        """
        try:
            results = self._run(arrays, donate)
        except LaunchFailed:
            return self.interpreted(arrays)  # which stops at the op, with its own words
        return self._shaped(results, arrays) if self._reshaped else results

    def timed(self, arrays: list[Any]) -> tuple[list[Any], list[Cost]]:
        """The outputs, and what each part of the call cost.

        Raises:
            GuardMiss: As a call does.
            DualflowError: As a call does.
        """
        try:
            results, timings = self._timed(arrays)
        except LaunchFailed:
            return self.interpreted(arrays), []
        sizes = self._sizes(arrays)
        costs = []
        for timing in timings:
            first, *_ = steps = timing.steps
            operations = sum(int(evaluate(number, sizes)) for s in steps for number in work_of(s))
            costs.append(Cost(part_of(first), timing.seconds, len(steps), timing.bytes, operations))
        return self._shaped(results, arrays), costs

    def _timed(self, arrays: list[Any]) -> tuple[list[Any], list[Timing]]:
        run = self._run
        return timed(run, arrays) if isinstance(run, Executable) else run.timed(arrays)

    def _shaped(self, results: list[Any], arrays: Sequence[Any]) -> list[Any]:
        given = tuple([array.shape for array in arrays]) if self._varies else None
        shapes = self._shapes.get(given)
        if shapes is None:
            if len(self._shapes) == KEPT_SHAPES:
                self._shapes.clear()
            sizes = self._sizes(arrays)
            shapes = self._shapes[given] = [
                (k, tuple([evaluate(extent, sizes) for extent in type_.shape]))
                for k, type_ in self._reshaped
            ]
        for k, shape in shapes:
            results[k] = results[k].reshape(shape)
        return results

    def direct(
        self, arrays: Sequence[Any], inputs: Shapes | None = None, outputs: Shapes | None = None
    ) -> Callable[..., list[Any] | None] | None:
        """The quickest way to call it again with arrays like these; see `Binding.direct`."""
        if outputs is None:
            sizes = self._sizes(arrays)
            types = [value.type for value in self.graph.outputs]
            outputs = [tuple([evaluate(d, sizes) for d in type_.shape]) for type_ in types]
        return self._run.direct(arrays, inputs, outputs)

    def _sizes(self, arrays: Sequence[Any]) -> dict[str, int]:
        shapes = [value.type.shape for value in self.graph.inputs]
        return solve(shapes, [array.shape for array in arrays])

    @cached_property
    def interpreted(self) -> Interpreted:
        """The same graph, run node by node."""
        return Interpreted(self.graph, np if self._gpu is None else cupy())


def for_host(
    name: str, forms: FormProgram, donate: Pairs, target: Target, stages: Stages, host: int = 0
) -> tuple[Plan, Executable, dict[str, int]]:
    """A program for this computer's processor, and how many kernels were found in which way."""
    before, key = counts(), plan_key(forms, donate, target)
    known = recall(key, target) if key else None
    if known is None:
        made = planned(name, forms, donate, target)
        stages.show("launches", made.program, LOOPS)
        kernels = kernels_of(made.program)
        known = made, dict(zip(kernels, library().addresses(kernels, target), strict=True))
        if key:
            keep(key, *known)
    made, addresses = known
    found = {way: count - before[way] for way, count in counts().items()}
    return made, Executable(made.program, addresses, pool_of(host)), found


def for_gpu(
    name: str, forms: FormProgram, donate: Pairs, target: Target, stages: Stages, gpu: int
) -> tuple[Plan, GpuExecutable, dict[str, int]]:
    """A program for a GPU, and how many kernels it has."""
    from jit.runtime import gpu_code
    from jit.runtime.gpu import GpuExecutable  # loaded where there is a GPU

    if any(isinstance(form, nodes.Loop) and form.going is not None for form in forms.forms):
        raise NoNativeCode("a loop of which only its values tell how long it is")
    made = planned(name, forms, donate, target)
    made.program.steps = list(merged(made.program, donate, target))
    stages.show("launches", made.program, LOOPS)
    needed = [launch.kernel for launch in made.program.launches() if not launch.is_for_library]
    kernels, codes = [*dict.fromkeys(needed)], gpu_code.Codes(target)
    gpu_code.prepare(kernels, target)
    codes.update({kernel: gpu_code.gpu_code(kernel, target) for kernel in kernels})
    return made, GpuExecutable(made.program, codes, gpu), {"for the GPU": len({*codes.values()})}


def planned(name: str, forms: FormProgram, donate: Pairs, target: Target) -> Plan:
    """The launches that compute forms, in the order that suits what is donated."""
    guesses: list[Guess] = []
    with recording_guesses(guesses) if guessing() else nullcontext():
        made = plan(name, forms, target)
        made.program.steps = ordered(made.program, donate)
    for guess in guesses:
        note(guess)
    return Plan(made.program, made.outputs, guesses)


def counts() -> dict[str, int]:
    """How many kernels the library has found in which way."""
    tallies = library().tallies
    return {way: tallies[way].count for way in ("compiled", "from disk", "in memory")}


def launched(step: Step) -> list[Part]:
    """What a step launches."""
    if isinstance(step, Repeat):
        return [named(f"{step.often} {x.label}", x) for x in step.steps]
    return [part_of(step)] if isinstance(step, Launch) else []


def work_of(step: Step) -> list[Extent]:
    """Additions and multiplications of the launches of a step, where they are known."""
    if isinstance(step, Repeat):
        return [step.expected * work for launch in step.steps for work in work_of(launch)]
    return [step.operations] if isinstance(step, Launch) and step.operations else []


def part_of(step: Step) -> Part:
    """What people are told of a step."""
    if isinstance(step, Repeat):
        inner = [part_of(x) for x in step.steps]
        ops = tuple([op for part in inner for op in part.ops])
        lines = tuple([line for part in inner for line in part.lines])
        return Part(step.label, step.source, ops, lines)
    return named(step.label, step) if isinstance(step, Launch | HostStep) else Part("guard")


def named(label: str, step: Launch | HostStep) -> Part:
    """What people are told of a launch, or a step on the host."""
    ops, lines = tuple([op for op, _ in step.made]), tuple([line for _, line in step.made])
    return Part(label, step.source, ops, lines)
