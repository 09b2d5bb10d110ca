"""The page of the main job: what the terminal told, with pictures, in one file by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from dualflow.bench.closing import checks, table
from dualflow.bench.runner import ByBatch, Run
from dualflow.comparison import page
from dualflow.comparison.pictures import Axis, Chart, Line

POINTS = 300  # of a line


def document(runs: Sequence[Run], batches: ByBatch | None, about: dict[str, Any]) -> str:
    """The page.

    Args:
        runs: The programs that ran.
        batches: Times against batch size, if they were measured.
        about: The machine, the versions, and when.
    """
    machine = about["machine"]
    told = f"{about['when'][:16]} · {machine['processor']}, {machine['threads']} threads"
    parts = [
        "<h1>Both modes, compared</h1>",
        f"<p class='about'>{escape(told)}</p>",
        f"<div style='overflow-x: auto'><pre>{escape(table(runs))}</pre></div>",
        page.table(["", "", "found"], [list(row) for run in runs for row in checked(run)]),
    ]
    if batches is not None:
        parts += ["<h2>Against the size of a batch</h2>", str(by_batch(batches))]
    for run in runs:
        parts += page.of_comparison(run.comparison)
        parts += [str(totals(run))]
        parts += [str(chart) for chart in losses(run)]
    return page.document("dualflow bench", *parts)


def draw(folder: Path, runs: Sequence[Run], batches: ByBatch | None) -> None:
    """Writes the pictures of the page as files of their own."""
    found = {f"{run.workload.name}-total": totals(run) for run in runs}
    found |= {f"{run.workload.name}-loss": losses(run)[0] for run in runs}
    if batches is not None:
        found[f"{batches.program}-batch"] = by_batch(batches)
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in found.items():
        (folder / f"{name}.svg").write_text(f"{chart.alone()}\n", encoding="utf-8")


def totals(run: Run) -> Chart:
    """What all calls so far have taken in both modes, as measured, and where the lines cross."""
    sums = {mode: list(accumulate(seconds)) for mode, seconds in run.seconds.items()}
    each = max(1, len(sums["eager"]) // POINTS)
    lines = [
        Line(mode, [(0, 0), *[(k, total[k - 1]) for k in range(1, len(total) + 1, each)]])
        for mode, total in sums.items()
    ]
    ahead = [a > b for a, b in zip(sums["eager"], sums["compiled"], strict=True)]
    behind = max((k for k, paid in enumerate(ahead, 1) if not paid), default=0)
    marks = [(behind + 1, f"call {behind + 1:,}")] if behind < len(ahead) else []
    title = f"Total time of {run.workload.name}, as measured"
    return Chart(title, Axis("calls"), Axis("total time, s"), lines, marks)


def checked(run: Run) -> list[tuple[str, str, str]]:
    """The checks of a program."""
    return [(x.program, f"{'yes' if x.passed else 'NO'}: {x.what}", x.found) for x in checks(run)]


def losses(run: Run) -> list[Chart]:
    """The losses of both modes, and below them how far they are apart."""
    eager, compiled = run.losses["eager"], run.losses["compiled"]
    steps = range(1, len(eager) + 1)
    apart = [abs(a - b) for a, b in zip(eager, compiled, strict=True)]
    both = [
        Line("eager", list(zip(steps, eager, strict=True))),
        Line("compiled", list(zip(steps, compiled, strict=True))),
    ]
    charts = [Chart("Loss of both modes", Axis("step"), Axis("loss"), both)]
    if any(apart):
        line = Line("difference", list(zip(steps, apart, strict=True)))
        y = Axis("|eager - compiled|", log=True)
        charts.append(Chart("Difference of the losses", Axis("step"), y, [line]))
    return charts


def by_batch(batches: ByBatch) -> Chart:
    """The time of a step against batch size, with quartiles."""
    lines = []
    for mode, timings in (("eager", batches.eager), ("compiled", batches.compiled)):
        points = [(n, 1e3 * t.median) for n, t in zip(batches.sizes, timings, strict=True)]
        band = [(1e3 * t.lower, 1e3 * t.upper) for t in timings]
        lines.append(Line(mode, points, band))
    x, y = Axis("batch size", log=True), Axis("time of a step, ms", log=True)
    return Chart(f"A step of {batches.program}", x, y, lines)
