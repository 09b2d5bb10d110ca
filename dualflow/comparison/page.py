"""Pages: HTML that stands alone. No script is loaded from elsewhere, none is needed to read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from dualflow.comparison import pictures

if TYPE_CHECKING:
    from dualflow.comparison.report import Comparison

STYLE = """
.df { font: 14px/1.45 system-ui, sans-serif; max-width: 780px; overflow-wrap: anywhere; }
.df h1 { font-size: 18px; margin: 0 0 4px; } .df h2 { font-size: 15px; margin: 16px 0 4px; }
.df .about { opacity: .75; margin: 0 0 10px; }
.df table { border-collapse: collapse; margin: 4px 0; }
.df th, .df td { text-align: left; padding: 2px 12px 2px 0; vertical-align: top; border: 0; }
.df th, .df td:first-child { overflow-wrap: break-word; }
.df td.n, .df th.n { text-align: right; } .df td.n { white-space: nowrap; }
.df td.n { font-variant-numeric: tabular-nums; }
.df tr + tr > * { border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.df .yes { color: #007a55; font-weight: 600; } .df .no { color: #b3261e; font-weight: 600; }
.df .bar { height: 10px; background: #D55E00; opacity: .7; display: inline-block; }
.df pre { overflow-x: auto; font-size: 12px; }
.df .eager { color: #0072B2; } .df .compiled { color: #D55E00; }
""".strip()


def fragment(*parts: str) -> str:
    """Parts of a page, with the style that they need: what a notebook shows."""
    return f"<div class='df'><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</div>"


def document(title: str, *parts: str) -> str:
    """A whole page."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'><title>{escape(title)}</title>"
        "<style>body { margin: 16px; }</style></head>\n<body>\n"
        f"{fragment(*parts)}\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table; cells are text, which is escaped. `numbers` are the columns set to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = [" class='n'" if k in numbers else "" for k in range(len(cells))]
        inner = "".join(f"<{tag}{m}>{escape(c)}</{tag}>" for m, c in zip(marks, cells, strict=True))
        return f"<tr>{inner}</tr>"

    body = [line("td", row) for row in rows]
    return "\n".join(["<table>", *([line("th", head)] if any(head) else []), *body, "</table>"])


def of_comparison(comparison: Comparison) -> list[str]:
    """The parts of the page of a comparison: answers, the picture, and the figures behind it."""
    from dualflow.comparison import report

    found, times = comparison, (comparison.eager, comparison.compiled)
    about = " · ".join(part for part in (found.place, *found.what) if part)
    chart = pictures.totals(
        found.first.seconds, times[0].median, times[1].median, found.mode, found.break_even
    )
    outputs = [
        [
            x.name,
            f"{x.elements:,}",
            "same bits" if x.identical else report.scientific(x.relative),
            "0" if x.identical else report.scientific(x.absolute),
            "NaN" if x.ulp == report.FARTHEST else f"{x.ulp:,}",
        ]
        for x in found.outputs
    ]
    return [
        f"<h1>{escape(found.name)}</h1><p class='about'>{escape(about)}</p>",
        answers(found),
        "<h2>When compiling pays</h2>",
        str(chart),
        "<h2>Results in both modes</h2>",
        table(["", "numbers", "relative", "absolute", "ULP"], outputs, (1, 2, 3, 4)),
        "<h2>Where a call from the graph spends its time</h2>",
        table(
            ["kernel", "line", "time", "share"],
            [
                [
                    f"{x.op} x{x.count}" if x.count > 1 else x.op,
                    x.line or "",
                    report.duration(x.seconds),
                    f"{x.share:.1%}",
                ]
                for x in found.steps
            ],
            (2, 3),
        ),
    ]


def answers(comparison: Comparison) -> str:
    """The questions of a report, with their answers."""
    lines = []
    for label, answer, *clauses in comparison.rows():
        kind = "no" if answer == "no" else "yes"
        word = f"<span class='{kind}'>{escape(answer)}</span>" if answer else ""
        told = "<br>".join(map(escape, clauses))
        lines.append(f"<tr><th>{escape(label)}</th><td>{word}</td><td>{told}</td></tr>")
    return "\n".join(["<table>", *lines, "</table>"])
