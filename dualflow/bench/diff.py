"""`python -m dualflow bench diff A.json B.json`: what changed between two runs of `bench peers`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualflow.bench.ranking import who
from dualflow.comparison.report import duration

WIDTHS = (17, 22, 12, 12, 8, 0)
HEAD = ("", "", "A", "B", "B / A", "")


def main(first: Path, second: Path) -> int:
    """Prints what changed between two files.

    Returns:
        The exit status: 2 where one is no file of `bench peers`.
    """
    try:
        a, b = (read(path) for path in (first, second))
    except (OSError, ValueError) as error:
        print(f"dualflow bench diff: {error}")
        return 2
    print("\n".join(lines(a, b)))
    return 0


def read(path: Path) -> dict[str, Any]:
    """A run.

    Raises:
        ValueError: The file holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(document, dict) or "workloads" not in document:
        raise ValueError(f"{path} was not written by bench peers")
    return document


def lines(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """The comparison: only what both runs have."""
    for name, run in (("A", a), ("B", b)):
        machine = run["machine"]
        yield (
            f"{name}: {run['when'][:16]}, commit {run['commit']}, {machine['processor']}, "
            f"{machine['threads']} threads"
        )
    if a["machine"]["processor"] != b["machine"]["processor"]:
        yield "The machines differ: compare ratios to peers, not times."
    yield laid_out(HEAD)
    for workload, record in a["workloads"].items():
        if workload in b["workloads"]:
            yield from of_workload(workload, record, b["workloads"][workload])


def of_workload(name: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """The lines of one workload: times, and how we stand beside the best peer."""
    before = {who(row): row for row in a["contestants"]}
    for row in b["contestants"]:
        old = before.get(who(row))
        if old is None or (old["wrong"] and row["wrong"]):
            continue
        if old["wrong"] or row["wrong"]:
            yield laid_out((name, who(row), "", "", "", "wrong in A" if old["wrong"] else "WRONG"))
            continue
        change = f"{row['median'] / old['median']:.2f}"
        times = (duration(old["median"]), duration(row["median"]))
        yield laid_out((name, who(row), *times, change, verdict(old, row)))
    for mode in (mode for mode in a["ratios"] if mode in b["ratios"]):
        old, new = (f"{x['ratios'][mode]['ratio']:.2f}x" for x in (a, b))
        yield laid_out((name, f"{mode} / best peer", old, new))


def verdict(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Faster or slower where the quartiles do not meet, nothing where they do."""
    if new["upper"] < old["lower"]:
        return "faster"
    return "SLOWER" if new["lower"] > old["upper"] else ""


def laid_out(parts: tuple[str, ...]) -> str:
    """Cells in columns."""
    return "".join(f"{part:<{width}}" for part, width in zip(parts, WIDTHS)).rstrip()
