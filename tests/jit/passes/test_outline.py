"""Parts that come again become calls: what is cut, what is left alone, and that bits stay."""

from __future__ import annotations

import numpy as np
import pytest

from jit.ir.call import Body, call
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.passes import outline
from jit.passes.cleanup import CommonSubexpressions, DeadCode
from jit.passes.outline import Outline
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, same_bits

WIDTH, LEAVES = 4, 12
VECTOR, MATRIX = TensorType((WIDTH,), float32), TensorType((WIDTH, WIDTH), float32)
VIEWS = ("permute_dims", "window", "constant")
OPTIONS = {
    "begins": lambda node: node.op.name == "dot",
    "costs": lambda node: node.op.name not in VIEWS,
}


@pytest.fixture(autouse=True)
def _small_programs_pay(monkeypatch):
    monkeypatch.setattr(outline, "LARGE", 32)
    monkeypatch.setattr(outline, "FEWEST", 4)
    monkeypatch.setattr(outline, "_bodies", {})


def outlined(graph, **options):
    """The graph after the pass, which is valid, can be read, and computes the same."""
    after = Outline(**{**OPTIONS, **options}).run(graph)
    verify(after)
    assert parse(str(after), OPS) == after
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(value.type.shape).astype("float32") for value in graph.inputs]
    with np.errstate(all="ignore"):
        assert same_bits(Program(graph)(arrays), Program(after)(arrays))
    return after


def bodies(graph):
    """The bodies that are called, in their order."""
    return [node.attrs["body"] for node in graph.nodes if node.op is call]


def tree(shape):
    """Recursion over nested pairs of leaves: a cell for leaves, and another for pairs."""
    graph = Graph("tree")
    u, w = graph.input(MATRIX, "u"), graph.input(MATRIX, "w")

    def state(part):
        if part is None:
            return cell(graph.input(VECTOR), u, "nets.py:3")
        left, right = (state(each) for each in part)
        return cell(apply(graph, "add", left, right, source="nets.py:5"), w, "nets.py:6")

    def cell(x, w, source):
        turned = apply(graph, "permute_dims", w, axes=(1, 0), source=source)
        product = apply(graph, "dot", x, turned, source=source)
        gate = apply(graph, "tanh", product, source=source)
        half = graph.constant(float32.type(0.5))
        left = apply(graph, "multiply", gate, half, source=source)
        return apply(graph, "subtract", left, product, source=source)

    result = state(shape)
    graph.outputs = [result, apply(graph, "window", result, start=1, size=2)]
    return graph


def drawn(leaves, seed):
    """A random shape of a tree."""
    rng = np.random.default_rng(seed)
    parts = [None] * leaves
    while len(parts) > 1:
        at = rng.integers(len(parts) - 1)
        parts[at : at + 2] = [(parts[at], parts[at + 1])]
    return parts[0]


def test_a_recursion_is_calls_of_a_few_bodies(golden):
    after = outlined(tree(drawn(LEAVES, 0)))
    assert len(bodies(after)) > 2 * len(set(bodies(after)))
    golden("jit_outline_tree", f"{after}")


def test_other_programs_of_the_same_parts_call_the_same_bodies():
    first, *others = [bodies(outlined(tree(drawn(LEAVES, seed)))) for seed in range(8)]
    known = set(first)
    for found in others[:-1]:
        known.update(found)
    assert set(others[-1]) <= known
    assert all(isinstance(body, Body) for body in known)


def test_views_are_in_every_body_that_reads_them():
    after = outlined(tree(drawn(LEAVES, 0)))
    assert all(node.op.name not in VIEWS for node in after.nodes[:-1])
    assert after.nodes[-1].op.name == "window"  # a result of the program


def test_what_does_not_come_again_is_left_as_it_is():
    graph = Graph("chain")
    x, w = graph.input(VECTOR), graph.input(MATRIX)
    for number in range(20):
        x = apply(graph, "dot", x, w, source=f"nets.py:{number}")
        for name in ("tanh", "abs", "negative"):
            x = apply(graph, name, x, source=f"nets.py:{number}")
    graph.outputs = [x]
    assert outlined(graph) is graph


def test_a_small_program_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(outline, "LARGE", 512)
    graph = tree(drawn(LEAVES, 0))
    assert outlined(graph) is graph


def test_what_cannot_be_a_body_stays_outside():
    graph = tree(drawn(LEAVES, 0))
    after = outlined(graph, fits=lambda body: False)
    assert not bodies(after)
    assert DeadCode().run(CommonSubexpressions().run(after)) == DeadCode().run(
        CommonSubexpressions().run(graph)
    )


def test_guards_stay_in_the_program():
    graph = Graph("guarded")
    x, w = graph.input(VECTOR), graph.input(MATRIX)
    for number in range(24):
        x = apply(graph, "tanh", apply(graph, "dot", x, w))
        x = apply(graph, "abs", apply(graph, "negative", x))
        if number % 8 == 7:
            least, _ = graph.add(OPS["extremes"], [x], {})
            graph.guard(least, True)
    graph.outputs = [x]
    after = outlined(graph)
    assert [node.attrs for node in after.nodes if node.op.name == "guard"] == 3 * [
        {"expected": True}
    ]
    assert len(bodies(after)) > 2 * len(set(bodies(after)))


def test_bodies_go_through_passes_and_equal_outputs_are_one():
    graph = Graph("twice")
    x, w = graph.input(VECTOR), graph.input(MATRIX)
    for _ in range(12):
        y = apply(graph, "dot", x, w)
        one, other = (apply(graph, "tanh", apply(graph, "abs", y)) for _ in range(2))
        x = apply(graph, "add", apply(graph, "subtract", one, y), other)
    graph.outputs = [x]
    after = outlined(graph, passes=(CommonSubexpressions(),))
    assert {len(body.nodes) for body in bodies(after)} == {5}


LIGHT = {
    "maps": lambda node: node.op.name != "dot",
    "light": lambda node: node.op.name in ("add", "negative"),
}


def twofold(count=12, depth=1, *, late=False):
    """Layers forwards and back: what is made of a layer's sums is read again on the way back.

    Args:
        count: Layers.
        depth: Light nodes of a layer, one after the other.
        late: Only the way back reads the sums, which are results besides.
    """
    graph = Graph("twofold")
    x, w, b = graph.input(VECTOR), graph.input(MATRIX), graph.input(VECTOR)
    sums = []
    for _ in range(count):
        product = apply(graph, "dot", x, w)
        y = apply(graph, "add", product, b)
        for _ in range(depth - 1):
            y = apply(graph, "negative", y)
        sums.append(y)
        x = apply(graph, "abs", apply(graph, "tanh", product if late else y))
        x = apply(graph, "multiply", x, x)
    for y in reversed(sums):
        back = apply(graph, "tanh", apply(graph, "dot", x, w))
        x = apply(graph, "multiply", apply(graph, "multiply", back, y), back)
    graph.outputs = [x, *(sums if late else [])]
    return graph


def words(part):
    return [node.op.name for node in part.nodes]


def test_light_nodes_are_in_every_part_that_reads_them():
    plain, after = outlined(twofold()), outlined(twofold(), **LIGHT)
    (*_, back) = bodies(plain)
    assert "add" not in words(back)
    for body in bodies(after):
        reads = "tanh" in words(body)
        assert not reads or "add" in words(body)
        assert all(x.node.op.name != "add" for x in body.outputs)


def test_so_many_light_nodes_one_after_the_other_are_computed_once():
    deep = outlined(twofold(depth=outline.DEEPEST), **LIGHT)
    assert all(words(body).count("negative") in (0, 3) for body in bodies(deep))
    assert not any(x.node.op.name == "negative" for body in bodies(deep) for x in body.outputs)
    deeper = outlined(twofold(depth=outline.DEEPEST + 1), **LIGHT)
    given = [x.node.op.name for body in bodies(deeper) for x in body.outputs if x.node]
    assert "add" in given
    assert "negative" not in given


def test_a_light_result_is_computed_where_it_is_read_first():
    graph = twofold(late=True)
    plain, after = outlined(graph), outlined(graph, **LIGHT)
    first, *_, last = bodies(after)
    assert "add" in words(bodies(plain)[0])
    assert "add" not in words(first)
    assert "add" in words(last)
    assert any(x.node.op.name == "add" for x in last.outputs)


def test_what_others_than_maps_read_is_computed_once():
    after = outlined(twofold(), **{**LIGHT, "maps": lambda node: node.op.name != "multiply"})
    plain = outlined(twofold())
    assert list(map(words, bodies(after))) == list(map(words, bodies(plain)))
