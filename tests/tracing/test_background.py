"""`background=True`: calls run in Python until the code is ready, and nobody waits for it."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.errors import FunctionWarning
from dualflow.tracing import sweeps
from dualflow.tracing.path import Path
from jit import progress
from jit.config import configure
from jit.errors import TraceError
from tests.modes import compiled_only
from tests.tracing.both import vector
from tests.tracing.test_threads import at_once

pytestmark = compiled_only  # of calls from graphs

make_path = Path.__init__


@pytest.fixture
def gate(monkeypatch):
    """No code is ready before it is opened."""
    gate = threading.Event()

    def held(path, recorded):
        assert gate.wait(60)
        make_path(path, recorded)

    monkeypatch.setattr(Path, "__init__", held)
    yield gate
    gate.set()


def test_r30_the_first_calls_run_in_python_and_later_ones_from_the_graph(gate):
    v = df.Variable([0.0])

    def step(x):
        v.assign_add(x)
        return v * 2.0

    f = df.function(step, background=True, strict=True)
    for k in range(1, 6):
        assert f(vector(1)).tolist() == [2.0 * k]
        assert f.mode == "compiling"
        assert "0 hits, 0 paths, compiling" in str(f.explain())
    assert (f.calls, f.from_graph, f.recordings) == (5, 0, 1)
    gate.set()
    f.wait()
    assert f.mode == "compiled"
    for k in range(6, 9):
        assert f(vector(1)).tolist() == [2.0 * k]
    assert (f.calls, f.from_graph, f.recordings, len(f.graphs)) == (8, 3, 1, 1)
    assert f.explain().traces[0].seconds > 0


def test_without_waiting_it_is_there_at_some_time():
    f = df.function(lambda x: x * 3.0, background=True)
    end = time.monotonic() + 60
    while not f.from_graph and time.monotonic() < end:
        assert f(vector(2)).tolist() == [6.0]
    assert f.mode == "compiled"
    assert threading.active_count() == 1  # so Variables are updated in place again


def test_other_kinds_of_calls_are_recorded_and_other_paths_later(gate):
    f = df.function(lambda x: x * 2.0 if x.sum() > 0 else -x, background=True, strict=True)
    for _ in range(3):
        assert f(vector(1)).tolist() == [2.0]
        assert f(vector(-1)).tolist() == [1.0]
        assert f(df.ones((1, 2))).tolist() == [[2.0, 2.0]]
    assert (f.recordings, len(f.graphs), f.mode) == (2, 0, "compiling")
    gate.set()
    f.wait()
    assert (f.recordings, len(f.graphs), f.mode) == (2, 2, "compiled")
    assert f(vector(-1)).tolist() == [1.0]
    f.wait()
    assert (f.recordings, len(f.graphs), f.from_graph) == (3, 3, 0)
    assert f(vector(-1)).tolist() == [1.0]
    assert f(vector(1)).tolist() == [2.0]
    assert f.from_graph == 2


def test_numbers_and_extents_that_vary():
    f = df.function(lambda x, k: (x * k).sum() / x.shape[0], background=True, strict=True)
    for n, k in [(4, 1.0), (8, 2.0), (5, 3.0), (4, 1.0), (7, 0.5)] * 2:
        assert f(df.ones(n), k).item() == k
        f.wait()
    assert f.recordings == 2
    assert f.from_graph == 8


def test_state_that_changes_meanwhile_counts(gate):
    box = [2.0]
    f = df.function(lambda x: x * box[0], background=True, strict=True)
    assert f(vector(1)).tolist() == [2.0]
    box[0] = 3.0
    assert f(vector(1)).tolist() == [3.0]
    gate.set()
    f.wait()
    assert f(vector(1)).tolist() == [3.0]
    f.wait()
    assert f(vector(1)).tolist() == [3.0]
    box[0] = 2.0
    assert f(vector(1)).tolist() == [2.0]
    assert (f.from_graph, f.recordings) == (2, 2)


@pytest.fixture
def failing(monkeypatch):
    """When it is opened, compiling fails."""
    gate = threading.Event()

    def fail(path, recorded):
        assert gate.wait(60)
        raise RuntimeError("no code today")

    monkeypatch.setattr(Path, "__init__", fail)
    return gate


def test_what_cannot_be_compiled_is_told_once_and_runs_in_segments(failing):
    f = df.function(lambda x: x * 2.0, background=True)
    assert f(vector(1)).tolist() == [2.0]
    failing.set()
    with pytest.warns(FunctionWarning, match=r"RuntimeError\('no code today'\)") as told:
        f.wait()
    for _ in range(3):
        assert f(vector(1)).tolist() == [2.0]
    assert len(told) == 1
    assert f.mode.startswith("segments (compiling it failed")


def test_strict_functions_raise_it(failing):
    f = df.function(lambda x: x * 2.0, background=True, strict=True)
    assert f(vector(1)).tolist() == [2.0]
    failing.set()
    (entry,) = f.entries.values()
    entry.compiling.wait()
    assert f.mode == "compiling"  # who only looks is not the one to be told
    with pytest.raises(TraceError, match="no code today"):
        f.wait()


def test_gradients_from_outside_are_compiled_by_the_thread_too(monkeypatch):
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", np.inf)  # on a slow machine, too
    where = []
    compiled = jit.compile
    monkeypatch.setattr(
        jit,
        "compile",
        lambda *a, **k: where.append(threading.current_thread()) or compiled(*a, **k),
    )
    w = df.Variable(3.0)
    f = df.function(lambda x: w**2 * x, background=True, strict=True)
    for _ in range(3):
        with df.GradientTape() as tape:
            y = f(df.asarray(2.0))
        assert (y.item(), tape.gradient(y, w).item()) == (18.0, 12.0)
        f.wait()
    assert f.from_graph == 2
    assert len(where) == 3  # the call, its forward and its backward graph
    assert threading.main_thread() not in where


def test_numbers_that_go_wrong_are_looked_for_in_the_graph(gate):
    f = df.function(lambda x: df.log(x) * 2.0, background=True)
    f(df.ones(2))
    threading.Timer(0.05, gate.set).start()
    with pytest.raises(df.errors.NumericsError, match="log"), df.check_numerics():
        f(df.zeros(2) - 1.0)


def test_settings_are_those_of_the_call():
    f = df.function(lambda x: x * 2.0, background=True)
    with configure(target="interpreter"):
        f(vector(1))
    f.wait()
    assert f.mode == "interpreted"


def test_a_function_that_is_gone_is_not_compiled(monkeypatch):
    steps = []

    def endless(path, recorded):
        for k in progress.each("endless", range(10**9)):
            steps.append(k)
            time.sleep(1e-3)

    monkeypatch.setattr(Path, "__init__", endless)
    f = df.function(lambda x: x * 2.0, background=True)
    f(vector(1))
    f.wait(0.05)
    assert f.mode == "compiling"
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None
    end = time.monotonic() + 60
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(1e-3)
    assert threading.active_count() == 1
    assert steps


FORKS = "ignore:This process:DeprecationWarning"  # Python 3.12 warns of threads at a fork
LONG = """
import os, sys, time
import dualflow as df
def net(x):
    for k in range(100):  # no loop is made of them
        x = (df.tanh, df.sin, df.cos)[k * k // 3 % 3](x * (1.0 + k / 7.0)) + df.roll(x, k)
    return x
x = df.ones(64)
wanted = net(x).numpy()  # whose kernels are there, so that nobody waits for them
f = df.function(net, background=True)
f(x)
assert f.mode == "compiling", f.mode
"""
FORKED = """
child = os.fork()
g = df.function(lambda x: x * 2.0)
for _ in range(2):
    assert g(df.ones(3)).tolist() == [2.0] * 3
if child == 0:
    assert (f(x).numpy() == wanted).all()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("more", ["raise SystemExit", FORKED])
def test_the_process_may_end_or_fork_while_it_compiles(more, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-W", FORKS, "-c", f"{LONG}{more}"],
        env={"PYTHONPATH": ":".join(sys.path), "JIT_CACHE": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_results_are_those_of_python_bit_for_bit():
    def net(x, w):
        return df.tanh(x @ w).sum(axis=0)

    f = df.function(net, background=True, strict=True)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, w = (df.asarray(rng.normal(size=(5, 5)).astype(np.float32)) for _ in range(2))
        assert f(x, w).numpy().tobytes() == net(x, w).numpy().tobytes()


def test_threads_that_call_while_it_compiles():
    for _ in range(10):
        f = df.function(lambda x: x * 2.0 if x.sum() > 0 else -x, background=True, strict=True)

        def work(f=f):
            for k in range(-10, 10):
                assert f(vector(k)).tolist() == [2.0 * k if k > 0 else -k]
                f.wait(1e-4)

        at_once(*[work] * 4)
        for k in (3, -3):  # while one path was compiled, calls of the other kind may have passed by
            f.wait()
            f(vector(k))
        f.wait()
        assert (f.recordings, len(f.graphs)) == (2, 2)
