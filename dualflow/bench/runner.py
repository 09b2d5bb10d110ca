"""Runs a program in both modes, step by step in turn, on the same batches, from the same seed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, cast

import numpy as np

import dualflow as df
from dualflow.bench.machine import threads
from dualflow.bench.programs.workload import Training, Workload
from dualflow.bench.terminal import Told
from dualflow.comparison import (
    Comparison,
    FirstCall,
    Step,
    Timing,
    agreement,
    interleaved,
    peak_bytes,
    step_times,
)
from dualflow.core import tree
from dualflow.tracing.function import Function
from dualflow.tracing.path import Path
from dualflow.tracing.signature import take_apart
from jit.dataclass import dataclass

SEED = 0
BOUND = 1e-4  # relative difference of losses up to which both modes give the same answer
SIZES, WARM = (1, 4, 16, 64, 256), 3  # of batches; steps before those that are measured
Batches = Collection[tuple[Any, ...]]


@dataclass(frozen=True)
class Run:
    """What came out of a program.

    Attributes:
        workload: The program.
        epochs: Passes over the data.
        comparison: Both modes side by side.
        losses: Of each step, by mode.
        seconds: Of each step, by mode.
        recorded: For each step, whether the decorated function was recorded in it.
        first_epoch: How many steps the first epoch has.
        correct: Held-out examples that each mode gets right; empty where nothing is held out.
    """

    workload: Workload
    epochs: int
    comparison: Comparison
    losses: dict[str, list[float]]
    seconds: dict[str, list[float]]
    recorded: list[bool]
    first_epoch: int
    correct: dict[str, int]

    @property
    def share_later(self) -> float:
        """The part of the calls after the first epoch that ran from a graph."""
        later = self.recorded[self.first_epoch :]
        return 1 - sum(later) / len(later) if later else 1.0


class Modes:
    """The same training twice: as it is, and with its step decorated."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.eager = seeded(workload.make)
        self.compiled = seeded(workload.make)
        self.function = cast(Function, self.compiled.decorated(df.function, **workload.options))
        self.losses: dict[str, list[float]] = {"eager": [], "compiled": []}
        self.seconds: dict[str, list[float]] = {"eager": [], "compiled": []}
        self.recorded: list[bool] = []

    def train(self, data: Batches, epochs: int, told: Told) -> tuple[Any, ...]:
        """Trains both, and returns the batch with the most numbers."""
        largest: tuple[Any, ...] = ()
        for _ in range(epochs):
            for arguments in data:
                self.step(arguments)
                told(len(self.recorded), self.losses["eager"][-1], self.losses["compiled"][-1])
                largest = max(largest, arguments, key=elements)
        return largest

    def step(self, arguments: tuple[Any, ...]) -> None:
        """One step of each; who goes first alternates, so that both find the same caches."""
        before = self.function.from_graph
        turns = [("eager", self.eager.step), ("compiled", self.function)]
        if len(self.recorded) % 2:
            turns.reverse()
        for mode, call in turns:
            started = time.perf_counter()
            loss = float(call(*arguments))
            self.seconds[mode].append(time.perf_counter() - started)
            self.losses[mode].append(loss)
        self.recorded.append(self.function.from_graph == before)

    def steady(self, mode: str) -> Timing:
        """The time of a step, over those that the decorated function did not record."""
        pairs = zip(self.seconds[mode], self.recorded, strict=True)
        served = [seconds for seconds, recorded in pairs if not recorded]
        return Timing.of(served or self.seconds[mode])


def prepare(workload: Workload, batch: int) -> Batches:
    """The batches of an epoch, the same ones at each call."""
    df.random.seed(SEED)
    return workload.data(batch)


def run(workload: Workload, data: Batches, what: tuple[str, ...], epochs: int, told: Told) -> Run:
    """Trains in both modes and compares them.

    Args:
        workload: The program.
        data: What `prepare` made.
        what: The workload in a few words each.
        epochs: Passes over the data.
        told: Called after each step of both.
    """
    modes = Modes(workload)
    arguments = modes.train(data, epochs, told)
    decorators = {"eager": (modes.eager, plain), "compiled": (modes.compiled, df.function)}
    correct = {
        mode: training.correct(decorate)
        for mode, (training, decorate) in decorators.items()
        if training.correct is not None
    }
    return Run(
        workload,
        epochs,
        compare(modes, arguments, what),
        modes.losses,
        modes.seconds,
        modes.recorded,
        len(data),
        correct,
    )


@dataclass(frozen=True)
class ByBatch:
    """Times of a step against batch size.

    Attributes:
        program: Which one.
        sizes: Of batches.
        eager: For each size what a step takes in Python.
        compiled: And from the graph.
    """

    program: str
    sizes: tuple[int, ...]
    eager: tuple[Timing, ...]
    compiled: tuple[Timing, ...]


def by_batch(workload: Workload, sizes: tuple[int, ...] = SIZES, calls: int = 15) -> ByBatch:
    """Measures steps of trainings of their own, one for each batch size."""
    found: list[list[Timing]] = []
    for size in sizes:
        arguments = next(iter(prepare(workload, size)))
        steps = [fresh(workload, arguments, decorate) for decorate in (plain, df.function)]
        interleaved(steps, WARM)
        found.append([Timing.of(seconds) for seconds in interleaved(steps, calls)])
    eager, compiled = zip(*found, strict=True)
    return ByBatch(workload.name, sizes, eager, compiled)


def compare(modes: Modes, arguments: tuple[Any, ...], what: tuple[str, ...]) -> Comparison:
    """The comparison of a training that is over."""
    function = modes.function
    losses = [np.array(modes.losses[mode], np.float32) for mode in ("eager", "compiled")]
    pairs = zip(modes.eager.parameters.items(), modes.compiled.parameters.values(), strict=True)
    outputs = (
        agreement("loss", *losses),
        *(agreement(name, a.numpy(), b.numpy()) for (name, a), b in pairs),
    )
    paths = [path for entry in function.entries.values() for path in entry.parts]
    recording = sum(entry.info.seconds for entry in function.entries.values())
    compiling = sum(sum(path.executable.seconds.values()) for path in paths)
    return Comparison(
        name=modes.workload.name,
        place=place_of(function),
        what=what,
        mode=function.mode,
        compared=f"{len(losses[0]):,} losses and {len(outputs) - 1} parameters",
        outputs=outputs,
        bound=BOUND,
        eager=modes.steady("eager"),
        compiled=modes.steady("compiled"),
        first=FirstCall(recording - compiling, compiling, function.calls - function.from_graph),
        eager_bytes=peak_bytes(lambda: fresh(modes.workload, arguments, plain)),
        compiled_bytes=peak_bytes(lambda: fresh(modes.workload, arguments, df.function)),
        calls=function.calls,
        from_graph=function.from_graph,
        traces=len(function.entries),
        ops=sum(path.ops for path in paths),
        kernels=sum(len(path.executable.kernels) for path in paths),
        host_steps=sum(len(path.executable.host_steps) for path in paths),
        steps=slowest_steps(function, arguments, modes.steady("compiled").median),
    )


def seeded(make: Callable[[], Training]) -> Training:
    """A new training, from the seed."""
    df.random.seed(SEED)
    return make()


def plain(python: Callable[..., Any]) -> Callable[..., Any]:
    """A function as it is: the decorator of the eager mode."""
    return python


def elements(arguments: tuple[Any, ...]) -> int:
    """How many numbers the tensors in a batch hold."""
    return sum(int(x.size) for x in tree.flatten(arguments)[0] if isinstance(x, df.Tensor))


def fresh(
    workload: Workload, arguments: tuple[Any, ...], decorate: Callable[..., Any]
) -> Callable[[], Any]:
    """A step on one batch, of a training of its own."""
    step = seeded(workload.make).decorated(decorate)
    return lambda: step(*arguments)


def slowest_steps(
    function: Function, arguments: tuple[Any, ...], call_seconds: float
) -> tuple[Step, ...]:
    """Where a call with these arguments spends its time, if it runs from a graph.

    The clock at each step slows a call down; the shares are scaled to what a call takes without.
    """
    call = take_apart(arguments, {})
    entry = function.entries.get(call.key)
    if entry is None or not isinstance(entry.last, Path):
        return ()
    inputs = [*call.tensors, *(cell.tensor for cell in entry.last.cells)]
    gc.collect()
    steps = step_times(entry.last.executable, [x.raw for x in inputs])
    return tuple(replace(step, seconds=step.share * call_seconds) for step in steps)


def describe(workload: Workload, batch: int, device: str) -> tuple[str, ...]:
    """The workload in a few words each."""
    where = f"cpu, {threads()} thread{'s' * (threads() != 1)}" if device == "cpu" else device
    return (workload.net, f"batch {batch}", "float32", where)


def place_of(function: Function) -> str:
    """`static.py:31`, where the step is defined."""
    code = function.python.__code__
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"
