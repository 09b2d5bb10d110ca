"""Where the user's program stands."""

from __future__ import annotations

import pytest

import dualflow as df
from dualflow.core import source
from tests.modes import graphs_only


def test_inside_of_one_line_nobody_looks_for_frames(monkeypatch):
    looked, name = [], source.line_of
    monkeypatch.setattr(source, "line_of", lambda frame: looked.append(1) or name(frame))
    with source.at_one_line():
        lines = {source.user_line() for _ in range(3)}
        with source.at_one_line():
            lines.add(source.user_line())
    assert len(looked) == 1
    assert len(lines) == 1
    assert source.user_line() not in lines
    assert len(looked) == 2


def test_an_error_ends_it():
    with pytest.raises(ZeroDivisionError), source.at_one_line():
        _ = 1 / 0
    first, second = source.user_line(), source.user_line()
    here = source.user_line()
    assert first == second != here


@graphs_only
def test_a_gradient_is_recorded_with_few_looks(monkeypatch):
    looked, name = [], source.line_of
    w = df.Variable(2.0)

    @df.function
    def powers(x):
        for _ in range(50):
            x = x * w
        return x

    powers(df.asarray(1.0))
    monkeypatch.setattr(source, "line_of", lambda frame: looked.append(1) or name(frame))
    powers(df.asarray(1.0))  # its gradient is recorded: 150 ops
    assert 0 < len(looked) < 20


@graphs_only
def test_nodes_of_a_gradient_have_the_line_of_the_call():
    w = df.Variable(2.0)
    f = df.function(lambda x: df.tanh(x * w))
    f(df.asarray(1.0))
    f(df.asarray(1.0))
    (path,) = next(iter(f.entries.values())).parts
    (pair,) = path._gradient._pairs.values()
    assert {node.source.partition(":")[0] for node in pair._joint.graph.nodes} == {"test_source.py"}
