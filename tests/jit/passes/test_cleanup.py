"""Dead code, common subexpressions, and constants that are computed once."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import symbol
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.op import OpDef
from jit.passes.cleanup import CommonSubexpressions, DeadCode
from jit.passes.fold import FoldConstants
from jit.types import TensorType, float32, int64
from tests.jit.toy import OPS, apply, bits, symbolic_graph

VECTOR = TensorType((3,), float32)


def names(graph):
    return [node.op.name for node in graph.nodes]


def before_and_after(graph, each):
    return f"{graph}\n\n{each.run(graph)}"


def test_dead_code_keeps_inputs_effects_and_what_they_need(golden):
    graph = Graph("dead")
    x = graph.input(VECTOR, "x")
    graph.input(VECTOR, "unused")
    y = apply(graph, "negative", x, source="nets.py:1")
    apply(graph, "add", y, y, source="nets.py:2")
    apply(graph, "note", apply(graph, "abs", x), text="kept")
    low, _ = graph.add(OPS["extremes"], (y,), {}, source="nets.py:3")
    graph.guard(apply(graph, "equal", low, graph.constant(np.float32(1))), False, "nets.py:4")
    graph.constant(np.float32(2))
    graph.outputs = [y]
    golden("jit_dead_code", before_and_after(graph, DeadCode()))


def test_what_is_computed_twice_is_computed_once(golden):
    graph = Graph("twice")
    x, y = graph.input(VECTOR, "x"), graph.input(VECTOR, "y")
    first = apply(graph, "add", x, y, source="nets.py:1")
    second = apply(graph, "add", y, x, source="nets.py:2")
    third = apply(graph, "subtract", x, y)
    fourth = apply(graph, "subtract", y, x)
    one, same_one = graph.constant(np.ones(2, np.float32)), graph.constant(np.ones(2, np.float32))
    pair = graph.add(OPS["extremes"], (first,), {})
    again = graph.add(OPS["extremes"], (second,), {})
    graph.outputs = [
        apply(graph, "multiply", apply(graph, "negative", first), apply(graph, "negative", second)),
        third,
        fourth,
        one,
        same_one,
        *pair,
        *again,
    ]
    golden("jit_common_subexpressions", before_and_after(graph, CommonSubexpressions()))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"k": 1}, {"k": 1.0}),
        ({"k": 1}, {"k": True}),
        ({"k": 0.0}, {"k": -0.0}),
        ({"k": "1"}, {"k": 1}),
        ({"k": (1, 2)}, {"k": ((1, 2),)}),
        ({"k": 1}, {"j": 1}),
        ({"k": symbol("n", hint=3)}, {"k": 3}),
    ],
)
def test_attrs_that_differ_in_anything_keep_nodes_apart(a, b):
    for other, left in [(a, 1), (b, 2)]:
        graph = Graph()
        x = graph.input(VECTOR, "x")
        graph.outputs = [apply(graph, "label", x, **a), apply(graph, "label", x, **other)]
        assert len(CommonSubexpressions().run(graph).nodes) == left


def test_not_a_number_equals_itself_as_an_attr():
    graph = Graph()
    x = graph.input(VECTOR, "x")
    graph.outputs = [apply(graph, "label", x, k=float("nan")) for _ in range(2)]
    assert len(CommonSubexpressions().run(graph).nodes) == 1


def test_constants_are_merged_only_if_every_bit_is_equal():
    graph = Graph()
    numbers = [
        np.float32(0.0),
        np.float32(-0.0),
        np.float64(0.0),
        np.zeros(1, np.float32),
        np.int32(0),
    ]
    graph.outputs = [graph.constant(number) for number in [*numbers, *numbers]]
    assert len(CommonSubexpressions().run(graph).nodes) == len(numbers)


def test_effects_are_not_merged():
    graph = Graph()
    x = graph.input(VECTOR, "x")
    graph.outputs = [apply(graph, "note", x), apply(graph, "note", x)]
    assert names(CommonSubexpressions().run(graph)) == ["note", "note"]


def test_order_of_attrs_does_not_count():
    graph = Graph()
    x = graph.input(VECTOR, "x")
    graph.outputs = [apply(graph, "label", x, a=1, b=2), apply(graph, "label", x, b=2, a=1)]
    assert len(CommonSubexpressions().run(graph).nodes) == 1


def test_constants_are_folded(golden):
    graph = Graph("fold")
    x = graph.input(VECTOR, "x")
    two = graph.constant(np.float32(2))
    half = apply(
        graph,
        "divide",
        apply(graph, "full", shape=(), value=1, dtype=float32),
        two,
        source="a.py:1",
    )
    low, high = graph.add(OPS["extremes"], (graph.constant(np.arange(3, dtype=np.float32)),), {})
    wide = apply(graph, "broadcast_to", high, shape=(3,))
    graph.outputs = [apply(graph, "multiply", x, half), low, apply(graph, "add", wide, x)]
    golden("jit_fold", before_and_after(graph, FoldConstants()))


def test_large_results_are_not_folded():
    for shape, folded in [((64, 64), True), ((64, 65), False)]:
        graph = Graph()
        graph.outputs = [apply(graph, "full", shape=shape, value=1.0, dtype=float32)]
        assert (names(FoldConstants().run(graph)) == ["constant"]) is folded
    assert names(FoldConstants(most=5000).run(graph)) == ["constant"]


def test_what_raises_is_left_to_raise():
    def fail(xp):
        raise ValueError("no")

    graph = Graph()
    op = OpDef(name="fail", evaluate=fail, infer=lambda: VECTOR, lower=lambda form: None)
    graph.outputs = [*graph.add(op, (), {})]
    assert FoldConstants().run(graph) == graph


@pytest.mark.parametrize("wrong", [np.ones(4, np.float32), np.ones(3, np.float64)])
def test_results_of_another_type_than_inferred_are_not_folded(wrong):
    graph = Graph()
    op = OpDef(name="odd", evaluate=lambda xp: wrong, infer=lambda: VECTOR, lower=lambda form: None)
    graph.outputs = [*graph.add(op, (), {})]
    assert FoldConstants().run(graph) == graph


def test_effects_inputs_and_symbols_are_not_folded():
    graph = Graph()
    graph.outputs = [apply(graph, "note", graph.constant(np.float32(1)))]
    assert FoldConstants().run(graph) == graph
    assert FoldConstants().run(symbolic_graph()) == symbolic_graph()
    inner = Graph()
    n = symbol("n", hint=3)
    inner.outputs = [
        apply(
            inner,
            "sum",
            apply(inner, "full", shape=(n,), value=1, dtype=int64),
            axes=(0,),
            keepdims=False,
        )
    ]
    assert FoldConstants().run(inner) == inner


def test_folding_is_silent_and_exact():
    graph = Graph()
    zero, one = graph.constant(np.float32(0)), graph.constant(np.float32(1))
    graph.outputs = [apply(graph, "divide", one, zero), apply(graph, "divide", zero, zero)]
    new = FoldConstants().run(graph)
    with np.errstate(all="ignore"):
        expected = Program(graph)([])
    assert [bits(array) for array in Program(new)([])] == [bits(array) for array in expected]
    assert names(new)[2:] == ["constant", "constant"]
