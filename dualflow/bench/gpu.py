"""`python -m dualflow bench gpu`: first figures on a GPU, beside PyTorch and JAX where these are.

A step is timed two ways: `sync`, the median of steps that are each waited for, and `pipe`, steps
back to back and one wait at the end. All compute in float32 without shortcuts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import dualflow as df
from dualflow import nn
from dualflow.bench.machine import versions
from jit.runtime.cuda import cupy

DEVICE = "gpu:0"
SECONDS = 0.5  # that a figure is measured for, about
STEPS = 2000  # at most
PEERS = ("torch", "jax")
WIDTHS = (26, 18, 12, 12)
Step = Callable[[], Any]


def main(*, path: Path | None, quick: bool) -> int:
    """Measures, prints a table, and writes it as JSON and as Markdown.

    Args:
        path: Of the JSON file; the Markdown lies beside it.
        quick: Small sizes, no peers: only to see whether everything runs.

    Returns:
        The exit status.
    """
    rows: list[dict[str, Any]] = []
    print(f"{device_name()}, {commit()}", flush=True)
    for name, make in workloads(quick=quick).items():
        for mode in ("eager", "compiled"):
            rows.append(measured(name, f"dualflow {mode}", lambda m=make, w=mode: m(w)))
            print(line(rows[-1]), flush=True)
    for peer in () if quick else PEERS:
        rows += of_peer(peer)
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
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
        print(f"written: {path} and {path.with_suffix('.md')}")
    return 0


def measured(name: str, who: str, make: Callable[[], Step]) -> dict[str, Any]:
    """A row: the times of one workload, or what kept it from being measured."""
    try:
        step = make()
        sync, pipe = timed(step, cupy().cuda.runtime.deviceSynchronize)
    except Exception as error:
        return {"workload": name, "who": who, "error": f"{type(error).__name__}: {error}"[:300]}
    return {"workload": name, "who": who, "sync_ms": 1e3 * sync, "pipe_ms": 1e3 * pipe}


def timed(step: Step, wait: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a step that is waited for, and of one among others."""
    for _ in range(5):
        step()
    wait()
    start = time.perf_counter()
    step()
    wait()
    count = int(min(max(SECONDS / 2 / max(time.perf_counter() - start, 1e-6), 5), STEPS))
    alone, together = [], []
    for _ in range(min(count, 300)):
        start = time.perf_counter()
        step()
        wait()
        alone.append(time.perf_counter() - start)
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(max(count // 3, 3)):
            step()
        wait()
        together.append((time.perf_counter() - start) / max(count // 3, 3))
    return statistics.median(alone), statistics.median(together)


# ----- workloads -----


def workloads(*, quick: bool) -> dict[str, Callable[[str], Step]]:
    """By name what makes a step of each, in a mode."""
    large, rows = (1 << 20, 64) if quick else (1 << 26, 4096)
    return {
        "MLP 64x1000-100-10, Adam": lambda mode: training(mlp, (1000,), mode),
        "LeNet, batch 64, Adam": lambda mode: training(lenet, (1, 28, 28), mode),
        "elementwise 64M, gradient": lambda mode: elementwise(large, mode),
        "layer norm, loss 4096x1024": lambda mode: normalised(rows, mode),
    }


def wrapped(mode: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """A step in a mode."""
    return df.function(step) if mode == "compiled" else step


def mlp() -> Any:
    """A net of two layers."""
    return nn.Sequential(nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 10))


def lenet() -> Any:
    """LeNet-5 with modern parts."""
    features = [
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]
    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, *head)


def training(build: Callable[[], Any], shape: tuple[int, ...], mode: str) -> Step:
    """A step of training with mean squared errors."""
    df.random.seed(0)
    model = build().to(DEVICE)
    optimizer = df.optim.Adam(model.parameters(), 1e-3)
    x = df.randn(64, *shape).to(DEVICE)
    y = df.randn(64, 10).to(DEVICE)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step = wrapped(mode, step)
    return lambda: step(x, y)


def elementwise(count: int, mode: str) -> Step:
    """A chain of elementwise ops, and its gradient."""
    x = df.linspace(-1.0, 1.0, count).to(DEVICE)

    def value(x: Any) -> Any:
        return (df.tanh(x * 1.5 + 0.5) * df.exp(-(x * x))).sum()

    step = wrapped(mode, df.grad(value))
    return lambda: step(x)


def normalised(rows: int, mode: str) -> Step:
    """Layer norm and cross-entropy, and their gradients."""
    df.random.seed(0)
    x = df.randn(rows, 1024).to(DEVICE)
    g, b = df.ones(1024, device=DEVICE), df.zeros(1024, device=DEVICE)
    y = df.asarray([k * 7 % 1024 for k in range(rows)], device=DEVICE)

    def loss(x: Any, g: Any, b: Any) -> Any:
        return nn.functional.cross_entropy(nn.functional.layer_norm(x, (1024,), g, b), y)

    step = wrapped(mode, df.value_and_grad(loss, argnums=(0, 1, 2)))
    return lambda: step(x, g, b)


# ----- others -----


def of_peer(peer: str) -> list[dict[str, Any]]:
    """The rows of another framework, measured in a process of its own; none if it is not there."""
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, "-m", "dualflow.bench.gpu_peers", peer]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    rows = [json.loads(x) for x in ran.stdout.splitlines() if x.startswith("{")]
    for row in rows:
        print(line(row), flush=True)
    if not rows:
        print(f"{peer}: {(ran.stderr.strip().splitlines() or ['nothing'])[-1]}", flush=True)
    return rows


# ----- for people -----


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


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    a, b, c, d = WIDTHS
    head = f"{row['workload']:<{a}}  {row['who']:<{b}}"
    if "error" in row:
        return f"{head}  {row['error']}"
    return f"{head}{row['sync_ms']:>{c}.4f}{row['pipe_ms']:>{d}.4f}"


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [
        f"Measured on {result['device']}, {result['date']}, commit {result['commit']}, by",
        "`python -m dualflow bench gpu`. Milliseconds a step, float32.",
        "",
        "| workload | who | waited for | back to back |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        found = row.get("error")
        times = (found, "") if found else (f"{row['sync_ms']:.4f}", f"{row['pipe_ms']:.4f}")
        lines.append(f"| {row['workload']} | {row['who']} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"
