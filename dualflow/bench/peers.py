"""`python -m dualflow bench peers`: workloads beside other frameworks, on this machine's CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from dualflow.bench import ranking
from dualflow.bench.contest import FRAMEWORKS, Framework, Told, about, contest
from dualflow.bench.contestants.workloads import BY_NAME, Workload
from dualflow.bench.gpu import commit
from dualflow.bench.machine import machine, versions
from dualflow.comparison.report import finite

WIDTH = 80
ROUNDS, SECONDS = 20, 0.1  # turns of each contestant, and how long one is
FEW, SHORT = 3, 0.02  # with --quick
LIMITS = """
from dualflow.bench.kernels import limits
found = limits()
print(found.flops, found.bandwidth)
"""


def chosen(names: Sequence[str]) -> list[Workload]:
    """The workloads with these names; `W5` stands for all of that letter and number, none for all.

    Raises:
        ValueError: No workload has one of the names.
    """
    for name in names:
        if not any(matches(name, workload) for workload in BY_NAME.values()):
            known = ", ".join(BY_NAME)
            raise ValueError(f"{name!r} is no workload; there are {known}")
    every = BY_NAME.values()
    return [w for w in every if not names or any(matches(name, w) for name in names)]


def matches(name: str, workload: Workload) -> bool:
    """Whether a name means a workload."""
    return workload.name.lower() == name.lower() or workload.name.startswith(f"{name.upper()}-")


def interpreters(given: Sequence[str]) -> list[Framework]:
    """Who may take part.

    Args:
        given: `NAME=PATH` for the interpreters of those that this environment lacks.

    Raises:
        ValueError: One is of another form, or names nobody.
    """
    paths: dict[str, str] = {name: path for name, _, path in (x.partition("=") for x in given)}
    for name, path in paths.items():
        if name not in FRAMEWORKS[1:] or not path:
            known = ", ".join(FRAMEWORKS[1:])
            raise ValueError(f"--peers-python takes NAME=PATH with one of {known}")
    return [Framework(name, paths.get(name, sys.executable)) for name in FRAMEWORKS]


def limits(before: dict[str, float]) -> dict[str, float]:
    """What the machine can do, measured in a process of its own.

    Args:
        before: What it could do earlier; the better counts, as other work only takes away.
    """
    command = [sys.executable, "-c", LIMITS]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    flops, bandwidth = map(float, ran.stdout.split())
    now = {"flops": flops, "bytes": bandwidth}
    return {key: max(value, before.get(key, 0)) for key, value in now.items()}


def main(
    workloads: Sequence[Workload],
    frameworks: Sequence[Framework],
    *,
    path: Path,
    rounds: int | None = None,
    quick: bool = False,
) -> int:
    """Measures, prints each table as soon as it is there, and writes all of them.

    Args:
        workloads: Which.
        frameworks: Who takes part, where it is installed.
        path: Of the JSON file; Markdown and HTML lie beside it.
        rounds: Turns of each contestant.
        quick: Few and short turns, to see whether everything runs.

    Returns:
        The exit status: 1 where we do other work than the reference, or fail.
    """
    print(f"{opening(workloads)}\n", flush=True)
    document: dict[str, Any] = {
        "format": 1,
        "when": datetime.now().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "frameworks": {framework.name: about(framework) for framework in frameworks},
        "limits": limits({}),
        "workloads": {},
    }
    print("\n".join(ranking.told(document)), flush=True)
    rounds, seconds = rounds or (FEW if quick else ROUNDS), SHORT if quick else SECONDS
    for workload in workloads:
        entries = entered(workload, frameworks, document["frameworks"])
        with progress(workload.name) as told:
            results = contest(workload, entries, rounds, seconds, told)
        document["limits"] = limits(document["limits"])
        found = ranking.record(workload, results)
        document["workloads"][workload.name] = found
        print(f"\n{ranking.table(workload.name, found, document['limits'])}", flush=True)
        write(document, path)
    print(f"\nThe figures are in {path}, with .md and .html beside it.")
    return int(any(failed(found) for found in document["workloads"].values()))


def opening(workloads: Sequence[Workload]) -> str:
    """What is about to happen."""
    names = ", ".join(workload.name for workload in workloads)
    text = (
        f"dualflow bench peers: {names}. Each contestant has a process of its own, they take "
        "turns, and who gives other results than NumPy in float64 takes no part."
    )
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def entered(
    workload: Workload, frameworks: Sequence[Framework], found: dict[str, Any]
) -> list[tuple[Framework, str]]:
    """Every mode of every framework that is there and has the workload; or those that compile."""
    name = workload.of or workload.name
    return [
        (framework, mode)
        for framework in frameworks
        for mode in found[framework.name].get("modes", {}).get(name, ())
        if not (workload.of and mode in ("eager", "fused"))
    ]


def failed(record: dict[str, Any]) -> bool:
    """Whether we are among those that are wrong."""
    rows = record["contestants"]
    return any(row["wrong"] and row["framework"] == ranking.OURS for row in rows)


def write(document: dict[str, Any], path: Path) -> None:
    """Writes what there is so far, so that a run that is stopped leaves something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(finite(document), indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(ranking.markdown(document), encoding="utf-8")
    path.with_suffix(".html").write_text(ranking.html(document), encoding="utf-8")


@contextmanager
def progress(name: str) -> Any:
    """A line on the terminal that tells what is going on, and is gone afterwards."""
    live = sys.stdout.isatty()

    def told(text: str) -> None:
        if live:
            print(f"\r\x1b[K{name}: {text}", end="", flush=True)

    say: Told = told
    yield say
    if live:
        print("\r\x1b[K", end="", flush=True)
