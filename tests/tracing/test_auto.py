"""`mode="auto"`: both modes are timed, and the faster one serves; `f.report()`."""

from __future__ import annotations

import gc
import time
import warnings

import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import registry
from dualflow.errors import FunctionWarning, TraceError
from dualflow.tracing import auto, recorder, trials
from dualflow.tracing.function import Function
from dualflow.tracing.signature import take_apart
from jit.runtime.cache import DiskCache
from tests.modes import graphs_only

pytestmark = graphs_only


@pytest.fixture(autouse=True)
def _compiled(tmp_path, monkeypatch):
    """No trial of another test is known."""
    monkeypatch.setattr(trials, "disk_cache", lambda: DiskCache(tmp_path / "trials"))
    with df.set_mode("compiled"):
        yield


@pytest.fixture
def clock(monkeypatch):
    """Time stands still but for what a test lets calls take."""
    state = {"now": 0.0}
    monkeypatch.setattr(auto, "clock", lambda: state["now"])
    monkeypatch.setattr(auto, "price", lambda function: 0.1)
    eager, run = Function._eager, Function._run

    def eager_takes(self, call):
        state["now"] += state["eager"]
        return eager(self, call)

    def graph_takes(self, *args):
        state["now"] += state["graph"]
        return run(self, *args)

    monkeypatch.setattr(Function, "_eager", eager_takes)
    monkeypatch.setattr(Function, "_run", graph_takes)
    return state


def calls_of(f, x, count):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = [f(x).tolist() for _ in range(count)]
    assert len({str(r) for r in results}) == 1
    return [str(w.message) for w in told if issubclass(w.category, FunctionWarning)]


def test_r29_what_is_slower_from_the_graph_runs_in_python_and_one_message_says_why(clock):
    clock.update(eager=0.03, graph=0.04)
    f = df.function(lambda x: x * 2.0, mode="auto")
    told = calls_of(f, df.ones(3), 60)
    (message,) = told
    assert "runs in Python: 40 ms from the graph, 30 ms in Python" in message
    assert "too little to compute" in message
    assert f.mode.startswith("auto: eager")
    assert f.from_graph == auto.SAMPLES
    assert f.explain().events == told


def test_r29_what_is_faster_from_the_graph_runs_there(clock):
    clock.update(eager=0.03, graph=0.01)
    f = df.function(lambda x: x * 2.0, mode="auto")
    assert calls_of(f, df.ones(3), 60) == []
    assert f.mode == "auto: compiled (10 ms from the graph, 30 ms in Python)"
    assert f.from_graph == 60 - auto.LEAST - 1  # clear at once: no more calls in Python


def test_r29_calls_that_are_nearly_as_fast_are_timed_in_turn(clock):
    clock.update(eager=0.03, graph=0.02)
    f = df.function(lambda x: x * 2.0, mode="auto")
    calls_of(f, df.ones(3), 60)
    assert f.mode.startswith("auto: compiled")
    assert f.from_graph == 60 - auto.SAMPLES - 1


def test_r29_what_a_thousand_calls_do_not_pay_for_is_compiled_when_there_were_more(clock):
    clock.update(eager=1e-4, graph=1e-5)  # most of that, a thousand times: 0.08 s
    f = df.function(lambda x: x * 2.0, mode="auto")
    calls_of(f, df.ones(3), 1200)
    assert f.recordings == 0
    calls_of(f, df.ones(3), 200)
    assert f.recordings == 1


def test_r29_what_both_modes_do_alike_is_not_saved(clock):
    clock.update(eager=0.001, graph=0.001)  # as the test's clock says; NumPy takes all of it
    before = registry["argsort"].evaluate

    def slow(*args, **kwargs):
        time.sleep(0.001)
        return before(*args, **kwargs)

    object.__setattr__(registry["argsort"], "evaluate", slow)
    try:
        f = df.function(df.argsort, mode="auto")
        calls_of(f, df.asarray([2.0, 1.0, 3.0]), 20)
    finally:
        object.__setattr__(registry["argsort"], "evaluate", before)
    assert f.recordings == 0


def test_r29_a_kind_that_comes_seldom_has_no_recording_of_its_own(clock):
    clock.update(eager=0.004, graph=0.003)
    f = df.function(lambda x: x * 2.0, mode="auto")
    for _ in range(6):
        calls_of(f, df.ones(3), 24)
        calls_of(f, df.ones(4), 1)  # some forty of a thousand: 0.16 s in Python
    assert f.recordings == 1
    assert f.from_graph > 100
    calls_of(f, df.ones(4), 300)
    assert f.recordings == 2


def test_r29_what_was_recorded_is_measured_however_long_the_recording_took(clock, monkeypatch):
    clock.update(eager=0.03, graph=0.01)
    f = df.function(lambda x: x * 2.0, mode="auto")
    record = recorder.Recorder.record

    def slow(self, entry, *args):
        result = record(self, entry, *args)
        entry.info.seconds = 1000.0
        return result

    monkeypatch.setattr(recorder.Recorder, "record", slow)
    calls_of(f, df.ones(3), 40)
    assert f.mode.startswith("auto: compiled")


def test_r29_what_was_recorded_for_other_sizes_is_measured_at_once(clock):
    clock.update(eager=0.03, graph=0.01)
    f = df.function(lambda x: x * 2.0, mode="auto")
    for size in (3, 4):
        calls_of(f, df.ones(size), 40)
    assert f.recordings == 2  # the second one is for all sizes
    served = f.from_graph
    calls_of(f, df.ones(5), 20)
    assert f.recordings == 2
    assert f.from_graph == served + 20  # they share a graph with those that were measured
    calls_of(f, df.ones(6), 3 * auto.AGAIN)
    assert f.mode.startswith("auto: compiled (10 ms from the graph, 30 ms in Python)")


def test_r29_calls_of_another_kind_are_taken_to_last_as_long(clock):
    clock.update(eager=0.03, graph=0.01)
    f = df.function(lambda x, flag: x * 2.0 if flag else x * 3.0, mode="auto")
    for flag in (True, True, True, False, False, False):
        f(df.ones(3), flag)
    assert (f.recordings, f.from_graph) == (2, 2)
    assert f.mode.startswith("auto: compiled")


def test_r29_most_short_calls_go_by_unlooked_at(clock):
    clock.update(eager=1e-4, graph=1e-5)
    f = df.function(lambda x: x * 2.0, mode="auto")
    calls_of(f, df.ones(3), 500)
    (kind,) = f._auto.kinds.values()
    assert kind.calls == pytest.approx(500, abs=auto.UNSEEN)
    assert clock["now"] < 20 * 1e-4  # it stands still for the others
    calls_of(f, df.ones(3), 2000)
    assert f.mode.startswith("auto: compiled")
    assert f(df.asarray([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert f(np.ones(2, "float32")).tolist() == [2.0, 2.0]


def test_r29_a_choice_is_looked_at_again_when_times_change(clock, monkeypatch):
    monkeypatch.setattr(auto, "AGAIN", 4)
    clock.update(eager=0.03, graph=0.04)
    f = df.function(lambda x: x * 2.0, mode="auto")
    calls_of(f, df.ones(3), 30)
    clock.update(graph=0.01)
    calls_of(f, df.ones(3), 1000)
    assert f.mode.startswith("auto: compiled")


def test_r29_a_function_that_is_recorded_at_each_call_runs_in_python(clock):
    clock.update(eager=0.03, graph=0.01)
    kept = []

    @df.function(mode="auto", on_limit="grow")
    def f(x):
        kept[:] = [object()]
        return x * 2.0

    calls_of(f, df.ones(3), 40)
    assert f.mode.startswith("auto: ")


def test_state_is_that_of_as_many_calls_in_either_mode(clock):
    clock.update(eager=0.03, graph=0.02)
    v = df.Variable(df.zeros(2))
    f = df.function(lambda x: v.assign_add(x).read_value(), mode="auto")
    for k in range(1, 40):
        assert f(df.ones(2)).tolist() == [k, k]


def test_report_compares_a_call_like_the_last_recorded_one():
    f = df.function(lambda x, y: df.tanh(x @ y))
    x, y = df.ones((4, 5)), df.ones((5, 2))
    with pytest.raises(TraceError, match="no call to look at"):
        f.report()
    f(x, y)
    found = f.report()
    assert (found.identical, found.name) == (True, "<lambda>")
    assert "x float32[4,5], y float32[5,2]" in found.what
    assert f.calls == 1
    assert f.report(df.ones((1, 5)), y).identical


def test_examples_keep_no_argument_alive():
    f = df.function(lambda x: x * 2.0)
    f(df.ones((4, 5)))
    gc.collect()
    with pytest.raises(TraceError, match="no call to look at"):
        f.report()


# ----- what earlier processes have found -----


def doubled(**options):
    """A function as each process makes it."""
    return df.function(lambda x: x * 2.0, mode="auto", **options)


def test_a_process_begins_with_the_recording_that_paid_before(clock):
    clock.update(eager=0.03, graph=0.01)
    first, second = doubled(), doubled()
    calls_of(first, df.ones(3), 10)
    assert first.from_graph == 10 - auto.LEAST - 1
    calls_of(second, df.ones(3), 10)
    assert second.from_graph == 9
    assert second.mode == "auto: compiled (10 ms from the graph)"


def test_what_is_found_holds_as_long_as_the_graph_is_fast(clock):
    clock.update(eager=0.03, graph=0.01)
    calls_of(doubled(), df.ones(3), 10)
    clock.update(graph=0.04)
    slow = doubled()
    (message,) = calls_of(slow, df.ones(3), 60)
    assert "runs in Python: 40 ms from the graph, 30 ms in Python" in message
    assert slow.mode.startswith("auto: eager")
    third = doubled()
    third(df.ones(3))
    assert (third.recordings, third.from_graph) == (0, 0)


def test_only_what_is_clearly_faster_is_kept(clock):
    clock.update(eager=0.03, graph=0.02)
    calls_of(doubled(), df.ones(3), 60)
    second = doubled()
    second(df.ones(3))
    assert second.recordings == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda: (df.function(lambda x: x * 2.0, mode="auto"), df.ones(3)),  # on another line
        lambda: (doubled(), df.ones(4)),
        lambda: (doubled(), df.ones(3, dtype=df.float64)),
    ],
    ids=["function", "shape", "dtype"],
)
def test_other_calls_have_a_trial_of_their_own(other, clock):
    clock.update(eager=0.03, graph=0.01)
    calls_of(doubled(), df.ones(3), 10)
    f, x = other()
    f(x)
    assert f.recordings == 0


def test_calls_that_no_other_process_can_have_are_not_looked_for():
    call = take_apart((df.ones(3), object()), {})
    assert trials.key_of(doubled, take_apart((df.ones(3), 2), {})) is not None
    assert trials.key_of(doubled, call) is None
    assert trials.key_of(len, take_apart((df.ones(3),), {})) is None


def test_what_is_damaged_is_not_found(clock, tmp_path):
    clock.update(eager=0.03, graph=0.01)
    calls_of(doubled(), df.ones(3), 10)
    (entry,) = (tmp_path / "trials").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    second = doubled()
    second(df.ones(3))
    assert second.recordings == 0


def test_without_a_disk_every_process_tries(clock, monkeypatch):
    monkeypatch.setattr(trials, "disk_cache", lambda: None)
    clock.update(eager=0.03, graph=0.01)
    for _ in range(2):
        f = doubled()
        calls_of(f, df.ones(3), 10)
        assert f.from_graph == 10 - auto.LEAST - 1


def test_a_trial_of_other_sources_says_nothing(clock, monkeypatch):
    clock.update(eager=0.03, graph=0.01)
    calls_of(doubled(), df.ones(3), 10)
    monkeypatch.setattr(trials, "surroundings", lambda: "another machine")
    second = doubled()
    second(df.ones(3))
    assert second.recordings == 0


def test_who_finds_nothing_asks_for_no_surroundings(clock, monkeypatch):
    """That reads the times of all sources, which takes as long as a thousand short calls."""
    clock.update(eager=1e-6, graph=0.01)
    monkeypatch.setattr(trials, "surroundings", None)
    assert calls_of(doubled(), df.ones(3), 20) == []
