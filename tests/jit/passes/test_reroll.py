"""Re-rolling: what counts as repeated, what becomes of it, and that it computes the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.loop import loop
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.passes import stretches
from jit.passes.reroll import Reroll
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, same_bits

VECTOR = TensorType((3,), float32)
COUNT = 70  # iterations: enough that a loop pays


def rolled(graph):
    """The graph after the pass, which is valid, can be read, and computes the same."""
    after = Reroll().run(graph)
    verify(after)
    assert parse(str(after), OPS) == after
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(value.type.shape).astype("float32") for value in graph.inputs]
    with np.errstate(all="ignore"):
        assert same_bits(Program(graph)(arrays), Program(after)(arrays))
    return after


def loops(graph):
    return [node for node in graph.nodes if node.op is loop]


def newton(count=COUNT):
    graph = Graph("newton")
    a = graph.input(VECTOR, "a")
    half, y = graph.constant(float32.type(0.5)), a
    for _ in range(count):
        quotient = apply(graph, "divide", a, y, source="nets.py:3")
        y = apply(graph, "multiply", apply(graph, "add", y, quotient), half)
    graph.outputs = [y]
    return graph


def recurrent(count=COUNT):
    """States of a recurrence over windows of a vector, and a sum over them in reverse."""
    graph = Graph("recurrent")
    x, h = graph.input(TensorType((3 * count,), float32), "x"), graph.input(VECTOR, "h")
    states = []
    for t in range(count):
        part = apply(graph, "window", x, start=3 * t, size=3, source="nets.py:5")
        h = apply(graph, "tanh", apply(graph, "add", h, part), source="nets.py:6")
        states.append(h)
    g = h
    for state in reversed(states):
        square = apply(graph, "multiply", state, state, source="nets.py:8")
        g = apply(graph, "add", g, apply(graph, "subtract", square, g), source="nets.py:9")
    graph.outputs = [g]
    return graph


def test_a_loop_is_found_with_what_it_hands_on(golden):
    golden("jit_reroll_newton", f"{rolled(newton())}")


def test_windows_and_states_of_an_earlier_loop_are_read_by_the_number_of_the_run(golden):
    golden("jit_reroll_recurrent", f"{rolled(recurrent())}")


@pytest.mark.parametrize("build", [newton, recurrent])
def test_the_number_of_nodes_does_not_depend_on_how_often_a_loop_runs(build):
    (few, many) = (len(rolled(build(count)).nodes) for count in (COUNT, 4 * COUNT))
    assert few == many


def test_results_of_single_runs_are_rows():
    graph = newton()
    graph.outputs += [graph.nodes[3 * t + 3].outputs[0] for t in (1, 30)]
    after = rolled(graph)
    assert [node.attrs["at"] for node in after.nodes if node.op.name == "row"] == [COUNT - 1, 1, 30]


def test_constants_that_differ_are_a_table():
    graph = Graph("schedule")
    y = graph.input(VECTOR, "y")
    for t in range(COUNT):
        y = apply(graph, "multiply", y, graph.constant(float32.type(1 / (t + 1))))
        y = apply(graph, "add", y, graph.constant(float32.type(2)))
    graph.outputs = [y]
    (node,) = loops(rolled(graph))
    assert [value.type.shape for value in node.inputs] == [(3,), (COUNT,)]


def test_what_was_handed_on_twice_makes_a_period_of_two():
    graph = Graph("fibonacci")
    a, b = graph.input(VECTOR, "a"), graph.input(VECTOR, "b")
    for _ in range(2 * COUNT):
        a, b = b, apply(graph, "add", a, b)
    graph.outputs = [b]
    (node,) = loops(rolled(graph))
    assert node.attrs["count"] == COUNT
    assert len(node.attrs["body"].nodes) == 2


def test_two_values_of_the_first_run_may_be_one_of_the_later_ones():
    graph = Graph("start")
    a, b = graph.input(VECTOR, "a"), graph.input(VECTOR, "b")
    x, y = a, b
    for _ in range(COUNT):
        x = y = apply(graph, "add", apply(graph, "abs", x), apply(graph, "tanh", y))
    graph.outputs = [x]
    (node,) = loops(rolled(graph))
    assert node.attrs["carried"] == (0, 0)


def test_unused_results_of_the_body_are_left_out():
    graph = newton()
    for node in list(graph.nodes[1:]):
        apply(graph, "abs", node.outputs[0])
    (node,) = loops(rolled(graph))
    assert len(node.outputs) == 1


@pytest.mark.parametrize(
    ("order", "made"),
    [
        (range(COUNT), ["loop", "rows"]),
        ([*range(10, COUNT), 5], ["loop", "rows", "row", "concat"]),
        ([3, 2, 1], ["loop", "row", "row", "row", "concat"]),
    ],
)
def test_rows_that_are_joined_in_their_order_are_one_piece(order, made):
    graph = newton()
    states = [graph.nodes[3 * t + 3].outputs[0] for t in range(COUNT)]
    graph.outputs = [apply(graph, "concat", *[states[t] for t in order], axis=0), states[-1]]
    found = [node.op.name for node in rolled(graph).nodes]
    assert sorted(found) == sorted(["constant", *made, "row"])


@pytest.mark.parametrize(
    ("order", "made"),
    [
        (range(COUNT), ["loop", "rows", "reshape"]),
        ([3, 2], ["loop", "row", "row", "reshape", "reshape", "concat"]),
        ([7, 3, 4], ["loop", "row", "reshape", "rows", "reshape", "concat"]),
    ],
)
def test_rows_that_are_stacked_in_their_order_are_one_piece(order, made):
    graph = newton()
    states = [graph.nodes[3 * t + 3].outputs[0] for t in range(COUNT)]
    parts = [apply(graph, "reshape", states[t], shape=(1, *VECTOR.shape)) for t in order]
    graph.outputs = [apply(graph, "concat", *parts, axis=0), states[-1]]
    found = [node.op.name for node in rolled(graph).nodes]
    assert sorted(found) == sorted(["constant", *made, "row"])


def test_results_that_are_the_same_each_time_are_not_stacked():
    """Each run negates the weights anew, and what comes later reads all of these."""
    graph = Graph("weights")
    x, w = graph.input(VECTOR, "x"), graph.input(VECTOR, "w")
    turned = []
    for _ in range(COUNT):
        turned.append(apply(graph, "negative", w))
        x = apply(graph, "tanh", apply(graph, "add", x, turned[-1]))
    g = x
    for each in reversed(turned):
        g = apply(graph, "multiply", apply(graph, "add", g, each), each)
    graph.outputs = [g, turned[3]]
    after = rolled(graph)
    assert [len(node.outputs) for node in loops(after)] == [1, 1]
    outside = [node.op.name for node in after.nodes]
    assert sorted(outside) == ["loop", "loop", "negative"]


def test_what_is_the_same_each_time_is_computed_before_the_loop(golden):
    graph = Graph("same")
    y, w = graph.input(VECTOR, "y"), graph.input(TensorType((3, 3), float32), "w")
    x = graph.input(TensorType((9,), float32), "x")
    for t in range(COUNT):
        part = apply(graph, "window", x, start=2, size=3)
        dot = apply(graph, "dot", apply(graph, "negative", part), w)
        counted = apply(graph, "multiply", dot, apply(graph, "window", x, start=t % 1, size=3))
        y = apply(graph, "tanh", apply(graph, "add", y, apply(graph, "abs", counted)))
    graph.outputs = [y]
    after = Reroll(costs=lambda node: node.op.name not in ("window", "constant")).run(graph)
    verify(after)
    golden("jit_reroll_same", f"{after}")


def test_views_that_later_ones_read_of_each_run_are_taken_by_these():
    graph, size = Graph("viewed"), 3
    y, x = graph.input(VECTOR, "y"), graph.input(TensorType((size * COUNT,), float32), "x")
    seen = []
    for t in range(COUNT):
        part = apply(graph, "window", x, start=size * t, size=size)
        column = apply(graph, "reshape", y, shape=(size, 1))
        seen.append((apply(graph, "reshape", part, shape=(size, 1)), column))
        y = apply(graph, "reshape", apply(graph, "tanh", column), shape=(size,))
        y = apply(graph, "add", y, part)
    total = apply(graph, "reshape", y, shape=(size, 1))
    for part, column in reversed(seen):
        total = apply(graph, "add", total, apply(graph, "multiply", part, column))
    graph.outputs = [total, seen[-1][1]]

    def costs(node):
        return node.op.name not in ("window", "reshape", "constant")

    def fits(body):
        return all(value.node is not None and costs(value.node) for value in body.outputs)

    after = Reroll(costs=costs, fits=fits).run(graph)
    verify(after)
    assert len(loops(after)) == 2
    arrays = [np.linspace(-1.0, 1.0, x.type.size, dtype="float32") for x in graph.inputs]
    assert same_bits(Program(graph)(arrays), Program(after)(arrays))
    assert Reroll(costs=costs, fits=lambda body: False).run(graph) is graph


def layers(count=COUNT):
    """Blocks that are alike but for what they read."""
    graph = Graph("layers")
    y = graph.input(VECTOR, "y")
    for _ in range(count):
        y = apply(graph, "tanh", apply(graph, "add", y, graph.input(VECTOR)))
    graph.outputs = [y]
    return graph


def watched():
    """Every iteration has an effect."""
    graph = newton()
    again = Graph("watched")
    new_of = {value: again.input(value.type) for value in graph.inputs}
    for number, node in enumerate(graph.nodes):
        (out,) = again.append_copy(node, new_of)
        if number % 3 == 0:
            again.add(OPS["note"], (out,), {"text": "here"})
    again.outputs = [new_of[value] for value in graph.outputs]
    return again


def crossed():
    """Every iteration reads one of the states of an earlier loop, in no order."""
    graph = newton()
    y = graph.outputs[0]
    for t in range(COUNT):
        state = graph.nodes[3 * (t * t % COUNT) + 3].outputs[0]
        y = apply(graph, "add", apply(graph, "negative", y), apply(graph, "abs", state))
    graph.outputs = [y]
    return graph


@pytest.mark.parametrize(("build", "found"), [(layers, 0), (watched, 0), (crossed, 1)])
def test_what_differs_in_more_than_its_number_is_left_as_it_is(build, found):
    graph = build()
    after = rolled(graph)
    assert len(loops(after)) == found
    if not found:
        assert after is graph


def test_a_short_loop_is_left_as_it_is():
    graph = newton(20)
    assert rolled(graph) is graph


def test_bodies_go_through_the_passes_that_are_given_and_may_be_refused():
    graph = newton()
    assert Reroll(fits=lambda body: False).run(graph) is graph


@pytest.mark.parametrize("build", [newton, recurrent, layers])
def test_the_search_takes_linear_time(build, monkeypatch):
    looked = []
    repeats = stretches.Sequence._repeats

    def counted(self, *args):
        looked.append(args)
        return repeats(self, *args)

    monkeypatch.setattr(stretches.Sequence, "_repeats", counted)
    for count in (8 * COUNT, 32 * COUNT):
        looked.append(None)
        Reroll().run(build(count))
    first = looked.index(None, 1)
    assert len(looked) - first <= 5 * first
