"""What a call returns is the caller's own object wherever it is in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import AuditError
from dualflow.tracing.leaves import Constant
from tests.modes import compiled_only

CAPTURED = df.asarray([5.0, 6.0])
TABLE = {"captured": CAPTURED, "names": ["a", "b"]}
PAIR = (CAPTURED, 2)
w = df.Variable([1.0, 2.0], name="w")


class Kept:
    tensor = df.asarray([0.0, 0.0])
    table: Any = None
    log: Any = None
    grad: Any = None


@pytest.fixture(autouse=True)
def _afresh():
    begin()


def begin():
    """Sets all state to what it was."""
    w.assign([1.0, 2.0])
    w.grad = None
    Kept.tensor = df.asarray([0.0, 0.0])
    Kept.table = {"latest": df.asarray([0.0, 0.0])}
    Kept.log = []
    Kept.grad = None


def itself(x):
    return x


def in_containers(x):
    y = x + 1.0
    return {"a": x, "b": (y, [y, x])}


def twice(x):
    y = x * 2.0
    return y, y


def a_list_twice(x):
    part = [x * 2.0, x]
    return part, {"again": part, "none": []}, [part]


def captured(x):
    return CAPTURED, x + CAPTURED


def a_variable(x):
    return w, x * 1.0


def a_variable_that_changes(x):
    w.assign(x)
    w.assign_add(1.0)
    return x, w


def values_of_a_variable(x):
    before = w.read_value()
    w.assign_add(x)
    return before, before, w.read_value(), x


def other_objects(x):
    return x.detach(), x, df.stop_gradient(x), +x, df.asarray(x)


def all_of_it(x):
    return x[:], x[...], x[: len(x)], x[0:], x


def of_a_branch(x):
    y = x if x.sum() > 3.5 else x * 2.0
    return y, x


def behind_a_loop(x):
    y = x
    while y.sum() < 30.0:
        y = y * 2.0
    return x, y, y


def kept_and_returned_behind_a_loop(x):
    Kept.tensor = s = x.sum()
    while s < 30.0:
        s = s * 1.5
    return Kept.tensor, s, Kept.tensor


def kept_twice_around_a_loop(x):
    y, z = x * 3.0, x.sum()
    Kept.log.append(y)
    Kept.log.append(y)
    while z < 30.0:
        z = z * 1.5
    Kept.log.append(z)
    Kept.log.append(y)
    return z, y


def kept_in_a_loop(x):
    y = x
    while y.sum() < 30.0:
        y = y * 2.0
        Kept.log.append(y)
    Kept.tensor = y
    return y, [y]


def handed_on(x):
    y = x
    for _ in range(3):
        if y.sum() > 4.0:
            y = x
    return y


def state(x):
    old = Kept.tensor
    Kept.tensor = x * 2.0
    return old, Kept.tensor, old


def state_is_given(x):
    old = Kept.tensor
    Kept.tensor = x
    return old


def a_list_that_grows(x):
    y = x * 3.0
    Kept.log.append(y)
    Kept.log.append(x)
    return y


def a_table(x):
    return TABLE, x * 2.0, [TABLE, x]


def a_table_that_changes(x):
    Kept.table["latest"] = x * 2.0
    return Kept.table


def a_global_tuple(x):
    return PAIR


def a_gradient(x):
    w.grad = None
    (w * x).sum().backward()
    return w.grad


def a_gradient_that_is_taken(x):
    old = w.grad
    w.grad = None
    (w * x).sum().backward()
    return old, w.grad


def a_gradient_that_adds_up(x):
    (w * x).sum().backward()
    return w.grad, x


@df.function
def inner(x):
    return x, x * 2.0


def nested(x):
    parts = [inner(x) for _ in range(6)]
    return [a for a, _ in parts], inner(CAPTURED)[0]


def a_value_leaves(x):
    float(x.sum())
    y = x * 2.0
    return x, y, y


@dataclass
class Shape:
    """Which objects a nest is made of.

    Attributes:
        known: The objects that were met, each with its name.
        met: Names, in order.
    """

    known: list[tuple[Any, str]]
    met: list[Any] = field(default_factory=list)

    def look(self, x: Any) -> None:
        """Takes down which object each part is."""
        name = next((name for thing, name in self.known if thing is x), None)
        if name is None:
            name = f"{type(x).__name__} {len(self.known)}"
            self.known.append((x, name))
            inner = x.values() if isinstance(x, dict) else x if type(x) in (list, tuple) else ()
            self.met.append((name, x.tolist() if isinstance(x, df.Tensor) else None))
            for item in inner:
                self.look(item)
        else:
            self.met.append((name, x.tolist() if isinstance(x, df.Tensor) else None))


def objects(f: Callable[..., Any], xs: list[Any]) -> list[Any]:
    """Which objects some calls return, of those that are there before, or new; what is in them."""
    found = []
    for x in xs:
        before = [("x", x), ("w", w), ("captured", CAPTURED), ("table", TABLE), ("pair", PAIR)]
        before += [("state", Kept.tensor), ("kept", Kept.table)]
        before += [] if w.grad is None else [("grad", w.grad)]
        shape = Shape([(thing, name) for name, thing in before])
        shape.look(f(x))
        for part in (Kept.tensor, Kept.table["latest"], Kept.log, w.grad):
            shape.look(part)
        found.append(shape.met)
    return found


def inputs() -> list[Any]:
    return [df.asarray([1.0, 2.0 + k % 3]) for k in range(7)]


CASES = [
    itself,
    in_containers,
    twice,
    a_list_twice,
    captured,
    a_variable,
    a_variable_that_changes,
    values_of_a_variable,
    other_objects,
    all_of_it,
    of_a_branch,
    behind_a_loop,
    kept_and_returned_behind_a_loop,
    kept_twice_around_a_loop,
    kept_in_a_loop,
    handed_on,
    state,
    state_is_given,
    a_list_that_grows,
    a_table,
    a_table_that_changes,
    a_global_tuple,
    a_gradient,
    a_gradient_that_is_taken,
    a_gradient_that_adds_up,
    nested,
]


@pytest.mark.parametrize("python", CASES, ids=lambda f: f.__name__)
def test_a_call_returns_the_objects_that_python_does(python):
    wanted = objects(python, inputs())
    begin()
    f = df.function(python)
    assert objects(f, inputs()) == wanted
    assert f.mode in ("compiled", "eager (asked for)")


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
def test_segments_return_them_too():
    wanted = objects(a_value_leaves, inputs())
    assert objects(df.function(a_value_leaves), inputs()) == wanted


@pytest.mark.parametrize("python", CASES, ids=lambda f: f.__name__)
def test_a_tape_that_watches_changes_nothing(python):
    def under_a_tape(f):
        def call(x):
            with df.GradientTape() as tape:
                tape.watch(x)
                return f(x)

        return call

    wanted = objects(under_a_tape(python), inputs())
    begin()
    assert objects(under_a_tape(df.function(python)), inputs()) == wanted


def test_gradients_flow_through_what_is_returned_as_it_is():
    def both(x):
        y = x * x
        return x, y, y

    found = []
    for f in (both, df.function(both)):
        for x in inputs()[:4]:
            with df.GradientTape() as tape:
                tape.watch(x)
                same, y, again = f(x)
                z = (same * 3.0 + y * again).sum()
            assert same is x
            assert y is again
            found.append(tape.gradient(z, x).tolist())
    assert found[:4] == found[4:]


@pytest.mark.parametrize("audit", [0.0, 1.0])
def test_gradients_flow_through_what_is_kept_before_a_loop_and_returned(audit: float):
    def around_a_loop(x):
        y = x * x
        Kept.log.append(y)
        z = y
        while z.sum() < 90.0:
            z = z * 1.5
        return y, z, y

    found = []
    compiled: Any = df.function(audit=audit)(around_a_loop)
    for f in (around_a_loop, compiled):
        for x in inputs()[:4]:
            with df.GradientTape() as tape:
                tape.watch(x)
                y, z, again = f(x)
                total = (Kept.log[-1] * y * z).sum()
            assert y is again is Kept.log[-1]
            found.append(tape.gradient(total, x).tolist())
    assert found[:4] == found[4:]


def test_a_gradient_that_has_another_name_is_told_from_what_stands_there_later():
    def both(x):
        return Kept.grad, w.grad, x + 1.0

    (w * 1.0).sum().backward()
    Kept.grad = w.grad
    f = df.function(both)
    for k in range(6):
        mine, its, _ = f(df.asarray(1.0))
        assert mine is Kept.grad
        assert its is w.grad
        if k == 2:
            w.grad = None
            (w * 2.0).sum().backward()


def test_what_is_put_in_the_place_of_a_table_is_returned():
    f = df.function(lambda x: (Kept.table, x))
    for _ in range(4):
        Kept.table = {"latest": CAPTURED}
        assert f(CAPTURED)[0] is Kept.table


def test_lists_that_are_passed_come_back_with_their_tensors():
    def first(xs):
        return xs[0], xs, xs[1] * 2.0

    f = df.function(first)
    for _ in range(3):
        xs = inputs()[:2]
        a, ys, _ = f(xs)
        assert (a is xs[0], ys is xs, ys[1] is xs[1]) == (True, True, True)


def test_the_same_argument_twice_is_one_object():
    f = df.function(lambda x, y: (y, x, x + y))
    for _ in range(3):
        x, y = inputs()[:2]
        assert f(x, y)[0] is y
        a, b, _ = f(x, x)
        assert a is b is x


def test_what_shares_memory_with_a_variable_keeps_its_value():
    f = df.function(a_variable_that_changes)
    for k in range(4):
        x = w.read_value()
        assert f(x)[0] is x
        assert x.tolist() == [1.0 + k, 2.0 + k]
        assert w.tolist() == [2.0 + k, 3.0 + k]


def test_arrays_arrive_as_tensors_of_the_call_and_sizes_may_vary():
    f = df.function(lambda x: (x, x.sum()))
    for n in (2, 3, 4, 5):
        array = np.arange(n, dtype=np.float32)
        assert f(array)[0].tolist() == array.tolist()
        x = df.asarray(array)
        assert f(x)[0] is x


@compiled_only
def test_a_returned_argument_is_no_output_of_the_graph():
    f = df.function(in_containers)
    for x in inputs()[:2]:
        f(x)
    assert len(f.graphs[0].outputs) == 1


def test_concrete_functions_and_files_return_their_arguments(tmp_path):
    f = df.function(lambda x, y: (y, x * 2.0, x))
    x, y = inputs()[:2]
    concrete = f.concrete(df.TensorSpec((2,)), df.TensorSpec((2,)))
    loaded = df.load_function(f.export(tmp_path / "f.dfx", x, y))
    for g in (concrete, loaded):
        a, double, b = g(x, y)
        assert (a is y, b is x, double.tolist()) == (True, True, [2.0, 4.0])


@compiled_only
def test_an_audit_finds_another_object_in_the_place_of_an_argument():
    f = df.function(itself, audit=1.0)
    x = df.asarray(1.0)
    for _ in range(3):
        f(x)
    assert f.audited == 2
    (path,) = next(iter(f.entries.values())).parts
    path._leaves = [Constant(df.asarray(1.0))]
    with pytest.raises(AuditError, match="from before, Python another"):
        f(x)


def test_what_was_there_before_is_returned_beside_an_argument_that_changes():
    def changes(x, bag):
        bag["v"] = x * 2.0
        part = [Kept.log, bag]
        return Kept.log, part, part

    def leaves_it(x, bag):
        bag["v"] = x
        return Kept.table

    f, g = df.function(changes), df.function(leaves_it)
    for x in inputs()[:4]:
        bag = {"v": CAPTURED, "n": 1}
        log, part, again = f(x, bag)
        assert (log is Kept.log, part is again) == (True, True)
        assert (part[0] is Kept.log, part[1] is bag) == (True, True)
        assert bag["v"].tolist() == (x * 2.0).tolist()
        assert g(x, bag) is Kept.table
        assert bag["v"] is x
