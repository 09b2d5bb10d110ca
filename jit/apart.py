"""A compiled program run launch by launch, each value in memory of its own, to look for faults.

No memory is shared and no launches are joined, so what a run gives depends on the kernels alone.
These run as machine code, or are interpreted at one of the stages that they go through.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jit.dims import evaluate, solve
from jit.errors import GuardMiss, LaunchFailed
from jit.ir.loop import COUNTER
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import Kernel
from jit.runtime.library import Library, library
from jit.runtime.program import Array, GuardStep, HostStep, Launch, Move, Program, Repeat
from jit.target import Target

# Runs a kernel on flat arrays, in place; whether its checks held.
Runner: TypeAlias = "Callable[[Kernel, Sequence[Array], Sequence[int]], bool]"
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Apart:
    """One run.

    Args:
        program: What runs.
        arrays: One for each input.
        run: Runs its kernels.

    Raises:
        GuardMiss: A guard saw another answer.
        LaunchFailed: A check did not hold.
    """

    def __init__(self, program: Program, arrays: Sequence[Any], run: Runner) -> None:
        self.program, self._run = program, run
        shapes = [program.slots[slot].type.shape for slot in program.inputs]
        self.sizes: dict[str, int] = solve(shapes, [np.shape(x) for x in arrays])
        self._memory = [self._room(slot) for slot in range(len(program.slots))]
        self._words = [x.ctypes.data for x in self._memory]  # slots as native code has them
        for slot, array in zip(program.inputs, arrays, strict=True):
            self.array(slot)[...] = np.reshape(array, self.array(slot).shape)
        for number, step in enumerate(program.steps):
            self._step(step, number)
        self.outputs = [self.array(slot).copy() for slot in program.outputs]

    def _room(self, slot: int) -> Array:
        each = self.program.slots[slot]
        if each.value is not None:
            return np.array(each.value, each.type.dtype, order="C")
        return np.zeros(self._shape(slot), each.type.dtype)

    def _shape(self, slot: int) -> tuple[int, ...]:
        shape = self.program.slots[slot].type.shape
        return tuple([int(evaluate(extent, {**self.sizes, COUNTER: 0})) for extent in shape])

    def array(self, slot: int) -> Array:
        """What a slot holds now."""
        dtype, shape = self.program.slots[slot].type.dtype, self._shape(slot)
        if self._words[slot] == self._memory[slot].ctypes.data:
            return self._memory[slot].reshape(shape)
        size = math.prod(shape) * dtype.itemsize
        room: Any = (ctypes.c_uint8 * size).from_address(self._words[slot])
        return np.frombuffer(room, dtype).reshape(shape)

    def _step(self, step: Any, number: int) -> None:
        if isinstance(step, Launch):
            self._launch(step, self.sizes, number)
        elif isinstance(step, Repeat):
            self._move(step.before)
            self._repeat(step, number)
        elif isinstance(step, HostStep):
            made = step.run([self.array(slot) for slot in step.inputs], self.sizes)
            for slot, array in zip(step.outputs, made, strict=True):
                self.array(slot)[...] = array
        elif isinstance(step, GuardStep):
            actual = type(step.expected)(self.array(step.slot).item())
            if actual != step.expected:
                raise GuardMiss(step.index, actual)

    def _repeat(self, step: Repeat, number: int) -> None:
        at, count = 0, None if step.count is None else evaluate(step.count, self.sizes)
        while at != count and (step.going is None or self.array(step.going).item()):
            for launch in step.steps:
                self._launch(launch, {**self.sizes, COUNTER: at}, number)
            self._move(step.between)
            at += 1
        for copy in step.after:
            self.array(copy.slot)[...] = self.array(copy.source)

    def _launch(self, step: Launch, sizes: Mapping[str, int], number: int) -> None:
        arrays = [self.array(slot).reshape(-1) for slot in step.buffers]
        values = [int(evaluate(extent, sizes)) for extent in step.sizes]
        if not self._run(step.kernel, arrays, values):
            raise LaunchFailed(number)

    def _move(self, moves: Sequence[Move]) -> None:
        before = list(self._words)
        for move in moves:
            source = 0 if move.source is None else before[move.source]
            by = int(evaluate(move.by, {**self.sizes, COUNTER: 0}))
            self._words[move.slot] = source + by


def machine(target: Target, codes: Library | None = None) -> Runner:
    """Runs kernels as machine code for a target, which is this machine."""
    codes = codes or library()

    def run(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> bool:
        address = codes.address(kernel, target)
        values = [0, *[array.ctypes.data for array in arrays], *sizes]
        slots = (ctypes.c_int64 * len(values))(*values)
        record = (ctypes.c_int64 * len(values))(*range(1, len(values)))
        pair = [ctypes.addressof(slots), ctypes.addressof(record)]
        ENTRY(address)(*pair, 0, items(kernel, sizes))
        return slots[0] == 0

    return run


def interpreted(prepare: Callable[[Kernel], Kernel]) -> Runner:
    """Interprets kernels as `prepare` makes them."""

    def run(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> bool:
        return interpret(prepare(kernel), arrays, sizes)

    return run


def items(kernel: Kernel, sizes: Sequence[int]) -> int:
    """The size of a kernel's grid."""
    names = [size.hint for size in kernel.sizes]
    return int(evaluate(kernel.grid, dict(zip(names, sizes, strict=True))))


def unchanged(kernel: Kernel) -> Kernel:
    """The kernel itself: as the planner has written it."""
    return kernel


def stages(target: Target) -> dict[str, Runner]:
    """The ways of running kernels, each after one more stage of their compilation."""
    return {
        "fusion": interpreted(unchanged),
        "schedule": interpreted(lambda kernel: scheduled(kernel, target)),
        "elementary functions": interpreted(lambda kernel: expand(scheduled(kernel, target))),
        "code generation": machine(target),
    }
