"""The builder: what it records, prints and refuses; graphs lowered and run."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import recording_guesses, symbol
from jit.errors import (
    AxisError,
    DTypeError,
    DualflowError,
    GraphError,
    GuardMiss,
    IndexError,
    ShapeError,
    TraceError,
)
from jit.forms.forms import FormBuilder
from jit.forms.oracle import evaluate_lowered, evaluate_program
from jit.forms.program import FormProgram, lower_graph
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.types import TensorType, dtypes

float32, float64, int64 = dtypes["float32"], dtypes["float64"], dtypes["int64"]
n, m = symbol("n"), symbol("m")


def tensor(*shape, dtype=float32):
    return TensorType(shape, dtype)


def softmax_lower(form, x):
    top = form.reduce("max", x, (-1,), True)
    e = form.pointwise("exp", form.pointwise("subtract", x, top))
    return form.pointwise("divide", e, form.reduce("sum", e, (-1,), True))


softmax = OpDef(name="softmax", evaluate=None, infer=lambda x: x, lower=softmax_lower)
take = OpDef(
    name="take",
    evaluate=None,
    infer=lambda x, t: x.with_shape((t.shape[0], *x.shape[1:])),
    lower=lambda form, x, t: form.view(
        x, (t.shape[0], x.shape[1]), lambda i, j: (form.load(t, i), j)
    ),
)
reshape = OpDef(
    name="reshape",
    evaluate=None,
    infer=lambda x, *, shape: x.with_shape(shape),
    lower=lambda form, x, *, shape: form.reshape(x, shape),
)
liar = OpDef(
    name="liar",
    evaluate=None,
    infer=lambda x: x.with_dtype(int64),
    lower=lambda form, x: form.pointwise("exp", x),
)


def program():
    """take rows, softmax, flatten: over symbolic extents."""
    graph = Graph("rows")
    x, t = graph.input(tensor(n, m), "x"), graph.input(tensor(4, dtype=int64), "t")
    (rows,) = graph.add(take, (x, t), {})
    (y,) = graph.add(softmax, (rows,), {})
    graph.outputs = [
        *graph.add(reshape, (y,), {"shape": (4 * m,)}),
        graph.constant(np.array([3, 1, 4])),
    ]
    return graph


def test_text_of_a_program():
    assert str(lower_graph(program())).splitlines() == [
        "%0: float32[n,m] = source()",
        "%1: int64[4] = source()",
        "%2: float32[4,m] = view(%0, %1) map=[%1[i0], i1] fill=None",
        "%3: float32[4] = reduce(%2) combiner=max axes=(1,)",
        "%4: float32[4,1] = view(%3) map=[i0] fill=None",
        "%5: float32[4,m] = view(%4) map=[i0, 0] fill=None",
        "%6: float32[4,m] = pointwise(%2, %5) scalar=subtract",
        "%7: float32[4,m] = pointwise(%6) scalar=exp",
        "%8: float32[4] = reduce(%7) combiner=sum axes=(1,)",
        "%9: float32[4,1] = view(%8) map=[i0] fill=None",
        "%10: float32[4,m] = view(%9) map=[i0, 0] fill=None",
        "%11: float32[4,m] = pointwise(%7, %10) scalar=divide",
        "%12: float32[4*m] = view(%11) map=[i0//m, i0%m] fill=None",
        "%13: int64[3] = constant() value=array",
        "return %12, %13",
    ]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(5), "index() map=[i0]"),
        (np.arange(12).reshape(3, 4)[:, ::2] - 7, "index() map=[4*i0 + 2*i1 - 7]"),
        (np.arange(6, 0, -2, np.uint8), "index() map=[-2*i0 + 6]"),
        (np.full((2, 3), 4), "index() map=[4]"),
        (np.array([0, 1, 3]), "constant() value=array"),
        (np.array([0.0, 1.0]), "constant() value=array"),
        (np.array([5]), "constant() value=array"),
        (np.array([1, 2**64 - 1], np.uint64), "constant() value=array"),
        (np.array([2**63, 2**63 + 1], np.uint64), "constant() value=array"),
        (np.array([-(2**63), 2**63 - 1]), "constant() value=array"),
    ],
)
def test_whole_numbers_that_grow_by_steps_are_an_index(array, said):
    graph = Graph("constants")
    graph.outputs = [graph.constant(array)]
    assert said in str(lower_graph(graph))
    (found,) = evaluate_program(lower_graph(graph), [])
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_places_that_are_known_are_not_loaded_where_they_are_inside():
    form = FormBuilder()
    x = form.source(tensor(8, m))
    for start, loaded in ((3, False), (6, True)):  # 6 + 3 is outside: that must be found out
        at = form.constant(np.arange(start, start + 4), int64, (4,))
        rows = form.view(x, (4, m), lambda i, j, at=at: (form.load(at, i), j))
        assert bool(rows.form.map.tables) == loaded
        added = form.scatter("add", x, rows, lambda i, j, at=at: (form.load(at, i), j))
        assert bool(added.form.map.tables) == loaded


@pytest.mark.parametrize(
    ("divisor", "dtype", "said"),
    [
        (4.0, float32, "multiply"),
        (-0.5, float64, "multiply"),
        (3.0, float32, "divide"),
        (0.0, float32, "divide"),
        (np.inf, float32, "divide"),
        (2.0**127, float32, "divide"),
        (2.0**127, float64, "multiply"),
        (4.0, dtypes["bfloat16"], "divide"),
        (4.0, dtypes["complex64"], "divide"),
    ],
)
def test_a_quotient_by_a_power_of_two_is_said_as_a_product(divisor, dtype, said):
    form = FormBuilder()
    x = form.source(tensor(6, dtype=dtype))
    y = form.pointwise("divide", x, form.constant(divisor, dtype))
    assert y.form.scalar.name == said
    numbers = np.array([3, -0.0, np.inf, -np.nan, 5e-324, 1e300], np.float64)
    with np.errstate(all="ignore"):
        array = numbers.astype(dtype)
        (found,) = evaluate_program(FormProgram((x,), tuple(form.forms), (y,)), [array])
        assert found.tobytes() == (array / dtype.type(divisor)).tobytes()


@pytest.mark.parametrize("shape", [(5, 3), (9, 2)])
def test_symbolic_graph_runs_at_any_size(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    t = np.array([4, 0, 0, 1])
    e = np.exp(x[t].astype(np.float64))
    expected = (e / e.sum(1, keepdims=True)).reshape(-1)
    graph = program()
    for outputs in (evaluate_lowered(graph, [x, t]), evaluate_program(lower_graph(graph), [x, t])):
        np.testing.assert_allclose(outputs[0], expected, rtol=1e-5)
        assert outputs[0].dtype == np.float32
        assert outputs[1].tolist() == [3, 1, 4]


def test_graph_that_does_not_fit_its_arrays():
    with pytest.raises(ShapeError, match="argument 1"):
        evaluate_lowered(program(), [np.zeros((5, 3), np.float32), np.zeros(3, np.int64)])
    with pytest.raises(IndexError, match="index 5 is outside of axis 0"):
        evaluate_lowered(program(), [np.zeros((5, 3), np.float32), np.array([0, 5, 0, 0])])


def test_guards_run_as_steps():
    graph = Graph("guarded")
    x = graph.input(tensor(dtype=dtypes["bool"]), "x")
    graph.guard(x, expected=True)
    graph.outputs = [x]
    assert evaluate_lowered(graph, [np.True_])[0]
    with pytest.raises(GuardMiss):
        evaluate_lowered(graph, [np.False_])


def test_an_op_that_lowers_to_another_type_is_found():
    graph = Graph("wrong")
    graph.outputs = list(graph.add(liar, (graph.input(tensor(2), "x"),), {}))
    with pytest.raises(GraphError, match=r"liar lowers to float32\[2\]"):
        lower_graph(graph)


def test_broadcasts_are_views_only_where_needed():
    form = FormBuilder()
    x, y = form.source(tensor(n, m)), form.source(tensor(m))
    form.pointwise("add", x, x)
    assert [type(f).__name__ for f in form.forms] == ["Source", "Source", "Pointwise"]
    out = form.pointwise("add", x, y)
    assert str(form.forms[-2].outputs[0].form.map) == "[i1]"
    assert str(out.type) == "float32[n,m]"


@pytest.mark.parametrize(
    ("error", "message", "build"),
    [
        (DTypeError, "no scalar instruction is called 'tan2'", lambda f, x: f.pointwise("tan2", x)),
        (DTypeError, "wrong operands", lambda f, x: f.pointwise("add", x)),
        (DTypeError, "wrong operands", lambda f, x: f.pointwise("astype", x)),
        (DTypeError, "wrong operands", lambda f, x: f.pointwise("exp", x, dtype=float32)),
        (DTypeError, "not defined", lambda f, x: f.pointwise("bitwise_and", x, x)),
        (DTypeError, "dtype bool", lambda f, x: f.pointwise("where", x, x, x)),
        (
            DTypeError,
            r"add\(float32, float64\) is not defined",
            lambda f, x: f.pointwise("add", x, f.constant(1, float64)),
        ),
        (
            ShapeError,
            "do not broadcast",
            lambda f, x: f.pointwise("add", x, f.constant(1, float32, (5,))),
        ),
        (ShapeError, r"constant of shape \(2,\)", lambda f, x: f.constant([1, 2], float32, (3,))),
        (ShapeError, "view: an index map gives 1", lambda f, x: f.view(x, (2,), lambda i: (i,))),
        (
            ShapeError,
            "conditions and no fill",
            lambda f, x: f.view(x, (2,), lambda i: (i, i), where=lambda i: [(i, 1)]),
        ),
        (DTypeError, "table of integers", lambda f, x: f.load(x, 0, 0)),
        (ShapeError, "2 indices", lambda f, x: f.load(f.constant(0, int64), 0, 0)),
        (ShapeError, "no combiner is called 'mean'", lambda f, x: f.reduce("mean", x, (0,))),
        (ShapeError, "argmax folds 2 values", lambda f, x: f.reduce("argmax", x, (0,))),
        (DTypeError, "integer indices", lambda f, x: f.reduce("argmax", (x, x), (0,))),
        (DTypeError, "any of float32", lambda f, x: f.reduce("any", x, (0,))),
        (AxisError, "axis 2", lambda f, x: f.reduce("sum", x, (2,))),
        (AxisError, "axis -3", lambda f, x: f.scan("sum", x, -3)),
        (ShapeError, "does not fit", lambda f, x: f.contract("ab,b->a", x, x)),
        (ShapeError, "does not fit", lambda f, x: f.contract("aa->a", x)),
        (ShapeError, "does not fit", lambda f, x: f.contract("ab->ac", x)),
        (ShapeError, "does not fit", lambda f, x: f.contract("ab,ba->", x, x)),
        (
            DTypeError,
            "not defined",
            lambda f, x: f.contract("ab,ab->", x, f.constant(1, float64, (2, 3))),
        ),
        (
            ShapeError,
            "scatter knows no 'mul'",
            lambda f, x: f.scatter("mul", x, x, lambda i, j: (i, j)),
        ),
        (
            DTypeError,
            "one dtype",
            lambda f, x: f.scatter("add", x, f.constant(1, float64), lambda: (0, 0)),
        ),
        (
            ShapeError,
            "scatter: an index map",
            lambda f, x: f.scatter("add", x, x, lambda i, j: (i,)),
        ),
    ],
)
def test_refused(error, message, build):
    form = FormBuilder()
    x = form.source(tensor(2, 3))
    with pytest.raises(error, match=message) as caught:
        build(form, x)
    assert isinstance(caught.value, DualflowError)
    assert caught.value.expected


def test_extents_that_may_agree_are_guessed():
    form = FormBuilder()
    a, b = symbol("a", hint=4), symbol("b", hint=4)
    x, y = form.source(tensor(a, 2)), form.source(tensor(b, 3))
    with recording_guesses([]) as guesses:
        form.contract("kx,ky->xy", x, y)
    assert [str(g) for g in guesses] == ["a == b"]
    with pytest.raises(TraceError):
        form.contract("kx,ky->xy", x, y)
