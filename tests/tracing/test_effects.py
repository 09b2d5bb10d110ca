"""Lists and dicts that a call is given and changes: later calls change them too, or are told."""

from __future__ import annotations

import decimal
import warnings
from collections import deque

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
def test_r10_the_callers_containers_are_changed_by_graphs_too(change):
    """Each call changes its own arguments, from the second one on without Python."""
    f = df.function(change, strict=True)
    for k in range(3):
        ours, theirs = CHANGES[change](), CHANGES[change]()
        inner = list(ours)
        found, wanted = f(ours, vector(k)), change(theirs, vector(k))
        assert snapshot([found, ours]) == snapshot([wanted, theirs])
        assert all(a is b for a, b in zip(inner, ours, strict=False) if isinstance(a, dict))
    assert f.from_graph == 2


def grow(held, x):
    held.append(x)
    return len(held)


@graphs_only
def test_r10_a_list_that_grows_from_call_to_call_is_told():
    """Each length is another call, so Python appends."""
    f, held = df.function(grow), []
    with pytest.warns(FunctionWarning, match="it makes a list longer that was passed to it"):
        assert [f(held, vector(k)) for k in range(5)] == [1, 2, 3, 4, 5]
    assert [x.tolist() for x in held] == [[float(k)] for k in range(5)]


class Cell:
    """A node of trees, which can be changed."""

    def __init__(self, hidden, steps):
        self.hidden, self.steps = hidden, steps


df.tree.register(Cell, lambda c: ((c.hidden, c.steps), None), lambda _, both: Cell(*both))


def advance(cell, x):
    cell.hidden = cell.hidden * 0.5 + x
    cell.steps = cell.steps + 1
    return cell.hidden.sum()


def turn(cell, x):
    cell.append(x + cell[0])
    return cell[-1]


STATES = {
    advance: lambda: Cell(vector(1), 0),
    turn: lambda: deque([vector(1), vector(2)], maxlen=2),
}


@graphs_only
@pytest.mark.parametrize("change", STATES, ids=lambda f: f.__name__)
def test_r10_r20_state_that_is_passed_on_is_kept(change):
    """A node of trees and a deque, over many calls."""
    f = df.function(change, strict=True)
    ours, theirs = STATES[change](), STATES[change]()
    for k in range(8):
        found, wanted = f(ours, vector(k)), change(theirs, vector(k))
        assert snapshot([found, *df.tree.flatten(ours)[0]]) == snapshot(
            [wanted, *df.tree.flatten(theirs)[0]]
        )
    assert f.from_graph >= 5


def fill(x, a, b):
    a.append(x)
    return x * len(b)


LOG = []


def fill_known(x, out):
    out.append(x)
    return x * len(LOG)


@graphs_only
def test_r10_r12_one_list_in_two_roles_is_one_list():
    """Given twice, or known by a name of its own, whatever was recorded before."""
    twice, known = df.function(fill), df.function(fill_known)
    for k in range(6):
        ours, other = [], []
        assert twice(vector(1), ours, ours if k % 2 else other).tolist() == [float(k % 2)]
        LOG.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert known(vector(1), LOG if k % 3 == 2 else ours).tolist() == [float(k % 3 == 2)]
        assert len(ours) == 1 + (k % 3 != 2)


@graphs_only
def test_r10_r12_one_list_in_two_roles_in_the_first_call():
    """What the recording has seen otherwise is done again in Python."""
    LOG.clear()
    known = df.function(fill_known)
    with pytest.warns(FunctionWarning, match="reaches in other ways"):
        assert known(vector(1), LOG).tolist() == [1.0]
    assert len(LOG) == 1


SHARED = {"n": 0}


@graphs_only
def test_r10_state_that_is_passed_and_known_is_read():
    """A number that others change has a stand-in in the caller's own dict, which is no change."""
    f = df.function(lambda x, held: x * SHARED["n"] + len(held), strict=True)
    for k in range(6):
        SHARED["n"] = k
        assert f(vector(1), SHARED).tolist() == [k + 1.0]
    assert f.from_graph >= 2


def test_r10_lists_in_lists_stay_themselves():
    """What is taken out of a list of lists is not written over."""
    f = df.function(lambda held: held.pop(0) and None)
    for k in range(4):
        a, b = [vector(k)], [vector(k + 10)]
        held = [a, b]
        f(held)
        assert held[0] is b
        assert (a[0].tolist(), b[0].tolist()) == ([k], [k + 10])


def test_r10_what_was_passed_is_returned_as_it_is():
    """A result may be an argument, which the caller goes on with."""
    f = df.function(lambda held, x: (held, [x, held["a"]]))
    for k in range(4):
        held = {"a": vector(k)}
        same, both = f(held, vector(1))
        assert same is held
        assert [x.tolist() for x in both] == [[1.0], [k]]


def test_r10_arrays_beside_a_list():
    """Arrays arrive as tensors, and the list is the caller's all the same."""
    f = df.function(lambda array, held: held.append(array * 2.0))
    for mode in ("eager", "compiled", "compiled", "compiled"):
        with df.set_mode(mode):
            held = []
            f(np.float32([1.0, 2.0]), held)
            assert [x.tolist() for x in held] == [[2.0, 4.0]]


def test_r10_what_is_done_again_is_done_once():
    """Code that does not take a stand-in for a number runs again, from the top."""

    def f(held, x, k):
        held.append(x)
        return x * float(decimal.Decimal(k))

    g = df.function(f)
    for k in range(5):
        held = []
        assert g(held, vector(1), k).tolist() == [k]
        assert len(held) == 1


def test_r13_gradients_flow_through_what_is_left():
    """What a call puts into its arguments carries gradients as its result does."""
    w = df.Variable([3.0], name="w")

    def f(held, x):
        held["y"] = w * x
        return x

    g = df.function(f)
    for _ in range(3):
        held = {}
        with df.GradientTape() as tape:
            g(held, vector(2))
            total = (held["y"] ** 2).sum()
        assert tape.gradient(total, w).tolist() == [24.0]


@graphs_only
def test_r10_r22_ways_join_by_what_was_put_into_arguments():
    """Constants that a call has appended tell ways apart."""

    def f(x, held):
        for k in range(12):
            if x.sum() > k:
                held[0] = k
            x = x * 0.9 + 0.05
        return x

    g = df.function(f)
    for k in range(60):
        ours, theirs = [-1], [-1]
        x = df.asarray([(k * 7 % 23) / 2.0])
        assert g(x, ours).tolist() == f(x, theirs).tolist()
        assert ours == theirs
    assert g.from_graph >= 20


@graphs_only
def test_r40_audit_looks_at_what_is_left():
    """What a graph puts into arguments is compared with what Python puts there."""
    f = df.function(lambda held, x: held.update(y=x * 2.0, n=1), audit=1.0)
    for k in range(4):
        held = {}
        f(held, vector(k))
        assert snapshot(held) == snapshot({"y": vector(2 * k), "n": 1})
    assert f.audited == 3


@graphs_only
def test_the_callers_tensors_stay_in_its_containers():
    def swap(held):
        held[0], held[1] = held[1], held[0]

    f = df.function(swap, strict=True)
    for _ in range(3):
        kept = [vector(1), vector(2)]
        held = list(kept)
        f(held)
        assert held[0] is kept[1]
        assert held[1] is kept[0]
    assert f.from_graph == 2


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
    with pytest.raises(TraceError, match="it makes a list longer"):
        df.function(append, strict=True)([vector(0)], vector(1))


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
