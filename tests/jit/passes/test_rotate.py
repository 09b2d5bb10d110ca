"""Rotating: loops that begin with their products have the same bits, and others stay."""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jit
from jit.compiler import pipeline
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.loop import counter, loop, row
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.native import NativeCode
from jit.passes.rotate import Rotate
from jit.types import TensorType, float32
from tests.gpu import standin_kernels
from tests.gpu.standin import Installed
from tests.jit.toy import OPS, apply, same_bits


@dataclass(frozen=True)
class Case:
    """A loop whose turns begin with maps, and go on with a product.

    Attributes:
        count: How many turns there are.
        down: Whether they read rows from the last one on.
        stacked: Whether the maps are, as they are or in another shape: "", "plain", "shaped".
        shared: Whether what comes late reads a map that no carry takes part in.
        state: Whether a carry goes from the maps to the maps.
        total: Whether a carry is read late only.
        given: Whether the matrix is turned in each run.
    """

    count: int = 9
    down: bool = True
    stacked: str = "plain"
    shared: bool = True
    state: bool = True
    total: bool = True
    given: bool = False


cases = st.builds(
    Case,
    st.integers(8, 11),
    st.booleans(),
    st.sampled_from(["", "plain", "shaped"]),
    *[st.booleans()] * 4,
)


def built(case):
    """The loop of a case, and what reads its results."""
    graph, body = Graph("turns"), Graph("body")
    small, rows = TensorType((3, 4), float32), TensorType((case.count, 3, 4), float32)
    given = [graph.input(x) for x in (small, small, small, rows, TensorType((4, 4), float32))]
    h, state, total, xs, w = [body.input(x.type) for x in given]
    t = counter(case.count)
    (x,) = body.add(row, (xs,), {"at": case.count - 1 - t if case.down else t})
    gate = apply(body, "tanh", x)
    moved = apply(body, "multiply", apply(body, "add", h, state), gate)
    if case.given:
        w = apply(body, "permute_dims", w, axes=(1, 0))
    made = apply(body, "add", apply(body, "matmul", moved, w, source="nets.py:7"), x)
    if case.shared:
        made = apply(body, "multiply", made, gate)
    after = apply(body, "multiply", moved, gate) if case.state else state
    added = apply(body, "add", total, moved) if case.total else apply(body, "tanh", made)
    body.outputs = [made, apply(body, "negative", after), added]
    if case.stacked:
        shaped = case.stacked == "shaped"
        body.outputs.append(apply(body, "reshape", moved, shape=(1, 3, 4)) if shaped else moved)
    stacked = (False, False, False, *[True] * bool(case.stacked))
    attrs = {"count": case.count, "carried": (0, 1, 2), "stacked": stacked, "body": body}
    graph.outputs = [*graph.add(loop, given, attrs, source="nets.py:7")]
    return graph


def arrays_for(graph, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(x.type.shape).astype(np.float32) for x in graph.inputs]


def rotated(graph, **options):
    """The graph after the pass, which is valid and can be read."""
    after = Rotate(**options).run(graph)
    verify(after)
    assert parse(str(after), OPS) == after
    return after


@settings(max_examples=60)
@given(cases, st.integers(0, 9))
def test_the_bits_are_those_of_the_loop(case, seed):
    graph = built(case)
    before = str(graph)
    after = rotated(graph)
    assert str(graph) == before
    (node,) = [each for each in after.nodes if each.op is loop]
    assert node.attrs["count"] == case.count - 1
    first = next(each for each in node.attrs["body"].nodes if each.op.multiplies)
    assert set(first.inputs) <= {*node.attrs["body"].inputs, *turned(node)}
    arrays = arrays_for(graph, seed)
    assert same_bits(Program(after)(arrays), Program(graph)(arrays)), f"{case}\n{after}"


def turned(node):
    return [x for each in node.attrs["body"].nodes if each.op.permutes for x in each.outputs]


@settings(max_examples=15)
@given(cases, st.integers(0, 9))
def test_machine_code_gives_the_same_bits(case, seed):
    graph = built(case)
    plain, made = (jit.compile(x, "cpu") for x in (graph, rotated(graph)))
    assert isinstance(made.code, NativeCode)
    assert not made.host_steps
    arrays = arrays_for(graph, seed)
    assert same_bits(made(list(arrays)), plain(list(arrays))), f"{case}\n{made.graph}"


def test_the_early_part_of_the_first_turn_stands_before_the_loop(golden):
    golden("jit_rotate", f"{rotated(built(Case(stacked='shaped')))}")


@pytest.mark.parametrize("change", [{"count": 7}, {"count": 1}])
def test_few_turns_stay(change):
    graph = built(replace(Case(), **change))
    assert rotated(graph) is graph


def test_a_loop_that_does_not_fit_or_has_other_products_stays():
    graph = built(Case())
    assert rotated(graph, fits=lambda body: False) is graph
    assert rotated(graph, leads=lambda node: False) is graph


def test_a_loop_that_begins_with_its_product_stays():
    graph, body = Graph("turns"), Graph("body")
    given = [graph.input(TensorType((4, 4), float32)) for _ in range(2)]
    h, w = [body.input(x.type) for x in given]
    body.outputs = [apply(body, "tanh", apply(body, "matmul", h, w))]
    attrs = {"count": 9, "carried": (0,), "stacked": (True,), "body": body}
    graph.outputs = [*graph.add(loop, given, attrs)]
    assert rotated(graph) is graph


def test_products_one_after_the_other_and_late_stacks_stay():
    for late in (False, True):
        graph = built(Case(stacked=""))
        (node,) = graph.nodes
        body = node.attrs["body"]
        made = body.outputs[0]
        if late:
            attrs = {**node.attrs, "stacked": (True, False, False)}
        else:
            body.outputs[0] = apply(body, "matmul", made, body.inputs[4])
            attrs = node.attrs
        other = Graph("turns")
        given = [other.input(x.type) for x in graph.inputs]
        other.outputs = [*other.add(loop, given, attrs)]
        assert rotated(other) is other


def test_loops_are_rotated_for_gpus_alone():
    with Installed(), standin_kernels.installed():
        names = [[x.name for x in pipeline(OPS, native=True, target=y)] for y in ("cpu", "gpu")]
    assert ["rotate" in each for each in names] == [False, True]
