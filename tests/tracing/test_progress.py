"""The line of progress: who waits sees it after a second, and finds nothing afterwards."""

from __future__ import annotations

import io
import sys
import threading
from itertools import pairwise
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given

import dualflow as df
from dualflow.tracing import progress
from dualflow.tracing.progress import COLUMNS, PATIENCE, REDRAWN, Line, shown
from jit.config import configure
from tests.modes import graphs_only

pytestmark = graphs_only  # of calls from graphs

PHASES = ["passes over the graph", "planning launches"]
pauses = st.lists(st.floats(0.0, 0.7), max_size=30)


class Screen:
    """One line of a terminal."""

    def __init__(self):
        self.pictures, self.cells = [], ""
        self.column = 0

    def write(self, text):
        for part in text.splitlines(keepends=True) if text else ():
            self.column = 0 if part.startswith("\r") or part == "\r" else self.column
            shown = part.strip("\r")
            assert "\n" not in shown
            self.cells = (
                self.cells[: self.column].ljust(self.column)
                + shown
                + self.cells[self.column + len(shown) :]
            )
            self.column += len(shown)
            if part.endswith("\r"):
                self.column = 0
        if self.cells.strip():
            self.pictures.append(self.cells.rstrip())


@given(pauses=pauses, name=st.text("abc_", min_size=1, max_size=120))
def test_r33_the_line_comes_after_a_second_and_goes_with_the_compilation(pauses, name):
    clock = SimpleNamespace(now=100.0)
    screen = Screen()
    line = Line(name, screen.write, clock=lambda: clock.now)
    wanted = []
    for k, pause in enumerate(pauses):
        clock.now += pause
        before = len(screen.pictures)
        line(PHASES[k % 2], k, len(pauses))
        if clock.now < 100.0 + PATIENCE:
            assert screen.pictures == []
        if len(screen.pictures) > before:
            wanted.append(clock.now)
            assert screen.pictures[-1].startswith("compiling ")
            assert screen.pictures[-1].endswith(f": {PHASES[k % 2]}, {k} of {len(pauses)}")
            assert len(screen.pictures[-1]) <= COLUMNS
    assert all(later >= earlier + REDRAWN for earlier, later in pairwise(wanted))
    assert bool(wanted) == (clock.now >= 100.0 + PATIENCE)
    line.clear()
    assert (screen.cells.strip(), screen.column) == ("", 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def hurried(monkeypatch):
    """Every compilation takes long."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "REDRAWN", 0.0)


def compiled_with(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    df.function(lambda x: x * 2.0 + 1.0)(df.ones(3))
    return stream.getvalue()


def test_r33_terminals_and_notebooks_show_it(hurried, monkeypatch):
    text = compiled_with(Terminal(), monkeypatch)
    assert "\rcompiling <lambda>: lowering ops, 1 of " in text
    screen = Screen()
    screen.write(text)
    assert screen.cells.strip() == ""
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    assert "compiling <lambda>" in compiled_with(notebook(), monkeypatch)


def test_r33_files_and_other_threads_do_not(hurried, monkeypatch):
    assert compiled_with(io.StringIO(), monkeypatch) == ""
    screen = Terminal()
    thread = threading.Thread(target=compiled_with, args=(screen, monkeypatch))
    thread.start()
    thread.join()
    assert screen.getvalue() == ""
    with configure(debug=1):  # which tells of compilations itself
        assert "\r" not in compiled_with(Terminal(), monkeypatch)


def test_a_process_without_stderr_compiles(hurried, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert df.function(lambda x: x * 3.0)(df.ones(1)).tolist() == [3.0]
    with shown("graph") as told:
        assert told is None
