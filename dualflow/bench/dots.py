"""A picture of a contest: the median time of each contestant, with its quartiles, on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from dualflow.comparison.pictures import COLOURS, FONT, WIDTH, Scale, text
from dualflow.comparison.report import duration
from jit.dataclass import dataclass

ROW, TOP, BOTTOM = 24, 14, 30  # heights
LEFT, RIGHT = 170, 96  # room for names, and for figures
STEPS = (1, 2, 5)  # between ticks, times a power of ten
OTHERS = COLOURS["other"]


@dataclass(frozen=True)
class Dot:
    """One contestant.

    Attributes:
        name: Written at the left.
        median: Seconds.
        lower: The quartile below.
        upper: The one above.
        mode: "eager" and "compiled" have their colours; anything else is a peer.
    """

    name: str
    median: float
    lower: float
    upper: float
    mode: str


def picture(title: str, dots: Sequence[Dot]) -> str:
    """The picture as SVG, the first contestant on top; time is logarithmic."""
    low = min(dot.lower for dot in dots) / 1.15
    high = max(dot.upper for dot in dots) * 1.15
    across, bottom = Scale(low, high, LEFT, WIDTH - RIGHT, log=True), TOP + ROW * len(dots)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {bottom + BOTTOM}' "
        f"role='img' width='100%' style='max-width:{WIDTH}px' {FONT} fill='currentColor'>",
        f"<title>{escape(title)}</title>",
        *axis(across, bottom),
    ]
    for k, dot in enumerate(dots):
        parts += drawn(dot, across, TOP + ROW * k + ROW / 2)
    return "\n".join([*parts, "</svg>"])


def axis(across: Scale, bottom: float) -> Iterator[str]:
    """Ticks with lines from top to bottom; names of those that have room."""
    last = 0.0
    for tick in ticks(across.low, across.high):
        x = across(tick)
        yield f"<path d='M{x:.1f} {TOP}V{bottom}' stroke='currentColor' opacity='.15'/>"
        if x - last > 70:
            yield text(x, bottom + 18, duration(tick), anchor="middle")
            last = x


def ticks(low: float, high: float) -> list[float]:
    """Round times between two."""
    found = (step * 10.0**power for power in range(-9, 5) for step in STEPS)
    return [tick for tick in found if low <= tick <= high]


def drawn(dot: Dot, across: Scale, y: float) -> Iterator[str]:
    """One row."""
    colour = COLOURS.get(dot.mode, OTHERS)
    ends = across(dot.lower), across(dot.upper)
    yield text(LEFT - 12, y + 4, dot.name, anchor="end")
    yield f"<path d='M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}' stroke='{colour}' stroke-width='2'/>"
    yield f"<circle cx='{across(dot.median):.1f}' cy='{y:.1f}' r='5' fill='{colour}'/>"
    yield text(WIDTH - RIGHT + 12, y + 4, duration(dot.median))
