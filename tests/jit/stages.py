"""A graph at every stage of its compilation, each of which can be run: what tests compare.

    evaluated    node by node through `evaluate`, in NumPy
    lowered      through the forms of each node, in NumPy
    merged       the forms that the planner is given, in NumPy
    naive        scalar kernels, interpreted
    scheduled    kernels as they are made into code, interpreted
    direct       the same, in direct instructions only
    machine      their machine code, one kernel after the other
    native       all of it, as it is run

The last five follow one order of summation, so they give the same bits.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

import jit
from jit.dims import evaluate, solve
from jit.forms.native import lower_for_code
from jit.forms.nodes import Guard
from jit.forms.oracle import evaluate_lowered, evaluate_program
from jit.forms.placement import extent_hint
from jit.forms.program import FormProgram
from jit.interpreted import Interpreted
from jit.ir.graph import Graph, Value
from jit.ir.loop import COUNTER
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import Kernel
from jit.loops.verify import verify
from jit.native import NativeCode
from jit.planner import ADDITION, Plan, plan
from jit.runtime.cpu import host_target as host
from jit.runtime.library import library
from jit.runtime.program import GuardStep, HostStep, Launch, Move, Program, Repeat
from jit.target import Target
from tests.jit.loops.native import all_items

Array = np.ndarray[Any, Any]
IN_NUMPY = ("evaluated", "lowered", "merged")
IN_ORDER = ("naive", "scheduled", "direct", "machine", "native")
UNSET = 0xA5  # bytes of memory that nobody has written: no number that a test expects
MARGIN = 256  # bytes before and behind each value
Run = Callable[[Kernel, Sequence[Array], Sequence[int]], bool]
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Stages:
    """The stages of a graph.

    Args:
        graph: As it was recorded.
        target: The machine that kernels are made for; this one by default.

    Attributes:
        graph: After all passes.
    """

    def __init__(self, graph: Graph, target: Target | None = None) -> None:
        self.given = graph
        self.target = target or host()
        self.executable = jit.compile(graph)
        self.graph = self.executable.graph

    @property
    def is_native(self) -> bool:
        """Whether there is machine code at all."""
        return isinstance(self.executable.code, NativeCode)

    @cached_property
    def forms(self) -> FormProgram:
        """What the planner is given."""
        return lower_for_code(self.graph, self.target.units)

    @cached_property
    def plan(self) -> Plan:
        """Launches of naive kernels."""
        return plan(self.graph.name, self.forms, self.target)

    @property
    def kernels(self) -> list[Kernel]:
        """Every kernel, naive."""
        return [step.kernel for step in self.plan.program.launches()]

    def run(self, stage: str, arrays: Sequence[Any]) -> list[Array]:
        """The outputs of a stage for `arrays`."""
        with np.errstate(all="ignore"):
            return [np.asarray(x) for x in RUNNERS[stage](self, list(arrays))]

    def run_kernels(self, arrays: Sequence[Array], run: Run) -> list[Array]:
        """The outputs, kernel by kernel."""
        outs = run_program(self.plan.program, arrays, run)
        sizes = solve([x.type.shape for x in self.graph.inputs], [np.shape(x) for x in arrays])
        shapes = [[evaluate(n, sizes) for n in x.type.shape] for x in self.graph.outputs]
        return [out.reshape(shape) for out, shape in zip(outs, shapes, strict=True)]

    def run_native(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of the machine code; falling back to the interpreter counts as a failure."""
        code = self.executable.code
        assert isinstance(code, NativeCode)
        vars(code)["interpreted"] = refuse
        return self.executable(arrays)


def refuse(arrays: Sequence[Array]) -> Any:
    """Stands where a failed launch is run again, by the interpreter."""
    raise AssertionError("a check failed")


# ----- kernel by kernel -----


def run_program(program: Program, arrays: Sequence[Array], run: Run) -> list[Array]:
    """The outputs of a program, step by step."""
    shapes = [program.slots[slot].type.shape for slot in program.inputs]
    sizes = solve(shapes, [np.shape(array) for array in arrays])
    rooms = [
        Room([evaluate(n, sizes) for n in slot.type.shape], slot.type.dtype, slot.value)
        for slot in program.slots
    ]
    for slot, array in zip(program.inputs, arrays, strict=True):
        rooms[slot].array[...] = np.reshape(array, rooms[slot].array.shape)
    for step in program.steps:
        match step:
            case Launch():
                launch(step, [rooms[slot] for slot in step.buffers], sizes, run)
            case Repeat():
                repeat(step, program, rooms, sizes, run)
            case HostStep():
                made = step.run([rooms[slot].array for slot in step.inputs], sizes)
                for slot, array in zip(step.outputs, made, strict=True):
                    rooms[slot].array[...] = array
            case GuardStep():
                answer = rooms[step.slot].array.item()
                assert type(step.expected)(answer) == step.expected
    return [rooms[slot].array for slot in program.outputs]


def repeat(
    step: Repeat, program: Program, rooms: Sequence[Room], sizes: dict[str, int], run: Run
) -> None:
    """The turns of a loop: slots that move are places in the memory of others."""
    assert isinstance(step.count, int)
    assert step.going is None
    numbers: dict[int, int] = {}
    places = {slot: (room, 0) for slot, room in enumerate(rooms)}

    def move(each: Move) -> None:
        by = evaluate(each.by, sizes)
        if each.source is None or each.source in numbers:
            numbers[each.slot] = by + (0 if each.source is None else numbers[each.source])
        else:
            room, start = places[each.source]
            places[each.slot] = room, start + by

    def array(slot: int) -> Array:
        (room, start), type_ = places[slot], program.slots[slot].type
        size = math.prod([evaluate(n, sizes) for n in type_.shape]) * type_.dtype.itemsize
        return room.bytes[MARGIN + start : MARGIN + start + size].view(type_.dtype)

    for each in step.before:
        move(each)
    for _ in range(step.count):
        known = {**sizes, COUNTER: numbers[step.counter]}
        for each in step.steps:
            arrays = [array(slot) for slot in each.buffers]
            values = [evaluate(n, known) for n in each.sizes]
            assert run(each.kernel, arrays, values), "a check failed"
            assert all(places[slot][0].is_whole for slot in each.buffers)
        for each in step.between:
            move(each)
    for each in step.after:
        array(each.slot)[...] = array(each.source)


def launch(step: Launch, rooms: Sequence[Room], sizes: dict[str, int], run: Run) -> None:
    """One launch: its checks hold, and it writes what it says and nothing else."""
    buffers = step.kernel.buffers
    before = [None if x.access != "in" else r.array.copy() for x, r in zip(buffers, rooms)]
    arrays = [room.array.reshape(-1) for room in rooms]
    assert run(step.kernel, arrays, [evaluate(n, sizes) for n in step.sizes]), "a check failed"
    for old, room in zip(before, rooms):
        assert room.is_whole, f"{step.kernel.name} wrote beside a buffer"
        assert old is None or bits(old) == bits(room.array), f"{step.kernel.name} wrote an input"


class Room:
    """Memory of a value, with margins; nothing in it is set at first.

    Attributes:
        array: The memory.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any], value: Array | None) -> None:
        size = math.prod(shape) * dtype.itemsize
        self.bytes = np.full(MARGIN + size + MARGIN, UNSET, np.uint8)
        inside = self.bytes[MARGIN : MARGIN + size]
        if dtype == np.bool_:
            inside[:] = 1
        self.array = inside.view(dtype).reshape(shape)
        if value is not None:
            self.array[...] = value

    @property
    def is_whole(self) -> bool:
        """Whether nobody has written to the margins."""
        margins = self.bytes[:MARGIN], self.bytes[-MARGIN:]
        return all((margin == UNSET).all() for margin in margins)


def interpreted(prepare: Callable[[Kernel], Kernel] = lambda kernel: kernel) -> Run:
    """Runs kernels on the interpreter, verified, after `prepare`."""

    def run(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> bool:
        made = prepare(kernel)
        verify(made)
        return interpret(made, arrays, sizes)

    return run


def machine(target: Target) -> Run:
    """Runs kernels as machine code for a target; this machine must be able to."""

    def run(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> bool:
        address = library().address(kernel, target)
        values = [0, *[array.ctypes.data for array in arrays], *sizes]
        slots = (ctypes.c_int64 * len(values))(*values)
        record = (ctypes.c_int64 * len(values))(*range(1, len(values)))
        pair = [ctypes.addressof(slots), ctypes.addressof(record)]
        ENTRY(address)(*pair, 0, len(all_items(kernel, sizes)))
        return slots[0] == 0

    return run


def without_guards(program: FormProgram) -> FormProgram:
    """The same forms; the oracle has no way to stop."""
    kept = tuple([form for form in program.forms if not isinstance(form, Guard)])
    return replace(program, forms=kept)


def cost(made: Stages) -> float:
    """About how many additions a graph takes."""
    steps = [step for step in made.plan.program.steps if isinstance(step, Launch)]
    grids = [extent_hint(step.kernel.grid) for step in steps]
    return sum(step.cost * grid for step, grid in zip(steps, grids)) / ADDITION


def bits(array: Array) -> tuple[Any, ...]:
    """What an array is, but for the sign and payload of NaN."""
    array = np.asarray(array)
    known = array.dtype, array.shape
    if array.dtype.kind in "biu":
        return *known, array.tobytes()
    parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
    nan = np.array(np.nan, parts[0].dtype)
    return *known, *[np.where(np.isnan(part), nan, part).tobytes() for part in parts]


def verified(kernel: Kernel, target: Target) -> Kernel:
    """A kernel scheduled for a target, checked before."""
    verify(kernel)
    return scheduled(kernel, target)


RUNNERS: dict[str, Callable[[Stages, list[Array]], Sequence[Any]]] = {
    "evaluated": lambda s, arrays: Interpreted(s.given)(arrays),
    "lowered": lambda s, arrays: evaluate_lowered(s.given, arrays),
    "merged": lambda s, arrays: evaluate_program(without_guards(s.forms), arrays),
    "naive": lambda s, arrays: s.run_kernels(arrays, interpreted()),
    "scheduled": lambda s, arrays: s.run_kernels(
        arrays, interpreted(lambda kernel: verified(kernel, s.target))
    ),
    "direct": lambda s, arrays: s.run_kernels(
        arrays, interpreted(lambda kernel: expand(verified(kernel, s.target)))
    ),
    "machine": lambda s, arrays: s.run_kernels(arrays, machine(s.target)),
    "native": Stages.run_native,
}


def one_by_one(graph: Graph, arrays: Sequence[Array]) -> dict[Value, Array]:
    """Every value of a graph, each node compiled by itself."""
    values = dict(zip(graph.inputs, map(np.asarray, arrays), strict=True))
    for node in graph.nodes:
        single = Graph(node.op.name)
        inputs = [single.input(x.type) for x in node.inputs]
        types = tuple([x.type for x in node.outputs])
        single.outputs = list(single.add(node.op, inputs, node.attrs, types))
        found = jit.compile(single)([values[x] for x in node.inputs])
        values.update(zip(node.outputs, found, strict=True))
    return values
