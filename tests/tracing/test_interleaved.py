"""Interleaved: state that another thread writes at one certain moment of a recording.

Where threads meet is up to the machine. Here a hook writes at that very moment: before the code of
the call reads the state, after it has read, and when the guards were looked at.
"""

from __future__ import annotations

import threading
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from dualflow.tracing.guards.places import ClassAttribute, Closure, Item, Local, Part, Slot
from dualflow.tracing.guards.reach import Reach
from dualflow.tracing.trace import Trace
from tests.modes import graphs_only, not_audited
from tests.tracing.both import vector

pytestmark = not_audited  # who compares modes calls twice, and the state is another one then
BEFORE, AFTER, CHECKED = "before it is read", "after it is read", "when the guards were checked"


class Meddler:
    """Writes state at certain moments of the recordings of one function.

    Args:
        code: Of that function.
        write: Is given each value.
        in_thread: Whether another thread writes; this one waits for it.
    """

    def __init__(self, code, write, *, in_thread):
        self._code = code
        self._write = write
        self._in_thread = in_thread
        self.now: dict[str, float] = {}
        self.planned: list[dict[str, float]] = []  # what is written, for each recording

    def write(self, value):
        self.written = value
        self._write(value)

    def begins(self):
        self.now = self.planned.pop(0) if self.planned else {}

    def comes(self, moment):
        if moment not in self.now:
            return
        value = self.now.pop(moment)
        if not self._in_thread:
            self.write(value)
            return
        thread = threading.Thread(target=self.write, args=(value,))
        thread.start()
        thread.join()

    def attach(self, monkeypatch):
        entered, bound = Reach.entered, Trace._bound
        watched, news = Trace.watched, Trace.news

        def on_entered(reach, frame):
            entered(reach, frame)
            if frame.f_code is self._code:
                self.begins()

        def on_bound(trace, *args):  # where the watch sees nothing
            self.comes(BEFORE)
            return bound(trace, *args)

        def on_watched(trace, *passing):
            self.comes(AFTER)
            watched(trace, *passing)

        def on_news(trace):
            found = news(trace)
            self.comes(CHECKED)
            return found

        monkeypatch.setattr(Reach, "entered", on_entered)
        monkeypatch.setattr(Trace, "_bound", on_bound)
        monkeypatch.setattr(Trace, "watched", on_watched)
        monkeypatch.setattr(Trace, "news", on_news)


def other(value):
    """An equal number that is another object, as computing gives it."""
    return float(str(value))


PLANS = {
    "written before": [{BEFORE: 3.0}],
    "written after": [{AFTER: 3.0}],
    "written when checked": [{CHECKED: 3.0}],
    "written and put back": [{BEFORE: 3.0, AFTER: 1.0}],
    "put back in each recording": [{BEFORE: 3.0, AFTER: 1.0}] * 4,
    "the same before each": [{BEFORE: 3.0}] * 4,
    "the same after each": [{AFTER: 3.0}] * 4,
    "another before each": [{BEFORE: float(k)} for k in range(4)],
    "read and written in turn": [{BEFORE: 3.0}, {AFTER: 3.0}, {CHECKED: 3.0}, {BEFORE: 3.0}],
}


class Scaling(df.nn.Module):
    def __init__(self):
        self.factor = 1.0

    def forward(self, x):
        return x * 1.0 * self.factor


def of_attribute():
    box = SimpleNamespace(factor=1.0)

    def python(x):
        return x * 1.0 * box.factor

    return python, python.__code__, lambda value: setattr(box, "factor", value)


def of_item():
    table = {"factor": 1.0}

    def python(x):
        return x * 1.0 * table["factor"]

    return python, python.__code__, lambda value: table.update(factor=value)


def of_closure():
    factor = 1.0

    def python(x):
        return x * 1.0 * factor

    def write(value):
        nonlocal factor
        factor = value

    return python, python.__code__, write


def of_module():
    net = Scaling()
    return net, Scaling.forward.__code__, lambda value: setattr(net, "factor", value)


STATES = [of_attribute, of_item, of_closure, of_module]


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("state", STATES)
def test_no_recording_keeps_what_was_there_for_a_moment(monkeypatch, state, plan, in_thread):
    python, code, write = state()
    f, meddler = df.function(python), Meddler(code, write, in_thread=in_thread)
    meddler.planned = [{k: other(v) for k, v in each.items()} for each in PLANS[plan]]
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FunctionWarning)  # of segments: state that always changes
        meddler.attach(patch)
        for _ in range(8):
            meddler.write(other(1.0))
            assert f(vector(1)).item() in (0.0, 1.0, 2.0, 3.0)
            assert python(vector(1)).item() == meddler.written  # nothing that was written is lost
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FunctionWarning)
        for value in (1.0, 3.0, 2.0, 0.0, 3.0, 1.0):
            write(value)
            assert f(vector(1)).item() == value
            assert python(vector(1)).item() == value  # a call has written nothing


@pytest.mark.parametrize("state", STATES)
def test_what_is_written_when_guards_were_checked_holds_for_the_next_call(monkeypatch, state):
    python, code, write = state()
    f, meddler = df.function(python), Meddler(code, write, in_thread=True)
    meddler.planned = [{CHECKED: 3.0}]
    meddler.attach(monkeypatch)
    f(vector(1))
    assert f(vector(1)).item() == python(vector(1)).item()


@graphs_only
@pytest.mark.parametrize("plan", ["written before", "written after", "written and put back"])
def test_one_disturbance_costs_a_recording_and_no_more(monkeypatch, plan):
    python, code, write = of_attribute()
    f: Any = df.function(strict=True)(python)
    meddler = Meddler(code, write, in_thread=True)
    meddler.planned = [{k: other(v) for k, v in each.items()} for each in PLANS[plan]]
    meddler.attach(monkeypatch)
    for value in (1.0, 2.0, 3.0, 4.0):
        write(value)
        f(vector(1))
    assert (len(f.graphs), f.mode) == (1, "compiled")


class Slotted:
    __slots__ = ("factor",)
    kept: Any = None


def in_closure():
    value = None
    return Closure((lambda: value).__closure__[0])  # type: ignore[index]


PLACES = {
    "item": lambda: Item({}, "factor"),
    "item of a list": lambda: Item([None], 0),
    "attribute of a thread": lambda: Local(threading.local(), "factor"),
    "closure": in_closure,
    "slot": lambda: Slot(vars(Slotted)["factor"], Slotted()),
    "class": lambda: ClassAttribute(Slotted, "kept"),
    "item of a tuple": lambda: Part(Item([(1, None, 2)], 0), 1),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_value_is_put_only_where_the_one_lies_that_it_stands_for(kind):
    """Else what another thread has put there would be lost."""
    place, one, equal = PLACES[kind](), other(1.5), other(1.5)
    assert not place.swap(one, equal)
    place.write(one)
    assert not place.swap(equal, 5.0)
    assert place.read() is one
    assert place.swap(one, 5.0)
    assert place.read() == 5.0
