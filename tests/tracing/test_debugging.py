"""Debugging decorated functions: reasons, breakpoints, numbers that go wrong, the off-switch."""

from __future__ import annotations

import pdb
import subprocess
import sys
import threading
import traceback
import warnings

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import UnconnectedWarning
from tests.modes import graphs_only
from tests.tracing.both import vector

# ----- R44: gradients that are None -----

CUTS = {
    ".numpy()": lambda w: df.asarray(w.numpy()) * 2.0,
    "astype": lambda w: w.astype("int64").astype("float32"),
    "stop_gradient": lambda w: df.stop_gradient(w) * 2.0,
    "assign()": lambda w: df.Variable([0.0, 0.0], trainable=False).assign(w * 2.0) * 1.0,
}


@pytest.mark.parametrize("how", CUTS)
def test_r44_the_reason_is_the_same_inside_of_a_function(how):
    w = df.Variable([1.0, 2.0], name="w")

    def f():
        with df.GradientTape() as tape:
            y = CUTS[how](w)
        return tape.gradient(y, w)

    texts = []
    for g in (f, df.function(f)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert g() is None
        texts.append([str(w.message) for w in told if w.category is UnconnectedWarning])
    assert texts[0] == texts[1]
    (text,) = texts[0]
    assert f"gradients end at {how} (test_debugging.py:" in text


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("asks", [False, True])
def test_r44_a_tape_outside_is_told_the_reason_at_each_call(how, asks):
    w = df.Variable([1.0, 2.0], name="w")

    def f(x):
        for k in range(4):
            if asks and x.sum() > float(k):  # these ways join
                x = x * 2.0
        return CUTS[how](x)

    def told(g, k):
        w.assign([1.0, 0.5 * k])
        with df.GradientTape() as tape:
            y = g(w)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert tape.gradient(y, w) is None
        return [str(w.message) for w in found if w.category is UnconnectedWarning]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*runs in segments")
        recorded = df.function(f)
        for k in (0, 1, 4, 0, 1, 4, 2):
            (text,) = told(f, k)
            assert f" {how} (test_debugging.py:" in text
            assert told(recorded, k) == [text]


def test_r44_integers_and_what_nobody_watches():
    n, x = df.asarray([1, 2]), vector(1, 2)

    def f(source):
        with df.GradientTape() as tape:
            y = source * 2.0
        return tape.gradient(y, source, unconnected_gradients="raise")

    for g in (f, df.function(f)):
        with pytest.raises(df.errors.DTypeError, match="a source of dtype int64 has no gradient"):
            g(n)
        with pytest.raises(df.errors.TapeError, match=r"is not watched: use tape\.watch\(x\)"):
            g(x)


# ----- R39: breakpoints, and errors in later calls -----


@pytest.fixture
def stops(monkeypatch):
    """What a debugger would see: line, function, and the values of the locals that are tensors."""
    seen = []

    def stop(*args, **kwargs):
        frame = sys._getframe(1)
        values = {k: x.tolist() for k, x in frame.f_locals.items() if isinstance(x, df.Tensor)}
        seen.append((frame.f_lineno - frame.f_code.co_firstlineno, frame.f_code.co_name, values))

    monkeypatch.setattr(sys, "breakpointhook", stop)
    yield seen
    assert sys.breakpointhook is stop


@graphs_only
def test_r39_a_breakpoint_stops_at_every_call_with_real_values(stops):
    v = df.Variable([1.0, 1.0])

    def net(x):
        h = x * 2.0 + v
        breakpoint()
        v.assign_add(x)
        return h.sum()

    f = df.function(net, strict=True)
    assert [f(vector(k, 1)).item() for k in range(4)] == [4.0, 7.0, 11.0, 16.0]
    assert [(line, name) for line, name, _ in stops] == [(2, "net")] * 4
    assert [values["h"] for *_, values in stops] == [[1, 3], [3, 4], [6, 5], [10, 6]]
    assert v.tolist() == [7.0, 5.0]
    assert f.from_graph == 0
    assert f.mode.startswith("in Python (breakpoint() at test_debugging.py:")


@graphs_only
def test_r39_only_the_way_with_the_breakpoint_runs_in_python(stops):
    def net(x):
        if x.sum() > 10.0:
            breakpoint()
        return x * 2.0

    f = df.function(net, strict=True)
    for k in (1, 20, 1, 20, 1, 1, 30):
        assert f(vector(k)).tolist() == [2.0 * k]
    assert (len(stops), f.from_graph) == (3, 3)
    assert f.mode.startswith("compiled and in Python (breakpoint() at test_debugging.py:")


def test_r39_random_numbers_and_state_are_those_of_the_call(stops):
    def program():
        v = df.Variable([0.0, 0.0])

        def net(x):
            noise = df.random.normal((2,))
            v.assign_add(noise * x)
            breakpoint()
            return v * 1.0

        return net

    results = []
    for wrap in (lambda f: f, df.function):
        df.random.seed(7)
        net = wrap(program())
        results.append([net(vector(k, 1)).tolist() for k in range(3)])
    assert results[0] == results[1]
    assert stops[:3] == stops[3:]


def test_r39_a_breakpoint_in_a_helper_a_method_and_a_nested_function(stops):
    @df.function
    def inner(x):
        breakpoint()
        return x + 1.0

    f = df.function(lambda x: inner(x) * 2.0, strict=True)
    for k in range(3):
        assert f(vector(k)).tolist() == [2.0 * k + 2.0]
    assert [name for _, name, _ in stops] == ["inner"] * 3


@graphs_only
def test_r39_other_threads_are_not_concerned(stops):
    def elsewhere():
        breakpoint()

    def net(x):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x * 2.0

    f = df.function(net, strict=True)
    f(vector(1))
    assert len(stops) == 1
    assert [entry.stopped for entry in f.entries.values()] == [None]


@graphs_only
def test_a_signature_that_is_checked_inside_takes_no_input():
    array = np.ones(3, np.float32)
    inner = df.function(lambda a: a * 2.0, input_signature=[df.TensorSpec((3,))])
    outer = df.function(lambda x: x + inner(array), strict=True)
    for k in range(3):
        array[:] = k
        assert outer(df.zeros(3)).tolist() == [2.0 * k] * 3
    assert len(outer.graphs[0].inputs) == 2


@graphs_only
def test_r39_breakpoints_that_are_switched_off_cost_nothing(monkeypatch):
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)

    def net(x):
        breakpoint()
        return x * 2.0

    f = df.function(net, strict=True)
    for _ in range(3):
        assert f(vector(1)).tolist() == [2.0]
    assert f.from_graph == 2


@graphs_only
@pytest.mark.parametrize("stop", ["breakpoint()", "pdb.set_trace()", "pdb.Pdb().set_trace()"])
def test_r39_pdb_stops_at_the_users_line(tmp_path, monkeypatch, stop):
    script = tmp_path / "nets.py"
    script.write_text(
        "import pdb, dualflow as df\n"
        "@df.function\n"
        "def net(x):\n"
        "    h = x * 2.0\n"
        f"    {stop}\n"
        "    return h + 1.0\n"
        "for k in range(3):\n"
        "    print('got', net(df.asarray([float(k)])).tolist())\n"
        "print(net.mode)\n"
    )
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    ran = subprocess.run(
        [sys.executable, script],
        input="p h.tolist()\nn\np (h * x).tolist()\nc\n" * 3,
        capture_output=True,
        text=True,
        check=True,
    )
    out = ran.stdout
    assert out.count(f"> {script}(6)net()\n-> return h + 1.0") == 3
    for k in range(3):
        assert f"(Pdb) [{2.0 * k}]" in out
        assert f"(Pdb) [{2.0 * k * k}]" in out
        assert f"got [{2.0 * k + 1}]" in out
    assert "in Python (breakpoint() at nets.py:5)" in out


def test_r39_an_error_in_a_later_call_leaves_frames_with_real_values():
    v = df.Variable([1.0, 2.0, 3.0])

    def net(i):
        h = v * 2.0
        v.assign(h)
        picked = h[i]
        v.assign(h * 0.0)
        return picked

    f = df.function(net, strict=True)
    for k in range(3):
        f(df.asarray(k))
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(df.errors.IndexError) as caught:
        f(df.asarray(7))
    frame = next(f for f, _ in traceback.walk_tb(caught.tb) if f.f_code is net.__code__)
    assert frame.f_locals["h"].tolist() == [2.0, 4.0, 6.0]
    assert frame.f_locals["i"].item() == 7
    assert frame.f_lineno == net.__code__.co_firstlineno + 3
    assert v.tolist() == [2.0, 4.0, 6.0]
    with pytest.raises(df.errors.IndexError):
        f(df.asarray(-9))
    assert np.isfinite(f(df.asarray(1)).item())


def test_r39_the_hook_of_others_stays(monkeypatch):
    """pdb is not loaded, and whoever sets a hook meanwhile keeps it."""
    other = pdb.set_trace

    def net(x):
        sys.breakpointhook = other
        return x * 1.0

    before = sys.breakpointhook
    try:
        df.function(net)(vector(1))
        assert sys.breakpointhook is other
    finally:
        sys.breakpointhook = before


# ----- R40: the off-switch -----


def test_r40_the_switch_changes_nothing_that_a_call_means():
    """Signatures are checked, arrays arrive as tensors, errors read the same."""
    f = df.function(lambda x: x * 2.0, input_signature=[df.TensorSpec((2,))])
    g = df.function(lambda x: isinstance(x, df.Tensor))
    h = df.function(lambda x: f(x))
    found = []
    for mode in ("compiled", "eager"):
        with df.set_mode(mode):
            texts = []
            for call in (f, h):
                with pytest.raises(df.errors.DTypeError) as caught:
                    call(vector(1, 2, 3))
                texts.append(str(caught.value).splitlines()[:-1])
            found.append((texts, f(vector(1, 2)).tolist(), g(np.ones(2))))
    assert found[0] == found[1]
