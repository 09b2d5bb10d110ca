"""The process of one contestant: a line of JSON on its standard input tells it what to do.

`about` tells version and modes, `build` makes a workload and its first steps, `run` times a slice
of steps. One answer a line goes to what was standard output; whatever else a framework prints goes
to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import workloads

SHORT = 3e-4  # seconds; shorter steps are timed several at a time
WARM = 5  # the first of so many timings of a slice wakes threads and caches, and does not count


class Server:
    """What a contestant can be told to do.

    Attributes:
        module: With `VERSION`, `MODES` and `build`.
        step: The one that runs.
        batch: How many steps are timed at a time.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.step: Callable[[], Any]
        self.batch = 1

    def about(self) -> dict[str, Any]:
        """The framework's version, and by workload the modes that are there."""
        return {"version": self.module.VERSION, "modes": self.module.MODES}

    def build(self, workload: str, mode: str, steps: int) -> dict[str, Any]:
        """Makes a step and runs it.

        Args:
            workload: Its name.
            mode: One of the modes.
            steps: How many to run.

        Returns:
            Digests of what the steps gave, the seconds of the first one with what it took to make
            it, by how many bytes memory grew, and how many the process had then.
        """
        data = workloads.BY_NAME[workload].data()
        before, start = resident(), time.perf_counter()
        self.step = self.module.build(workload, mode, data)
        digests, taken, peaks = [], [], []
        for _ in range(steps):
            given = self.step()
            taken.append(time.perf_counter() - start)
            peaks.append(resident("VmHWM"))
            digests.append(digest(given))  # in memory of its own: the next peak begins behind it
            resident()
            start = time.perf_counter()
        least = min(taken)
        self.batch = max(1, int(SHORT / least)) if least < SHORT / 2 else 1
        peak = None if before is None else max(peaks)
        grown = None if peak is None else peak - before
        return {"digests": digests, "first": taken[0], "bytes": grown, "process": peak}

    def run(self, seconds: float) -> dict[str, Any]:
        """Seconds of each step in a slice that is as long as told."""
        found: list[float] = []
        end = time.perf_counter() + seconds
        while not found or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(self.batch):
                self.step()
            found.append((time.perf_counter() - start) / self.batch)
        return {"seconds": found[len(found) >= WARM :]}


def digest(given: Any) -> list[list[float]]:
    """For each array the sum of its numbers and that of their magnitudes."""
    arrays = given if isinstance(given, tuple | list) else [given]
    arrays = [x.detach() if hasattr(x, "detach") else x for x in arrays]  # from PyTorch's records
    doubles = [np.asarray(array).astype(np.float64) for array in arrays]
    return [[float(x.sum()), float(np.abs(x).sum())] for x in doubles]


def resident(what: str = "VmRSS") -> Any:
    """Bytes of memory in use, or at the peak since this was asked for; None where no file tells."""
    try:
        text = Path("/proc/self/status").read_text()
        if what == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return int(fields[what].split()[0]) * 1024


def serve(module: str) -> None:
    """Answers until standard input ends.

    Args:
        module: Of the contestant, as it is imported; relative to this package with a leading dot.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server: Server | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if server is None:
                server = Server(importlib.import_module(module, __package__))
            answer = getattr(server, order.pop("do"))(**order)
        except ModuleNotFoundError as error:
            answer = {"missing": error.name}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)
