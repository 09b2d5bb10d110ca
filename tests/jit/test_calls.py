"""Calls in machine code: bits of the program without them, kernels that calls share."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jit
from jit.config import configure
from jit.ir.call import call
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.native import NativeCode
from jit.passes import outline
from jit.runtime.program import Launch
from jit.types import TensorType, float32
from tests.jit.sharing import sharing
from tests.jit.toy import apply, same_bits

WIDTH = 4
VECTOR, MATRIX = TensorType((WIDTH,), float32), TensorType((WIDTH, WIDTH), float32)
WITHOUT = frozenset({"outline"})
UNARY, BINARY = ["tanh", "negative", "abs"], ["add", "subtract", "multiply", "maximum", "divide"]


@pytest.fixture(autouse=True)
def _small_programs_pay(monkeypatch):
    monkeypatch.setattr(outline, "LARGE", 16)
    monkeypatch.setattr(outline, "FEWEST", 4)


def agree(graph):
    """Checks that calls change no bit; the executable with them."""
    with configure(passes_off=WITHOUT):
        flat = jit.compile(graph, "cpu")
    made = jit.compile(graph, "cpu")
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(x.type.shape).astype("float32") for x in graph.inputs]
    wanted = flat(list(arrays))
    for _ in range(2):
        assert same_bits(made(list(arrays)), wanted)
    if (direct := made.direct(arrays)) is not None:
        assert same_bits(direct(*arrays), wanted)
    assert isinstance(made.code, NativeCode)
    with np.errstate(all="ignore"):
        assert same_bits(made.code.interpreted(arrays), Program(graph)(arrays))
    return made


def calls(made):
    return [node for node in made.graph.nodes if node.op is call]


def cell(draw):
    """How a part computes a vector from two: the number of an operand for each op."""
    ops = draw(st.lists(st.sampled_from([*UNARY, *BINARY]), min_size=4, max_size=8))
    return [(op, draw(st.integers(0, 9)), draw(st.integers(0, 9))) for op in ops]


def computed(graph, steps, w, x, y):
    """The values of a cell; some of them others will read."""
    values = [x, y, apply(graph, "dot", x, w)]
    for op, a, b in steps:
        given = [values[a % len(values)], values[-1]]
        values.append(apply(graph, op, *given[: 1 if op in UNARY else 2]))
        if b == 0:
            values.append(graph.constant(np.full((WIDTH,), 0.5, "float32")))
        if b == 1:
            values.append(apply(graph, "window", values[-1], start=0, size=1))
            values.append(apply(graph, "add", *values[-2:]))
    return [x for x in values[3:] if x.type == VECTOR]


@st.composite
def recursions(draw):
    """Programs of a few cells that follow each other in any order."""
    graph, cells = Graph("recursion"), [cell(draw) for _ in range(draw(st.integers(1, 2)))]
    w, states = graph.input(MATRIX), [graph.input(VECTOR) for _ in range(3)]
    for _ in range(draw(st.integers(4, 10))):
        steps = draw(st.sampled_from(cells))
        x, y = draw(st.sampled_from(states[-4:])), draw(st.sampled_from(states[-4:]))
        states.append(draw(st.sampled_from(computed(graph, steps, w, x, y))))
    graph.outputs = draw(st.lists(st.sampled_from(states), min_size=1, max_size=3))
    graph.outputs.append(apply(graph, "window", states[-1], start=1, size=2))
    return graph


@settings(max_examples=10)
@given(recursions())
def test_calls_change_no_bit(graph):
    agree(graph)


def chain(count=12):
    """One cell again and again, with a constant, a view between cells, and two results each."""
    graph = Graph("chain")
    w, x, y = graph.input(MATRIX), graph.input(VECTOR), graph.input(VECTOR)
    kept = []
    for number in range(count):
        product = apply(graph, "dot", x, w)
        gate = apply(graph, "tanh", apply(graph, "add", product, y))
        y = apply(graph, "multiply", gate, graph.constant(np.full((WIDTH,), 0.5, "float32")))
        part = apply(graph, "window", y, start=1, size=3)
        kept.append(apply(graph, "tanh", part))
        x = apply(graph, "subtract", gate, y) if number % 3 else apply(graph, "abs", gate)
    graph.outputs = [x, y, *kept]
    return graph


def test_a_body_is_planned_once_and_its_kernels_are_shared():
    made = agree(chain())
    assert isinstance(made.code, NativeCode)
    bodies = [node.attrs["body"] for node in calls(made)]
    assert len(bodies) > 2 * len(set(bodies)) > 0
    launches = [x for x in made.code.plan.program.steps if isinstance(x, Launch)]
    assert len(launches) > 2 * len({launch.kernel for launch in launches})
    assert made.foreign_calls == 1
    assert {launch.source for launch in launches} == {None}
    constants = [x for x in made.code.plan.program.slots if x.role == "constant"]
    assert len(constants) <= len(set(bodies))


def test_calls_with_threads():
    with sharing(2):
        agree(chain())


def test_memory_of_an_input_is_given_to_an_output_that_a_call_writes():
    graph = chain()
    made = jit.compile(graph, "cpu", donate=((2, 1),))
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(x.type.shape).astype("float32") for x in graph.inputs]
    wanted = made([each.copy() for each in arrays])
    given = [each.copy() for each in arrays]
    arrays.clear()
    got = made.run(given, ((2, 1),))
    assert same_bits(got, wanted)
