"""From a Graph to something that runs: the stages of compilation, in their order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property, partial
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jit.collector import collector_paused
from jit.config import config, holding
from jit.dataclass import dataclass
from jit.dims import Guess, guessing, note, recording_guesses
from jit.errors import DeviceError, NoNativeCode
from jit.interpreted import Interpreted
from jit.ir.graph import Graph, Node
from jit.ir.op import OpDef
from jit.ir.printer import is_graph
from jit.progress import compilation
from jit.report import Cost, Part, Watched, counted
from jit.runtime.forks import compiling

if TYPE_CHECKING:
    from jit.divided import Divided, Placed
    from jit.native import NativeCode
    from jit.passes.base import GraphPass, PassRecord, Stages
    from jit.report import Recomputed

Device: TypeAlias = "str | tuple[str, ...]"
Pairs: TypeAlias = "tuple[tuple[int, int], ...]"

COMPILATIONS, TIMES = 1, 2  # levels of JIT_DEBUG
TARGETS = {
    "cpu": "compiled",
    "gpu": "compiled",
    "interpreter": "interpreted",
}  # a target and how its code runs


class Passed:
    """A graph, and what the passes make of it, once somebody asks.

    Args:
        source: As it was given.
        passes: Gives those that run.

    Attributes:
        source: As it was given, as long as somebody may need it.
        records: What each pass did, as soon as they ran.
        seconds: What that took.
    """

    def __init__(self, source: Graph, passes: Callable[[], Sequence[GraphPass]]) -> None:
        self.source, self._passes = source, passes
        self._settings, self._guesses = config(), guessing()
        self.records: Sequence[PassRecord] = ()
        self.seconds = 0.0

    @cached_property
    def stages(self) -> Stages:
        """Where the stages of its compilation are shown."""
        from jit.passes.base import Stages

        return Stages(self.source.name)

    @cached_property
    def graph(self) -> Graph:
        """The graph after all passes, by the settings and with the guesses of when it was given."""
        from jit.passes.base import run_passes  # loaded when something is compiled

        start = time.perf_counter()
        late = self._guesses and not guessing()
        with recording_guesses([]) if late else nullcontext(), holding(self._settings):
            made, self.records = run_passes(self.source, self._passes(), self.stages)
        self.seconds = time.perf_counter() - start
        return made

    def forget(self) -> None:
        """Lets go of the graph as it was given, unless the passes are still to run."""
        if "graph" in vars(self):
            del self.source


@dataclass(frozen=True, eq=False)
class Executable:
    """A graph made ready for a target; call it with arrays.

    Attributes:
        passed: What the passes make of the graph.
        run: The code: `run(arrays, donate)` gives the graph's outputs.
        code: The same, without a clock that JIT_DEBUG may have asked for.
        mode: How it runs: "compiled" or "interpreted".
        seconds: What each phase of compilation took.
    """

    passed: Passed
    run: Callable[..., list[Any]]
    code: NativeCode | Interpreted | Divided
    mode: str
    seconds: Mapping[str, float]

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return self.passed.graph

    @property
    def passes(self) -> Sequence[PassRecord]:
        """What each pass did; nothing yet, where code of before was found without them."""
        return self.passed.records

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The graph's outputs for `arrays`, one for each of its inputs; they may share memory.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DualflowError: From an op, at the user's line.
        """
        return self.run(arrays)

    @property
    def kernels(self) -> Sequence[Part]:
        """What a call launches."""
        return self.code.kernels

    @property
    def host_steps(self) -> Sequence[Part]:
        """What a call leaves to Python; all steps, where the graph is interpreted."""
        return self.code.host_steps

    @property
    def foreign_calls(self) -> int:
        """How many calls into native code a call makes: host steps split it."""
        return self.code.foreign_calls

    @property
    def placement(self) -> list[Placed]:
        """What runs on which device, and the copies between, if there are several."""
        placed = getattr(self.code, "placed", list)  # of code for one device there is none
        return placed()

    @property
    def recomputed(self) -> Sequence[Recomputed]:
        """What a limit of memory has led to, on each device; nothing without one."""
        return self.code.recomputed

    def timed(self, arrays: list[Any]) -> list[Cost]:
        """What each part of a call costs, by a clock between them."""
        return self.code.timed(arrays)[1]

    def direct(self, arrays: Sequence[Any], **shapes: Any) -> Callable[..., Any] | None:
        """The quickest way to call it again with arrays like these, if there is one.

        Args:
            arrays: One for each input; their shapes count.
            **shapes: `inputs=` and `outputs=`, lists of shapes in which arrays come and results
                go, if those are not the graph's: as many elements in the same order. For a GPU
                `alone=True` of an op by itself, which may be more launches.

        Returns:
            `direct(*arrays)`, a builtin function that gives a list of the outputs, or None where an
            array does not fit or a check failed; then a call of the executable tells.
        """
        if isinstance(self.code, Interpreted) or self.run is not self.code:
            return None
        return self.code.direct(arrays, **shapes)


def compile(
    graph: Graph,
    target: Device | None = None,
    *,
    ops: Mapping[str, OpDef] = MappingProxyType({}),
    xp: ModuleType = np,
    donate: Pairs = (),
    hurry: bool = False,
    fast: bool = False,
    memory_limit: int | None = None,
) -> Executable:
    """Make `graph` ready to run.

    Args:
        graph: Stays as it is.
        target: What to run it on: "cpu", "cpu:1", "gpu:0" (and so on), or "interpreter", node by
            node through `evaluate`; by default what JIT_TARGET says. A tuple of devices, the first
            for what lies nowhere: each part runs where its arrays come from (`jit.divided`).
        ops: Op records by name that passes may bring into the graph beside those it has.
        xp: The array module of the interpreter; anything but NumPy is interpreted.
        donate: Pairs (input, output) that calls will offer: the output may take the memory of the
            input, so what writes it comes late.
        hurry: It will run a few times only: code is made in half of the time, and is slower.
        fast: Results may be rounded elsewhere than node by node.
        memory_limit: Bytes that the temporaries of a call should fit: some are computed again where
            they do not (`jit.recompute`).

    Raises:
        DeviceError: There is no such target.
        GraphError: The graph is not valid (checked under JIT_CHECK=1).
    """
    target = target or config().target
    start = time.perf_counter()
    native = "interpreter" not in (target, config().target) and xp is np
    passes = rules if isinstance(target, tuple) else partial(pipeline, target=target)
    passed = Passed(graph, lambda: passes(ops, native=native, fast=fast))
    with compiling, collector_paused(), compilation(graph.name):
        if isinstance(target, tuple):
            from jit.divided import Divided

            part = partial(compile, ops=ops, hurry=hurry, fast=fast, memory_limit=memory_limit)
            code = Divided(passed.graph, target, lambda each, place: part(each, place).code)
        else:
            name, number = taken_apart(target)
            code = None
            if native:
                place: dict[str, Any] = {"gpu" if name == "gpu" else "host": number}
                place["memory_limit"] = memory_limit
                code = native_code(passed, ops, donate, hurry=hurry, fast=fast, **place)
            if code is None:
                code = Interpreted(passed.graph, array_module_of(number) if name == "gpu" else xp)
    total = time.perf_counter() - start
    seconds = {"passes": passed.seconds, "code": total - passed.seconds}
    mode = TARGETS["cpu" if native and not isinstance(code, Interpreted) else "interpreter"]
    debug = config().debug
    run = Watched(graph.name, code) if debug >= TIMES else code
    made = Executable(passed, run, code, mode, seconds)
    if (kept := _kept.get()) is not None:
        kept[made] = graph
    if debug >= COMPILATIONS:
        tell(made, debug)
    passed.forget()
    return made


def taken_apart(target: str) -> tuple[str, int]:
    """The name and the number of a target.

    Raises:
        DeviceError: There is no such target.
    """
    name, _, number = target.partition(":")
    if name not in TARGETS or (number and not (name in ("cpu", "gpu") and number.isdigit())):
        raise DeviceError(
            f"jit.compile: there is no target {target!r}",
            f"one of {', '.join(map(repr, TARGETS))}",
            "leave `target` out",
        )
    return name, int(number or 0)


@contextmanager
def keeping() -> Iterator[dict[Executable, Graph]]:
    """Keeps the graph that each executable is made of, for what is compiled inside of a `with`."""
    token = _kept.set({})
    try:
        yield _kept.get()  # pyright: ignore[reportReturnType]
    finally:
        _kept.reset(token)


_kept: ContextVar[dict[Executable, Graph] | None] = ContextVar("jit.kept", default=None)


def array_module_of(gpu: int) -> ModuleType:
    """The array module of a GPU, which must be there."""
    del gpu
    from jit.runtime.cuda import cupy

    return cupy()


def native_code(
    passed: Passed,
    ops: Mapping[str, OpDef],
    donate: Pairs,
    *,
    hurry: bool,
    fast: bool,
    memory_limit: int | None = None,
    gpu: int | None = None,
    host: int = 0,
) -> NativeCode | None:
    """Machine code for this computer, or its GPU; None for what only the interpreter can run.

    Args:
        passed: The graph, of which no pass is asked if there is code of before.
        ops: As `compile` takes it.
        donate: As `compile` takes it.
        hurry: As `compile` takes it.
        fast: As `compile` takes it.
        memory_limit: As `compile` takes it.
        gpu: The number of the GPU; None: it is for the processor.
        host: The number of the processor's device.
    """
    from jit import native  # loaded when something is compiled
    from jit.plans import graph_key

    code, guesses = native.NativeCode, list[Guess]()
    place = {"hurry": hurry, "memory_limit": memory_limit, "gpu": gpu, "host": host}
    target = native.processor(hurry=hurry) if gpu is None else native.gpu_target(gpu)
    how = {"fast": fast, "memory_limit": memory_limit}
    key = graph_key(passed.source, ops, donate, target, **how)
    if key is not None:
        known = code.known(passed.source, lambda: passed.graph, key, donate, **place)
        if known is not None:
            return known
    try:
        with recording_guesses(guesses) if guessing() else nullcontext():
            place |= {"key": key, "guesses": guesses}
            return code.made(passed.graph, donate, passed.stages, **place)
    except NoNativeCode as reason:
        if config().debug >= COMPILATIONS:
            sys.stderr.write(f"# {passed.source.name}: interpreted, because of {reason}\n")
        return None
    finally:
        for guess in guesses:
            note(guess)


def tell(made: Executable, debug: int) -> None:
    """Levels 1 and 2 of JIT_DEBUG: the compilation, and what each pass did."""
    given = len(made.passed.source.nodes)
    parts = [f"{given} -> {len(made.graph.nodes)} nodes" if made.passes else f"{given} nodes"]
    if not isinstance(made.code, Interpreted):
        found = [f"{count} {way}" for way, count in made.code.found.items() if count]
        parts.append(f"{counted(len(made.kernels), 'kernel')} ({', '.join(found) or 'none'})")
    parts += [counted(len(made.host_steps), "host step")] if made.host_steps else []
    spent = 1e3 * sum(made.seconds.values())
    name = made.passed.source.name
    sys.stderr.write(f"# {name}: {made.mode}, {', '.join(parts)}, {spent:.1f} ms\n")
    if debug >= TIMES:
        sys.stderr.write("".join(f"#   {line}\n" for line in told_of(made.passes)))


def told_of(passes: Sequence[PassRecord]) -> Iterator[str]:
    """What each pass did, in lines; those that did nothing share one."""
    yield from (str(each) for each in passes if each.changed)
    if idle := [each for each in passes if not each.changed]:
        names, seconds = {each.name: None for each in idle}, sum(each.seconds for each in idle)
        yield f"unchanged by {', '.join(names)}, {1e3 * seconds:.1f} ms"


def is_foldable(node: Node) -> bool:
    """Whether NumPy gives the bits that native code gives."""
    from jit.forms.exact import is_computed_alike

    types = [value.type for value in node.inputs]
    if any(map(is_graph, node.attrs.values())):
        return False
    return is_computed_alike(node.op, types, node.attrs) is not False


def costs(node: Node) -> bool:
    """Whether a node computes something; views do not."""
    from jit.forms.native import is_computed

    return is_computed(node)


def can_repeat(body: Graph) -> bool:
    """Whether machine code can be made of the body of a loop."""
    from jit.forms.native import is_repeatable

    return is_repeatable(body)


def is_chain(sizes: Sequence[int], dtype: str, precision: str) -> bool:
    """Whether machine code computes a product, and each of its sums is one chain."""
    from jit.forms.matrices import is_chain

    return is_chain(sizes, dtype, precision)


def leads(node: Node, precision: str) -> bool:
    """Whether a node is a product of matrices that a kernel computes, with what follows it."""
    from jit.forms.matrices import is_for_kernels

    if not node.op.multiplies or any(x.type.ndim != 2 for x in node.inputs):
        return False
    (rows, inner), (_, columns) = [x.type.shape for x in node.inputs]
    sizes, dtype = (rows, columns, inner), node.outputs[0].type.dtype.name
    return all(isinstance(n, int) for n in sizes) and is_for_kernels(sizes, dtype, precision)  # type: ignore[arg-type]


def library_of(target: str) -> str:
    """In which precision a target's library multiplies matrices of float32; "": it has none."""
    name, number = taken_apart(target)
    if name != "gpu":
        return ""
    from jit import native

    return native.gpu_target(number).products


def is_product(node: Node) -> bool:
    """Whether a node reads its operands from memory in any case."""
    from jit.forms.native import is_product

    return is_product(node)


def is_map(node: Node) -> bool:
    """Whether a node takes its inputs element by element."""
    from jit.forms.native import is_map

    return is_map(node)


def is_light(node: Node) -> bool:
    """Whether that is as cheap as to read its result."""
    from jit.forms.native import is_light

    return is_light(node)


def pipeline(
    ops: Mapping[str, OpDef] = MappingProxyType({}),
    *,
    native: bool = False,
    fast: bool = False,
    target: str = "cpu",
) -> tuple[GraphPass, ...]:
    """The passes over graphs, in the order in which `compile` runs them."""
    from jit.passes.collect import Collect
    from jit.passes.loops import Loops
    from jit.passes.outline import Outline
    from jit.passes.products import Products
    from jit.passes.reroll import Reroll
    from jit.passes.rotate import Rotate

    on_gpu = target.startswith("gpu")
    passes = rules(ops, native=native, fast=fast, tiles=native and not on_gpu)
    if not native:
        return passes
    given = Loops(passes, costs, can_repeat)
    precision = library_of(target)
    # First of all, so that one iteration goes through the others, not all of them.
    return (
        given,
        Reroll(passes, costs, can_repeat),
        Collect(can_repeat),
        Products(can_repeat, partial(is_chain, precision=precision)),
        *([Rotate(can_repeat, partial(leads, precision=precision))] if on_gpu else []),
        Outline(passes, is_product, costs, is_map, is_light, can_repeat),
        *passes,
    )


def rules(
    ops: Mapping[str, OpDef], *, native: bool, fast: bool, tiles: bool = False
) -> tuple[GraphPass, ...]:
    """Those of them that make nothing of several nodes together.

    Args:
        ops: As `compile` takes it.
        native: Machine code is made.
        fast: As `compile` takes it.
        tiles: Whether convolutions may then be computed in tiles: for a processor.
    """
    from jit.passes.algebra import Algebra
    from jit.passes.cleanup import CommonSubexpressions, DeadCode
    from jit.passes.fast import Fast
    from jit.passes.fold import FoldConstants

    by_tiles: list[GraphPass] = []
    if fast and tiles:
        from jit.passes.winograd import Winograd  # loaded where it is asked for

        by_tiles.append(Winograd())
    return (
        DeadCode(),
        FoldConstants(foldable=is_foldable) if native else FoldConstants(),
        CommonSubexpressions(),  # so that the same value is one value to the rules
        Algebra(ops),
        *([Fast(ops)] if fast else []),
        *by_tiles,
        CommonSubexpressions(),  # what the rules made equal
        DeadCode(),  # what the rules left unused
    )
