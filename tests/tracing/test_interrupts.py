"""Ctrl-C ends a call: a loop in native code too, and a call that is recorded."""

from __future__ import annotations

import _thread
import signal
import threading
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import dualflow as df
from tests.modes import bits, compiled_only, graphs_only

LONG = 1e9  # steps of a loop, which take some ten seconds


@contextmanager
def interrupts(seconds=0.05):
    """Interrupts the main thread, as Ctrl-C does, after a while."""
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def counts() -> Any:
    """Adds ones to a number until it is large, and notes how often."""
    calls = df.Variable(df.zeros(4), name="calls")
    last = df.Variable(0.0, dtype="float64", name="last")

    @df.function(strict=True)
    def count(x, end):
        calls.assign_add(1.0)
        print("counts")
        y = df.while_loop(lambda y: y < end, lambda y: y + 1.0, x)
        last.assign(y)
        return y

    return count, calls, last


@graphs_only
def test_a_native_loop_ends_at_ctrl_c_and_its_call_has_changed_nothing(capsys):
    count, calls, last = counts()
    start = df.asarray(0.0, dtype="float64")
    for end in (5.0, 7.0, 9.0):
        count(start, df.asarray(end, dtype="float64"))
    served = count.from_graph
    before = bits(calls), bits(last)
    capsys.readouterr()
    with interrupts(), pytest.raises(KeyboardInterrupt):
        count(start, df.asarray(LONG, dtype="float64"))
    assert (bits(calls), bits(last)) == before
    assert capsys.readouterr().out == ""
    assert count(start, df.asarray(11.0, dtype="float64")).item() == 11.0
    assert (calls.tolist(), last.item()) == ([4.0] * 4, 11.0)
    assert count.from_graph == served + 1
    assert count.mode == "compiled"


@compiled_only  # op by op it takes minutes
def test_a_native_loop_goes_on_where_a_signal_raises_nothing():
    count, calls, _ = counts()
    start, seen = df.asarray(0.0, dtype="float64"), []
    for _ in range(3):
        count(start, df.asarray(5.0, dtype="float64"))
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(calls.tolist()))
    try:
        with interrupts():
            assert count(start, df.asarray(LONG / 20, dtype="float64")).item() == LONG / 20
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [[3.0] * 4]  # while the loop ran
    assert calls.tolist() == [4.0] * 4


class Halt(BaseException):
    """What no `except Exception` catches."""


def stopping(kind, leaves):
    """Changes state of all kinds, and raises in the middle."""
    v, log = df.Variable(0.0), []
    state = {"hidden": None, "steps": 0}

    def f(state, x):
        v.assign_add(1.0)
        state["hidden"] = x * 2.0
        state["steps"] += 1
        if leaves:
            log.append(float(x.sum()))
        if x.sum() > 5.0:
            raise kind("now")
        v.assign_add(10.0)
        return x

    return f, v, log, state


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("calls", [0, 3])
@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Halt, ValueError])
def test_r13_whatever_ends_a_call_leaves_what_eager_execution_leaves(kind, leaves, calls):
    """In the first call, and in one that comes later; arguments that are written too."""
    found = []
    for decorate in (lambda f: f, df.function):
        f, v, log, state = stopping(kind, leaves)
        f = decorate(f)
        for _ in range(calls):
            f(state, df.asarray([1.0]))
        with pytest.raises(kind, match="now"):
            f(state, df.asarray([10.0]))
        found.append((v.item(), log, state["steps"], bits(state["hidden"])))
    assert found[0] == found[1]
    assert found[0][0] == 11.0 * calls + 1.0


def test_an_interrupt_while_code_is_made_leaves_a_call_that_was_made(monkeypatch):
    """Python has run by then; the next call is recorded again."""
    v, state = df.Variable(0.0), {"steps": 0}

    @df.function
    def f(state, x):
        v.assign_add(1.0)
        state["steps"] += 1
        return x * v

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr("jit.compile", interrupted)
        f(state, df.asarray(2.0))
    assert (v.item(), state) == (1.0, {"steps": 1})
    assert [f(state, df.asarray(2.0)).item() for _ in range(3)] == [4.0, 6.0, 8.0]
    assert (v.item(), state) == (4.0, {"steps": 4})
