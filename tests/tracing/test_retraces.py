"""Recordings that come again: told with their cause, bounded, and given back."""

from __future__ import annotations

import dataclasses
import gc
import re
import warnings
import weakref

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning, RetraceWarning, TraceError
from jit.runtime.library import library
from tests.modes import graphs_only
from tests.tracing.both import vector

X = vector(1.0, 2.0)


@pytest.fixture(autouse=True)
def told():
    """Warnings of retraces are not ignored here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RetraceWarning)
        yield


def repeated(x, n):
    for k in range(n):
        x = x + k
    return x


def messages(f, calls):
    """The warnings of retraces that calls lead to."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for args in calls:
            f(*args)
    assert all(w.filename == __file__ for w in told)
    return [str(w.message) for w in told if w.category is RetraceWarning]


# ----- explanations -----


@graphs_only
def test_r1_the_third_recording_is_explained_with_one_cause_and_its_cost():
    f = df.function(repeated)
    f(X, 2)
    f(X, 3)
    (said,) = messages(f, [(X, n) for n in (4, 5, 6, 7, 8)])
    assert re.fullmatch(
        r"repeated \(test_retraces\.py:\d+\) is recorded again, 3 times now, which took "
        r"\d+\.\d\d s so far: n: 3 -> 4, and Python decides by the value of n at "
        r"test_retraces\.py:\d+\. To avoid that, keep Python from deciding by n: .*\. "
        r"\(Said once for this cause\.\)",
        said,
    )
    assert "x" not in re.findall(r"\b\w\b", said)
    assert f.explain().events == [said]


CAUSES = {
    "a word": (
        lambda x, name: x * len(name),
        [(X, "a"), (X, "bb"), (X, "ccc"), (X, "d")],
        "name: bb -> ccc.*pass name always the same",
    ),
    "a dtype": (
        lambda x: x * 2,
        [(X,), (X.astype("float64"),), (X.astype("int32"),), (X.astype("int8"),)],
        r"x\.dtype: float64 -> int32.*convert x to one dtype.*: x = df\.astype\(x, \"float64\"\)\.",
    ),
    "a rank": (
        lambda x: x * 2,
        [(df.ones((2,) * k),) for k in range(1, 5)],
        "x.ndim: 2 -> 3.*one number of dimensions",
    ),
    "a structure": (
        lambda xs: xs[0] * 2.0,
        [([X] * k,) for k in range(1, 5)],
        "the structure of the arguments changed.*one structure",
    ),
    "an extent in a nest": (
        lambda batch: sum(batch["x"]),
        [({"x": df.ones(n)},) for n in (2, 3, 4, 5)],
        r"batch\['x'\]\.shape\[0\]: 3 -> 4, and Python decides by batch\['x'\]\.shape\[0\] == 4.*: "
        r"batch\['x'\] = df\.pad\(batch\['x'\], \[\(0, -batch\['x'\]\.shape\[0\] % 64\)\]\)\.",
    ),
    "a flag of NumPy's": (
        lambda x, flag: x * 2.0 if flag else x,
        [(X, True), (X, np.bool_(True)), (X, np.bool_(False)), (X, np.int32(3))],
        r"flag: np\.True_ -> np\.False_.*: flag = df\.asarray\(flag\)\.",
    ),
    "an object": (
        lambda x, thing: x * 2.0,
        [(X, object()), (X, object()), (X, object()), (X, object())],
        "thing: object object -> object object.*define == and hash",
    ),
    "a branch": (
        lambda x, k: x * k if k > 3 else x,
        [(X, 1), (X, 2), (X, 5), (X, 6), (X, 1)],
        r"k: 2 -> 5, and Python decides by k > 3 at test_retraces",
    ),
}


@graphs_only
@pytest.mark.parametrize("name", CAUSES)
def test_r1_each_cause_is_told_once_with_a_remedy(name):
    python, calls, wanted = CAUSES[name]
    (said,) = messages(df.function(python), calls)
    assert re.search(wanted, said), said


@graphs_only
def test_r1_the_line_that_is_proposed_ends_the_recordings():
    python, calls, _ = CAUSES["a dtype"]
    f = df.function(python)
    (said,) = messages(f, calls)
    line = re.search(r": (x = .*)\. \(Said once", said)
    count = len(f.explain().traces)
    for ((x),) in calls:
        names = {"x": x, "df": df}
        exec(line[1], names)
        f(names["x"])
    assert len(f.explain().traces) == count


@graphs_only
def test_r1_an_object_that_is_gone_is_named_too():
    f = df.function(lambda x, thing: x * 2.0)
    (said,) = messages(f, ((X, type("Thing", (), {})()) for _ in range(4)))
    assert re.search("thing: (object that is gone|Thing object) -> Thing object", said)


@graphs_only
def test_r1_a_tensor_inside_of_an_argument_is_named_and_the_proposed_line_ends_it():
    @dataclasses.dataclass
    class Carry:
        h: df.Tensor
        n: int = 0

    @dataclasses.dataclass
    class Outer:
        carry: Carry

    f = df.function(lambda x, o: x * o.carry.h + o.carry.n)
    (said,) = messages(f, ((X, Outer(Carry(vector(k, 2.0)))) for k in range(4)))
    assert "o.carry.h is another tensor. To avoid that, make the tensors in o.carry argu" in said
    exec(re.search(r"df\.tree\.register\(.*\)\)", said)[0], {"df": df, "Carry": Carry})
    g = df.function(lambda x, c: Carry(x * c.h, c.n + 1))
    carry = Carry(vector(1.0, 1.5))
    for k in range(5):
        wanted = (X * carry.h).tolist()
        carry = g(X, carry)
        assert (carry.h.tolist(), carry.n) == (wanted, k + 1)
    assert (g.mode, g.recordings) == ("compiled", 2)


@graphs_only
def test_r1_a_field_that_differs_is_named():
    @dataclasses.dataclass
    class Config:
        name: str
        rate: float = 0.5

    f = df.function(lambda x, config: x * len(config.name))
    (said,) = messages(f, ((X, Config("a" * k)) for k in range(1, 5)))
    assert "so far: config.name: aa -> aaa." in said


def test_r1_what_settles_by_itself_is_not_told():
    f = df.function(lambda x, k: x * k)
    assert messages(f, [(df.ones(n), n) for n in range(1, 20)]) == []
    g = df.function(lambda x: x * 2.0)
    for _ in range(2):
        assert messages(g, [(X,)]) == []
        with df.no_grad():
            assert messages(g, [(X,)]) == []
        with df.GradientTape():
            assert messages(g, [(X,)]) == []


@graphs_only
def test_r2_explain_lists_traces_costs_and_what_was_decided():
    f = df.function(lambda x, k: x * k if k * 2 > 6 else x + k)
    assert len(messages(f, [(X, 1), (X, 2), (X, 5)])) == 1
    explanation = f.explain()
    first, second = explanation.traces
    assert (first.why, second.why) == ("first call", "k: 1 -> 2")
    assert (first.paths, second.paths) == (1, 2)
    assert first.seconds > 0
    assert second.seconds > 0
    assert [g.partition(" at ")[0] for g in second.guards] == ["not (k * 2) > 6", "(k * 2) > 6"]
    assert len(str(explanation).splitlines()) <= 15


# ----- limits -----


def named(x, name):
    return x * float(len(name))


@graphs_only
def test_r6_a_limit_is_told_and_stays_visible():
    f = df.function(named, max_traces=2)
    f(X, "a")
    f(X, "bb")
    with pytest.warns(FunctionWarning, match="name: bb -> ccc; max_traces=2 is reached"):
        assert f(X, "ccc").tolist() == [3.0, 6.0]
    assert f.mode.startswith("segments (limit: 2 traces were made")
    f = df.function(named, max_traces=2, on_limit="error")
    f(X, "a")
    f(X, "bb")
    with pytest.raises(TraceError, match="max_traces=2 is reached"):
        f(X, "ccc")


@graphs_only
def test_r8_the_least_recently_used_trace_makes_room():
    f = df.function(named, max_traces=3, on_limit="replace", strict=True)
    for name in ("a", "b", "c", "a", "a", "a"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RetraceWarning)
            f(X, name)
    with pytest.warns(FunctionWarning, match="keeps 3 traces.*name 'b'.*Raise max_traces"):
        f(X, "d")
    assert (len(f.entries), f.mode) == (3, "compiled")
    before = f.from_graph
    f(X, "a")
    f(X, "c")
    f(X, "d")
    assert f.from_graph == before + 3
    f(X, "b")
    assert f.from_graph == before + 3
    assert f.replaced == 2
    assert any("makes room" in event for event in f.explain().events)


@graphs_only
def test_r8_a_replaced_trace_is_freed():
    f = df.function(named, max_traces=1, on_limit="replace", strict=True)
    f(X, "a")
    path = weakref.ref(f.entries.popitem()[1].paths[0])
    gc.collect()
    assert path() is None


@graphs_only
def test_r8_traces_and_their_code_are_given_back():
    def twenty(x, name):
        for k in range(20):
            x = df.tanh(x * (len(name) + k)) + 1.0
        return x

    def use(times):
        f = df.function(twenty, on_limit="grow", strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RetraceWarning)
            for k in range(times):
                f(X, f"{'n' * k}")
        f.wait()  # code of kinds that came once is made when it is asked for
        return f

    gc.collect()
    start, before = len(library()), library().bytes
    f = use(40)
    refs = [weakref.ref(path) for entry in f.entries.values() for path in entry.paths]
    assert len(refs) == 40
    assert library().bytes > before
    del f
    gc.collect()
    assert [ref() for ref in refs] == [None] * 40
    library().forget_recent()
    gc.collect()
    assert len(library()) <= start
    assert library().bytes <= before


@graphs_only
def test_numbers_that_code_cannot_take_have_traces_of_their_own():
    import decimal

    f = df.function(lambda x, k: x * float(decimal.Decimal(k)), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetraceWarning)
        for k in (1, 2, 3, 2, 3):
            assert f(X, k).tolist() == (X * k).tolist()
    assert "each number has a trace of its own" in f.explain().events[0]
