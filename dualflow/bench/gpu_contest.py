"""How steps on a GPU are timed, and the processes of other frameworks that take turns.

    {"do": "make", "work": name, "who": name, "quick": false}   -> {"first": s, "losses": [...]}
    {"do": "measure", "seconds": s}                             -> {"alone": [...], "together": s}
    {"do": "drop"}                                              -> {}

A process reads an order a line, and answers with a line of JSON.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import field
from typing import Any, TextIO

from jit.dataclass import dataclass

Step = Callable[[], Any]
LOSSES = 3  # of the first steps, which are told
WARM = 5  # steps before anything is timed
MOST = 2000  # steps of one measurement


@dataclass(frozen=True)
class Made:
    """A step that is ready.

    Attributes:
        step: Runs it; gives the loss, or something else.
        wait: Waits for the device.
        memory: Bytes of the device that are in use, or were at most.
    """

    step: Step
    wait: Callable[[], Any]
    memory: Callable[[], int | None] = lambda: None


def begin(make: Callable[[], Made]) -> tuple[Made, dict[str, Any]]:
    """A step, and what its first calls tell: seconds of the first, losses, bytes."""
    made = make()
    start = time.perf_counter()
    results = [made.step()]
    made.wait()
    first = time.perf_counter() - start
    results += [made.step() for _ in range(LOSSES - 1)]
    losses = [loss for loss in map(number, results) if loss is not None]
    for _ in range(WARM):
        made.step()
    made.wait()
    return made, {"first": first, "losses": losses, "bytes": made.memory()}


def number(result: Any) -> float | None:
    """The loss in a result; None where there is none."""
    while isinstance(result, tuple | list) and result:
        result = result[0]
    item = getattr(result, "item", None)
    return None if item is None or getattr(result, "ndim", 1) else float(item())


def measure(made: Made, seconds: float) -> dict[str, Any]:
    """Seconds of steps that are each waited for, and of a step among others."""
    step, wait = made.step, made.wait
    start = time.perf_counter()
    step()
    wait()
    count = int(min(max(seconds / 2 / max(time.perf_counter() - start, 1e-6), 3), MOST))
    alone = []
    for _ in range(min(count, 200)):
        start = time.perf_counter()
        step()
        wait()
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait()
    return {"alone": alone, "together": (time.perf_counter() - start) / count}


# ----- who takes part -----


@dataclass
class Contestant:
    """Somebody with a step of a workload.

    Attributes:
        who: In tables.
        ask: Carries out an order; raises RuntimeError where that fails.
        told: What it said of its first calls, or its error.
        rounds: What it measured.
    """

    who: str
    ask: Callable[[dict[str, Any]], dict[str, Any]]
    told: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, work: str, *, quick: bool) -> None:
        """Makes the step, and runs it a few times."""
        order = {"do": "make", "work": work, "who": self.who, "quick": quick}
        self._told(order, self.told.update)

    def measure(self, seconds: float) -> None:
        """A turn; nothing after an error."""
        if "error" not in self.told:
            order = {"do": "measure", "who": self.who, "seconds": seconds}
            self._told(order, self.rounds.append)

    def drop(self) -> None:
        """Gives back what it holds."""
        self._told({"do": "drop", "who": self.who}, lambda _: None)

    def _told(self, order: dict[str, Any], take: Callable[[dict[str, Any]], Any]) -> None:
        try:
            take(self.ask(order))
        except RuntimeError as error:
            self.told.setdefault("error", str(error)[:300])


class Server:
    """Carries out orders in this process.

    Args:
        make: A step of a workload, by its name, for a contestant.
        free: Called when a step is dropped.
    """

    def __init__(
        self, make: Callable[[str, str, bool], Made], free: Callable[[], Any] = lambda: None
    ) -> None:
        self._make, self._free = make, free
        self._made: dict[str, Made] = {}

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order.

        Raises:
            RuntimeError: It could not be carried out.
        """
        who = order["who"]
        try:
            if order["do"] == "make":
                made = begin(lambda: self._make(order["work"], who, order["quick"]))
                self._made[who], told = made
                return told
            if order["do"] == "measure":
                return measure(self._made[who], order["seconds"])
            self._made.pop(who, None)
            self._free()
        except Exception as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        return {}

    def serve(self, orders: Iterable[str], answers: TextIO) -> None:
        """Carries out orders, a line each, until there are no more."""
        for line in orders:
            try:
                answer = self.ask(json.loads(line))
            except RuntimeError as error:
                answer = {"error": str(error)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


class Process:
    """A process that serves another framework; no thread reads, for this one's calls would notice.

    Args:
        command: After the interpreter.
        until: By `time.perf_counter`: when the last answer has to be there.
        environment: Variables added to those of this process.
    """

    def __init__(self, command: list[str], until: float, environment: dict[str, str]) -> None:
        self.until = until
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._read = b""  # of a line that has not ended

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order.

        Raises:
            RuntimeError: It says so, has ended, or took too long.
        """
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(order).encode() + b"\n")
            pipe.flush()
            line = self._line()
            while line and not line.startswith(b"{"):  # frameworks print other things too
                line = self._line()
        except (OSError, ValueError):
            line = b""
        if not line:
            self.close()
            raise RuntimeError("no answer in time, or its process has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _line(self) -> bytes:
        """The next line; nothing where there is none, or none in time."""
        pipe = self._process.stdout
        assert pipe is not None
        while b"\n" not in self._read:
            left = max(self.until - time.perf_counter(), 0.1)
            if not select.select([pipe], [], [], left)[0]:
                return b""
            more = os.read(pipe.fileno(), 1 << 16)
            if not more:
                return b""
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # an order that nobody has read
                    pipe.close()
