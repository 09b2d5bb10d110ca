"""Who was fastest in a workload: records of `bench peers`, and how people read them.

A record is a plain dictionary, as it lies in the JSON file, so that old runs read like new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from dualflow.bench import dots
from dualflow.bench.contest import Result
from dualflow.bench.contestants.workloads import Workload
from dualflow.comparison import page
from dualflow.comparison.report import duration, figures, scientific, size, spread
from dualflow.comparison.timing import Timing

OURS = "dualflow"
HEAD = ("", "median (quartiles)", "speed", "share", "first step", "memory", "process")
WIDTHS = (20, 22, 15, 6, 11, 0)  # of a terminal, which has no room for the last one


def record(workload: Workload, results: Sequence[Result]) -> dict[str, Any]:
    """What came out of a workload, the fastest first and those last that take no part."""
    rows = [row(result) for result in results]
    rows.sort(key=lambda row: (row["wrong"], row.get("median", 0.0)))
    return {
        "title": workload.title,
        "flops": workload.flops,
        "bytes": workload.bytes,
        "contestants": rows,
        "ratios": ratios(rows),
    }


def row(result: Result) -> dict[str, Any]:
    """One contestant."""
    about = {
        "framework": result.framework,
        "mode": result.mode,
        "wrong": result.wrong,
        "note": result.note,
        "error": result.error,
    }
    if result.wrong:
        return about
    return about | {
        **vars(result.timing),
        "first": result.first,
        "bytes": result.bytes,
        "process": result.process,
        "rounds": [float(np.median(seconds)) for seconds in result.rounds],
    }


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By our mode how many times faster it is than the best peer; eager beside eager ones.

    The ratio is that of medians; its quartiles are those of the rounds' ratios.
    """
    found = {}
    ranked = [row for row in rows if not row["wrong"]]
    peers = [row for row in ranked if row["framework"] != OURS]
    for ours in (row for row in ranked if row["framework"] == OURS):
        rivals = [peer for peer in peers if ours["mode"] != "eager" or peer["mode"] == "eager"]
        if not rivals:
            continue
        best = min(rivals, key=lambda peer: peer["median"])
        paired = np.array(best["rounds"]) / np.array(ours["rounds"])
        lower, upper = (float(q) for q in np.quantile(paired, (0.25, 0.75)))
        found[ours["mode"]] = {
            "peer": who(best),
            "ratio": best["median"] / ours["median"],
            "lower": lower,
            "upper": upper,
        }
    return found


def who(row: dict[str, Any]) -> str:
    """A contestant's name."""
    return f"{row['framework']} {row['mode']}"


# ----- text -----


def cells(record: dict[str, Any], row: dict[str, Any], limits: dict[str, float]) -> list[str]:
    """The cells of a row of the table."""
    timing = Timing(row["median"], row["lower"], row["upper"], row["calls"])
    memory = ["" if row.get(x) is None else size(row[x]) for x in ("bytes", "process")]
    speed, share = roofline(record, row["median"], limits)
    return [who(row), spread(timing), speed, share, duration(row["first"]), *memory]


def roofline(record: dict[str, Any], seconds: float, limits: dict[str, float]) -> tuple[str, str]:
    """The speed, and the share of what the machine can do; empty where nothing limits it."""
    for key, unit in (("flops", "GFLOP/s"), ("bytes", "GB/s")):
        if record[key]:
            speed = record[key] / seconds
            return f"{figures(speed / 1e9)} {unit}", f"{speed / limits[key]:.0%}"
    return "", ""


def refusal(row: dict[str, Any]) -> str:
    """Why a contestant takes no part."""
    error = row["error"]
    measured = "" if error is None else f" (error {scientific(error)})"
    return f"WRONG  {row['note']}{measured}"


def verdicts(record: dict[str, Any]) -> Iterator[str]:
    """How we stand beside the best peer."""
    for mode, found in record["ratios"].items():
        spread = f"{found['lower']:.2f}-{found['upper']:.2f}"
        yield f"{OURS} {mode}: {found['ratio']:.2f}x ({spread}) the speed of {found['peer']}"


def table(name: str, record: dict[str, Any], limits: dict[str, float]) -> str:
    """A workload on the terminal."""
    lines = [f"{name}  {record['title']}", laid_out(HEAD)]
    for row in record["contestants"]:
        wrong = row["wrong"]
        lines.append(laid_out([who(row), refusal(row)] if wrong else cells(record, row, limits)))
    return "\n".join([*lines, *verdicts(record)])


def laid_out(parts: Sequence[str]) -> str:
    """Cells in columns."""
    return "".join(f"{part:<{width}}" for part, width in zip(parts, WIDTHS)).rstrip()


# ----- files -----


def told(document: dict[str, Any]) -> list[str]:
    """Where and with what a run was measured, a line each."""
    machine, limits = document["machine"], document["limits"]
    peers = [
        f"{name} missing" if "missing" in found else f"{name} {found['version']}"
        for name, found in document["frameworks"].items()
    ]
    return [
        f"{document['when'][:16]}, commit {document['commit']}",
        f"{machine['processor']}, {machine['threads']} threads: "
        f"{limits['flops'] / 1e9:.0f} GFLOP/s, {limits['bytes'] / 1e9:.1f} GB/s",
        ", ".join(peers),
    ]


def rows_of(record: dict[str, Any], limits: dict[str, float]) -> list[list[str]]:
    """The rows of a workload, refusals too."""
    return [
        [who(row), refusal(row), *[""] * len(HEAD[2:])]
        if row["wrong"]
        else cells(record, row, limits)
        for row in record["contestants"]
    ]


def markdown(document: dict[str, Any]) -> str:
    """A run as Markdown."""
    parts = ["# dualflow beside its peers", "", *(f"* {line}" for line in told(document))]
    for name, record in document["workloads"].items():
        parts += ["", f"## {name}: {record['title']}", "", f"| {' | '.join(HEAD)} |"]
        parts += ["|---" * len(HEAD) + "|"]
        parts += [f"| {' | '.join(row)} |" for row in rows_of(record, document["limits"])]
        parts += ["", *(f"* {line}" for line in verdicts(record))]
    return "\n".join(parts) + "\n"


def pictures(name: str, record: dict[str, Any]) -> Iterator[str]:
    """The times of a workload as a picture, if two can be compared."""
    ranked = [row for row in record["contestants"] if not row["wrong"]]
    if len(ranked) > 1:
        yield dots.picture(f"{name}: time of a step", [dot(row) for row in ranked])


def dot(row: dict[str, Any]) -> dots.Dot:
    """A contestant in the picture; peers have no mode there, and one colour."""
    mode = "eager" if row["mode"] == "eager" else "compiled"  # fast, too, is a compiled function
    ours = mode if row["framework"] == OURS else ""
    return dots.Dot(who(row), row["median"], row["lower"], row["upper"], ours)


def html(document: dict[str, Any]) -> str:
    """A run as a page in one file."""
    parts = ["<h1>dualflow beside its peers</h1>"]
    parts += [f"<p class='about'>{escape(line)}</p>" for line in told(document)]
    for name, record in document["workloads"].items():
        parts.append(f"<h2>{escape(name)}: {escape(record['title'])}</h2>")
        parts += [f"<p>{picture}</p>" for picture in pictures(name, record)]
        parts.append(page.table(list(HEAD), rows_of(record, document["limits"])))
        parts += [f"<p>{escape(line)}</p>" for line in verdicts(record)]
    return page.document("dualflow bench peers", *parts)
