"""Pages of functions, and profiles: every kernel with its lines, shares that add up."""

from __future__ import annotations

import itertools
import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

import dualflow as df
from dualflow import nn, optim
from dualflow.comparison import view
from dualflow.comparison.profiling import PYTHON, Slice, rows_of
from tests.comparison.pages import WIDTH, drawn, needs_browser
from tests.modes import graphs_only

pytestmark = graphs_only


@pytest.fixture(autouse=True)
def _compiled():
    with df.set_mode("compiled"):
        yield


@pytest.fixture(scope="module")
def training():
    df.random.seed(0)
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, df.randn(16, 20), df.randn(16, 3)


@pytest.fixture(scope="module")
def collatz():
    @df.function
    def collatz(n):
        steps = 0
        while n > 1:
            if n % 2 == 1:
                n = 3 * n + 1
            else:
                n = n // 2
            steps += 1
        return steps

    with df.set_mode("compiled"):
        for k in range(1, 30):
            collatz(df.asarray(k))
    return collatz


def page_of(training):
    step, x, y = training
    f = df.function(step)
    for _ in range(3):
        f(x, y)
    return f, f.to_html()


def test_r46_every_kernel_lists_its_ops_and_lines(training):
    f, page = page_of(training)
    kernels = f.explain().kernels
    assert kernels
    first = training[0].__code__.co_firstlineno
    lines = {f"test_views.py:{first + k}" for k in (1, 2, 3)}
    for part in kernels:
        assert part.ops
        assert set(part.lines) <= lines
        assert part.label in page
        assert set(part.label.split("_")) & set("_".join(part.ops).split("_"))
    for line in lines:
        assert line in page
    assert "loops as scheduled" in page
    assert "define void @entry" in page
    assert "optimizer.step()" in page  # the text of the line


def test_r46_shares_add_up_in_both_modes_and_a_trace_has_a_track_for_each(training, tmp_path):
    step, x, y = training
    found = df.profile(step, x, y, repeats=3)
    for mode in ("eager", "compiled"):
        assert sum(found.share(row, mode) for row in found.rows) == pytest.approx(1)
        assert found.total(mode) > 0
    lines = {row.line for row in found.rows}
    first = step.__code__.co_firstlineno
    assert {f"test_views.py:{first + k}" for k in (1, 2, 3)} <= lines
    assert all(row.kernels for row in found.rows if row.compiled > 0 and ".py" in row.line)
    assert max(map(len, str(found).splitlines())) <= 80
    path = found.save_trace(tmp_path / "trace.json")
    events = json.loads(path.read_text())["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    assert set(tracks) == {"eager", "compiled"}
    for mode, track in tracks.items():
        spans = [
            (e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" if e["tid"] == track
        ]
        assert len(spans) == len(found.slices[mode]) > 3
        assert all(a[1] <= b[0] + 1e-6 for a, b in itertools.pairwise(spans))
    assert all(e["args"]["lines"] and e["args"]["ops"] for e in events if e["ph"] == "X")


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=9), st.floats(1e-6, 1.0))
def test_what_is_left_of_a_call_is_nothing_or_worth_telling(seconds, whole):
    """The clock adds to what it times, so the lines may take the whole call: to the last bit."""
    slices = tuple(Slice("op", (f"a.py:{k}",), ("op",), 0.0, s, 0) for k, s in enumerate(seconds))
    rows = rows_of({"eager": slices, "compiled": ()}, {"eager": whole, "compiled": 0.0})
    (left,) = (row.eager for row in rows if row.line == PYTHON)
    assert left == max(0.0, whole - sum(seconds))
    assert sum(row.eager for row in rows) == pytest.approx(whole)


def test_a_profile_puts_state_back(training):
    step, x, y = training
    before = df.random.get_state().tolist()
    first = step.__closure__[0].cell_contents.parameters()
    values = [v.tolist() for v in first]
    df.profile(step, x, y, repeats=2)
    assert [v.tolist() for v in step.__closure__[0].cell_contents.parameters()] == values
    assert df.random.get_state().tolist() == before


def test_ways_show_questions_answers_and_hits(collatz):
    page = collatz.to_html()
    first = collatz.python.__code__.co_firstlineno
    assert f"test_views.py:{first + 3}" in page  # while n > 1
    assert re.search(r"True \d+x", page)
    hits = collatz.explain().traces[0].hits
    assert f"{hits:,}" in page


def test_ways_that_do_not_join_are_a_tree():
    @df.function
    def f(x):
        if x.sum() > 1:
            x = x * 2.0
        return x

    for k in (0.0, 1.0, 1.0, 0.0, 1.0):
        f(df.ones(3) * k)
    page = f.to_html()
    assert "True 2x" in page
    assert "False 1x" in page
    assert "<svg" in f._repr_html_()


def test_only_decorated_functions_have_a_page():
    with pytest.raises(TypeError, match="not decorated"):
        view(len)
    assert "not called yet" in df.function(lambda x: x).to_html()


def pages(training, collatz):
    """What makes each kind of page."""
    step, x, y = training
    return {
        "function": lambda: page_of(training)[1],
        "comparison": lambda: df.compare(step, x, y, calls=3).to_html(),
        "joined": lambda: collatz.to_html(),
        "profile": lambda: df.profile(step, x, y, repeats=2).to_html(),
    }


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("joined", "profile")]


@needs_browser
@pytest.mark.parametrize("name", ["function", "comparison", *SLOW])
def test_a_page_is_drawn_without_errors_in_800_pixels(name, training, collatz, tmp_path):
    text = pages(training, collatz)[name]()
    found = drawn(text, tmp_path)
    assert found.errors == []
    assert found.room == WIDTH
    assert found.wide <= WIDTH
    assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "it loads nothing"
    if name == "function":
        kernels = page_of(training)[0].explain().kernels
        assert all(part.label in found.dom for part in kernels)


@pytest.mark.slow
@needs_browser
def test_the_browser_sees_errors_and_what_is_too_wide(tmp_path):
    bad = "<body><div style='width:1200px'>x</div><script>nothing.here()</script></body>"
    found = drawn(bad, tmp_path)
    assert found.wide > WIDTH
    assert len(found.errors) == 1
