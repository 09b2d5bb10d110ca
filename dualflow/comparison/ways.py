"""Ways: the recorded ways through a function as a picture, with how often each was taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from html import escape
from typing import Any

from dualflow.tracing.entries import Entry
from dualflow.tracing.joins.joined import Joined
from dualflow.tracing.path import Path
from jit.dataclass import dataclass
from jit.ir.builtin import guard

COLUMN, ROW, BOX, HIGH = 182, 48, 106, 30  # of a box and its place, in pixels
MARGIN = 10
LONGEST = 16  # characters in a box
MOST = 60  # boxes in a picture


@dataclass
class Box:
    """A point of the program: where a call begins, a question, an end.

    Attributes:
        text: What stands there.
        edges: Where it goes on: the answer, how many calls went there, and to which box.
        column: From the left.
        row: From the top.
    """

    text: str
    edges: list[tuple[str, int, Box]] = field(default_factory=list)
    column: int = -1
    row: int = -1

    __hash__ = object.__hash__


def picture(entry: Entry) -> str:
    """The ways of one kind of calls, as SVG."""
    start = Box("call")
    paths = list(entry.paths)
    for way in [way for way in paths if way.hits] or paths:  # some were recorded and never taken
        if isinstance(way, Joined):
            joined(start, way)
        else:
            single(start, way)
    boxes = placed(start)[:MOST]
    return drawn(boxes)


def single(start: Box, path: Path) -> None:
    """Adds a path: a box for each guard, as far as no other path went the same way."""
    box, answer = start, ""
    guards = [node for node in path.executable.graph.nodes if node.op is guard]
    for node, given in zip(guards, path.answers):
        box, answer = follow(box, answer, node.source or "a value", path.hits), str(given)
    follow(box, answer, "end", path.hits)


def follow(box: Box, answer: str, text: str, hits: int) -> Box:
    """The box behind an answer, made if there is none; the hits of the way are added."""
    for k, (known, number, other) in enumerate(box.edges):
        if (known, other.text) == (answer, text):
            box.edges[k] = (known, number + hits, other)
            return other
    new = Box(text)
    box.edges.append((answer, hits, new))
    return new


def joined(start: Box, way: Joined) -> None:
    """Adds stretches between the points at which ways join."""
    boxes: dict[Any, Box] = {}
    end = Box("end")
    for node, answer, stretch in way.stretches():
        box = start if not node.place else boxes.setdefault(node, Box(node.place))
        if stretch.target is None:
            other = end
        else:
            other = boxes.setdefault(stretch.target, Box(stretch.target.place))
        box.edges.append(("" if answer is None else str(answer), stretch.path.hits, other))


def placed(start: Box) -> list[Box]:
    """All boxes with a column and a row: as far from the start as they are."""
    start.column, start.row = 0, 0
    found, queue, rows = [start], [start], {0: 1}
    while queue:
        box = queue.pop(0)
        for _, _, other in box.edges:
            if other.column < 0:
                other.column = box.column + 1
                other.row = rows.get(other.column, 0)
                rows[other.column] = other.row + 1
                found.append(other)
                queue.append(other)
    return found


def drawn(boxes: list[Box]) -> str:
    """The picture of boxes that have their places."""
    shown = set(map(id, boxes))
    width = 2 * MARGIN + COLUMN * max(box.column for box in boxes) + BOX
    high = 2 * MARGIN + ROW * max(box.row for box in boxes) + HIGH + 24
    parts = [part for box in boxes for part in (*edges(box, shown), *body(box))]
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {high}' width='{width}' "
        "role='img' font-family='system-ui, sans-serif' font-size='12' fill='currentColor'>"
    )
    return "\n".join(["<div class='wide'>", svg, *parts, "</svg></div>"])


def body(box: Box) -> Iterable[str]:
    """A box and its words."""
    x, y = MARGIN + COLUMN * box.column, MARGIN + ROW * box.row
    text = box.text if len(box.text) <= LONGEST else box.text[: LONGEST - 1] + "…"
    yield (
        f"<rect x='{x}' y='{y}' width='{BOX}' height='{HIGH}' rx='6' fill='#D55E00' "
        "fill-opacity='.14' stroke='#D55E00'/>"
    )
    yield f"<text x='{x + BOX / 2}' y='{y + 19}' text-anchor='middle'>{escape(text)}</text>"


def edges(box: Box, shown: set[int]) -> Iterable[str]:
    """The lines that leave a box, with answers and numbers of calls."""
    x, y = MARGIN + COLUMN * box.column + BOX, MARGIN + ROW * box.row + HIGH / 2
    for other in dict.fromkeys(other for *_, other in box.edges if id(other) in shown):
        told = [(answer, hits) for answer, hits, to in box.edges if to is other]
        to_x, to_y = MARGIN + COLUMN * other.column, MARGIN + ROW * other.row + HIGH / 2
        if to_x > x:
            middle = (x + to_x) / 2
            path = f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"
            at = (middle, (y + to_y) / 2 - 4)
        else:  # back to where it was before: a loop
            low = max(y, to_y) + HIGH
            path = f"M{x} {y}C{x + 30} {low} {to_x - 30} {low} {to_x} {to_y}"
            at = ((x + to_x) / 2, low - 6)
        yield f"<path d='{path}' fill='none' stroke='currentColor' opacity='.5'/>"
        for k, (answer, hits) in enumerate(told):
            words = escape(f"{answer} {hits:,}x".strip())
            place = f"x='{at[0]:.0f}' y='{at[1] + 12 * k:.0f}'"
            yield f"<text {place} text-anchor='middle' font-size='10'>{words}</text>"
