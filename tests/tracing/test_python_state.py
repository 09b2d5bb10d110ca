"""Python state that a call reads is looked at by later calls; what cannot be, runs in segments."""

from __future__ import annotations

import cProfile
import dataclasses
import gc
import random
import sys
import threading
import weakref
from contextlib import nullcontext, suppress

import numpy as np
import pytest

import dualflow as df
from dualflow.core import kernels
from dualflow.core.context import context
from dualflow.errors import FunctionWarning, TraceError
from tests.modes import graphs_only
from tests.tracing.both import vector
from tests.tracing.state_programs import EFFECTS, LEDGER, QUIET, SOURCES, program

MONITORING = sys.version_info >= (3, 12)  # cProfile has hooks of its own there, in no one's way


@pytest.fixture(autouse=True)
def _no_module_stays():
    yield
    sys.modules.pop("users_module", None)


def outcome(f, x):
    """The result, or the class of the exception."""
    try:
        return f(x).tolist()
    except Exception as error:
        return type(error)


@graphs_only
@pytest.mark.parametrize("name", SOURCES)
def test_r9_a_change_is_seen_and_no_change_is_none(name):
    python, changes, _ = program(SOURCES[name])
    f = df.function(python, strict=True)
    x = vector(1.5)
    for k, change in enumerate([lambda: None, *changes]):
        change()
        wanted = outcome(python, x)
        assert outcome(f, x) == wanted, f"after change {k}"
        if isinstance(wanted, type):
            continue
        paths, served = len(f.graphs), f.from_graph
        for _ in range(2):
            assert outcome(f, x) == wanted, f"after change {k}, again"
        assert len(f.graphs) == paths, f"after change {k}: {f.explain().traces[0].again}"
        assert f.from_graph == served + 2
    assert 1 < len(f.graphs) <= len(changes) + 1


@graphs_only
def test_r9_each_thread_has_attributes_of_its_own():
    local = threading.local()

    def read(x):
        local.calls = getattr(local, "calls", 0) + 1
        return x * local.k

    def calls(f, k):
        local.k = k
        return [f(vector(1)).item() for _ in range(4)] + [local.calls]

    def elsewhere(f, k):
        found = []
        thread = threading.Thread(target=lambda: found.append(calls(f, k)))
        thread.start()
        thread.join()
        return found[0]

    f = df.function(read, strict=True)
    assert calls(f, 2.0) == [2.0] * 4 + [4]
    assert elsewhere(f, 5.0) == [5.0] * 4 + [4]
    assert calls(f, 2.0) == [2.0] * 4 + [8]
    assert f.from_graph >= 5


# ----- effects -----


@graphs_only
@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.filterwarnings("ignore:.*runs in segments")
def test_r10_r11_no_effect_is_lost_and_nothing_impure_freezes(name, capsys):
    """The function ends up in segments, and did all that Python does meanwhile."""
    eager, compiled = program(EFFECTS[name]), program(EFFECTS[name])
    f = df.function(compiled.function)
    found, wanted = [], []
    for python, scope, results in (
        (eager.function, eager.scope, wanted),
        (f, compiled.scope, found),
    ):
        program(EFFECTS[name])  # seeds
        for k in range(6):
            results.append((outcome(python, vector(k + 0.5)), repr(scope["state"]())))
        results.append(capsys.readouterr().out)
    assert found == wanted
    assert f.from_graph == 0
    assert f.mode.startswith("segments (")


@graphs_only
@pytest.mark.parametrize("name", LEDGER)
def test_r10_r38_what_a_graph_can_replay_is_replayed(name, capsys):
    """Output and state after every call are those of eager execution."""
    eager, compiled = program(LEDGER[name]), program(LEDGER[name])
    f = df.function(compiled.function, strict=True)
    many = 16
    found, wanted = [], []
    for python, scope, results in (
        (eager.function, eager.scope, wanted),
        (f, compiled.scope, found),
    ):
        for k in range(many):
            result = outcome(python, vector(k % 4 + 0.5))
            results.append((result, repr(scope["state"]()), *capsys.readouterr()))
    assert found == wanted
    assert f.from_graph >= many // 2, f.explain().traces[0].again
    assert f.mode == "compiled"
    assert f.explain().effects


@graphs_only
@pytest.mark.parametrize("name", QUIET)
def test_r9_r10_what_does_not_matter_costs_nothing(name):
    """Work on objects of the call's own, and changes that nothing reads, are no reason for more."""
    python, changes, _ = program(QUIET[name])
    f = df.function(python, strict=True)
    x = vector(1.5)
    wanted = program(QUIET[name]).function(x).tolist()
    assert f(x).tolist() == f(x).tolist() == wanted
    paths = len(f.graphs)
    for change in [lambda: None, *changes]:
        change()
        for _ in range(2):
            assert f(x).tolist() == python(x).tolist()
    assert f.from_graph >= f.calls - 2, f.explain().traces[0].again
    assert len(f.graphs) == paths == 1


# ----- who is looked at, and how long -----


class Scaled:
    """An object whose class holds the Function of all instances."""

    by = 2.0

    def __init__(self):
        self.k = 1.0
        self.parts = [1.0]

    @df.function(strict=True)
    def go(self, x):
        return x * self.by * self.k * self.parts[0]


@graphs_only
def test_r9_attributes_of_the_object_of_a_method():
    a, b, x = Scaled(), Scaled(), vector(1)
    for change in (
        lambda: None,
        lambda: setattr(a, "k", 3.0),
        lambda: setattr(b, "by", 5.0),
        lambda: a.parts.__setitem__(0, 7.0),
        lambda: setattr(Scaled, "by", 9.0),
    ):
        change()
        for one in (a, b, a, b):
            assert one.go(x).tolist() == [one.by * one.k * one.parts[0]]
    assert Scaled.go.from_graph >= 12
    Scaled.by = 2.0


@graphs_only
def test_guards_keep_no_argument_alive():
    one = Scaled()
    for _ in range(2):
        one.go(vector(1))
    reference = weakref.ref(one)
    del one
    gc.collect()
    assert reference() is None
    assert Scaled().go(vector(1)).tolist() == [2.0]


class Listener:
    """What others know of weakly only."""

    def __init__(self, k: float) -> None:
        self.k = k

    def on(self, x):
        return x * self.k


# How others come to it: made of the objects, and what it gives.
WEAKLY = {
    "references": (
        lambda *things: [*map(weakref.ref, things)],
        lambda refs: [x.k for ref in refs if (x := ref()) is not None],
    ),
    "a set": (lambda *things: weakref.WeakSet(things), lambda known: sorted(x.k for x in known)),
    "values": (
        lambda *things: weakref.WeakValueDictionary(enumerate(things)),
        lambda known: [x.k for x in known.values()],
    ),
    "keys": (
        lambda *things: weakref.WeakKeyDictionary({x: x.k for x in things}),
        lambda known: [*known.values()],
    ),
    "methods": (
        lambda *things: [weakref.WeakMethod(x.on) for x in things],
        lambda refs: [m(1.0) for ref in refs if (m := ref()) is not None],
    ),
}


@graphs_only
@pytest.mark.parametrize("kind", WEAKLY)
def test_r9_what_is_referred_to_weakly_goes_as_without_the_decorator(kind):
    make, numbers = WEAKLY[kind]
    things = [Listener(2.0), Listener(3.0)]
    known = make(*things)
    f = df.function(lambda x: x * sum(numbers(known)), strict=True)

    def found():
        return [f(vector(1.0)).item() for _ in range(3)]

    assert found() == [5.0] * 3
    assert f.from_graph == 2
    things[0].k = 4.0
    assert found() == [5.0 if kind == "keys" else 7.0] * 3
    gone = weakref.ref(things.pop())
    assert gone() is None
    assert found() == [2.0 if kind == "keys" else 4.0] * 3
    assert f.from_graph >= 6
    things.clear()
    assert found() == [0.0] * 3


@dataclasses.dataclass(frozen=True)
class Inner:
    """A value in a value."""

    k: float


@dataclasses.dataclass(frozen=True)
class Settings:
    """Equal by some of its fields."""

    k: float
    inner: Inner
    hidden: float = dataclasses.field(default=1.0, compare=False)


@graphs_only
def test_r9_arguments_that_are_equal_are_looked_into():
    f = df.function(lambda x, s: x * s.k * s.inner.k * s.hidden, strict=True)
    x = vector(1)
    for k, inner, hidden in ((2, 3, 1), (2, 3, 1), (2, 3, 5), (2, 3, 1), (2, 3, 5), (4, 3, 1)):
        settings = Settings(float(k), Inner(float(inner)), float(hidden))
        assert f(x, settings).tolist() == [k * inner * hidden]
    assert (len(f.graphs), f.from_graph) == (3, 3)


class Net(df.nn.Module):
    """Plain attributes, lists and objects in a module."""

    def __init__(self):
        self.linear = df.nn.Linear(2, 2)
        self.by = 1.0
        self.layers = [df.nn.ReLU()]
        self.sizes = {"a": 1.0}
        self.other = Scaled()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.linear(x) * self.by * self.sizes["a"] * self.other.k


@graphs_only
@pytest.mark.parametrize("way", ["global", "argument", "forward"])
def test_r9_state_in_a_module(way):
    net, x = Net(), vector(1, 2).reshape(1, 2)
    python = {
        "global": lambda x: net(x),
        "argument": lambda x, net=net: net(x),
        "forward": lambda x: net.forward(x),
    }[way]
    f = df.function(python, strict=True)
    changes = [
        lambda: setattr(net, "by", 2.0),
        lambda: net.layers.append(df.nn.Tanh()),
        lambda: net.layers.__setitem__(0, df.nn.Sigmoid()),
        lambda: net.sizes.update(a=3.0),
        lambda: setattr(net.other, "k", 4.0),
        lambda: setattr(net, "linear", df.nn.Linear(2, 2)),
        lambda: setattr(net, "layers", []),
    ]
    for change in [lambda: None, *changes]:
        change()
        for _ in range(3):
            assert f(x).tolist() == python(x).tolist()
    assert f.from_graph == 2 * len(changes) + 2, f.explain().traces[0].again


@graphs_only
@pytest.mark.parametrize("bend", [df.tanh, df.erf, df.nn.functional.relu], ids=lambda f: f.__name__)
def test_what_ops_learn_of_eager_calls_is_no_state_of_the_users(bend):
    """A function that code can name remembers its calls, and the code does not depend on that."""
    module = df.nn.Module()
    module.bend, held = bend, [bend]
    f = df.function(lambda x: module.bend(x) + held[0](x), strict=True)
    kernels.forget()
    f(vector(0.5))
    for size in range(1, 4):
        bend(df.ones((size,), dtype="float32")), bend(df.ones((size,), dtype="float64"))
        f(vector(0.5))
    assert (f.from_graph, len(f.graphs)) == (3, 1), f.explain().traces[0].again


@graphs_only
def test_r9_paths_with_different_state_stay():
    scope = program("k = 2.0\ndef f(x): return x * k").scope
    f = df.function(scope["f"], strict=True)
    for k in (2.0, 3.0, 2.0, 3.0, 2.0):
        scope["k"] = k
        assert f(vector(1)).tolist() == [k]
    assert (len(f.graphs), f.from_graph) == (2, 3)
    (trace,) = f.explain().traces
    assert trace.again == ["global k: 2.0 -> 3.0"]
    assert "users_module.py:2: global k is 2.0" in trace.guards
    assert "recorded again: global k: 2.0 -> 3.0" in str(f.explain())


def test_r12_what_python_takes_from_a_tensor_is_never_a_constant():
    table = [1.0, 2.0, 3.0]
    f = df.function(lambda x: x * table[int(x[0])], strict=True)
    for k in (0, 1, 2, 1, 0):
        assert f(vector(k)).tolist() == [k * table[k]]
    table[1] = 7.0
    assert f(vector(1)).tolist() == [7.0]


@graphs_only
def test_r9_state_that_never_repeats_runs_in_segments_in_the_end():
    scope = program("k = ''\ndef f(x): return x * len(k)").scope
    f = df.function(scope["f"], max_traces=4)
    for k in range(4):
        scope["k"] = "a" * k
        f(vector(1))
    scope["k"] = "a" * 4
    with pytest.warns(FunctionWarning, match=r"global k: 'aaa' -> 'aaaa'.*max_traces=4 is reached"):
        f(vector(1))
    for k in range(3):
        scope["k"] = "a" * k
        assert f(vector(1)).tolist() == [k]
    assert len(f.graphs) == 4


def test_hooks_of_others_go_on():
    seen = []
    k = [2.0]
    f = df.function(lambda x: x * k[0], strict=True)
    hook = lambda frame, event, arg: seen.append(event)  # noqa: E731
    sys.setprofile(hook)
    try:
        f(vector(1))
        assert sys.getprofile() is hook
    finally:
        sys.setprofile(None)
    assert "call" in seen
    k[0] = 3.0
    assert f(vector(1)).tolist() == [3.0]


@graphs_only
def test_a_profiler_that_cannot_be_told_leads_to_segments():
    k = [2.0]
    f = df.function(lambda x: x * k[0])
    profiler = cProfile.Profile()
    if MONITORING:
        profiler.runcall(f, vector(1))
    else:
        with pytest.warns(FunctionWarning, match="a profiler is active"):
            profiler.runcall(f, vector(1))
    assert profiler.getstats()
    k[0] = 3.0
    assert f(vector(1)).tolist() == [3.0]


@graphs_only
def test_strict_raises_for_an_effect():
    log = []
    f = df.function(lambda x: log.append(len(log)), strict=True)
    for _ in range(2):
        f(vector(1))
    with pytest.raises(TraceError, match=r"every call changes log at test_python_state"):
        f(vector(1))
    assert len(log) == 3


def test_compiling_is_not_watched_and_watching_goes_on():
    """What the watch sees does not depend on whether kernels are there already."""
    kernels.forget()
    scale = [2.0]
    f = df.function(lambda x: df.tanh(x @ x.T) * scale[0], strict=True)
    seen = sys.getprofile()
    first = f(df.ones((3, 3))).tolist()
    assert sys.getprofile() is seen
    assert context.aside is nullcontext
    scale[0] = 4.0
    assert f(df.ones((3, 3))).tolist() == [[2 * x for x in row] for row in first]


GENERATOR = np.random.default_rng(1)
DRAWN = {
    "random": (random.random, random.getstate),
    "np.random": (lambda: np.random.rand(), lambda: np.random.get_state()[2]),
    "a generator": (lambda: GENERATOR.random(), lambda: GENERATOR.bit_generator.state),
}


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("origin", DRAWN)
def test_a_call_that_draws_random_numbers_and_fails_draws_them_once(origin):
    """Its error may come of a number of the state that has a stand-in; then it would run again."""
    draw, state = DRAWN[origin]

    def refused(x, k):
        drawn = draw()
        return x * drawn * float(len(range(k)))

    class State:
        count = 0

    def python(x, k):
        State.count += 1
        drawn = draw()
        if isinstance(k, int):
            return State.count + ""
        return x * drawn * float(State.count)

    def draws(f):
        random.seed(1)
        np.random.seed(1)
        GENERATOR.bit_generator.state = np.random.default_rng(1).bit_generator.state
        State.count, found = 0, []
        for k in (0.5, 3, 3, 3, 3, 0.5, 3, 0.5):
            with suppress(TypeError):
                f(df.asarray([1.0]), k)
            found.append((State.count, state()))
        return found

    for f in (python, refused):
        assert draws(df.function(f)) == draws(f)
