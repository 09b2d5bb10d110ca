"""The ledger: output of a recorded call is repeated with the values of each later one."""

from __future__ import annotations

import builtins
import contextlib
import io
import sys
import threading

import pytest

import dualflow as df
from dualflow.errors import NumericsError
from tests.modes import compiled_only, graphs_only
from tests.tracing.both import vector

pytestmark = graphs_only  # of calls from graphs


def printed(f, *args):
    """What a call prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(IndexError, NumericsError):
        f(*args)
    return out.getvalue()


def test_r38_output_goes_where_it_goes_now():
    """As in a notebook, where each cell has a stream of its own."""
    f = df.function(lambda x: print("x", x, 1), strict=True)
    texts = [printed(f, vector(k)) for k in range(3)]
    assert texts == [f"x {vector(k)} 1\n" for k in range(3)]
    assert f.from_graph == 2


def test_r38_numbers_that_vary_are_printed():
    f = df.function(lambda x, k: print(k, k * 2 + 1, x.shape[0]), strict=True)
    for k in range(5):
        assert printed(f, df.ones(k + 2), k) == f"{k} {k * 2 + 1} {k + 2}\n"
    assert f.from_graph >= 2


def test_r10_a_call_that_fails_has_printed_what_came_before():
    def python(x, i):
        print("before", x)
        y = x[i]
        print("after", y)
        return y

    f = df.function(python, strict=True)
    for i in (0, 1, 7, 1):
        i = df.asarray(i)
        assert printed(f, vector(1, 2), i) == printed(python, vector(1, 2), i)
    assert f.from_graph == 2


def test_r10_a_guard_that_misses_has_printed_nothing():
    def python(x):
        print("before", x)
        if x.sum() > 2.0:
            print("large")
        return x

    f = df.function(python, strict=True)
    for k in (1, 3, 1, 3, 2, 4):
        assert printed(f, vector(k)) == printed(python, vector(k))
    assert f.from_graph == 4


def test_r10_r13_gradients_flow_past_what_is_printed():
    w = df.Variable([2.0])

    def python(x):
        y = w * x
        print("y", y)
        return y * y

    f = df.function(python, strict=True)
    for k in range(1, 4):
        with df.GradientTape() as tape, contextlib.redirect_stdout(io.StringIO()) as out:
            loss = f(vector(k))
        assert out.getvalue() == f"y {vector(2 * k)}\n"
        assert tape.gradient(loss, w).tolist() == [4.0 * k * k]
    assert f.from_graph == 2


def test_r10_r41_a_call_that_is_not_finite_prints_what_python_prints():
    def python(x):
        print("before", x)
        y = df.log(x)
        print("after")
        return y

    f = df.function(python, strict=True)
    for k in (1.0, 2.0):
        f(vector(k))
    with df.check_numerics():
        assert printed(f, vector(1)) == printed(python, vector(1))
        assert printed(f, vector(0)) == "before Tensor([0.], shape=(1,), dtype=float32)\n"


@compiled_only
def test_an_error_of_a_stream_is_raised_and_nothing_is_done_twice():
    class Full(io.StringIO):
        def write(self, text):
            if "full" in str(self.getvalue()):
                raise OSError("no space left")
            return super().write(text)

    w = df.Variable([0.0])

    @df.function(strict=True)
    def f(x):
        w.assign_add(x)
        print("full")

    for _ in range(2):
        printed(f, vector(1))
    for _ in range(2):
        with (
            pytest.raises(OSError, match="no space left"),
            contextlib.redirect_stdout(Full("full")),
        ):
            f(vector(1))
    assert w.tolist() == [4.0]


def test_other_threads_print_meanwhile():
    """What they print is no part of the call; `print` is Python's own afterwards."""
    go, done = threading.Event(), threading.Event()

    def other():
        go.wait()
        print("other")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    @df.function(strict=True)
    def f(x):
        go.set()
        done.wait()
        print("mine", x)

    original = builtins.print
    assert "other" in printed(f, vector(1))
    thread.join()
    assert builtins.print is original
    for k in range(3):
        assert printed(f, vector(k)) == f"mine {vector(k)}\n"
    assert f.from_graph >= 1


def test_what_is_printed_is_what_it_was_then():
    def python(x):
        held = [x]
        print(held)
        held.append(x * 2.0)
        print(held, file=sys.stdout)
        return held

    f = df.function(python, strict=True)
    for k in range(3):
        assert printed(f, vector(k)) == printed(python, vector(k))
    assert f.from_graph == 2


def logged(python, calls, **options):
    """What a log holds after each call of a function of it, eager and compiled."""
    texts, functions = [], []
    for compiled in (False, True):
        log = []
        f = python(log)
        f = df.function(f, **options) if compiled else f
        functions.append(f)
        found = []
        for x in calls:
            with contextlib.suppress(IndexError):
                f(x)
            found.append(str(log))
        texts.append(found)
    assert texts[0] == texts[1]
    return functions[1]


def test_r10_a_list_that_grows_needs_one_recording():
    def make(log):
        def f(x):
            log.append((x * 2.0).sum())
            return x

        return f

    f = logged(make, [vector(k) for k in range(50)], strict=True)
    assert (f.recordings, f.from_graph) == (1, 49)
    assert f.explain().effects == ["appends to log"]


def test_r10_a_call_that_fails_has_appended_what_came_before():
    def make(log):
        def f(i):
            log.append(i)
            y = df.asarray([1.0, 2.0])[i]
            log.append(y)
            return y

        return f

    calls = [df.asarray(i) for i in (0, 1, 7, 1, 0, 7)]
    assert logged(make, calls, strict=True).from_graph == 3


def test_r10_a_guard_that_misses_has_appended_nothing():
    def make(log):
        def f(x):
            log.append("a")
            if x.sum() > 2.0:
                log.append(x)
            log.extend([x, "b"])
            return x

        return f

    f = logged(make, [vector(k) for k in (1, 3, 1, 3, 2, 4)])
    assert f.mode == "compiled"
    assert f.from_graph == 4


def test_r10_r13_gradients_flow_through_what_was_appended():
    w = df.Variable([2.0])
    log = []

    @df.function(strict=True)
    def f(x):
        log.append(w * x)

    for k in range(1, 4):
        with df.GradientTape() as tape:
            f(vector(k))
            loss = log[-1] * log[-1]
        assert tape.gradient(loss, w).tolist() == [4.0 * k * k]
    assert f.from_graph == 2


def test_what_other_threads_append_is_not_repeated():
    log = []
    go, done = threading.Event(), threading.Event()

    def other():
        go.wait()
        log.append("other")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def python(x):
        go.set()
        done.wait()
        log.append(1)
        return x

    f = df.function(python, strict=True)
    for _ in range(4):
        f(vector(1))
    thread.join()
    assert log == ["other", 1, 1, 1, 1]
    assert f.from_graph >= 1


def test_lists_that_were_appended_are_new_each_time():
    log = []
    f = df.function(lambda x: log.append({"x": [x], "n": 1}), strict=True)
    for k in range(3):
        f(vector(k))
    log[1]["x"].append("mine")
    f(vector(3))
    assert [len(item["x"]) for item in log] == [1, 2, 1, 1]
    assert f.from_graph == 3


def test_what_was_printed_is_not_printed_again_by_a_call_that_runs_again():
    def program(function):
        table = {"n": 1}

        def f(x):
            print("n is", x)
            table["n"] += 1
            return ["a", "b"][table["n"] / 2] * x  # no index, whether it is plain or not

        return function(f)

    said = []
    for f in (program(lambda f: f), program(df.function)):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            for k in range(4):
                with pytest.raises(TypeError, match="not float"):
                    f(vector(k))
        said.append(output.getvalue())
    assert said[0] == said[1]
