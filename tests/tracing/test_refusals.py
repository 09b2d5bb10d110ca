"""What no graph can do, or not alike: such calls run eagerly and say why, or are told apart."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from tests.modes import graphs_only
from tests.tracing.both import agree, snapshot, vector

CALLS = [(vector(k, 1.0 - k),) for k in range(4)]


@dataclass
class Box:
    """A result that only Python can make."""

    inside: df.Tensor


class Pair(tuple):
    """A tuple of the user's own, which is no node of trees."""

    __slots__ = ()


# ----- results -----


@graphs_only
@pytest.mark.parametrize(
    ("make", "open_up"),
    [
        (Box, lambda r: r.inside),
        (lambda y: (y, Pair((y,))), lambda r: r[1][0]),
        (lambda y: (y * k for k in range(2)), list),
        (lambda y: lambda: y, lambda r: r()),
        (lambda y: {y}, list),
        (lambda y: np.zeros(2), lambda r: r.__iadd__(1.0)),
    ],
    ids=["dataclass", "tuple", "generator", "closure", "set", "array"],
)
def test_results_that_only_python_can_make(make, open_up):
    """A frozen one would hold the tensors of the first call."""
    f = df.function(lambda x: make(x * 2.0))
    with pytest.warns(FunctionWarning, match="which only Python can make"):
        f(vector(1, 2))
    for (x,) in CALLS:
        assert snapshot(open_up(f(x))) == snapshot(open_up(make(x * 2.0)))
    assert f.from_graph == 0


@graphs_only
def test_arguments_and_what_a_function_names_may_be_returned():
    model, marker = Box(vector(1)), object()
    f = df.function(lambda box, x: (box, marker, model, x + 1.0), strict=True)
    for k in range(3):
        box, mark, net, y = f(model, vector(k))
        assert (box, mark, net) == (model, marker, model)
        assert y.tolist() == [k + 1.0]
    assert f.from_graph == 2


# ----- tapes and work from outside -----


TAPE = df.GradientTape(persistent=True)


def step_by(gradient_of):
    """A step whose forward part is outside of the function, and the Variable it is about."""
    w, f = df.Variable([1.0, 2.0]), df.function(gradient_of)

    def step(x):
        with TAPE:
            loss = (w * x).pow(2).sum()
        return f(loss, w)

    return step, w


def by_backward(loss, w):
    loss.backward()
    return w.grad.read_value()


@graphs_only
@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (by_backward, "through work done before the call"),
        (lambda loss, w: TAPE.gradient(loss, w), "a tape from outside is used inside"),
    ],
    ids=["backward", "gradient"],
)
def test_a_gradient_of_an_argument(inside, message):
    """Its history is another at each call; what the first one saw must not stay."""
    step, w = step_by(inside)
    with pytest.warns(FunctionWarning, match=message):
        step(CALLS[0][0])
    for k in range(3):
        w.grad = None
        assert step(vector(k, 1.0)).tolist() == [2.0 * k**2, 4.0]


@graphs_only
@pytest.mark.filterwarnings("ignore:.*runs in segments")
@pytest.mark.parametrize("how", ["watch", "stop_recording"])
def test_a_tape_from_outside_told_something_inside(how):
    tape, w = df.GradientTape(persistent=True), df.Variable([1.0, 2.0])

    @df.function
    def inner(x):
        if how == "watch":
            tape.watch(x)
            return w * x * x
        with tape.stop_recording():
            y = w * x
        return y + w

    for k in range(3):
        x = vector(k, 1)
        tape.reset()
        with tape:
            y = inner(x)
        dx, dw = tape.gradient(y, [x, w], unconnected_gradients="none")
        assert dw.tolist() == ([k * k, 1.0] if how == "watch" else [1.0, 1.0])
        assert (None if dx is None else dx.tolist()) == ([2.0 * k, 4.0] if how == "watch" else None)
    assert inner.mode.startswith("segments (a tape from outside is used inside")


@graphs_only
def test_who_wants_the_gradient_is_part_of_the_key():
    """First a tape that is over, then `backward()`: only the second makes a record."""
    w, f = df.Variable([1.0, 2.0]), df.function(lambda x: (x * x).sum(), strict=True)
    x = vector(1, 2)
    with df.GradientTape() as tape:
        tape.watch(x)
    assert not f(x).requires_grad
    for _ in range(2):
        w.grad = None
        f(w * x).backward()
        assert w.grad.tolist() == [2.0, 16.0]
    assert f.from_graph == 1


@graphs_only
def test_a_result_is_recorded_when_a_watched_input_reaches_it():
    """A tape inside has watched `y`; that is over, and only the first result depends on `w`."""
    w = df.Variable([1.0, 2.0])

    def f(x, y):
        with df.GradientTape() as tape:
            tape.watch(y)
            z = y * y
        return x * 2.0, y, z, tape.gradient(z, y)

    g = df.function(f, strict=True)
    for h in (f, g, g, g):
        results = h(w * 1.0, vector(3, 4))
        assert [r.sum().requires_grad for r in results] == [True, False, False, False]
    assert g.from_graph == 2


def test_second_order_of_one_of_several_results():
    """Results that no cotangent comes from are no way to an input, in either mode."""
    w = df.Variable([1.0, 2.0])

    def f(x):
        return (x * w).sum(), (x * x * w).sum()

    g = df.function(f, strict=True)
    for h in (f, g, g):
        x = vector(3, 4)
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y, _ = h(x)
            dx = inner.gradient(y, x)
        assert outer.gradient(dx, x, unconnected_gradients="none") is None


@graphs_only
def test_the_variables_of_a_call_are_watched():
    w = df.Variable([1.0, 2.0])
    f = df.function(lambda x: (w * x).sum() if x[0] > 0 else x.sum(), strict=True)
    for x, watched in ((1, True), (0, False), (1, True), (0, False)):
        with df.GradientTape() as tape:
            f(vector(x, 1))
        assert [v is w for v in tape.watched_variables()] == [True] * watched
    assert f.from_graph == 2


# ----- errors that Python catches -----


def caught_index(x, i):
    try:
        return x[i]
    except IndexError:
        return x.sum()


def caught_nan(x, i):
    try:
        return x * int(x[0] / i)
    except (ValueError, OverflowError):
        return x


@graphs_only
@pytest.mark.parametrize("f", [caught_index, caught_nan])
@pytest.mark.filterwarnings("ignore:.*runs in segments")
def test_an_error_by_values_that_is_caught_is_no_path(f):
    indices = (9, 1, 0, 9, 0) if f is caught_index else (0, 1, 2, 0, 2)
    agree(lambda: (f, None), [(vector(6, 2), df.asarray(i)) for i in indices], strict=False)
    g = df.function(f)
    g(vector(6, 2), df.asarray(indices[0]))
    assert "IndexError" in g.mode or "int()" in g.mode


@graphs_only
def test_an_error_by_types_that_is_caught_is_the_same_at_each_call():
    def f(x):
        try:
            return x.reshape(7)
        except df.errors.ShapeError:
            return x * 2.0

    assert agree(lambda: (f, None), CALLS).from_graph == 3


# ----- what is gone -----


class Net(df.nn.Module):
    """A module whose class holds the Function of all instances."""

    def __init__(self):
        self.linear = df.nn.Linear(2, 2)

    @df.function(max_traces=4, strict=True, on_limit="error")
    def forward(self, x):
        return self.linear(x)


@pytest.mark.slow  # a minute in a process that holds many objects
@graphs_only
def test_traces_of_objects_that_are_gone_do_not_count():
    references = []
    for _ in range(10):
        net = Net()
        for _ in range(2):
            net(df.ones((1, 2)))
        references.append(weakref.ref(net))
        del net
        gc.collect()
    assert [r() for r in references] == [None] * 10
    assert len(Net.forward.entries) == 1


@graphs_only
def test_modules_made_inside_are_no_state():
    f = df.function(lambda x: df.nn.ReLU()(x) + df.nn.Sequential(df.nn.ReLU())(-x), strict=True)
    for (x,) in CALLS:
        assert f(x).tolist() == abs(x).tolist()
    assert f.from_graph == 3


# ----- one tensor twice -----


@graphs_only
def test_a_tensor_given_twice_is_one_tensor_inside():
    def f(x, z):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = x * z
        return tape.gradient(y, x), x is z

    g = df.function(f, strict=True)
    for k, twice in enumerate((True, False, True, False)):
        x = vector(k, 2)
        dx, same = g(x, x) if twice else g(x, vector(5, 7))
        assert (dx.tolist(), same) == ([2.0 * k, 4.0] if twice else [5.0, 7.0], twice)
    assert g.from_graph == 2
    assert g.explain().traces[1].why == "z: given once now"


# ----- arrays -----


@graphs_only
@pytest.mark.parametrize("outside", [True, False])
def test_an_array_that_changes_during_the_call(outside):
    def program():
        held = np.zeros(2, np.float32)

        def f(x):
            values = held if outside else np.zeros(2, np.float32)
            y = x + values
            values += 1.0
            return y, x + values

        return f, held

    with pytest.warns(FunctionWarning, match="a NumPy array changes while the call uses it"):
        assert agree(program, CALLS, strict=False).from_graph == 0


@graphs_only
@pytest.mark.parametrize(
    "use",
    [
        lambda x, a: df.Variable(a) * x,
        lambda x, a: df.asarray([a, a[::-1]]) * x,
        lambda x, a: df.asarray([[a[0:1], [1.0]], [[2.0], a[1:]]], dtype="float32") + x[0],
        lambda x, a: df.asarray(a, dtype="float64").sum() + x.sum().astype("float64"),
    ],
    ids=["Variable", "list", "nested list", "dtype"],
)
def test_arrays_are_read_anew_wherever_they_become_tensors(use):
    values = np.ones(2, np.float32)
    f = df.function(lambda x: use(x, values), strict=True)
    for k in range(4):
        values[:] = (k, k * k)
        x = vector(k, 2.0)
        assert f(x).tolist() == use(x, values).tolist()
    assert f.from_graph == 3


def test_an_array_in_foreign_byte_order_is_read_anew():
    values = np.ones(2, ">f4")
    f = df.function(lambda x: x + values, strict=True)
    for k in range(3):
        values[:] = k
        assert f(vector(1, 2)).tolist() == [1.0 + k, 2.0 + k]


# ----- Variables -----


@graphs_only
def test_a_deep_copy_reads_the_variable():
    def program():
        v = df.Variable([1.0, 2.0])

        def f(x):
            v.assign_add(x)
            c = copy.deepcopy(v)
            c.assign_add(x)
            return c * x

        return f, v

    assert agree(program, CALLS).from_graph == 3


def test_python_decides_by_trainability():
    w = df.Variable([1.0, 2.0])
    f = df.function(lambda x: x * 2.0 if w.requires_grad else x * 3.0, strict=True)
    for trainable, factor in ((True, 2.0), (False, 3.0), (True, 2.0), (False, 3.0)):
        w.requires_grad = trainable
        assert f(vector(1)).tolist() == [factor]


@graphs_only
def test_a_call_that_switches_trainability_runs_eagerly():
    def program():
        w = df.Variable([1.0, 2.0])

        def f(x):
            w.requires_grad = not w.requires_grad
            y = (w * x).sum()
            return y, y.requires_grad, w.requires_grad

        return f, w

    with pytest.warns(FunctionWarning, match="every call sets .* trainability of a Variable"):
        agree(program, [*CALLS, *CALLS], strict=False)


@graphs_only
def test_a_grad_that_is_another_variable():
    def program():
        w, u = df.Variable([1.0, 2.0]), df.Variable([0.0, 0.0])

        def f(x):
            (w * x).sum().backward()
            w.grad, u.grad = u.grad, w.grad

        return f, [w, u]

    with pytest.warns(FunctionWarning, match="is made another Variable"):
        agree(program, CALLS, strict=False)


@graphs_only
def test_values_assigned_from_arguments_are_cut():
    """The value of a Variable that was assigned has no history, though the graph knows its node."""
    v = df.Variable([0.0, 0.0], trainable=False)

    def f(x):
        v.assign(x)
        return (v * x + df.Variable(x, trainable=False) * x).sum()

    g = df.function(f, strict=True)
    for h in (f, g, g):
        x = vector(3, 5)
        with df.GradientTape() as tape:
            tape.watch(x)
            y = h(x)
        assert tape.gradient(y, x).tolist() == [6.0, 10.0]
    assert g.from_graph == 1
