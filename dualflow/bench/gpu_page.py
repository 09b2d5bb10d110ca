"""The figures of `bench gpu` for people: a line a row, and a page."""

from __future__ import annotations

from typing import Any

WIDTHS = (34, 18, 11, 11, 9, 10)
OURS = "dualflow"
HEAD = """\
Measured on {device}, {date}, commit {commit}, by
`python -m dualflow bench gpu`. Milliseconds a step; seconds of the first call, which finds nothing
compiled; peak memory in MB; the loss of the first and the third step, from the same weights.

| workload | who | waited for | back to back | first call, s | MB | losses |
|---|---|---|---|---|---|---|
"""
RATIOS = """
Times beside the best peer's, back to back (below 1: less than it takes):

| workload | dualflow compiled | dualflow eager | the best peer |
|---|---|---|---|
"""


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    a, b, c, d, e, f = WIDTHS
    head = f"{row['workload']:<{a}}{row['who']:<{b}}"
    if "error" in row:
        return f"{head}  {row['error']}"
    times = f"{row['sync_ms']:>{c}.4f}{row['pipe_ms']:>{d}.4f}{row['first_s']:>{e}.2f}"
    return f"{head}{times}{megabytes(row):>{f}}  {losses(row)}".rstrip()


def megabytes(row: dict[str, Any]) -> str:
    """Peak memory."""
    return "" if row.get("bytes") is None else f"{row['bytes'] / 1e6:.1f}"


def losses(row: dict[str, Any]) -> str:
    """The losses of the first and the last step that are told."""
    told = row.get("losses") or []
    return f"{told[0]:.5f} {told[-1]:.5f}" if told else ""


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [HEAD.format(**result)]
    for row in result["rows"]:
        cells = [row["workload"], row["who"]]
        if "error" in row:
            cells += [row["error"], "", "", "", ""]
        else:
            cells += [f"{row['sync_ms']:.4f}", f"{row['pipe_ms']:.4f}", f"{row['first_s']:.2f}"]
            cells += [megabytes(row), losses(row)]
        lines.append(f"| {' | '.join(cells)} |\n")
    compared = ratios(result["rows"])
    if compared:
        lines.append(RATIOS)
        lines += [f"| {' | '.join(cells)} |\n" for cells in compared]
    return "".join(lines)


def ratios(rows: list[dict[str, Any]]) -> list[list[str]]:
    """For each workload with a peer: ours over the best one's, and which one that is."""
    made = []
    for work in dict.fromkeys(row["workload"] for row in rows):
        times = {
            row["who"]: row["pipe_ms"]
            for row in rows
            if row["workload"] == work and "pipe_ms" in row
        }
        others = {who: ms for who, ms in times.items() if not who.startswith(OURS)}
        if not others:
            continue
        best = min(others, key=others.__getitem__)
        ours = [times.get(f"{OURS} {mode}") for mode in ("compiled", "eager")]
        cells = [f"{ms / others[best]:.2f}" if ms else "" for ms in ours]
        made.append([work, *cells, f"{best}, {others[best]:.4f} ms"])
    return made
