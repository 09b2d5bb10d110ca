"""What calls from a graph take, from eight floats to steps of training, and compiling them.

The programs are those that other frameworks were measured with; goals are for two cores of about
100 GFLOP/s each. Times are of calls one after the other, as a training loop makes them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np

import dualflow as df
from dualflow.bench.fresh import as_installed
from dualflow.bench.measured import Measured, best
from dualflow.bench.programs import WORKLOADS
from dualflow.bench.runner import SEED, prepare, seeded
from dualflow.comparison.timing import interleaved

# What is measured: its case, the unit with its size in seconds, the goal.
MICROSECONDS, MILLISECONDS = ("µs", 1e6), ("ms", 1e3)
COLD, FROM_DISK = 0.5, 0.1  # seconds of a first call: recording and compiling
GUARDS = 1.0  # microseconds that 40 guarded values add to a call
GROWTH = 2.5  # of the compile time, from 10,000 ops to 20,000
FIRST_CALL = """
import time
from dualflow.bench.calls import network
step = network()
start = time.perf_counter()
step()
print(time.perf_counter() - start)
"""


def eight_floats() -> Callable[[], Any]:
    """f(x) = x * 2 + 1."""
    f, x = df.function(lambda x: x * 2.0 + 1.0), df.ones(8)
    return lambda: f(x)


def forty_guards() -> Callable[[], Any]:
    """The same where Python reads 40 attributes, each looked at again by every call."""
    state = SimpleNamespace(**{f"v{k}": float(k) for k in range(40)})
    total = " + ".join(f"state.{name}" for name in vars(state))
    f, x = df.function(eval(f"lambda x: x * ({total}) + 1.0", {"state": state})), df.ones(8)
    return lambda: f(x)


def varying_number() -> Callable[[], Any]:
    """f(x, k) = x * k + 1, with another number at each call."""
    f, x, numbers = df.function(lambda x, k: x * k + 1.0), df.ones(8), cycle((2.0, 3.0, 4.0))
    f(x, 1.0)
    return lambda: f(x, next(numbers))


def varying_extent() -> Callable[[], Any]:
    """f(x) = x * 2 + 1, with another length at each call."""
    f, xs = df.function(lambda x: x * 2.0 + 1.0), cycle([df.ones(k) for k in (7, 8, 9)])
    f(df.ones(6))
    return lambda: f(next(xs))


def fifty_parameters() -> Callable[[], Any]:
    """A list of parameters and one of gradients in, the updated parameters out."""
    update = df.function(lambda ps, gs: [p - 0.01 * g for p, g in zip(ps, gs, strict=True)])
    parameters, gradients = ([df.random.normal(16) for _ in range(50)] for _ in range(2))
    return lambda: update(parameters, gradients)


def fifty_variables() -> Callable[[], Any]:
    """Fifty Variables that are updated."""
    variables = [df.Variable(df.random.normal(16)) for _ in range(50)]

    @df.function
    def update(rate: df.Tensor) -> None:
        for v in variables:
            v.assign_sub(rate * v)

    rate = df.asarray(1e-4)
    return lambda: update(rate)


def two_layers(decorate: Callable[..., Any] = df.function) -> Callable[[], Any]:
    """A step of a two-layer net 64x1000-100-10 with its update by hand."""
    x, t = df.random.normal((64, 1000)), df.random.normal((64, 10))
    w1, w2 = (df.Variable(df.random.normal(shape)) for shape in ((1000, 100), (100, 10)))

    @decorate
    def step(x: df.Tensor, t: df.Tensor) -> df.Tensor:
        with df.GradientTape() as tape:
            loss = ((df.nn.functional.relu(x @ w1) @ w2 - t) ** 2).sum()
        for w, g in zip((w1, w2), tape.gradient(loss, [w1, w2]), strict=True):
            w.assign_sub(1e-6 * g)
        return loss

    return lambda: step(x, t)


def network() -> Callable[[], Any]:
    """A step of the same net by modules, with Adam: the program `static`."""
    (arguments,) = prepare(WORKLOADS["static"], 64)
    step = df.function(seeded(WORKLOADS["static"].make).step)
    return lambda: step(*arguments)


def million() -> Callable[[], Any]:
    """sum(tanh(x) exp(-x x) + sigmoid(2 x) x) of a million elements, with its gradient."""

    def value(x: df.Tensor) -> df.Tensor:
        return (df.tanh(x) * df.exp(-x * x) + df.nn.functional.sigmoid(2.0 * x) * x).sum()

    f, x = df.function(df.value_and_grad(value)), df.random.normal(1 << 20)
    return lambda: f(x)


CALLS: dict[tuple[str, str], tuple[Callable[[], Callable[[], Any]], tuple[str, float], float]] = {
    ("call", "8 floats"): (eight_floats, MICROSECONDS, 5),
    ("call", "8 floats, 40 guards"): (forty_guards, MICROSECONDS, 6),
    ("call", "another number"): (varying_number, MICROSECONDS, 7),
    ("call", "another length"): (varying_extent, MICROSECONDS, 7),
    ("call", "50 parameters"): (fifty_parameters, MICROSECONDS, 40),
    ("call", "50 Variables"): (fifty_variables, MICROSECONDS, 40),
    ("step", "two layers"): (two_layers, MILLISECONDS, 0.28),
    ("step", "two layers, eager"): (partial(two_layers, lambda f: f), MILLISECONDS, 0.35),
    ("step", "network, Adam"): (network, MILLISECONDS, 0.37),
    ("step", "1M with gradient"): (million, MILLISECONDS, 0.6),
}


def run(*, repeats: int = 60, processes: int = 3, ops: int = 10_000) -> Iterator[Measured]:
    """Measures everything, one figure after the other.

    Args:
        repeats: Blocks of calls.
        processes: How often a first call is made.
        ops: The size of the graph whose compile time is compared with that of one twice as large.
    """
    for (what, case), (build, unit, goal) in CALLS.items():
        df.random.seed(SEED)
        call = build()
        yield best(partial(timed, what, case, unit, goal, call, repeats))
    yield best(partial(guards, repeats))
    yield from first_calls(processes)
    yield growth(ops)


def timed(
    what: str,
    case: str,
    unit: tuple[str, float],
    goal: float,
    call: Callable[[], Any],
    repeats: int,
) -> Measured:
    """The time of a call: the median of the best of many blocks."""
    for _ in range(3):  # recorded, compiled, warm
        call()
    start = time.perf_counter()
    call()
    number = max(1, int(1e-3 / (time.perf_counter() - start)))  # a block takes a millisecond
    blocks = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            call()
        blocks.append((time.perf_counter() - start) * unit[1] / number)
    lower, median, upper = (float(q) for q in np.quantile(blocks, (0.25, 0.5, 0.75)))
    return Measured(what, case, unit[0], goal, median, lower, upper)


def guards(repeats: int, number: int = 500) -> Measured:
    """What 40 guards add to a call: the difference of the best blocks."""
    pair = (eight_floats(), forty_guards())
    for call in pair * 3:
        call()
    blocks = [partial(timeit.timeit, call, number=number) for call in pair]
    bare, guarded = (np.array(x) * (1e6 / number) for x in interleaved(blocks, repeats))
    lower, upper = (float(q) for q in np.quantile(guarded - bare, (0.25, 0.75)))
    added = float(guarded.min() - bare.min())
    return Measured("guards", "40 values", "µs", GUARDS, added, lower, upper)


def first_calls(processes: int) -> Iterator[Measured]:
    """The first step of the network in fresh processes, without and with a filled disk cache."""
    cold, warm = [], []
    for _ in range(processes):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_call(folder))
            warm.append(first_call(folder))
    for case, goal, seconds in (("step, cold", COLD, cold), ("step, from disk", FROM_DISK, warm)):
        lower, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.75)))
        yield Measured("compile", case, "s", goal, min(seconds), lower, upper)


def first_call(cache: str) -> float:
    """Seconds of the first step in a fresh process, with its kernels in the folder `cache`."""
    command = [sys.executable, "-c", FIRST_CALL]
    environment = as_installed(JIT_CACHE=cache)
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(ran.stdout)


def growth(ops: int, repeats: int = 2) -> Measured:
    """How much longer a graph twice as large takes to compile."""
    small, large = (min(compile_seconds(size) for _ in range(repeats)) for size in (ops, 2 * ops))
    ratio = large / small
    return Measured("compile", f"{2 * ops:,} ops", "x", GROWTH, ratio, ratio, ratio)


def compile_seconds(ops: int) -> float:
    """What it takes to compile a graph of so many ops, its kernels being there."""
    import jit
    from dualflow.core.op import registry

    graph = jit.Graph("chain")
    x = value = graph.input(jit.TensorType((16,), df.float32), "x")
    for k in range(ops // 2):
        (value,) = graph.add(registry["tanh"], (value,), {})
        (value,) = graph.add(registry["add" if k % 2 else "multiply"], (value, x), {})
    graph.outputs = [value]
    return sum(jit.compile(graph, ops=registry).seconds.values())
