"""The kernels that the compiler was built around, each beside what this machine can do.

The limits are measured, not looked up: fused multiply-adds on registers only, and a triad over
arrays that no cache holds, both as kernels of our own, on as many threads as compute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

import dualflow as df
from jit.dataclass import dataclass

F = df.nn.functional
Shapes = tuple[tuple[int, ...], ...]

STEPS = 20_000  # of a chain of multiply-adds
ITEMS = 64  # chains are shared out in so many pieces
REPEATS = 15
TRIAD = 1 << 24  # floats of each array: 64 MB
HEADER = f"{'':<34}{'launches':>8}{'ms':>9}   {'speed':<14}{'share':>5}"


@dataclass(frozen=True)
class Limits:
    """What the machine can do.

    Attributes:
        flops: Additions and multiplications a second, by fused multiply-adds of float32.
        bandwidth: Bytes a second from and to memory.
    """

    flops: float
    bandwidth: float

    def __str__(self) -> str:
        return f"{self.flops / 1e9:.0f} GFLOP/s, {self.bandwidth / 1e9:.1f} GB/s"


@dataclass(frozen=True)
class Workload:
    """One of the kernels.

    Attributes:
        name: With its sizes.
        call: A function of tensors.
        shapes: Of its arguments.
        flops: Additions and multiplications of its products; 0 where memory is the limit.
        bytes: What it has to read and write at least; 0 where arithmetic is the limit.
        high: The last argument holds integers below this, if it is not 0.
    """

    name: str
    call: Callable[..., Any]
    shapes: Shapes
    flops: float = 0
    bytes: float = 0
    high: int = 0

    def arguments(self) -> list[df.Tensor]:
        """Random tensors."""
        rng = np.random.default_rng(0)
        arrays: list[Any] = [rng.normal(size=shape).astype(np.float32) for shape in self.shapes]
        if self.high:
            arrays[-1] = rng.integers(0, self.high, self.shapes[-1])
        return [df.asarray(x) for x in arrays]


@dataclass(frozen=True)
class Row:
    """A row of the table: what a workload took.

    Attributes:
        workload: Which.
        launches: How many kernels a call runs.
        seconds: Of a call, the median.
    """

    workload: Workload
    launches: int
    seconds: float

    def line(self, limits: Limits) -> str:
        """The row as text."""
        w = self.workload
        done, limit, unit = (
            (w.flops, limits.flops, "GFLOP/s") if w.flops else (w.bytes, limits.bandwidth, "GB/s")
        )
        speed = done / self.seconds
        told = f"{speed / 1e9:.1f} {unit}"
        share = f"{speed / limit:.0%}"
        return f"{w.name:<34}{self.launches:>8}{1e3 * self.seconds:>9.2f}   {told:<14}{share:>5}"


# ----- limits -----


def limits() -> Limits:
    """Measures what the machine can do."""
    run, operations = multiply_adds()
    triad = df.function(lambda a, b: a + 3.0 * b)
    a, b = df.ones((TRIAD,)), df.ones((TRIAD,))
    return Limits(operations / median(run), 3 * 4 * TRIAD / median(lambda: triad(a, b)))


@cache
def multiply_adds() -> tuple[Callable[[], Any], float]:
    """Chains of fused multiply-adds side by side, as a call, and how many operations they are."""
    from jit.loops.ir import INDEX, Buffer, Kernel, Var, VType, index
    from jit.loops.writer import Writer
    from jit.runtime.cpu import host_target
    from jit.runtime.executable import Executable
    from jit.runtime.library import library
    from jit.runtime.program import Launch, Program, Slot
    from jit.types import TensorType, float32

    target = host_target()
    width = target.lanes(4) * (target.registers * 3 // 4)
    x, y, w = Buffer("x", float32), Buffer("y", float32, access="out"), Writer()
    item = Var(INDEX, "item")
    factor, acc = w.load(x, index(0)), w.alloc("acc", float32, width)
    with w.loop(index(0), index(width), hint="lane0") as k:
        w.store(acc, k, w.number(0, VType(float32)))
    lanes = index(width)
    with w.loop(index(0), index(STEPS)), w.loop(index(0), lanes, hint="lane1") as k:
        w.store(acc, k, w.let("fma", factor, factor, w.load(acc, k)))
    start = w.let("multiply", item, index(width))
    with w.loop(index(0), index(width), hint="lane2") as k:
        w.store(y, w.let("add", start, k), w.load(acc, k))
    kernel = Kernel("multiply_adds", (x, y), (), ITEMS, item, tuple(w.body))
    slots = [Slot(TensorType((1,), float32), "input"), Slot(TensorType((ITEMS * width,), float32))]
    launch = Launch(kernel, (0, 1), cost=STEPS * 1e-9, label="multiply_adds")
    program = Program("multiply_adds", slots, [0], [launch], [1])
    code = Executable(program, {kernel: library().address(kernel, target)})
    array = np.full(1, 0.5, np.float32)
    return lambda: code([array]), 2.0 * width * STEPS * ITEMS


# ----- workloads -----


def workloads(*, quick: bool) -> Iterator[Workload]:
    """Every kernel of the list.

    Args:
        quick: Small sizes, to see whether everything runs.
    """
    scale = 8 if quick else 1
    for m, k, n in ((1024, 1024, 1024), (511, 513, 509), (64, 1000, 100)):
        yield product(m // scale, k // scale, n // scale)
    yield from convolutions(64 // scale, 56 // scale)
    yield layer_norm(4096 // scale, 768 // scale)
    yield from attention(1024 // scale, 64 // scale)
    rows, columns = 4096 // scale, 1024 // scale
    size = 4 * rows * columns
    yield Workload(
        f"e argmax of rows, {rows}x{columns}",
        lambda x: df.argmax(x, axis=-1),
        ((rows, columns),),
        bytes=size,
    )
    for axis in (-1, 0):
        yield Workload(
            f"f cumulative_sum, axis {axis}",
            lambda x, axis=axis: df.cumulative_sum(x, axis=axis),
            ((rows, columns),),
            bytes=2 * size,
        )
    yield from gathering(50_000 // scale, 256 // scale, 16_384 // scale)
    count = 1_000_000 // scale
    name = f"h w5 and its slope, {count}"
    yield Workload(name, df.value_and_grad(w5), ((count,),), bytes=8 * count)


def product(m: int, k: int, n: int) -> Workload:
    """A product with a bias and relu."""
    return Workload(
        f"a product {m}x{k}x{n}",
        lambda x, w, b: F.relu(x @ w + b),
        ((m, k), (k, n), (n,)),
        flops=2.0 * m * k * n,
    )


def convolutions(channels: int, side: int) -> Iterator[Workload]:
    """A 3x3 convolution, alone and with both gradients."""
    x, w = (4, channels, side, side), (channels, channels, 3, 3)
    flops = 2.0 * np.prod(x) * channels * 9

    def forward(x: df.Tensor, w: df.Tensor) -> df.Tensor:
        return F.conv2d(x, w, padding=1)

    def pulled(x: df.Tensor, w: df.Tensor, g: df.Tensor) -> Any:
        return df.vjp(forward, x, w)[1](g)

    yield Workload(f"b conv2d 3x3, {channels} channels", forward, (x, w), flops=flops)
    yield Workload("b its two gradients", pulled, (x, w, x), flops=2 * flops)


def layer_norm(rows: int, columns: int) -> Workload:
    """The gradients of layer_norm."""

    def pulled(x: df.Tensor, weight: df.Tensor, bias: df.Tensor, g: df.Tensor) -> Any:
        return df.vjp(lambda *xs: F.layer_norm(xs[0], (columns,), *xs[1:]), x, weight, bias)[1](g)

    shapes = ((rows, columns), (columns,), (columns,), (rows, columns))
    name = f"c layer_norm backward, {rows}x{columns}"
    return Workload(name, pulled, shapes, bytes=3 * 4 * rows * columns)


def attention(length: int, depth: int) -> Iterator[Workload]:
    """Attention, and its gradients: two products, and five."""
    shape = (8, length, depth)
    flops = 2.0 * 8 * length * length * depth
    attend = F.scaled_dot_product_attention

    def pulled(q: df.Tensor, k: df.Tensor, v: df.Tensor, g: df.Tensor) -> Any:
        return df.vjp(attend, q, k, v)[1](g)

    yield Workload(f"d attention, 8x{length}x{depth}", attend, (shape,) * 3, flops=2 * flops)
    yield Workload("d its gradients, forward included", pulled, (shape,) * 4, flops=7 * flops)


def gathering(rows: int, width: int, count: int) -> Iterator[Workload]:
    """Rows of a table, and their sums where they came from."""

    def scattered(x: df.Tensor, g: df.Tensor, at: df.Tensor) -> df.Tensor:
        return df.zeros_like(x).at[at].add(g)

    yield Workload(
        f"g gather {count} rows of {width}",
        lambda x, at: df.take(x, at, axis=0),
        ((rows, width), (count,)),
        bytes=4.0 * 2 * count * width,
        high=rows,
    )
    yield Workload(
        "g scatter-add of them",
        scattered,
        ((rows, width), (count, width), (count,)),
        bytes=4.0 * (count + rows) * width,
        high=rows,
    )


def w5(x: df.Tensor) -> df.Tensor:
    """A sum of elementary functions."""
    return df.sum(df.tanh(x) * df.exp(-x * x) + F.sigmoid(2.0 * x) * x)


# ----- measuring -----


def measure(workload: Workload, repeats: int) -> Row:
    """What a call takes, once it is compiled."""
    function: Any = df.function(workload.call)
    arguments = workload.arguments()
    for _ in range(3):
        function(*arguments)
    launches = len(function.explain().kernels)
    return Row(workload, launches, median(lambda: function(*arguments), repeats))


def median(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """What a call takes in seconds, the median of some, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def main(*, quick: bool = False) -> int:
    """Prints what the machine can do, and a row for each kernel as soon as it is measured."""
    from jit.runtime.threads import num_threads

    print("The compiler's proof kernels, each beside what this machine can do.")
    possible = limits()
    print(f"{num_threads()} threads: {possible}\n\n{HEADER}", flush=True)
    for workload in workloads(quick=quick):
        print(measure(workload, 3 if quick else REPEATS).line(possible), flush=True)
    return 0
