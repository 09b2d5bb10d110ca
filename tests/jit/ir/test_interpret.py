"""The reference executor against plain NumPy; what it keeps alive, and how it fails."""

from __future__ import annotations

import gc
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jit.errors import GuardMiss, ShapeError
from jit.ir.builtin import builtin_ops
from jit.ir.graph import Graph
from jit.ir.interpret import KEPT_BINDINGS, Program
from jit.ir.op import OpDef
from jit.types import TensorType, bool_, float32, int64
from tests.jit.toy import OPS, apply, bits, graphs, same_bits, symbolic_graph

VECTOR = TensorType((3,), float32)
SCALAR = TensorType((), float32)


def samples(graph, seed):
    random = np.random.default_rng(seed)
    return [random.normal(size=value.type.shape).astype(np.float32) for value in graph.inputs]


def by_hand(graph, arrays):
    """The graph by a dictionary from values to arrays, everything kept."""
    known = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        out = node.op.evaluate(np, *[known[value] for value in node.inputs], **node.attrs)
        out = out if isinstance(out, tuple) else (out,)
        known.update(zip(node.outputs, map(np.asarray, out), strict=True))
    return [known[value] for value in graph.outputs]


@given(graphs(most=25), st.integers(0, 9))
def test_a_program_computes_what_numpy_computes(graph, seed):
    arrays = samples(graph, seed)
    program = Program(graph)
    with np.errstate(all="ignore"):
        expected = by_hand(graph, arrays)
        assert same_bits(program(arrays), expected)
        assert same_bits(program(arrays), expected), "a second call differs"


@given(graphs())
def test_results_are_arrays_of_the_types_that_the_graph_says(graph):
    with np.errstate(all="ignore"):
        results = Program(graph)(samples(graph, 0))
    assert all(type(result) is np.ndarray for result in results)
    assert [TensorType(y.shape, y.dtype) for y in results] == [v.type for v in graph.outputs]


def test_inputs_and_constants_may_be_outputs():
    graph = Graph()
    x = graph.input(VECTOR)
    k = graph.constant(np.float32(2))
    graph.outputs = [x, k, x]
    array = np.ones(3, np.float32)
    first, second, third = Program(graph)([array])
    assert first is array
    assert third is array
    assert second == 2


def test_values_are_released_with_their_last_use():
    """Results of nodes that exist when each node runs; the last one made may linger that long."""
    made: list[weakref.ref] = []
    alive: list[int] = []

    class Watched(np.ndarray):
        pass

    def evaluate(xp, x, y):
        alive.append(sum(ref() is not None for ref in made))
        out = np.add(x, y).view(Watched)
        made.append(weakref.ref(out))
        return out

    class Watching:
        ndarray = Watched
        asarray = staticmethod(np.asarray)

    op = OpDef(name="watched", evaluate=evaluate, infer=lambda x, y: x, lower=lambda form: None)
    graph = Graph()
    value = first = graph.input(VECTOR)
    for _ in range(3):
        (side,) = graph.add(op, (value, first), {})
        (value,) = graph.add(op, (side, side), {})
    graph.add(op, (value, value), {})  # nobody reads this one
    for _ in range(3):
        (value,) = graph.add(op, (value, value), {})
    graph.outputs = [value]
    program = Program(graph, Watching)
    gc.disable()
    try:
        program([np.ones(3, np.float32)])
    finally:
        gc.enable()
    assert alive == [0, 1, 1, 1, 1, 1, 1, 2, 1, 1]


def test_slots_are_taken_over():
    graph = Graph()
    value = graph.input(VECTOR)
    for _ in range(100):
        value = apply(graph, "negative", value)
        apply(graph, "abs", value)  # read by nobody
    graph.outputs = [value]
    assert len(Program(graph).resident) == 1


def test_a_guard_that_misses_says_which_and_what():
    graph = Graph()
    flag, count = graph.input(TensorType((), bool_)), graph.input(TensorType((), int64))
    graph.guard(flag, True)
    apply(graph, "note", flag)
    graph.guard(count, 4)
    graph.outputs = [count]
    program = Program(graph)
    assert program([np.array(True), np.array(4)])[0] == 4
    for arrays, index, actual in [((True, 5), 1, 5), ((False, 5), 0, False)]:
        with pytest.raises(GuardMiss) as caught:
            program([np.array(array) for array in arrays])
        assert (caught.value.index, caught.value.actual) == (index, actual)
        assert type(caught.value.actual) is type(actual)


def test_a_guard_asks_as_python_does():
    graph = Graph()
    graph.guard(graph.input(SCALAR), True)
    program = Program(graph)
    assert program([np.array(0.5, np.float32)]) == []
    with pytest.raises(GuardMiss):
        program([np.array(0, np.float32)])


def test_guards_are_checked_in_program_order():
    def fail(xp, x):
        raise ShapeError("too late")

    graph = Graph()
    x = graph.input(SCALAR)
    graph.guard(x, True)
    graph.add(
        OpDef(name="fail", evaluate=fail, infer=lambda x: x, lower=lambda form: None), (x,), {}
    )
    with pytest.raises(GuardMiss):
        Program(graph)([np.array(0, np.float32)])


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ShapeError("no"), "no\n  at nets.py:7"),
        (ValueError("no"), "no"),
    ],
)
def test_an_error_of_an_op_ends_at_the_users_line(error, shown):
    def fail(xp, x):
        raise error

    op = OpDef(name="fail", evaluate=fail, infer=lambda x: x, lower=lambda form: None)
    graph = Graph()
    graph.outputs = [*graph.add(op, (graph.input(SCALAR),), {}, source="nets.py:7")]
    with pytest.raises(type(error)) as caught:
        Program(graph)([np.array(1, np.float32)])
    assert str(caught.value) == shown
    assert "at nets.py:7" in shown or caught.value.__notes__ == ["  at nets.py:7"]


def test_a_location_that_is_known_stays():
    error = ShapeError("no")
    error.pin("deep.py:1")

    def fail(xp):
        raise error

    op = OpDef(name="fail", evaluate=fail, infer=lambda: SCALAR, lower=lambda form: None)
    graph = Graph()
    graph.add(op, (), {}, source="nets.py:7")
    with pytest.raises(ShapeError, match=r"at deep\.py:1"):
        Program(graph)([])


def test_symbolic_dimensions_are_solved_from_the_inputs():
    program = Program(symbolic_graph())
    for n in [2, 5, 3, 5]:
        x = np.arange(n * 4, dtype=np.float32).reshape(n, 4)
        flat, count = program([x])
        assert bits(flat) == bits(np.broadcast_to(x.reshape(-1), (2, n * 4)))
        assert bits(count) == bits(np.ones(n % 3 + 1, np.int64))
    with pytest.raises(ShapeError, match="axis 1 has 5"):
        program([np.ones((3, 5), np.float32)])


def test_attrs_reach_ops_as_numbers():
    seen = []
    graph = symbolic_graph()
    label = next(node for node in graph.nodes if node.op is OPS["label"])
    label.op = OpDef(
        name="spy",
        evaluate=lambda xp, x, **attrs: seen.append(attrs) or x,
        infer=label.op.infer,
        lower=label.op.lower,
    )
    Program(graph)([np.ones((7, 4), np.float32)])
    assert seen == [{"half": 4, "pair": (7, (13,))}]
    assert type(seen[0]["half"]) is int


def test_the_sizes_that_are_kept_are_bounded():
    program = Program(symbolic_graph())
    for n in range(2, KEPT_BINDINGS + 10):
        program([np.ones((n, 4), np.float32)])
    assert len(program._bound) <= KEPT_BINDINGS


def test_the_builtin_ops_lower_to_forms():
    class Form:
        def constant(self, value, dtype, shape):
            return value, dtype, shape

        def extern(self, symbol, xs, types, host):
            host(*xs)
            return symbol, types

    value = np.ones((2,), np.float32)
    assert builtin_ops["constant"].lower(Form(), value=value) == (value, float32, (2,))
    lower = builtin_ops["guard"].lower
    assert lower(Form(), np.array(True), expected=True) == ("guard", ())
    with pytest.raises(GuardMiss):
        lower(Form(), np.array(False), expected=True)
