"""`bench auto`: what 1,000 calls take under `mode="auto"`, beside the better one of both modes.

Each mode runs in processes of its own, which find their kernels on disk, as in every run of a
program but the first; so every mode pays for its recordings, and "auto" for the calls by which it
finds out. Modes take turns, and of each the best of some processes counts.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

import dualflow as df
from dualflow.bench.fresh import as_installed
from dualflow.bench.measured import HEADER, Measured
from dualflow.bench.programs import WORKLOADS
from dualflow.bench.runner import prepare, seeded

CALLS, PROCESSES = 1000, 3
GOAL = 5.0  # percent over the better mode
MODES = ("eager", "compiled", "auto")
TINY = "tiny"  # too small for anything to pay
CHILD = "from dualflow.bench.auto import total; print(total({!r}, {!r}, {}))"


def total(program: str, mode: str, calls: int) -> float:
    """Seconds that so many calls take, the first one included.

    Args:
        program: One of `PROGRAMS`.
        mode: As `df.function` takes it.
        calls: How many.
    """
    step, arguments = prepared(program, mode)
    start = time.perf_counter()
    for given in itertools.islice(itertools.cycle(arguments), calls):
        step(*given)
    return time.perf_counter() - start


def prepared(program: str, mode: str) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """A program's step in a mode, and the arguments that it takes in turn."""
    if program in SMALL:
        step, shape = SMALL[program]
        given = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        return df.function(mode=mode)(step), [(df.asarray(given),)]
    workload = WORKLOADS[program]
    arguments = list(prepare(workload, workload.batch))
    options = {**workload.options, "mode": mode}
    training = seeded(workload.make)
    if mode == "eager":
        return cast(Callable[..., Any], df.function(training.step, **options)), arguments
    return training.decorated(df.function, **options), arguments


def tiny(x: df.Tensor) -> df.Tensor:
    """Two ops on a few numbers."""
    return x * 2.0 + 1.0


def product(x: df.Tensor) -> df.Tensor:
    """What one kernel computes in both modes."""
    return x @ x


def ordered(x: df.Tensor) -> df.Tensor:
    """What NumPy computes in both modes."""
    return df.sort(x)[::2] * 2.0


SMALL = {TINY: (tiny, (8,)), "product": (product, (256, 256)), "ordered": (ordered, (20_000,))}
PROGRAMS = (*SMALL, *WORKLOADS)


def run(calls: int = CALLS, processes: int = PROCESSES) -> Iterator[tuple[Measured, str]]:
    """Measures the programs one after the other.

    Args:
        calls: Of each mode.
        processes: For each mode, besides one that fills the cache.

    Returns:
        For each program by how many percent "auto" took longer than the better mode, and the
        seconds of all modes in words.
    """
    for program in PROGRAMS:
        with TemporaryDirectory() as cache:
            measure = partial(in_a_process, program, calls=calls, cache=cache)
            turns = [[measure(mode) for mode in MODES] for _ in range(1 + processes)][1:]
        over = sorted(percent(*turn) for turn in turns)
        seconds = [min(each) for each in zip(*turns, strict=True)]
        told = ", ".join(f"{mode} {s:.2f} s" for mode, s in zip(MODES, seconds, strict=True))
        value = percent(*seconds)
        yield Measured(program, f"{calls:,} calls", "%", GOAL, value, over[0], over[-1]), told


def percent(eager: float, compiled: float, auto: float) -> float:
    """By how many percent "auto" took longer than the better mode."""
    return 100 * (auto / min(eager, compiled) - 1)


def in_a_process(program: str, mode: str, calls: int, cache: str) -> float:
    """`total` in a new process, with kernels in the folder `cache`."""
    environment = as_installed(JIT_CACHE=cache, DUALFLOW_MODE="compiled")
    command = [sys.executable, "-W", "ignore", "-c", CHILD.format(program, mode, calls)]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(ran.stdout)


def main(*, check: bool, quick: bool) -> int:
    """Prints every figure as soon as it is there.

    Args:
        check: A goal that is missed makes the exit status 1.
        quick: Few calls, in one process each.
    """
    print('What 1,000 calls take under mode="auto", in percent over the better mode; recordings')
    print("count, kernels come from the disk. It starts processes, and takes some minutes.\n")
    print(HEADER.replace("quartiles", "from to  "), flush=True)
    missed = 0
    for measured, told in run(*((20, 1) if quick else ())):
        print(f"{measured}  {told}", flush=True)
        missed += not measured.passed
    print(f"\n{missed} of the goals are missed." if missed else "\nAll goals are met.")
    return int(bool(missed) and check)
