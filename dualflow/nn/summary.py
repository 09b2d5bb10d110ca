"""A module as a table, in text and in HTML: the tree of its layers, their shapes and sizes."""

from __future__ import annotations

from html import escape
from typing import NamedTuple


class Row(NamedTuple):
    """One module of the tree.

    Attributes:
        depth: How many modules it is inside of.
        name: Its attribute in the module around it; "" at the top.
        title: Class and settings.
        shapes: Names and shapes of its own parameters.
        size: How many numbers all parameters inside it hold.
    """

    depth: int
    name: str
    title: str
    shapes: str
    size: int


def text(table: list[Row]) -> str:
    """The table in aligned columns."""
    heads = [f"{'  ' * r.depth}{r.name + '  ' if r.name else ''}{r.title}" for r in table]
    right = len(f"{table[0].size:,}")
    sizes = [f"{r.size:>{right},}" if r.size else "" for r in table]
    left = max(map(len, heads))
    middle = max(len(r.shapes) for r in table)
    sizes[0] += " parameters" if sizes[0] else ""
    lines = [
        f"{head:<{left}}  {row.shapes:<{middle}}  {size}".rstrip()
        for head, row, size in zip(heads, table, sizes, strict=True)
    ]
    return "\n".join(lines)


def html(table: list[Row]) -> str:
    """The table for notebooks."""
    body = "".join(
        f'<tr><td style="text-align:left; padding-left:{1 + 1.5 * r.depth}em">{escape(r.name)}</td>'
        f'<td style="text-align:left">{escape(r.title)}</td>'
        f'<td style="text-align:left">{escape(r.shapes)}</td><td>{r.size:,}</td></tr>'
        for r in table
    )
    heads = "".join(f"<th>{h}</th>" for h in ("name", "module", "shapes", "parameters"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
