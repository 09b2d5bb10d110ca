"""Pictures of both modes as SVG text, which any browser shows without a library.

Each mode has one colour everywhere, told apart by the colour-blind too, and its name at its line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import field
from html import escape

from jit.dataclass import dataclass

COLOURS = {"eager": "#0072B2", "compiled": "#D55E00", "interpreted": "#D55E00", "other": "#555555"}
WIDTH, HEIGHT = 760, 300
WIDE, NARROW = 3, 1.5  # of lines: eager's, and the others
LEFT, RIGHT, TOP, BOTTOM = 76, 96, 34, 46  # room for labels
STEPS = (1, 2, 2.5, 5, 10)  # between ticks, times a power of ten
FONT = "font-family='system-ui, sans-serif' font-size='13'"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Written at its end; "eager" and "compiled" have their colours.
        points: Pairs (x, y), x growing.
        band: For each point the lower and upper end of its spread, if it has one.
    """

    name: str
    points: Points
    band: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, in which unit.

    Attributes:
        label: With the unit.
        log: Whether it is logarithmic; only positive numbers are shown then.
    """

    label: str
    log: bool = False


@dataclass
class Scale:
    """Numbers of an axis to places in the picture.

    Attributes:
        low: Of the numbers.
        high: Of the numbers.
        start: Where `low` is.
        end: Where `high` is.
        log: Whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, x: float) -> float:
        """Where a number is."""
        low, high = self._of(self.low), self._of(self.high)
        part = (self._of(x) - low) / ((high - low) or 1.0)
        return self.start + part * (self.end - self.start)

    def _of(self, x: float) -> float:
        return math.log10(x) if self.log else x

    def ticks(self) -> list[float]:
        """Round numbers on the axis."""
        if self.log:
            exponents = range(math.floor(self._of(self.low)), math.ceil(self._of(self.high)) + 1)
            stride = max(1, len(exponents) // 6)
            return [10.0**e for e in exponents[::stride] if self.low <= 10.0**e <= self.high]
        step = round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass
class Chart:
    """Lines over one pair of axes.

    Attributes:
        title: What the picture shows.
        x: The axis below.
        y: The axis at the left.
        lines: What is drawn.
        marks: Places on the x axis to point out, with words.
    """

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]] = field(default_factory=tuple)

    def __str__(self) -> str:
        xs = [x for line in self.lines for x, _ in self._shown(line)]
        ys = [y for line in self.lines for _, y in self._shown(line)]
        ys += [end for line in self.lines for pair in line.band for end in pair if self._fits(end)]
        across = Scale(*bounds(xs, log=self.x.log), LEFT, WIDTH - RIGHT, self.x.log)
        up = Scale(*bounds(ys, log=self.y.log, zero=True), HEIGHT - BOTTOM, TOP, self.y.log)
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
            f"width='100%' style='max-width:{WIDTH}px' {FONT} fill='currentColor'>",
            f"<title>{escape(self.title)}</title>",
            text(LEFT, 18, self.title, weight="600"),
            *self._axes(across, up),
            *[part for line in self.lines for part in self._line(line, across, up)],
            *self._names(across, up),
            *[part for at, words in self.marks for part in mark(across(at), words)],
            "</svg>",
        ]
        return "\n".join(parts)

    def alone(self) -> str:
        """The picture for a file of its own: on white, in pixels."""
        size = f"width='{WIDTH}' height='{HEIGHT}' color='#1f2328'"
        inside = str(self).replace(f"width='100%' style='max-width:{WIDTH}px'", size, 1)
        paper = "<rect width='100%' height='100%' fill='white'/>"
        return inside.replace("<title>", f"{paper}\n<title>", 1)

    def _fits(self, y: float) -> bool:
        return math.isfinite(y) and (y > 0 or not self.y.log)

    def _shown(self, line: Line) -> list[tuple[float, float]]:
        """The points that the axes can show."""
        return [(x, y) for x, y in line.points if self._fits(y) and (x > 0 or not self.x.log)]

    def _axes(self, across: Scale, up: Scale) -> Iterable[str]:
        for tick in up.ticks():
            y = up(tick)
            yield f"<path d='M{LEFT} {y:.1f}H{WIDTH - RIGHT}' stroke='currentColor' opacity='.15'/>"
            yield text(LEFT - 8, y + 4, written(tick), anchor="end")
        for tick in across.ticks():
            yield text(across(tick), HEIGHT - BOTTOM + 18, written(tick), anchor="middle")
        line = f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"
        yield f"<path d='{line}' fill='none' stroke='currentColor' opacity='.6'/>"
        yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x.label, anchor="middle")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        yield (
            f"<text transform='translate(16 {middle:.0f}) rotate(-90)' text-anchor='middle'>"
            f"{escape(self.y.label)}</text>"
        )

    def _line(self, line: Line, across: Scale, up: Scale) -> Iterable[str]:
        colour = COLOURS.get(line.name, COLOURS["other"])
        points = self._shown(line)
        if line.band:
            upper = [(x, high) for (x, _), (_, high) in zip(line.points, line.band, strict=True)]
            lower = [(x, low) for (x, _), (low, _) in zip(line.points, line.band, strict=True)]
            outline = " ".join(
                f"{across(x):.1f},{up(y):.1f}" for x, y in [*upper, *lower[::-1]] if self._fits(y)
            )
            yield f"<polygon points='{outline}' fill='{colour}' opacity='.18'/>"
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        width = WIDE if line.name == "eager" else NARROW  # both are seen where they are the same
        yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width}'/>"

    def _names(self, across: Scale, up: Scale) -> Iterable[str]:
        """The name of each line at its end; names that would meet are moved apart."""
        ends = [(up(points[-1][1]), line) for line in self.lines if (points := self._shown(line))]
        last = -math.inf
        for y, line in sorted(ends, key=lambda end: end[0]):
            last = max(y, last + 16)
            at = across(self._shown(line)[-1][0]) + 8
            yield text(at, last + 4, line.name, fill=COLOURS.get(line.name, COLOURS["other"]))


def totals(first: float, eager: float, compiled: float, mode: str, crossing: int | None) -> Chart:
    """Total time against the number of calls for both modes, and where they cross.

    Args:
        first: Seconds of the first call of the compiled mode.
        eager: Seconds of an eager call.
        compiled: Seconds of a later call.
        mode: What the compiled mode is called.
        crossing: The call from which on compiling has paid off.
    """
    most = 2 * crossing if crossing else max(10, math.ceil(2 * first / max(eager, 1e-9)))
    scale, unit = (1e3, "ms") if most * eager < 1 else (1.0, "s")
    marks = [(float(crossing), f"call {crossing:,}")] if crossing else []
    return Chart(
        "Total time against number of calls",
        Axis("calls"),
        Axis(f"total time, {unit}"),
        [
            Line("eager", [(0, 0), (most, scale * most * eager)]),
            Line(mode, [(0, scale * first), (most, scale * (first + most * compiled))]),
        ],
        marks,
    )


def bounds(numbers: Sequence[float], *, log: bool, zero: bool = False) -> tuple[float, float]:
    """Where an axis begins and ends."""
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if log:
        if not numbers:
            return 1e-1, 1e1
        return (low, high) if high > low else (low / 10, high * 10)
    low = min(low, 0.0) if zero else low
    return (low, high) if high > low else (low, low + 1.0)


def round_step(step: float) -> float:
    """The round number at or above a step between ticks."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * k for k in STEPS if power * k >= step * (1 - 1e-9)) if step > 0 else 1.0


def written(x: float) -> str:
    """A number at a tick."""
    if x != 0 and not 1e-3 <= abs(x) < 1e6:
        return f"1e{round(math.log10(x))}" if x == 10.0 ** round(math.log10(x)) else f"{x:.1e}"
    return f"{x:,.6g}"


def mark(x: float, words: str) -> Iterable[str]:
    """A place on the x axis, with words."""
    yield (
        f"<path d='M{x:.1f} {TOP}V{HEIGHT - BOTTOM}' stroke='currentColor' stroke-dasharray='4 4'/>"
    )
    late = x > LEFT + 0.8 * (WIDTH - RIGHT - LEFT)  # where totals have grown there are lines above
    yield text(
        x - 6 if late else x + 6, HEIGHT - BOTTOM - 8, words, anchor="end" if late else "start"
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", weight: str = "400", fill: str = ""
) -> str:
    """Words in a picture."""
    colour = f" fill='{fill}'" if fill else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}'{colour}>"
        f"{escape(words)}</text>"
    )
