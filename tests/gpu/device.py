"""Runs the kernels of a program on a GPU, one launch after the other, and times them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from jit.dims import evaluate, solve
from jit.runtime.gpu_code import gpu_code
from jit.runtime.gpu_frame import MOST_SHARED
from jit.runtime.program import Launch, Program
from jit.target import Target, gpu

REPEATS = 20


def available() -> bool:
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


@cache
def device() -> Target:
    """The target of the current device."""
    import cupy

    return gpu(f"sm_{cupy.cuda.Device().compute_capability}")


@dataclass
class Cost:
    """What a launch took.

    Attributes:
        label: Of the launch.
        seconds: On the device, the mean of some.
        bytes: Of the buffers that it touches.
        operations: Of its products.
        registers: Of a thread.
        local: Bytes of a thread's memory that found no place in registers.
    """

    label: str
    seconds: float
    bytes: int
    operations: int
    registers: int
    local: int

    def __str__(self) -> str:
        rate, work = self.bytes / self.seconds / 1e9, self.operations / self.seconds / 1e9
        return (
            f"{self.label[:36]:36} {1e6 * self.seconds:10.1f} us {rate:8.0f} GB/s "
            f"{work:9.0f} GFLOP/s  {self.registers:3} registers {self.local:5} bytes local"
        )


class OnDevice:
    """A program with its arrays on the device.

    Args:
        program: Launches only, planned for a GPU.
        arrays: One for each input.
    """

    def __init__(self, program: Program, arrays: Sequence[Any]) -> None:
        import cupy

        self.program = program
        shapes = [program.slots[slot].type.shape for slot in program.inputs]
        self.sizes = solve(shapes, [np.shape(x) for x in arrays])
        self.memory = [self._room(slot) for slot in program.slots]
        for slot, array in zip(program.inputs, arrays, strict=True):
            self.memory[slot][...] = cupy.asarray(array).reshape(self.memory[slot].shape)
        self.status = cupy.zeros(1, np.int32)
        self._functions: dict[str, Any] = {}
        self._prepared: dict[Launch, tuple[Any, ...]] = {}

    def _room(self, slot: Any) -> Any:
        import cupy

        shape = [evaluate(n, self.sizes) for n in slot.type.shape]
        room = cupy.empty(max(1, math.prod(shape)), slot.type.dtype)  # valid, if empty
        room.view(np.uint8).fill(0xA5)
        array = room[: math.prod(shape)].reshape(shape)
        if slot.value is not None:
            array[...] = cupy.asarray(slot.value).reshape(shape)
        return array

    def launch(self, step: Launch) -> Any:
        """Starts a launch, once; its function."""
        if step not in self._prepared:
            self._prepared[step] = self._prepare(step)
        function, blocks, threads, args, shared = self._prepared[step]
        if blocks[0]:
            function(blocks, threads, args, shared_mem=shared)
        return function

    def _prepare(self, step: Launch) -> tuple[Any, ...]:
        """What a launch passes on: to find a kernel's code takes longer than most kernels run."""
        code = gpu_code(step.kernel, device())
        sizes = [evaluate(n, self.sizes) for n in step.sizes]
        given = [self.memory[slot].data.ptr for slot in step.buffers]
        args = (*given, *map(np.int64, sizes), self.status.data.ptr)
        return self._function(code), code.blocks(sizes), code.threads, args, code.shared

    def _function(self, code: Any) -> Any:
        import cupy

        if code.symbol not in self._functions:
            module = cupy.cuda.function.Module()
            module.load(code.image)
            made = self._functions[code.symbol] = module, module.get_function(code.symbol)
            if code.shared:
                cupy.cuda.driver.funcSetAttribute(made[1].ptr, MOST_SHARED, code.shared)
        return self._functions[code.symbol][1]

    def run(self) -> list[Any]:
        """The outputs, on the host.

        Raises:
            AssertionError: A check of a kernel failed.
        """
        for step in self.program.steps:
            assert isinstance(step, Launch)
            self.launch(step)
        assert not self.status.get().any(), "a check failed"
        return [self.memory[slot].get() for slot in self.program.outputs]

    def costs(self) -> Iterator[Cost]:
        """What each launch takes. What is in memory afterwards is of no use."""
        import cupy

        for step in self.program.steps:
            assert isinstance(step, Launch)
            function = self.launch(step)
            start, stop = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            for _ in range(REPEATS):
                self.launch(step)
            stop.record()
            stop.synchronize()
            seconds = cupy.cuda.get_elapsed_time(start, stop) / 1e3 / REPEATS
            size = sum(self.memory[slot].nbytes for slot in step.buffers)
            operations = int(evaluate(step.operations or 0, self.sizes))
            found = [cupy.cuda.driver.funcGetAttribute(k, function.ptr) for k in (4, 3)]
            yield Cost(step.label, seconds, size, operations, *found)
