"""Small kernels and programs for the tests of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from jit.codegen.llvm import emit
from jit.dims import Extent
from jit.loops.ir import INDEX, Buffer, Kernel, Operand, Var, index
from jit.loops.writer import Writer
from jit.runtime import cpu
from jit.runtime.executable import Executable
from jit.runtime.program import Launch, Program, Slot, Step
from jit.types import TensorType, dtypes, float32


@cache
def address(kernel: Kernel) -> int:
    """The machine code of a kernel."""
    target = cpu.host_target()
    addresses, held = cpu.link([cpu.assemble(emit(kernel, target), target)], ["entry"])
    _held.append(held)
    return addresses["entry"]


_held = []  # code lives as long as the process


def pointwise(
    arity: int,
    body: Callable[..., Operand],
    grid: Extent = 8,
    dtype: np.dtype[Any] = float32,
    result: np.dtype[Any] | None = None,
) -> Kernel:
    """y[item] = body(writer, x0[item], x1[item], ...) for each item of the grid."""
    xs = [Buffer(f"x{i}", dtype) for i in range(arity)]
    y = Buffer("y", result or dtype, access="out")
    item, writer = Var(INDEX, "item"), Writer()
    values = [writer.load(x, item) for x in xs]
    writer.store(y, item, body(writer, *values))
    sizes = () if isinstance(grid, int) else (Var(INDEX, str(grid)),)
    return Kernel("pointwise", (*xs, y), sizes, grid, item, tuple(writer.body))


def add_number(number: float, grid: Extent = 8, dtype: np.dtype[Any] = float32) -> Kernel:
    """y = x + number."""
    body = lambda w, x: w.let("add", x, w.number(number, x.type))  # noqa: E731
    return pointwise(1, body, grid, dtype)


def add(grid: Extent = 8) -> Kernel:
    """y = x0 + x1."""
    return pointwise(2, lambda w, a, b: w.let("add", a, b), grid)


def positive(grid: Extent = 8) -> Kernel:
    """y = x, and a check that it is positive."""

    def body(writer: Writer, x: Operand) -> Operand:
        writer.check(writer.let("greater", x, writer.number(0, x.type)))
        return writer.let("add", x, writer.number(0, x.type))

    return pointwise(1, body, grid)


def floats(*shape: Extent) -> TensorType:
    """A type of float32."""
    return TensorType(shape, float32)


def scalar(name: str) -> TensorType:
    """A type without dimensions."""
    return TensorType((), dtypes[name])


def program(
    slots: Sequence[TensorType],
    inputs: Sequence[int],
    steps: Sequence[Step],
    outputs: Sequence[int],
    constants: dict[int, np.ndarray[Any, Any]] | None = None,
) -> Program:
    """A program; slots that are neither inputs nor constants are temporaries."""
    constants = constants or {}
    made = []
    for number, each in enumerate(slots):
        role = "input" if number in inputs else "temporary"
        role = "constant" if number in constants else role
        made.append(Slot(each, role, constants.get(number)))
    return Program("test", made, list(inputs), list(steps), list(outputs))


def executable(*args: Any, **kwargs: Any) -> Executable:
    """A program (see there) that can be called."""
    return Executable(program(*args, **kwargs), address)


def plus(number: float, source: int, target: int, grid: Extent = 8, **more: Any) -> Launch:
    """A launch of target = source + number, where target may take the place of source."""
    sizes = () if isinstance(grid, int) else (grid,)
    kernel = add_number(number, grid)
    return Launch(kernel, (source, target), sizes, in_place=((source, target),), **more)


def chain(length: int, size: int = 8, cost: float = 0.0) -> Executable:
    """x + 1 + 2 + ... + length, a launch for each sum."""
    steps = [plus(i + 1, i, i + 1, size, cost=cost) for i in range(length)]
    return executable([floats(size)] * (length + 1), [0], steps, [length])


def count_up(grid: Extent) -> Kernel:
    """x += 1 for each item."""
    x, item, writer = Buffer("x", float32, access="inout"), Var(INDEX, "item"), Writer()
    value = writer.load(x, item)
    writer.store(x, item, writer.let("add", value, writer.number(1, value.type)))
    return Kernel("count_up", (x,), (), grid, item, tuple(writer.body))


def slow_sum(rounds: int, grid: int) -> Kernel:
    """y = x + x + ... for each item: a nanosecond or so for each round."""
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    item, writer = Var(INDEX, "item"), Writer()
    total = writer.alloc("total", float32, 1)
    value = writer.load(x, item)
    writer.store(total, index(0), value)
    with writer.loop(index(0), index(rounds)):
        writer.store(total, index(0), writer.let("add", writer.load(total, index(0)), value))
    writer.store(y, item, writer.load(total, index(0)))
    return Kernel("slow_sum", (x, y), (), grid, item, tuple(writer.body))
