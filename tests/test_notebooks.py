"""Every notebook runs from its first cell to its last, and shows what it holds.

Those that train hold the outputs of a full run; here they run with small settings, and numbers may
differ. `make notebooks` runs all of them in full, and writes their outputs.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests import figures
from tests.gpu.device import available
from tests.modes import graphs_only

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = 3  # so many of them are for the default suite; the others take longer
WITHOUT_GPU = ("09_gpu",)  # what these hold was written without one, and is less
LARGEST = 400_000  # bytes of a notebook, pictures included
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def can_run_notebooks() -> bool:
    """Whether the extra [notebook] is installed."""
    needed = "ipykernel matplotlib nbclient nbformat".split()
    return all(importlib.util.find_spec(name) for name in needed)


needs_notebooks = pytest.mark.skipif(
    not can_run_notebooks(), reason="needs the extra: pip install dualflow[notebook]"
)


def read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def kinds(output: Any) -> tuple[str, ...]:
    """What an output is, whatever it says."""
    return (output.output_type, *sorted(output.get("data", ())))


def all_kinds(cell: Any) -> list[tuple[str, ...]]:
    """What a cell shows; a slow machine may send what it prints in several pieces."""
    return [kind for kind, _ in itertools.groupby(map(kinds, cell.outputs))]


def text_of(cell: Any) -> str:
    """The text that a cell shows, numbers masked: their last digits vary with the machine."""
    shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", "".join(shown))


def is_progress(output: Any) -> bool:
    """Whether an output is the line that tells how far a compilation is."""
    return output.get("name") == "stderr" and output.text.startswith("\r")


def with_marks() -> list[Any]:
    """The notebooks, those that train among the slow tests."""
    later = [pytest.param(path, marks=pytest.mark.slow) for path in NOTEBOOKS[QUICK:]]
    return [*NOTEBOOKS[:QUICK], *later]


def prepared(monkeypatch: pytest.MonkeyPatch, folder: Path, *, in_full: bool) -> Path:
    """The environment of a kernel that notes its figures.

    Returns:
        Where the notes will be.
    """
    startup = folder / "profile_default" / "startup" / "figures.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("from tests.figures import watch\n\nwatch()\ndel watch\n")
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    monkeypatch.setenv(figures.NOTES, str(folder / "figures"))
    monkeypatch.setenv("DUALFLOW_NOTEBOOKS", "full" if in_full else "small")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return folder / "figures"


@graphs_only
@needs_notebooks
@pytest.mark.parametrize("path", with_marks(), ids=lambda path: path.stem)
def test_a_notebook_runs(path, request, monkeypatch, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    update = request.config.getoption("--update-golden")
    notes = prepared(monkeypatch, tmp_path, in_full=update)
    book = read(path)
    NotebookClient(book, timeout=600, record_timing=False).execute()
    for cell in book.cells:  # a machine that is busy tells of compilations of over a second
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_progress(output)]
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert [o.text for o in outputs if o.get("name") == "stderr"] == [], "a warning, or worse"
    drawn = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [figures.complaints(fields) for fields in drawn] == [[]] * len(drawn)
    if update:
        book.metadata = nbformat.from_dict(METADATA)
        nbformat.write(book, path)
    if path.stem in WITHOUT_GPU and available():
        return
    for kept, cell in zip(read(path).cells, book.cells, strict=True):
        if cell.cell_type == "code":
            assert all_kinds(kept) == all_kinds(cell), cell.source
            assert text_of(kept) == text_of(cell), cell.source


@needs_notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_tidy(path):
    assert path.stat().st_size <= LARGEST
    book = read(path)
    assert book.metadata == METADATA
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.source.strip() for cell in book.cells)


def test_a_figure_without_words_is_found():
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    for name in ("eager", "compiled"):
        left.plot([1, 2], [1, 2], label=name)
    left.set(title="Both", xlabel="time", ylabel="size of a batch")
    right.barh(["eager", "compiled"], [1, 2])
    assert figures.complaints(figures.described(figure)) == [
        "Both: no unit in 'time'",
        "Both: no unit in 'size of a batch'",
        "Both: 2 things and no legend",
        "a field without a title",
        "a field without a title: an axis without a label",
    ]
    left.legend()
    left.set(xlabel="time, ms", ylabel="rows")
    right.set(title="Both", xlabel="time of a call, s")
    assert figures.complaints(figures.described(figure)) == []


def test_there_are_notebooks():
    assert NOTEBOOKS
