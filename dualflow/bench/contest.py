"""Contestants of `bench peers`, each in a process of its own, timed in turn.

A process that is not in turn is stopped by a signal: whatever its threads would do, they wait.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from dualflow.bench.contestants.workloads import Workload
from dualflow.bench.fresh import as_installed
from dualflow.comparison.timing import Timing
from jit.dataclass import dataclass

FRAMEWORKS = ("dualflow", "numpy", "torch", "jax", "tensorflow")
FOLDER = Path(__file__).parent
START = """
import sys
sys.path.insert(0, {folder!r})
from contestants.serve import serve
sys.path.pop(0)
serve({module!r})
"""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_PROC_BIND": "true"}  # threads stay on their cores
CACHES = ("JIT_CACHE", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
EVERYTHING = {  # is kept, however quickly it was compiled
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
STARTS = 5  # processes that find a cache, at most
PATIENCE = 600  # seconds that an answer may take; some compile for minutes
Told = Callable[[str], None]


class ContestantError(RuntimeError):
    """A contestant that could not do what it was told."""


@dataclass(frozen=True)
class Framework:
    """Something that takes part.

    Attributes:
        name: In tables.
        python: Its interpreter.
        module: What serves it, as `contestants.serve` imports it.
    """

    name: str
    python: str = sys.executable
    module: str = ""

    @property
    def served_by(self) -> str:
        """The module, or the one of this package that has its name."""
        return self.module or f".of_{self.name}"


class Contestant:
    """A process that serves one framework. It is stopped except while it answers.

    Attributes:
        framework: Which one.
        mode: In which it runs a workload.
    """

    def __init__(self, framework: Framework, mode: str = "", cache: str | None = None) -> None:
        self.framework, self.mode = framework, mode
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        start = START.format(folder=str(FOLDER), module=framework.served_by)
        try:
            self.process = subprocess.Popen(
                [framework.python, "-c", start],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said,
                env=QUIET | as_installed() | caches(cache),
                process_group=0,  # with its helpers, all of which stop
            )
        except OSError as error:
            self.said.close()
            raise ContestantError(f"{framework.python}: {error.strerror}") from None

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Its answer to an order.

        Raises:
            ContestantError: It failed, ended, or took too long.
        """
        self.signal(signal.SIGCONT)
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(json.dumps({"do": do, **order}).encode() + b"\n")
            pipe_in.flush()
            ready, _, _ = select.select([pipe_out], [], [], PATIENCE)
            line = pipe_out.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line:
            raise ContestantError(self.last_words())
        self.signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantError(answer["error"])
        return answer

    def signal(self, number: int) -> None:
        """Sends a signal to the process and its helpers, if it has not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def last_words(self) -> str:
        """Why there is no answer."""
        if self.process.poll() is None:
            return f"no answer in {PATIENCE} s"
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").split("\n")
        return ([line for line in lines if line.strip()] or ["ended without a word"])[-1][:300]

    def close(self) -> None:
        """Ends the process."""
        self.signal(signal.SIGKILL)
        self.process.communicate()
        self.said.close()


@dataclass
class Result:
    """What one contestant did in a workload.

    Attributes:
        framework: Its name.
        mode: Of the framework.
        error: Relative error of what its first steps gave; None where it failed before.
        wrong: Whether it did other work than the reference, or none: it takes no part.
        note: Why not.
        first: Seconds of the first step, and of what led to it.
        bytes: By which memory grew; None where the system does not tell.
        rounds: For each round the seconds of its steps.
        process: Bytes of the whole process at that peak, with all that it has loaded.
    """

    framework: str
    mode: str
    error: float | None = None
    wrong: bool = False
    note: str = ""
    first: float = 0.0
    bytes: int | None = None
    rounds: list[list[float]] = field(default_factory=list)
    process: int | None = None

    @property
    def timing(self) -> Timing:
        """Over all steps."""
        return Timing.of([seconds for slice in self.rounds for seconds in slice])


def about(framework: Framework) -> dict[str, Any]:
    """A framework's version and its modes by workload, or "missing" with the reason."""
    try:
        with Contestant(framework) as contestant:
            return contestant.ask("about")
    except ContestantError as error:
        return {"missing": str(error)}


def reference(workload: Workload) -> list[Any]:
    """What the first steps of a workload have to give, by NumPy in float64."""
    with Contestant(Framework("numpy"), "reference") as contestant:
        return built(contestant, workload)["digests"]


def built(contestant: Contestant, workload: Workload) -> dict[str, Any]:
    """What a contestant tells of its first steps."""
    return contestant.ask(
        "build",
        workload=workload.of or workload.name,
        mode=contestant.mode,
        steps=workload.steps,
    )


def caches(folder: str | None) -> dict[str, str]:
    """What makes all frameworks keep compiled code in a folder; None: where they do anyway."""
    return {} if folder is None else dict.fromkeys(CACHES, folder) | EVERYTHING


def deviation(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest error of digests, in proportion to the magnitudes behind them."""
    if [len(step) for step in found] != [len(step) for step in expected]:
        return float("inf")
    pairs = [pair for steps in zip(found, expected) for pair in zip(*steps)]
    return max(
        max(abs(a - b) for a, b in zip(mine, right)) / max(right[1], 1e-30) for mine, right in pairs
    )


def contest(
    workload: Workload,
    entries: Sequence[tuple[Framework, str]],
    rounds: int,
    seconds: float,
    told: Told = lambda _: None,
) -> list[Result]:
    """Lets contestants do a workload in turn.

    Args:
        workload: Which.
        entries: Who takes part, in which mode.
        rounds: How many turns each one has.
        seconds: How long a turn is, about.
        told: Called with what is going on.
    """
    told("reference")
    expected = reference(workload)
    if workload.of:
        return [
            first_steps(workload, *entry, expected, min(rounds, STARTS), told) for entry in entries
        ]
    results, running = [], []
    try:
        for framework, mode in entries:
            told(f"{framework.name} {mode}")
            results.append(Result(framework.name, mode))
            contestant = entered(framework, mode, workload, expected, results[-1])
            if contestant is not None:
                running.append((contestant, results[-1]))
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            turn = number % max(len(running), 1)  # who follows whom changes
            for contestant, result in running[turn:] + running[:turn]:
                result.rounds.append(contestant.ask("run", seconds=seconds)["seconds"])
    finally:
        for contestant, _ in running:
            contestant.close()
    return results


def first_steps(
    workload: Workload,
    framework: Framework,
    mode: str,
    expected: Sequence[Any],
    starts: int,
    told: Told,
) -> Result:
    """What the first step takes in a new process: without a cache on disk, then with what it left.

    Args:
        workload: Which.
        framework: Who.
        mode: Of the framework.
        expected: What the step has to give.
        starts: How many processes find a cache.
        told: Called with what is going on.
    """
    cold = Result(framework.name, mode)
    with tempfile.TemporaryDirectory() as cache:
        for number in range(1 + starts):
            told(f"{framework.name} {mode}, start {number + 1} of {1 + starts}")
            result = Result(framework.name, mode)
            contestant = entered(framework, mode, workload, expected, result, cache)
            if contestant is None:
                return result
            contestant.close()
            if number == 0:
                cold = result
            else:
                cold.rounds.append([result.first])
    return cold


def entered(
    framework: Framework,
    mode: str,
    workload: Workload,
    expected: Sequence[Any],
    result: Result,
    cache: str | None = None,
) -> Contestant | None:
    """A contestant that has shown that it does the same work; None where it has not."""
    contestant = None
    try:
        contestant = Contestant(framework, mode, cache)
        answer = built(contestant, workload)
        if "missing" in answer:
            raise ContestantError(f"{answer['missing']} is missing")
    except ContestantError as error:
        result.wrong, result.note = True, str(error)
    else:
        result.first = answer["first"]
        result.bytes, result.process = answer["bytes"], answer["process"]
        result.error = deviation(answer["digests"], expected)
        result.wrong = not result.error <= workload.bound  # NaN is wrong
        result.note = "other results than NumPy's" if result.wrong else ""
    if result.wrong and contestant is not None:
        contestant.close()
        return None
    return contestant
