"""Calls recognised without a key: they are served as if each had been taken apart."""

from __future__ import annotations

import gc
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from dualflow.tracing.function import Entry
from dualflow.tracing.shortcut import Shortcut
from dualflow.tracing.signature import take_apart
from tests.modes import graphs_only
from tests.tracing.both import outcome, vector

X, Y, Z, W = vector(1, 2), vector(3, 4), vector(5, 6), vector(7, 8)
VARIABLE = df.Variable([1.0, 2.0])


class Thing:
    """Equal to nothing but itself."""

    factor = 2.0


class Named:
    """Equal to others of its name, which may change."""

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return isinstance(other, Named) and self.name == other.name

    def __hash__(self):
        return hash(self.name)


THING, NAMED = Thing(), Named("a")
WATCHED = VARIABLE * 1.0
CALLS = {
    "tensors": (X, Y),
    "the other way round": (Y, X),
    "others of the same types": (Z, Y),
    "the same twice": (X, X),
    "another shape": (X, vector(1, 2, 3)),
    "both of another shape": (vector(1, 2, 3), vector(4, 5, 6)),
    "a scalar": (df.asarray(2.0), Y),
    "another dtype": (df.asarray([1, 2]), df.asarray([3, 4])),
    "half": (X.astype("float16"), Y.astype("float16")),
    "strided": (df.asarray(np.arange(8, dtype=np.float32))[::4], Y),
    "lists": ([X, Y], [Z, W]),
    "lists of the same": ([X, X], [Z, Y]),
    "longer lists": ([X, Y, Z], [Z, Y, X]),
    "one list": ([X, Y], Y),
    "another class": ((X, Y), [Z, Y]),
    "nested": ([X, [Y, Z]], W),
    "nested otherwise": ([[X, Y], Z], Y),
    "a dict": ({"a": X, "b": Y}, Z),
    "other keys": ({"a": X, "c": Y}, Y),
    "empty": ([], Y),
    "a number": (X, 2.0),
    "another number": (X, 3.0),
    "minus zero": (X, -0.0),
    "zero": (X, 0.0),
    "an int": (X, 2),
    "True": (X, True),
    "None": (X, None),
    "numbers in a list": ([X, 2.0], Y),
    "other numbers in a list": ([X, 3.0], Y),
    "a Variable": (VARIABLE, Y),
    "an object": (X, THING),
    "an equal object": (X, NAMED),
    "an array": (X, np.array([1.0, 2.0], np.float32)),
    "watched": (WATCHED, Y),
    "one argument": (X,),
    "three": (X, Y, Z),
}


def total(*args):
    """A sum that every kind of argument goes into."""
    result = df.asarray(0.0)
    for k, x in enumerate(df.tree.flatten(args)[0], 1):
        if isinstance(x, df.Tensor | np.ndarray):
            result = result + float(k) * df.sum(df.asarray(x).astype("float32"))
        elif isinstance(x, float | int):
            result = result + float(x) * k
        elif x is None:
            result = result - 1.0
    return result


def function(**options):
    return df.function(total, max_traces=100, strict=True, **options)


@settings(max_examples=80)
@given(st.lists(st.sampled_from(sorted(CALLS)), max_size=30), st.integers(1, 5))
def test_the_same_answers_and_the_same_traces(names, times):
    quick, slow = function(), function()
    for name in [name for name in names for _ in range(times)]:
        args = CALLS[name]
        wanted = outcome(total, args)
        assert outcome(quick, args) == wanted, name
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Entry, "has_shortcut", lambda self, call: False)
            assert outcome(slow, args) == wanted, name
    assert [t.key for t in quick.explain().traces] == [t.key for t in slow.explain().traces]
    assert [t.hits for t in quick.explain().traces] == [t.hits for t in slow.explain().traces]
    assert (quick.calls, quick.from_graph) == (slow.calls, slow.from_graph)


def recognised(first, second):
    shortcut = Shortcut.of(take_apart(first, {}))
    return shortcut is not None and shortcut.match(second) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tensors", "tensors"),
        ("tensors", "others of the same types"),
        ("lists", "lists"),
        ("nested", "nested"),
        ("a dict", "a dict"),
        ("a number", "a number"),
        ("a Variable", "a Variable"),
        ("an object", "an object"),
        ("numbers in a list", "numbers in a list"),
    ],
)
def test_what_is_recognised(first, second):
    assert recognised(CALLS[first], CALLS[second])


SAME_KIND = ["tensors", "the other way round", "others of the same types", "strided"]


@pytest.mark.parametrize("name", CALLS)
def test_only_types_are_left_to_native_code(name):
    assert recognised((X, Y), CALLS[name]) == (name in (*SAME_KIND, "another shape"))


@pytest.mark.parametrize("name", ["the same twice", "an equal object", "an array", "watched"])
def test_what_has_no_shortcut(name):
    assert Shortcut.of(take_apart(CALLS[name], {})) is None


def test_keywords_have_none():
    assert Shortcut.of(take_apart((X,), {"k": Y})) is None


@graphs_only
def test_the_context_counts():
    f = function()
    for _ in range(3):
        f(X, Y)
    with df.no_grad():
        f(X, Y)
    with df.GradientTape():
        f(X, Y)
    assert len(f.entries) == 3


@graphs_only
def test_modes_count():
    f = function()
    for _ in range(3):
        f(X, Y)
    with df.set_mode("eager"):
        f(X, Y)
    assert (f.calls, f.from_graph) == (4, 2)


@graphs_only
def test_guards_are_followed_and_recorded():
    @df.function(strict=True)
    def signed(x):
        return x * 2.0 if x.sum() > 0 else -x

    for sign in (1, 1, 1, -1, -1, 1, -1, 1, 1):
        x = vector(1, 2) * float(sign)
        assert signed(x).tolist() == signed.python(x).tolist()
    assert (signed.calls, signed.from_graph, len(signed.graphs)) == (9, 7, 2)


def test_settings_are_looked_at():
    model = df.nn.Dropout(0.5)
    f = df.function(lambda x: model(x), strict=True)
    model.eval()
    for _ in range(3):
        assert f(X).tolist() == X.tolist()
    model.train()
    df.random.seed(0)
    wanted = model(X).tolist()
    df.random.seed(0)
    assert f(X).tolist() == wanted


def test_methods_are_recognised_and_objects_are_not_kept():
    class Doubler:
        @df.function(strict=True)
        def __call__(self, x):
            return x * 2.0

    first = Doubler()
    for _ in range(3):
        first(X)
    ref = weakref.ref(first)
    del first
    gc.collect()
    assert ref() is None
    assert Doubler()(X).tolist() == [2.0, 4.0]


def test_a_failure_is_eagers_own():
    f = df.function(lambda x, i: x[i], strict=True)
    for k in (0, 1, 0):
        f(X, df.asarray(k))
    assert outcome(f, (X, df.asarray(5))) == outcome(f.python, (X, df.asarray(5)))
    assert f(X, df.asarray(1)).item() == 2.0
