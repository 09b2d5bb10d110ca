"""NativeCode: a graph as launches of machine code, callable with arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jit.collector import collector_paused
from jit.dims import Extent, Guess, evaluate, free_symbols, solve
from jit.errors import LaunchFailed, NoNativeCode, OutOfMemoryError
from jit.ir.graph import Graph, Node
from jit.loops.ir import Kernel
from jit.plans import Plan, addresses_of, keep, kernels_of, keys_of, recall
from jit.progress import compilation
from jit.report import Cost, Part
from jit.runtime.binding import Pairs, Shapes
from jit.runtime.cpu import host_target
from jit.runtime.cuda import cupy, gpu_target
from jit.runtime.executable import Executable
from jit.runtime.forks import compiling
from jit.runtime.hosts import pool_of
from jit.runtime.library import library
from jit.runtime.native import is_ready, native
from jit.runtime.program import HostStep, Launch, Repeat, Step

if TYPE_CHECKING:
    from jit.interpreted import Interpreted
    from jit.passes.base import Stages
    from jit.runtime.gpu import GpuExecutable
    from jit.runtime.gpu_code import GpuCode
    from jit.runtime.timing import Timing
    from jit.target import Target

Shape: TypeAlias = "tuple[int, ...]"
KEPT_SHAPES = 64
NONE_YET: Mapping[str, int] = MappingProxyType({})


class NativeCode:
    """A compiled graph; see `made` and `known`, which give it.

    Args:
        graph: With the inputs and outputs that it has; after all passes or before.
        optimised: Gives the graph after all passes, when somebody looks at it.
        plan: Its launches.
        run: The same, ready to run.
        found: How many different kernels were compiled, read from the disk, or known.
        donate: Pairs (input, output) that calls will offer.
        target: What it is for.

    Attributes:
        kernels: What a call launches.
        host_steps: What a call leaves to Python.
        foreign_calls: How many calls into native code it makes.
        found: How many different kernels were compiled, read from the disk, or known.
        recomputed: What a limit of memory has led to, if there is one.
    """

    def __init__(
        self,
        graph: Graph,
        optimised: Callable[[], Graph],
        plan: Plan,
        run: Executable | GpuExecutable,
        found: dict[str, int],
        donate: Pairs,
        target: Target,
    ) -> None:
        self._optimised, self._run, self.found = optimised, run, found
        self._donate, self._target = donate, target
        self._refused = 0  # bytes that temporaries did not fit, whatever was tried
        self._inputs = [value.type.shape for value in graph.inputs]
        self._outputs = [value.type.shape for value in graph.outputs]
        self._reshaped = [(k, type_) for k, type_ in enumerate(plan.outputs) if type_]
        self._varies = any(map(free_symbols, self._inputs))
        self._shapes: dict[Any, list[tuple[int, Shape]]] = {}  # by shapes of inputs that vary
        self._describe(plan)

    def _describe(self, plan: Plan) -> None:
        """Says what a call consists of."""
        steps = plan.program.steps
        self.kernels = [part for step in steps for part in launched(step)]
        self.host_steps = [part_of(step) for step in steps if isinstance(step, HostStep)]
        self.foreign_calls = self._run.foreign_calls
        self.recomputed = [] if plan.recomputed is None else [plan.recomputed]

    @classmethod
    def made(
        cls,
        graph: Graph,
        donate: Pairs,
        stages: Stages,
        *,
        hurry: bool = False,
        memory_limit: int | None = None,
        gpu: int | None = None,
        host: int = 0,
        key: str | None = None,
        guesses: Sequence[Guess] = (),
    ) -> NativeCode:
        """What is compiled, or found on the disk part by part.

        Args:
            graph: After all passes.
            donate: Pairs (input, output) that calls will offer: steps are ordered so that the
                output can take the memory of the input.
            stages: Where forms and launches are shown.
            hurry: It will run a few times only.
            memory_limit: Bytes that temporaries should fit.
            gpu: The number of the GPU that it is for; None: this computer's processor.
            host: Which of the devices of the processor it is for, whose threads share large
                launches.
            key: What `known` is to find it by; None: it is looked for by its forms.
            guesses: What was guessed of sizes, up to when this returns.

        Raises:
            NoNativeCode: Only the interpreter can run it.
        """
        from jit import launches  # the planner, loaded when something is planned
        from jit.forms.native import lower_for_code
        from jit.runtime.beside import Beside

        target = processor(hurry=hurry) if gpu is None else gpu_target(gpu)
        forms = lower_for_code(graph, target.units)
        stages.show("forms", forms, launches.LOOPS)
        if gpu is None:
            before = counts()
            given = graph.name, forms, donate, target, memory_limit, stages
            with Beside() as beside:  # planning needs no LLVM
                if not is_ready():
                    beside.do(native)
                plan, addresses = launches.for_host(*given, search=key is None)
            keys = keys_of(addresses)
            run, found = Executable(plan.program, addresses, pool_of(host)), counts(before)
        else:
            given = graph.name, forms, donate, target, memory_limit, stages
            plan, codes, keys = launches.for_gpu(*given)
            run, found = on_gpu(plan, codes, target, gpu)
        if key is not None:
            keep(key, replace(plan, guesses=[*guesses]), keys)
        return cls(graph, lambda: graph, plan, run, found, donate, target)

    @classmethod
    def known(
        cls,
        graph: Graph,
        optimised: Callable[[], Graph],
        key: str,
        donate: Pairs,
        *,
        hurry: bool = False,
        memory_limit: int | None = None,
        gpu: int | None = None,
        host: int = 0,
    ) -> NativeCode | None:
        """What was compiled before, if it is on the disk.

        Args:
            graph: As it was given.
            optimised: Gives it after all passes.
            key: What it was kept by.
            donate: As it was.
            hurry: As it was.
            memory_limit: As it was.
            gpu: As `made` takes it.
            host: As `made` takes it.
        """
        if gpu is not None:
            return cls._known_on_gpu(graph, optimised, key, donate, memory_limit, gpu)
        before, target = counts(), processor(hurry=hurry)
        found = recall(key, addresses_of)
        if found is None:
            return None
        plan, addresses = found
        run = Executable(plan.program, addresses, pool_of(host))
        return cls(graph, optimised, plan, run, counts(before), donate, target)

    @classmethod
    def _known_on_gpu(
        cls,
        graph: Graph,
        optimised: Callable[[], Graph],
        key: str,
        donate: Pairs,
        memory_limit: int | None,
        gpu: int,
    ) -> NativeCode | None:
        """The same for a GPU; kernels are planned again where a library refuses after all."""
        from jit.runtime import gpu_code  # loaded where there is a GPU

        target, found = gpu_target(gpu), recall(key, gpu_code.known)
        if found is None:
            return None
        plan, codes = found

        @cache
        def whole() -> dict[Kernel, Kernel]:
            from jit import launches
            from jit.forms.native import lower_for_code

            forms = lower_for_code(optimised(), target.units)
            given = graph.name, forms, donate, target, memory_limit
            again = launches.planned_for_gpu(*given)
            return dict(zip(kernels_of(plan.program), kernels_of(again.program), strict=True))

        run, count = on_gpu(plan, codes, target, gpu, whole)
        return cls(graph, optimised, plan, run, count, donate, target)

    @cached_property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return self._optimised()

    @cached_property
    def plan(self) -> Plan:
        """The launches with all of their kernels, for those who look at them: it is made again."""
        from jit import launches
        from jit.forms.native import lower_for_code

        forms = lower_for_code(self.graph, self._target.units)
        limit = self.recomputed[0].limit if self.recomputed else None
        return launches.planned(self.graph.name, forms, self._donate, self._target, limit)

    def __call__(self, arrays: list[Any], donate: Pairs = ()) -> list[Any]:
        """The outputs of the graph.

        Args:
            arrays: One for each input; see `jit.runtime.executable` for when one may be written.
            donate: Pairs (input, output): the output may take the memory of the input.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DualflowError: From an op, at the user's line.
        """
        results = self.attempt(arrays, donate)
        return self.node_by_node(arrays) if results is None else results

    def attempt(self, arrays: list[Any], donate: Pairs = ()) -> list[Any] | None:
        """The same, or None where a check fails."""
        try:
            results = self._run(arrays, donate)
        except LaunchFailed:
            return None
        except OutOfMemoryError as error:
            if error.room is None or not self._fit(error.room):
                raise
            return self.attempt(arrays, donate)  # nothing was launched
        return self._shaped(results, arrays) if self._reshaped else results

    def _fit(self, room: int) -> bool:
        """Computes values again from now on, so that temporaries fit what a GPU has left.

        Returns:
            Whether they do.
        """
        from jit import launches
        from jit.forms.native import lower_for_code
        from jit.passes.base import Stages

        name, target, run = self.graph.name, self._target, self._run
        if room <= self._refused or isinstance(run, Executable):
            return False
        with compiling, collector_paused(), compilation(name):
            given = name, lower_for_code(self.graph, target.units), self._donate, target, room
            plan, codes, _ = launches.for_gpu(*given, Stages(name))
        told = plan.recomputed
        if told is None or not told.fits:
            self._refused = room
            return False
        self._run, self.found = on_gpu(plan, codes, target, run.device)
        vars(self).pop("plan", None)
        self._describe(plan)
        warnings.warn(f"{name} does not fit the GPU: {told}", RuntimeWarning, stacklevel=2)
        return True

    def node_by_node(self, arrays: list[Any]) -> list[Any]:
        """The outputs where a check has failed, as eager execution has them.

        Raises:
            DualflowError: From the op that is to blame, at the user's line, with its own words.
        """
        results = self.interpreted(arrays)
        return results if self._target.is_gpu else self.by_nodes(arrays)

    def timed(self, arrays: list[Any]) -> tuple[list[Any], list[Cost]]:
        """The outputs, and what each part of the call cost.

        Raises:
            GuardMiss: As a call does.
            DualflowError: As a call does.
        """
        try:
            results, timings = self._timed(arrays)
        except LaunchFailed:
            return self.node_by_node(arrays), []
        sizes = self._sizes(arrays)
        costs = []
        for timing in timings:
            first, *_ = steps = timing.steps
            operations = sum(int(evaluate(number, sizes)) for s in steps for number in work_of(s))
            costs.append(Cost(part_of(first), timing.seconds, len(steps), timing.bytes, operations))
        return self._shaped(results, arrays), costs

    def _timed(self, arrays: list[Any]) -> tuple[list[Any], list[Timing]]:
        from jit.runtime.timing import timed

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
        self,
        arrays: Sequence[Any],
        inputs: Shapes | None = None,
        outputs: Shapes | None = None,
        **how: Any,
    ) -> Callable[..., list[Any] | None] | None:
        """The quickest way to call it again with arrays like these; see `Binding.direct`."""
        if outputs is None:
            sizes = self._sizes(arrays)
            outputs = [tuple([evaluate(d, sizes) for d in shape]) for shape in self._outputs]
        return self._run.direct(arrays, inputs, outputs, **how)

    def _sizes(self, arrays: Sequence[Any]) -> dict[str, int]:
        return solve(self._inputs, [array.shape for array in arrays])

    @cached_property
    def interpreted(self) -> Interpreted:
        """The same graph, run node by node."""
        from jit.interpreted import Interpreted

        return Interpreted(self.graph, cupy() if self._target.is_gpu else np)

    @cached_property
    def by_nodes(self) -> Interpreted:
        """The same graph, each node by code of its own: NumPy has last bits of its own."""
        from jit.interpreted import Interpreted

        return Interpreted(self.graph, evaluate=by_own_code)


def by_own_code(node: Node) -> Callable[..., Any]:
    """What computes a node as eager execution does; it is called as `evaluate` is."""
    from jit.passes.base import Stages

    graph = Graph(node.op.name)
    inputs = [graph.input(value.type) for value in node.inputs]
    types = tuple([value.type for value in node.outputs])
    graph.outputs = list(graph.add(node.op, inputs, node.attrs, types))
    sizes = {s for value in graph.inputs for s in free_symbols(value.type.shape)}
    if not types or not sizes.issuperset(s for type_ in types for s in free_symbols(type_.shape)):
        return node.op.evaluate
    try:
        code = NativeCode.made(graph, (), Stages(graph.name))
    except NoNativeCode:
        return node.op.evaluate

    def evaluate(xp: ModuleType, *arrays: Any, **attrs: Any) -> Any:
        results = code.attempt(list(arrays))
        if results is None:
            return node.op.evaluate(xp, *arrays, **attrs)
        return tuple(results) if len(types) > 1 else results[0]

    return evaluate


def on_gpu(
    plan: Plan,
    codes: Mapping[Kernel, GpuCode],
    target: Target,
    number: int,
    whole: Callable[[], Mapping[Kernel, Kernel]] | None = None,
) -> tuple[GpuExecutable, dict[str, int]]:
    """A plan with its code, ready to run on a GPU, and how many kernels it has."""
    from jit.runtime.gpu import GpuExecutable  # loaded where there is a GPU
    from jit.runtime.gpu_code import Codes

    run = GpuExecutable(plan.program, Codes(target, codes, whole), number)
    return run, {"for the GPU": len({*codes.values()})}


def processor(*, hurry: bool) -> Target:
    """This computer's processor, for what runs a few times only, or often."""
    return replace(host_target(), hurry=hurry)


def counts(before: Mapping[str, int] = NONE_YET) -> dict[str, int]:
    """How many kernels the library has found in which way, since it had found those `before`."""
    tallies = library().tallies
    ways = ("compiled", "from disk", "in memory")
    return {way: tallies[way].count - before.get(way, 0) for way in ways}


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
