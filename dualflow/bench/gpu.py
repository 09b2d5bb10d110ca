"""`python -m dualflow bench gpu`: steps on a GPU, beside PyTorch and JAX where these are.

A step is timed two ways: `sync`, the median of steps that are each waited for, and `pipe`, steps
back to back and one wait at the end. Contestants take turns; a first call finds nothing compiled.
All compute in float32 without shortcuts, unless the workload says TF32 or mixed precision.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from dualflow.bench import gpu_page
from dualflow.bench.gpu_contest import Contestant, Made, Process, Server
from dualflow.bench.gpu_data import WORKS, Work
from dualflow.bench.gpu_workloads import MODES, step_of
from dualflow.bench.machine import versions
from dualflow.core.precision import set_matmul_precision
from jit.config import configure
from jit.runtime import cuda
from jit.runtime.cuda import cupy

PATIENCE = 30.0  # seconds that others have at least for a workload that has begun
ROUNDS, SECONDS = 3, 0.2  # turns of each contestant, and how long one is
SHORT = 0.01  # the same with --quick
PEERS = {"torch": ("torch graph", "torch eager"), "jax": ("jax.jit",)}
COMPILED = "torch compile"  # takes long to compile, so it is asked for
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}


def main(
    works: list[Work],
    *,
    path: Path | None = None,
    quick: bool = False,
    seconds: float = float("inf"),
    compiled: bool = False,
) -> int:
    """Measures, prints a table, and writes it as JSON and as Markdown.

    Args:
        works: Which workloads.
        path: Of the JSON file; the Markdown lies beside it.
        quick: Small sizes, no peers: only to see whether everything runs.
        seconds: After which no other workload begins, and nobody waits for a peer's answer.
        compiled: `torch.compile` takes part.

    Returns:
        The exit status.
    """
    rows: list[dict[str, Any]] = []
    until = time.perf_counter() + seconds
    print(f"{device_name()}, {commit()}", flush=True)
    with here(), running({} if quick else peers(compiled=compiled), until) as others:
        for work in works:
            if time.perf_counter() > until:
                print(f"{work.name}: there is no time left", flush=True)
                continue
            for _, process in others:
                process.until = max(until, time.perf_counter() + PATIENCE)
            for row in contest(work, others, quick=quick):
                rows.append(row)
                print(gpu_page.line(row), flush=True)
    result = {
        "device": device_name(),
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "commit": commit(),
        "versions": versions() | {"cupy": cupy().__version__},
        "rows": rows,
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(gpu_page.markdown(result), encoding="utf-8")
        print(f"written: {path} and {path.with_suffix('.md')}")
    return 0


@contextmanager
def here() -> Iterator[None]:
    """A block whose kernels are kept in a folder of its own: first calls find nothing."""
    with tempfile.TemporaryDirectory() as folder, configure(cache=Path(folder)):
        yield


def peers(*, compiled: bool) -> dict[str, tuple[str, ...]]:
    """Who takes part beside this framework, by framework: those that are installed."""
    found = {name: who for name, who in PEERS.items() if importlib.util.find_spec(name)}
    return {
        name: (*who, COMPILED) if compiled and name == "torch" else who
        for name, who in found.items()
    }


@contextmanager
def running(peers: dict[str, tuple[str, ...]], until: float) -> Iterator[list[tuple[str, Process]]]:
    """A block with the processes of other frameworks, each with those whom it serves."""
    with tempfile.TemporaryDirectory() as cache:
        environment = ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": cache}
        started = [
            (who, Process(["-m", "dualflow.bench.gpu_peers", name], until, environment))
            for name, who in peers.items()
        ]
        try:
            yield [(who, process) for names, process in started for who in names]
        finally:
            for _, process in started:
                process.close()


def contest(
    work: Work, others: list[tuple[str, Process]], *, quick: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a workload: its contestants begin one after the other, and then take turns."""
    own = Server(made, free)
    contestants = [Contestant(f"dualflow {mode}", own.ask) for mode in MODES]
    contestants += [Contestant(who, process.ask) for who, process in others]
    with set_matmul_precision("tf32" if work.precision == "tf32" else "float32"):
        for each in contestants:
            each.begin(work.name, quick=quick)
        for _ in range(ROUNDS):
            for each in contestants:
                each.measure(SHORT if quick else SECONDS)
    for each in contestants:
        each.drop()
        yield row(work, each)


def row(work: Work, contestant: Contestant) -> dict[str, Any]:
    """What a contestant did in a workload."""
    told = {"workload": work.name, "who": contestant.who, **contestant.told}
    if "error" in told or not contestant.rounds:
        return {"workload": work.name, "who": contestant.who, "error": told.get("error", "nothing")}
    told["first_s"] = told.pop("first")
    alone = [seconds for each in contestant.rounds for seconds in each["alone"]]
    together = [each["together"] for each in contestant.rounds]
    told["sync_ms"] = 1e3 * statistics.median(alone)
    told["pipe_ms"] = 1e3 * statistics.median(together)
    return told


# ----- this framework -----


def made(name: str, who: str, quick: bool) -> Made:  # noqa: FBT001
    """A step of a workload in the mode that `who` ends in."""
    (work,) = [work for work in WORKS if work.name == name]
    free()
    before = held()
    step = step_of(work, who.split()[-1], quick=quick)
    return Made(step, cupy().cuda.runtime.deviceSynchronize, lambda: held() - before)


def free() -> None:
    """Gives the device back what is not used any more."""
    gc.collect()
    cuda.free_unused()


def held() -> int:
    """Bytes of the device that this process has taken."""
    return sum(x.total_bytes() for x in (cupy().get_default_memory_pool(), cuda.pool()))


# ----- about -----


def device_name() -> str:
    """What the GPU calls itself."""
    name = cupy().cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def commit() -> str:
    """Which commit this is; DUALFLOW_COMMIT tells it where there is no repository."""
    told = os.environ.get("DUALFLOW_COMMIT")
    if told:
        return told
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return ran.stdout.strip() or "unknown"
