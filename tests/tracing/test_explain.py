"""What a Function tells of itself: `f.explain()`, guards, printed graphs."""

from __future__ import annotations

import re

import dualflow as df
from jit.config import configure
from tests.modes import graphs_only
from tests.tracing.both import vector

pytestmark = graphs_only


def test_explain_fits_a_screen_and_names_the_arguments():
    f = df.function(lambda x, *, n: x * float(n), max_traces=50)
    for n in range(30):
        f(vector(1), n=str(n))
        f(vector(1), n=str(n))
    text = str(f.explain())
    lines = text.splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 120
    assert "30 traces, 60 calls, 30 from the graph" in lines[0]
    assert "n: 0 -> 1" in text
    explanation = f.explain()
    assert (explanation.calls, explanation.from_graph, len(explanation.traces)) == (60, 30, 30)
    assert explanation.traces[0].why == "first call"
    assert explanation.traces[0].hits == 1
    assert explanation.traces[0].line.startswith("test_explain.py:")
    assert explanation.kernels[0].label == "multiply"
    assert explanation.kernels[0].source.startswith("test_explain.py:")
    assert (explanation.host_steps, explanation.foreign_calls) == ([], 1)


def test_explain_says_how_signatures_differ():
    f = df.function(lambda x, flag: x * 1.0)
    f(vector(1, 2), True)
    f(vector(1, 2, 3), True)
    f(df.asarray([1, 2]), True)
    f(df.asarray([[1.0, 2.0]]), True)
    f(vector(1, 2), False)
    whys = [t.why for t in f.explain().traces]
    assert whys == [
        "first call",
        "x.shape[0]: 2 -> 3",
        "x.dtype: float32 -> int64",
        "x.ndim: 1 -> 2",
        "flag: True -> False",
    ]


def test_explain_names_leaves_of_nests_and_further_arguments():
    f = df.function(lambda batch, *rest, **more: batch["x"] * 1.0)
    x, y = vector(1, 2), vector(1, 2, 3)
    f({"x": x, "y": [x]}, x, z=x)
    for args, kwargs, why in (
        (({"x": y, "y": [x]}, x), {"z": x}, "batch['x'].shape[0]: 2 -> 3"),
        (({"x": x, "y": [y]}, x), {"z": x}, "batch['y'][0].shape[0]: 2 -> 3"),
        (({"x": x, "y": [x]}, y), {"z": x}, "rest[0].shape[0]: 2 -> 3"),
        (({"x": x, "y": [x]}, x), {"z": y}, "z.shape[0]: 2 -> 3"),
    ):
        f(*args, **kwargs)
        assert f.explain().traces[-1].why == why


def test_guards_are_listed_with_their_lines():
    f = df.function(lambda x: x if x.sum() > 0 else -x)
    f(vector(1))
    guards = f.explain().traces[0].guards
    assert len(guards) == 1
    assert guards[0].startswith("test_explain.py:")
    assert guards[0].endswith("True")


def test_graphs_print():
    f = df.function(lambda x, y: df.tanh(x @ y))
    f(df.asarray([[1.0, 2.0]]), df.asarray([[1.0], [2.0]]))
    text = str(f.graphs[0])
    assert text.startswith("graph ")
    assert "= matmul(" in text
    assert "= tanh(" in text
    assert "# test_explain.py:" in text


def test_kernels_are_listed_with_their_lines():
    f = df.function(lambda x, y: df.tanh(x @ y) * 2.0)
    for _ in range(2):
        f(df.asarray([[1.0, 2.0]]), df.asarray([[1.0], [2.0]]))
    head, parts, kernel, trace = str(f.explain()).splitlines()
    assert head == "<lambda>: compiled, 1 trace, 2 calls, 1 from the graph"
    assert parts == "  1 kernel in the graphs, 1 foreign call a call"
    assert re.fullmatch(r"     matmul_tanh_multiply +test_explain.py:\d+", kernel)
    assert trace.startswith("  1. first call (test_explain.py:")


def test_host_steps_are_told_and_split_the_foreign_call():
    f = df.function(lambda x: df.sort(x * 2.0) + 1.0)
    f(vector(3, 1, 2))
    explanation = f.explain()
    assert (explanation.foreign_calls, len(explanation.kernels)) == (2, 2)
    assert [part.label for part in explanation.host_steps] == ["sort"]
    assert "  2 kernels and 1 host step in the graphs, 2 foreign calls a call" in str(explanation)
    assert re.search(r"     on the host: sort +test_explain.py:\d+", str(explanation))


def test_what_is_interpreted_is_called_so():
    f = df.function(lambda x: df.tanh(x * 2.0))
    assert f.mode == "not called yet"
    with configure(target="interpreter"):
        f(vector(1))
    assert f.mode == "interpreted"
    assert repr(f) == "<Function <lambda>: interpreted, 1 trace, 1 call>"
    assert "  2 steps in the graphs" in str(f.explain())
    f(vector(1, 2))
    assert f.mode == "compiled and interpreted"
    assert "1 kernel and 2 host steps" in str(f.explain())


def test_many_kernels_fit_a_screen():
    def many(x):
        for k in range(30):
            x = x @ x + float(k)
        return x

    f = df.function(many)
    f(df.ones((2, 2)))
    lines = str(f.explain()).splitlines()
    assert len(lines) <= 15
    assert sum("matmul" in line for line in lines) >= 10
    assert any(line.startswith("     and ") and line.endswith(" more") for line in lines)
