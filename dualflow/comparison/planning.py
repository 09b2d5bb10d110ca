"""`df.plan`: what compiling a function would give, before any machine code is made.

The function is recorded, with its graphs left to the interpreter, and called with other numbers and
other sizes: so what each change will cost is found by trying, not by rules that might be others.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dualflow.comparison.both import Both, in_both
from dualflow.comparison.report import count, cut, size
from dualflow.core import tree
from dualflow.core.convert import as_tensor
from dualflow.core.op import registry
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.function import Function
from jit.compiler import Executable, keeping, pipeline
from jit.config import configure
from jit.dataclass import dataclass
from jit.dims import free_symbols
from jit.errors import NoNativeCode
from jit.forms.native import lower_for_code
from jit.ir.builtin import constant
from jit.ir.graph import Graph
from jit.planner import plan as launches_of
from jit.runtime import blocks
from jit.runtime.cpu import host_target
from jit.runtime.memory import donors
from jit.runtime.program import HostStep, Program, Slot
from jit.runtime.tables import Numbering, byte_size

Graphs = dict[Executable, Graph]  # as recorded, by what was made of them
TRIED = 3  # other values of an argument
MOST = 12  # changes that are tried
WIDTH = 80


@dataclass(frozen=True)
class Change:
    """A change of an argument, and what it will cost.

    Attributes:
        where: Which argument, or which extent.
        now: What it is now.
        recordings: After each of some other values, one more each time, how many more recordings
            there were; None if the function does not take another value.
    """

    where: str
    now: str
    recordings: tuple[int, ...] | None

    @property
    def cost(self) -> str:
        """In words."""
        if self.recordings is None:
            return "it takes no other"
        if not any(self.recordings):
            return "no recording"
        if self.recordings[-1] == self.recordings[0]:
            return "1 recording more, for all others"
        if self.recordings[-1] == len(self.recordings):
            return "1 recording for each value"
        return f"{self.recordings[-1]} recordings for {len(self.recordings)} others"


@dataclass(frozen=True)
class Planned:
    """What would be launched for a path.

    Attributes:
        program: Its launches.
        numbering: Where its values lie when.
        taken: Outputs that take the memory of an input: which one.
    """

    program: Program
    numbering: Numbering
    taken: dict[int, int]


@dataclass(frozen=True)
class Plan:
    """What compiling would give.

    Attributes:
        name: The function.
        mode: How calls would run: "compiled", or "segments" and why.
        ops: Ops that are recorded.
        constants: Values of the graph that no call changes: their types, and the lines.
        guards: What calls rely on, in words: Python's state, and answers to questions about values.
        effects: What calls do besides computing.
        changes: What other arguments will cost.
        kernels: What would be launched: the ops of each kernel, and its line.
        host_steps: What Python would compute.
        bytes: Memory of a call: arguments, state, temporaries, results; None if it depends.
    """

    name: str
    mode: str
    ops: int
    constants: tuple[str, ...]
    guards: tuple[str, ...]
    effects: tuple[str, ...]
    changes: tuple[Change, ...]
    kernels: tuple[str, ...]
    host_steps: tuple[str, ...]
    bytes: int | None

    def __str__(self) -> str:
        memory = "" if self.bytes is None else f", {size(self.bytes)}"
        host = f", {count(len(self.host_steps), 'host step')}" if self.host_steps else ""
        head = (
            f"{self.name}: {self.mode}; {count(self.ops, 'op')} in "
            f"{count(len(self.kernels), 'kernel')}{host}{memory}"
        )
        lines = [head]
        lines += [f"  {c.where} is {c.now}; another: {c.cost}" for c in self.changes]
        lines += [f"  relies on {text}" for text in self.guards]
        lines += [f"  constant {text}" for text in self.constants]
        lines += [f"  replays: {text}" for text in self.effects]
        lines += [f"  kernel {text}" for text in self.kernels]
        lines += [f"  on the host: {text}" for text in self.host_steps]
        return "\n".join(cut(line, WIDTH) for line in lines)


def plan(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Plan:
    """Tells what compiling a call of `f` would give, and what other arguments will cost.

    No machine code is made, and state is put back, as by `df.compare`.

    Args:
        f: A function, decorated or not.
        *args: Arguments of a call.
        **kwargs: Arguments of a call.

    Returns:
        A Plan; print it.

    Example:
        >>> import dualflow as df
        >>> print(df.plan(lambda x, k: df.tanh(x) * k, df.ones(3), 2))
        <lambda>: compiled; 3 ops in 1 kernel, 24 bytes
          x.shape[0] is 3; another: 1 recording more, for all others
          k is 2; another: 1 recording more, for all others
          constant float32[] 2.0 ...
          kernel tanh_multiply ...
    """
    return in_both(f, args, kwargs, planned)


def recordings(f: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> int:
    """How many recordings a sequence of calls will take; nothing is compiled, state is put back.

    Args:
        f: A function, decorated or not.
        calls: The positional arguments of each call.
    """

    def tried(both: Both) -> int:
        function = both.decorated(both.python)
        for each in calls:
            quietly(function, each, {})
        return function.recordings

    return in_both(f, calls[0], {}, tried)


def quietly(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Calls a function without machine code; whether it took the arguments."""
    with configure(target="interpreter"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except Exception:  # the user's own, or ours about sizes that do not fit
            return False
    return True


def planned(both: Both) -> Plan:
    """The plan for a call."""
    function, graphs = recorded(both)
    paths = [path for entry in function.entries.values() for path in entry.parts]
    explained = function.explain()
    given = [graphs[path.executable] for path in paths if path.executable in graphs]
    made = programs_of(function, graphs)
    programs = [each.program for each in made]
    launches = [step for program in programs for step in program.launches()]
    hosts = [s for program in programs for s in program.steps if isinstance(s, HostStep)]
    memory = [bytes_of(each) for each in made]
    return Plan(
        name=function.name,
        mode=function.mode.replace("interpreted", "compiled"),
        ops=sum(path.ops for path in paths),
        constants=tuple(told for graph in given for told in constants_of(graph)),
        guards=tuple(dict.fromkeys(filter(told, (x for i in explained.traces for x in i.guards)))),
        effects=tuple(explained.effects),
        changes=tuple(changes(both)),
        kernels=tuple(f"{x.label}  {x.source or ''}".rstrip() for x in launches),
        host_steps=tuple(f"{x.label}  {x.source or ''}".rstrip() for x in hosts),
        bytes=None if not memory or None in memory else max(x for x in memory if x is not None),
    )


def recorded(both: Both) -> tuple[Function, Graphs]:
    """The function after calls without machine code, and the graphs of its paths."""
    function = both.decorated(both.python)
    with keeping() as graphs:
        for _ in range(2):  # what the first call creates is there for the second
            both.snapshot.start()
            quietly(function, *both.call.given)
    return function, graphs


def told(guard: str) -> bool:
    """Whether a guard is worth a line: names of modules stay what they are."""
    return not guard.endswith("is module object")


# ----- what changes cost -----


def changes(both: Both) -> Iterator[Change]:
    """Other values of the arguments, one after the other."""
    call = both.call
    tensors = [x for x in call.leaves if isinstance(x, Tensor) and not isinstance(x, Variable)]
    extents = {d: None for x in tensors for d in x.shape if d >= 2}
    tried = 0
    for extent in extents:
        where = ", ".join(places(both, extent))
        others = [resized(both, extent, extent + k) for k in range(1, TRIED + 1)]
        if tried < MOST:
            tried += 1
            yield Change(where, str(extent), cost(both, others))
    for k, (name, x) in enumerate(zip(both.names, call.leaves, strict=False)):
        others = values_beside(x)
        if others and tried < MOST:
            tried += 1
            yield Change(name, repr(x), cost(both, [replaced(both, k, y) for y in others]))


def cost(both: Both, others: Sequence[Any]) -> tuple[int, ...] | None:
    """How many more recordings there are after each of other arguments."""
    function, found = both.decorated(both.python), []
    both.snapshot.start()
    quietly(function, *both.call.given)
    before = function.recordings
    for args, kwargs in others:
        both.snapshot.start()
        if not quietly(function, args, kwargs):
            return None
        found.append(function.recordings - before)
    return tuple(found)


def places(both: Both, extent: Any) -> list[str]:
    """The axes of arguments that have an extent."""
    return [
        f"{name}.shape[{axis}]"
        for name, x in zip(both.names, both.call.leaves, strict=False)
        if isinstance(x, Tensor) and not isinstance(x, Variable)
        for axis, d in enumerate(x.shape)
        if d == extent
    ]


def resized(both: Both, extent: Any, to: int) -> Any:
    """The arguments with another size wherever one size is."""
    leaves = [
        as_tensor(np.resize(x.raw, [to if d == extent else d for d in x.shape]))
        if isinstance(x, Tensor) and not isinstance(x, Variable)
        else x
        for x in both.call.leaves
    ]
    return tree.unflatten(both.call.spec, leaves)


def replaced(both: Both, k: int, x: Any) -> Any:
    """The arguments with another leaf."""
    leaves = list(both.call.leaves)
    leaves[k] = x
    return tree.unflatten(both.call.spec, leaves)


def values_beside(x: Any) -> list[Any]:
    """Other values of a plain argument."""
    if isinstance(x, bool):
        return [not x]
    if isinstance(x, int | float):
        return [x + k for k in range(1, TRIED + 1)]
    return []


# ----- what would be made -----


def programs_of(function: Function, graphs: Graphs) -> list[Planned]:
    """What would be launched for each path."""
    found = []
    for path in (path for entry in function.entries.values() for path in entry.parts):
        if (graph := graphs.get(path.executable)) is None:
            continue
        program = program_of(graph, fast=function.options["fast"])
        if program is not None:
            found.append(numbered(program, path.donated))
    return found


def numbered(program: Program, donated: Sequence[tuple[int, int]]) -> Planned:
    """The memory plan of a program, by which it would run.

    Args:
        program: Its launches.
        donated: Pairs (input, output): the second may take the memory of the first.
    """
    functions = {launch.kernel: number for number, launch in enumerate(program.launches(), 1)}
    numbering = Numbering(program, functions, defaultdict(lambda: len(functions) + 1))
    fit = [
        (old, new)
        for old, new in donated
        if same_type(program.slots[program.inputs[old]], program.slots[program.outputs[new]])
    ]
    taken = donors(program, fit, numbering.times, numbering.may_fail)
    return Planned(program, numbering, taken)


def same_type(a: Slot, b: Slot) -> bool:
    """Whether two slots hold arrays of one shape and dtype."""
    return a.type == b.type


def program_of(graph: Graph, *, fast: bool = False) -> Program | None:
    """The launches of a graph, without their code; None where only the interpreter can run it."""
    for each in pipeline(registry, native=True, fast=fast):
        graph = each.run(graph)
    try:
        return launches_of(graph.name, lower_for_code(graph), host_target()).program
    except NoNativeCode:
        return None


def bytes_of(planned: Planned) -> int | None:
    """Memory of a call; None where it depends on sizes that vary."""
    program = planned.program
    if any(free_symbols(slot.type.shape) for slot in program.slots):
        return None
    outputs = [slot for number, slot in enumerate(program.outputs) if number not in planned.taken]
    constants = [k for k, slot in enumerate(program.slots) if slot.role == "constant"]
    lasting = dict.fromkeys([*program.inputs, *constants])
    kept = sum(byte_size(program, slot, {}) for slot in lasting)
    made = [byte_size(program, slot, {}) for slot in dict.fromkeys(outputs) if slot not in lasting]
    return kept + sum(map(in_blocks, [*made, planned.numbering.arena({}).size]))


def in_blocks(size: int) -> int:
    """What memory of so many bytes takes: large pieces are rounded up, to be used again."""
    return size if size < blocks.RECYCLED else blocks.rounded(size)


def constants_of(graph: Graph) -> Iterator[str]:
    """The constants of a graph, in words."""
    for node in graph.nodes:
        if node.op is constant:
            value = node.attrs["value"]
            shown = f" {value.item()!r}" if value.size == 1 else ""
            yield f"{node.outputs[0].type}{shown}  {node.source or ''}".rstrip()
