"""What a kernel's figures say in words: titles, labels and legends, noted as each is drawn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NOTES = "DUALFLOW_FIGURES"  # names the file that notes go to
UNITS = {"time": (", s", ", ms", ", µs", ", %"), "size of": (", kB", ", MB"), "rate": ("/s",)}


def watch() -> None:
    """Notes every figure from here on; a kernel of a notebook does this before its first cell."""
    from matplotlib.backend_bases import FigureCanvasBase

    drawn = FigureCanvasBase.print_figure

    def noted(canvas: Any, *args: Any, **options: Any) -> Any:
        with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(described(canvas.figure)) + "\n")
        return drawn(canvas, *args, **options)

    FigureCanvasBase.print_figure = noted


def described(figure: Any) -> list[dict[str, Any]]:
    """The words of each field of a figure."""
    common = "" if figure._suptitle is None else figure._suptitle.get_text()
    return [
        {
            "title": axes.get_title() or common,
            "x": axes.get_xlabel() or (figure._supxlabel and figure._supxlabel.get_text()) or "",
            "y": axes.get_ylabel() or (figure._supylabel and figure._supylabel.get_text()) or "",
            "names": axes.get_legend_handles_labels()[1],
            "legend": axes.get_legend() is not None or bool(figure.legends),
            "bare": not axes.axison,
            "categories": [is_words(axis) for axis in (axes.xaxis, axes.yaxis)],
        }
        for axes in figure.axes
        if axes.get_label() != "<colorbar>"
    ]


def is_words(axis: Any) -> bool:
    """Whether an axis has words instead of numbers."""
    labels = [label.get_text().replace("mathdefault", "") for label in axis.get_ticklabels()]
    return any(character.isalpha() for text in labels for character in text)


def complaints(fields: list[dict[str, Any]]) -> list[str]:
    """What a reader would miss in a figure."""
    found = []
    explained = {name for each in fields if each["legend"] for name in each["names"]}
    for each in fields:
        where = each["title"] or "a field without a title"
        if not each["title"]:
            found.append(where)
        for label, words in zip((each["x"], each["y"]), each["categories"], strict=True):
            if not label and not words and not each["bare"]:
                found.append(f"{where}: an axis without a label")
            for quantity, units in UNITS.items():
                if label.startswith(quantity) and not label.endswith(units):
                    found.append(f"{where}: no unit in {label!r}")
        if len(each["names"]) > 1 and not explained.issuperset(each["names"]):
            found.append(f"{where}: {len(each['names'])} things and no legend")
    return found
