"""Lists and dicts that a call changes: the effect is never dropped, so such calls run eagerly."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning, TraceError
from tests.modes import graphs_only
from tests.tracing.both import snapshot, vector


def append(held, x):
    held.append(x * 2.0)
    return x


def replace(held, x):
    held[0] = held[0] + x
    return held[0]


def nested(held, x):
    held[0]["log"].append((x, "text"))
    held[0]["new"] = x
    return len(held)


def pop(held, x):
    held.pop(0)
    return x


def keyword(held, x):
    held[0].update(last=x)


CHANGES = {
    append: lambda: [],
    replace: lambda: [vector(1)],
    nested: lambda: [{"log": []}],
    pop: lambda: [vector(k) for k in range(5)],
    keyword: lambda: [{}],
}


@graphs_only
@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_the_callers_containers_are_changed(change):
    f = df.function(change)
    ours, theirs = CHANGES[change](), CHANGES[change]()
    inner = list(ours)
    with pytest.warns(FunctionWarning, match="it changes a list or dict that was passed to it"):
        f(ours, vector(1))
    change(theirs, vector(1))
    assert snapshot(ours) == snapshot(theirs)
    for k in range(2, 4):
        with df.set_mode("eager"):
            f(ours, vector(k))
        change(theirs, vector(k))
        assert snapshot(ours) == snapshot(theirs)
    assert all(a is b for a, b in zip(inner, ours, strict=False) if isinstance(a, dict))


@graphs_only
def test_the_callers_tensors_stay_in_its_containers():
    kept = vector(1)
    held = [kept, vector(2)]
    f = df.function(lambda held: held.append(held[1]))
    with pytest.warns(FunctionWarning):
        f(held)
    assert held[0] is kept
    assert held[2] is held[1]


def test_an_exception_keeps_what_was_done():
    def f(held, x):
        held.append(x)
        raise KeyError

    held = []
    with pytest.raises(KeyError):
        df.function(f)(held, vector(1))
    assert [x.tolist() for x in held] == [[1.0]]


@graphs_only
def test_strict_raises():
    with pytest.raises(TraceError, match="it changes a list or dict"):
        df.function(append, strict=True)([], vector(1))


@graphs_only
def test_containers_of_the_functions_own_are_no_effect():
    def f(x):
        held = [x]
        held.append(x * 2.0)
        table = dict(enumerate(held))
        table[7] = x
        return table

    g = df.function(f, strict=True)
    for _ in range(3):
        assert [v.tolist() for v in g(vector(1)).values()] == [[1.0], [2.0], [1.0]]
    assert g.from_graph == 2


def test_arrays_in_containers_are_read():
    g = df.function(lambda held: held["x"] * 2.0, strict=True)
    held = {"x": np.float32([1.0])}
    for k in range(3):
        held["x"][0] = k
        assert g(held).tolist() == [2.0 * k]
    assert isinstance(held["x"], np.ndarray)
