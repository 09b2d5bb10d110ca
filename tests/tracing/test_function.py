"""`@df.function`: what can be decorated, what makes a trace of its own, limits."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DTypeError, FunctionWarning, TraceError
from dualflow.tracing.modes import mode
from tests.modes import bits, graphs_only, if_graphs
from tests.tracing.both import agree, vector

Point = namedtuple("Point", "x y")


class Scaler:
    """A callable object with a decorated method of its own."""

    def __init__(self, k):
        self.k = df.Variable(float(k))

    def __call__(self, x):
        return x * self.k

    @df.function(strict=True)
    def method(self, x, *, shift=0.0):
        """Scaled and shifted."""
        return x * self.k + shift


def plain(x, k=2.0):
    """Twice x."""
    return x * k


# ----- what can be decorated -----


KINDS = {
    "function": lambda: plain,
    "lambda": lambda: lambda x: x * 2.0,
    "partial": lambda: functools.partial(plain, k=2.0),
    "callable object": lambda: Scaler(2),
    "bound method": lambda: Scaler(2).__call__,
    "another Function": lambda: df.function(plain),
    "builtin": lambda: df.negative,
    "made by exec": lambda: executed(),
    "generator inside": lambda: lambda x: sum((x * float(k) for k in range(3)), x),
    "recursive": lambda: recursive,
}


def executed():
    scope = {}
    exec("def f(x):\n    return x * 2.0 + 1.0", scope)
    return scope["f"]


def recursive(x, depth=3):
    return x if depth == 0 else recursive(x * 2.0, depth - 1) + x


@graphs_only
@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_decorated(kind):
    f = agree(lambda: (KINDS[kind](), None), [(vector(1, 2),), (vector(3, 4),), (vector(5, 6, 7),)])
    assert (f.calls, f.from_graph, len(f.graphs)) == (3, 1, 2)


def test_modules(mode):
    from dualflow import nn

    module = nn.Linear(3, 2)
    f = module if mode == "eager" else df.function(module, strict=True)
    x = df.asarray(np.ones((4, 3), np.float32))
    wanted = module.weight.numpy().sum(1) + module.bias.numpy()
    for _ in range(3):
        np.testing.assert_allclose(f(x).numpy(), np.tile(wanted, (4, 1)), rtol=1e-6)


@graphs_only
def test_methods_share_a_function_and_not_their_instances():
    a, b = Scaler(2), Scaler(10)
    for _ in range(3):
        assert a.method(vector(1)).tolist() == [2.0]
        assert b.method(vector(1), shift=1.0).tolist() == [11.0]
    a.k.assign(3.0)
    assert a.method(vector(1)).tolist() == [3.0]
    assert Scaler.method.calls == 7
    assert len(Scaler.method.graphs) == 2


@graphs_only
def test_decorated_functions_call_each_other():
    @df.function(strict=True)
    def inner(x):
        return x * 2.0

    @df.function(strict=True)
    def outer(x):
        return inner(x) + inner(x + 1.0)

    for _ in range(3):
        assert outer(vector(1)).tolist() == [6.0]
    assert (outer.from_graph, inner.calls) == (2, 0)


def test_it_keeps_name_docstring_and_signature():
    import inspect

    f = df.function(plain)
    assert (f.__name__, f.__doc__, f.__wrapped__) == ("plain", "Twice x.", plain)
    assert str(inspect.signature(f)) == "(x, k=2.0)"
    assert "plain" in repr(f)


def test_copies_trace_for_themselves():
    f = df.function(Scaler(2.0).__call__)
    f(vector(1))
    g = copy.deepcopy(f)
    assert (g.calls, g(vector(1)).tolist()) == (0, [2.0])


# ----- structures in and out -----


@graphs_only
def test_trees_in_and_out():
    def program():
        def f(batch, *rest, scale=1.0):
            total = batch["x"] * scale
            for t in rest:
                total = total + t
            return {
                "sum": total,
                "pair": (Point(total, None), [batch["name"], 3]),
                "same": batch["x"],
            }

        return f, None

    x = vector(1, 2)
    f = agree(
        program,
        [({"x": x, "name": "a"},), ({"x": x, "name": "a"}, x, x), ({"x": x, "name": "b"},)] * 2,
    )
    assert f.from_graph == 3
    result = f({"x": x, "name": "a"}, scale=2.0)
    assert isinstance(result["pair"][0], Point)


@graphs_only
def test_numpy_arrays_are_arguments_read_at_each_call():
    f = df.function(lambda x: x * 2.0, strict=True)
    values = np.ones(2, np.float32)
    for k in range(3):
        values[:] = k
        result = f(values)
        assert isinstance(result, df.Tensor)
        assert result.tolist() == [2.0 * k] * 2
    assert f.from_graph == 2


def test_results_that_are_no_tensors():
    marker = object()
    c = vector(9)
    f = df.function(lambda x: (x + 1.0, 3, "text", None, marker, c), strict=True)
    for _ in range(3):
        result = f(vector(1))
        assert result[1:5] == (3, "text", None, marker)
        assert result[5].tolist() == [9.0]


def test_nothing_returned():
    v = df.Variable(0.0)

    def count():
        v.assign_add(1.0)

    f = df.function(count, strict=True)
    assert [f() for _ in range(3)] == [None] * 3
    assert v.item() == 3.0


@graphs_only
def test_variables_as_arguments_are_state():
    f = df.function(lambda v, x: v.assign_add(x).read_value(), strict=True)
    a, b = df.Variable([1.0]), df.Variable([10.0])
    for _ in range(3):
        f(a, vector(1))
        f(b, vector(1))
    assert (a.tolist(), b.tolist()) == ([4.0], [13.0])
    assert len(f.graphs) == 2


def test_a_returned_variable_is_the_variable():
    v = df.Variable([1.0])
    f = df.function(lambda x: v.assign_add(x), strict=True)
    for _ in range(3):
        assert f(vector(1)) is v
    assert v.tolist() == [4.0]


# ----- what makes a trace of its own -----


@graphs_only
def test_python_values_are_in_the_key():
    def f(x, flag, n, name):
        return (x * n if flag else x - n) + len(name)

    g = df.function(f, strict=True, max_traces=100)
    x = vector(1, 2)
    for flag in (True, False):
        for n in (1, 1.0, 2, 2.5, -0.0, 0.0):
            for name in ("a", "bb"):
                for _ in range(2):
                    assert bits(g(x, flag, n, name)) == bits(f(x, flag, n, name)), (flag, n, name)
    # For each flag and name: an int, a float, and one more for all other values of each type.
    assert len(g.entries) == 16
    assert g.from_graph == 48 - len(g.graphs)


@graphs_only
@pytest.mark.parametrize(
    "pair", [(1, True), (1, 1.0), (0.0, -0.0), ("1", 1), (None, 0), ((1, 2), [1, 2])]
)
def test_values_that_are_equal_but_not_the_same(pair):
    f = df.function(lambda x, k: (x, repr(k)), strict=True)
    for k in pair * 2:
        assert f(vector(1), k)[1] == repr(k)
    assert len(f.graphs) == 2


@graphs_only
def test_nan_is_one_value():
    f = df.function(lambda x, k: x + k, strict=True)
    for _ in range(3):
        f(vector(1), float("nan"))
    assert len(f.graphs) == 1


@graphs_only
def test_dtype_shape_and_structure_are_in_the_key():
    f = df.function(lambda x: x * 2, strict=True)
    inputs = [
        vector(1),
        vector(1, 2),
        df.asarray([[1.0]]),
        df.asarray([1]),
        df.asarray([True]).astype("int8"),
    ]
    for x in inputs * 3:
        result = f(x)
        assert (result.shape, result.dtype) == (x.shape, x.dtype)
    assert (len(f.graphs), f.from_graph) == (5, 10)


@graphs_only
def test_objects_count_by_identity():
    class Thing:
        def __init__(self, k):
            self.k = k

    f = df.function(lambda x, thing: x * thing.k, strict=True)
    a, b = Thing(2.0), Thing(3.0)
    for _ in range(2):
        assert f(vector(1), a).tolist() == [2.0]
        assert f(vector(1), b).tolist() == [3.0]
    assert len(f.graphs) == 2


def test_recording_of_gradients_is_in_the_key():
    w = df.Variable(2.0)
    f = df.function(lambda: w * 3.0, strict=True)
    for _ in range(2):
        with df.no_grad():
            assert not f().requires_grad
        assert f().requires_grad
        with df.GradientTape() as tape:
            y = f()
        assert tape.gradient(y, w).item() == 3.0


# ----- results are the caller's -----


def test_r18_outputs_never_change_after_later_calls():
    v = df.Variable(np.zeros(2, np.float32))

    def f(x):
        v.assign_add(x)
        return v.read_value(), x, v * 1.0, x.reshape(2, 1)

    g = df.function(f, strict=True)
    kept = []
    for k in range(1, 102):
        results = g(vector(k, k))
        kept.append((results, [r.tolist() for r in results]))
    for results, values in kept:
        assert [r.tolist() for r in results] == values


@pytest.mark.parametrize("size", [3, 5000])
def test_r18_arrays_of_outputs_never_change_whose_tensors_are_gone(size):
    v = df.Variable(np.zeros(size, np.float32))

    def f(x, k):
        v.assign_add(x * k)
        y = df.tanh(x) + v
        return v.read_value(), y, y[1:], y.reshape(1, -1), {"again": x}

    g = df.function(f, strict=True)
    x, kept = df.asarray(np.linspace(-1.0, 1.0, size, dtype="float32")), []
    for k in range(60):
        leaves = df.tree.flatten(g(x, float(k % 5)))[0]
        arrays = [y.numpy()[..., k % 2 :] for y in leaves[k % 3 :]]  # some, or parts of some
        kept += [(array, array.tobytes()) for array in arrays]
        x = leaves[1] * 0.5 if k % 2 else leaves[0]
        del leaves, arrays
    assert all(array.tobytes() == values for array, values in kept)
    assert g.from_graph >= if_graphs(50)


def test_r18_feeding_outputs_back():
    f = df.function(lambda x, y: (y, x + y), strict=True)
    x, y = vector(1, 0), vector(1, 0)
    for _ in range(10):
        x, y = f(x, y)
    assert x.tolist() == [89.0, 0.0]
    g = df.function(lambda s: {"n": s["n"] + 1, "x": s["x"] * 2.0}, strict=True)
    state = {"n": df.asarray(0), "x": vector(1)}
    for _ in range(10):
        state = g(state)
    assert (state["n"].item(), state["x"].tolist()) == (10, [1024.0])


def test_the_callers_tensors_stay_as_they_are():
    x = vector(1, 2)
    f = df.function(lambda x: (x, x * 2.0), strict=True)
    for _ in range(2):
        same, _ = f(x)
        assert same.tolist() == [1.0, 2.0]
    assert x.record is None
    assert x.symbol is None


# ----- modes -----


@graphs_only
def test_set_mode_and_the_option():
    f = df.function(lambda x: x * 2.0, strict=True)
    with df.set_mode("eager"):
        assert f(vector(1)).tolist() == [2.0]
        assert (f.graphs, f.mode) == ([], "eager (asked for)")
    for _ in range(2):
        assert f(vector(1)).tolist() == [2.0]
    assert (f.mode, f.from_graph) == ("compiled", 1)
    before = mode()
    df.set_mode("eager")
    try:
        f(vector(1))
        assert f.from_graph == 1
    finally:
        df.set_mode(before)
    g = df.function(lambda x: x * 2.0, mode="eager")
    assert [g(vector(1)).tolist() for _ in range(3)] == [[2.0]] * 3
    assert g.graphs == []
    with pytest.raises(ValueError, match="set_mode"):
        df.set_mode("fast")
    with pytest.raises(ValueError, match="mode='fast'"):
        df.function(mode="fast")


@pytest.mark.parametrize(("word", "expected"), [("eager", "0"), ("compiled", "1"), ("quick", None)])
def test_the_environment_variable(word, expected, monkeypatch):
    code = (
        "import dualflow as df\n"
        "f = df.function(lambda x: x * 2)\n"
        "x = df.asarray([1.0])\n"
        "f(x), f(x)\n"
        "print(f.from_graph)"
    )
    monkeypatch.setenv("DUALFLOW_MODE", word)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if expected is None:
        assert ran.returncode != 0
        assert "DUALFLOW_MODE='quick': compiled, eager, audit" in ran.stderr
    else:
        assert ran.stdout.strip() == expected, ran.stderr


# ----- limits -----


@graphs_only
def test_max_traces():
    f = df.function(lambda x, n: x * float(n), max_traces=3)
    for n in "012":
        f(vector(1), n)
    with pytest.warns(
        FunctionWarning, match=r"last change: n: \d -> 3; max_traces=3 is reached"
    ) as told:
        assert f(vector(1), "3").tolist() == [3.0]
    assert told[0].filename == __file__
    for n in range(10):
        assert f(vector(1), str(n)).tolist() == [float(n)]
    assert len(f.graphs) == 3
    assert f.mode.startswith("segments (limit")


@graphs_only
@pytest.mark.parametrize(("policy", "graphs"), [("error", 2), ("grow", 5)])
def test_on_limit(policy, graphs):
    f = df.function(lambda x, n: x * float(n), max_traces=2, on_limit=policy)
    for n in range(5):
        if policy == "error" and n >= 2:
            with pytest.raises(TraceError, match="max_traces=2 is reached"):
                f(vector(1), str(n))
        else:
            assert f(vector(1), str(n)).tolist() == [float(n)]
    assert len(f.graphs) == graphs
    with pytest.raises(ValueError, match="on_limit='never'"):
        df.function(on_limit="never")


@graphs_only
def test_max_paths():
    def steps(x):
        k = 0
        while x > 1.0:
            x, k = x / 2.0, k + 1
        return x, k

    f = df.function(steps, max_paths=3)
    for x in (1.0, 2.0, 4.0):
        f(df.asarray(x))
    with pytest.warns(FunctionWarning, match="3 paths were recorded.*max_paths=3 is reached"):
        assert f(df.asarray(8.0))[1] == 3
    assert f(df.asarray(32.0))[1] == 5
    assert len(f.graphs) == 3


# ----- input_signature -----


def test_input_signature():
    @df.function(input_signature=[df.TensorSpec((None, 2)), df.TensorSpec((), "int64")])
    def f(x, n):
        return x * n

    assert f(df.asarray([[1.0, 2.0]]), df.asarray(2)).tolist() == [[2.0, 4.0]]
    assert f(df.asarray(np.ones((5, 2), np.float32)), df.asarray(3)).shape == (5, 2)
    for bad, said in (
        ((vector(1, 2), df.asarray(1)), r"argument 0 is float32\[2\]"),
        ((df.asarray([[1, 2]]), df.asarray(1)), r"argument 0 is int64\[1,2\]"),
        ((df.asarray([[1.0, 2.0]]), vector(1)), r"argument 1 is float32\[1\]"),
        ((df.asarray([[1.0, 2.0]]),), "1 tensors came, input_signature has 2"),
    ):
        with pytest.raises(DTypeError, match=said):
            f(*bad)
