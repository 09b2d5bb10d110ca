"""Loops that are found again, in machine code: bits of the unrolled ones, launches of one run."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jit
import jit.repeats as repeats_module
from jit.config import configure
from jit.errors import GraphError
from jit.forms import native
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.loop import counter, loop, row
from jit.ir.text import parse
from jit.native import NativeCode
from jit.passes import stretches
from jit.passes.reroll import Reroll
from jit.runtime.program import Launch, Repeat
from jit.runtime.tables import ends_early
from jit.types import TensorType, float32, int64
from tests.jit.sharing import sharing
from tests.jit.toy import OPS, apply, define, same_bits

WIDTH, COUNT = 4, 12
FLAT = frozenset({"reroll"})
UNARY, BINARY = ["tanh", "negative", "abs"], ["add", "subtract", "multiply", "maximum", "divide"]

define(
    "taken",
    lambda x, at: x.with_shape(at.shape),
    lambda xp, x, at: x[at],
    lambda form, x, at: form.view(x, at.shape, lambda i: (form.load(at, i),)),
)
define(
    "across",
    lambda x, w: x.with_shape((x.shape[0], w.shape[0])),
    lambda xp, x, w: x @ w.T,
    lambda form, x, w: form.contract("mk,nk->mn", x, w),
)


@pytest.fixture(autouse=True)
def _short_loops_pay(monkeypatch):
    monkeypatch.setattr(stretches, "SPARED", 16)


def arrays_for(graph):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(x.type.shape).astype("float32") for x in graph.inputs]


def both(graph):
    """The graph compiled with and without loops."""
    with configure(passes_off=FLAT):
        flat = jit.compile(graph, "cpu")
    return jit.compile(graph, "cpu"), flat


def agree(graph):
    """Checks that loops change no bit; the executable with them."""
    made, flat = both(graph)
    arrays = arrays_for(graph)
    wanted = flat(list(arrays))
    for _ in range(2):
        assert same_bits(made(list(arrays)), wanted)
    if (direct := made.direct(arrays)) is not None:
        assert same_bits(direct(*arrays), wanted)
    return made


def repeats(made):
    assert isinstance(made.code, NativeCode)
    return [step for step in made.code.plan.program.steps if isinstance(step, Repeat)]


class Maker:
    """An unrolled loop whose body hypothesis draws."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.graph = Graph("loop")
        state = TensorType((WIDTH,), float32)
        self.states = [self.graph.input(state) for _ in range(draw(st.integers(1, 3)))]
        self.x = self.graph.input(TensorType((3 * COUNT + WIDTH,), float32))
        self.w = self.graph.input(TensorType((WIDTH, WIDTH), float32))
        self.same = [*self.states, apply(self.graph, "dot", self.states[0], self.w)]
        self.kept = []

    def body(self):
        """What an iteration does: ops on numbered values, and which values are the new states."""
        kinds = st.sampled_from(["unary", "binary", "dot", "window", "constant", "same", "row"])
        steps, known = [], len(self.states)
        for kind in self.draw(st.lists(kinds, min_size=2, max_size=7)):
            places = [self.draw(st.integers(0, known - 1)) for _ in range(2)]
            op = self.draw(st.sampled_from(UNARY if kind == "unary" else BINARY))
            steps.append((kind, op, *places, self.draw(st.integers(0, 3))))
            known += 1
        new = self.draw(st.permutations(range(known)))[: len(self.states)]
        return steps, new

    def run(self):
        """One loop behind those that are there."""
        steps, new = self.body()
        rows, kept = self.kept, []
        for t in range(COUNT):
            values = list(self.states)
            for kind, op, a, b, number in steps:
                values.append(self.step(t, kind, op, values[a], values[b], number, rows))
            self.states = [values[k] for k in new]
            kept.append(self.states[0])
        self.kept = kept

    def step(self, t, kind, op, a, b, number, rows):
        graph = self.graph
        if kind == "unary":
            return apply(graph, op, a)
        if kind == "dot":
            return apply(graph, "dot", a, self.w)
        other = b
        if kind == "window":
            other = apply(graph, "window", self.x, start=number * t, size=WIDTH)
        elif kind == "constant":
            other = graph.constant(float32.type(0.5 + (t * number) % 3))
        elif kind == "same":
            other = self.same[number % len(self.same)]
        elif kind == "row" and rows:
            other = rows[t if number % 2 else COUNT - 1 - t]
        return apply(graph, op, a, other)


@given(data=st.data())
@settings(max_examples=12)
def test_random_loops_one_after_the_other_have_the_bits_of_the_unrolled_ones(data):
    maker = Maker(data.draw)
    for _ in range(data.draw(st.integers(1, 2))):
        maker.run()
    picked = data.draw(st.lists(st.sampled_from(maker.kept), max_size=2))
    maker.graph.outputs = [*maker.states, *picked]
    agree(maker.graph)


@given(data=st.data())
def test_arrays_tell_of_random_loops_what_a_look_at_each_node_tells(data):
    maker = Maker(data.draw)
    for _ in range(data.draw(st.integers(1, 2))):
        maker.run()
    maker.graph.outputs = maker.states
    nodes = maker.graph.nodes
    if data.draw(st.booleans()):  # one iteration is another
        at = data.draw(st.integers(0, len(nodes) - 1))
        node = nodes[at]
        attrs = {**node.attrs, "start": 0} if "start" in node.attrs else node.attrs
        same = (
            [x for x in maker.graph.inputs if x.type == node.inputs[0].type] if node.inputs else []
        )
        node.inputs, node.attrs = (*same[:1], *node.inputs[1:]) if same else node.inputs, attrs
    found = []
    for looked_at in (stretches.LOOKED_AT, COUNT):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stretches, "LOOKED_AT", looked_at)
            found.append(str(Reroll().run(maker.graph)))
    assert found[0] == found[1]


def recurrent(count, width=WIDTH):
    """A recurrence with a product, and what it becomes backwards."""
    graph = Graph("recurrent")
    x = graph.input(TensorType((width * count,), float32))
    h, w = (
        graph.input(TensorType((width,), float32)),
        graph.input(TensorType((width,) * 2, float32)),
    )
    states = []
    for t in range(count):
        part = apply(graph, "window", x, start=width * t, size=width)
        h = apply(graph, "tanh", apply(graph, "add", apply(graph, "dot", h, w), part))
        states.append(h)
    for state in reversed(states):
        h = apply(graph, "dot", apply(graph, "multiply", h, state), w)
    graph.outputs = [h]
    return graph


def test_what_is_launched_does_not_depend_on_how_often_a_loop_runs():
    made = [agree(recurrent(count)) for count in (COUNT, 5 * COUNT + 1)]
    few, many = ([len(step.steps) for step in repeats(each)] for each in made)
    assert few == many
    assert len(few) == 2
    between = 1  # the last state is copied
    assert len(made[0].kernels) == len(made[1].kernels) == sum(few) + between
    assert made[1].foreign_calls == 1


def test_threads_share_the_launches_of_a_loop():
    with sharing(item=64):
        agree(recurrent(COUNT, 80))


def test_what_is_the_same_in_each_run_is_computed_once():
    graph = Graph("same")
    y = graph.input(TensorType((WIDTH,), float32))
    w = graph.input(TensorType((WIDTH, WIDTH), float32))
    a = graph.input(TensorType((WIDTH,), float32))
    for _ in range(COUNT):
        y = apply(graph, "tanh", apply(graph, "add", y, apply(graph, "dot", a, w)))
    graph.outputs = [y]
    made = agree(graph)
    (step,) = repeats(made)
    assert len(step.steps) == 1
    assert [type(each) for each in made.code.plan.program.steps] == [Launch, Repeat]


@pytest.mark.parametrize("many", [COUNT, COUNT + 1])
def test_a_weight_that_lies_across_is_turned_once_if_a_loop_is_long(many, monkeypatch):
    monkeypatch.setattr(repeats_module, "MANY", many)
    graph = Graph("turned")
    y = graph.input(TensorType((3, 40), float32))
    w = graph.input(TensorType((40, 40), float32))
    for _ in range(COUNT):
        y = apply(graph, "tanh", apply(graph, "across", y, w))
    graph.outputs = [y]
    made = agree(graph)
    before = [Launch] * (many <= COUNT)
    assert [type(each) for each in made.code.plan.program.steps] == [*before, Repeat]


def test_what_a_run_needs_for_a_while_shares_memory():
    graph = Graph("chain")
    y = graph.input(TensorType((64,), float32))
    w = graph.input(TensorType((64, 64), float32))
    for _ in range(COUNT):
        for op in ("tanh", "abs", "negative", "positive", "tanh"):
            y = apply(graph, op, apply(graph, "dot", y, w))
    graph.outputs = [y]
    made = agree(graph)
    (step,) = repeats(made)
    assert len(step.steps) == 5
    bytes_of_one = 64 * 4
    assert made.code._run.binding([]).arena == 3 * bytes_of_one  # and the spare one of the state


def test_an_index_outside_stops_a_loop_and_shows_the_line():
    graph = Graph("outside")
    y = graph.input(TensorType((WIDTH,), float32), "y")
    at = graph.input(TensorType((WIDTH,), int64), "at")
    for _ in range(COUNT):
        y = apply(graph, "tanh", apply(graph, "add", y, apply(graph, "taken", y, at, source="n:3")))
    graph.outputs = [y]
    made, flat = both(graph)
    (step,) = repeats(made)
    assert ends_early(step)
    arrays = [np.ones(WIDTH, np.float32), np.arange(WIDTH)]
    assert same_bits(made(list(arrays)), flat(list(arrays)))
    with pytest.raises(Exception, match="out of bounds") as caught:
        made([arrays[0], arrays[1] + 1])
    assert caught.value.__notes__ == ["  at n:3"]


def test_what_only_python_computes_stays_unrolled():
    graph = Graph("python")
    y = graph.input(TensorType((WIDTH,), float32))
    for _ in range(COUNT):
        low, high = graph.add(OPS["extremes"], (y,), {})
        y = apply(graph, "multiply", y, apply(graph, "add", low, high))
    graph.outputs = [y]
    made = agree(graph)
    assert not repeats(made)
    assert len(made.host_steps) == COUNT


def test_the_interpreter_runs_loops_and_costs_are_those_of_all_runs():
    graph = recurrent(COUNT)
    made = agree(graph)
    assert sum(node.op is loop for node in made.graph.nodes) == 2
    arrays = arrays_for(graph)
    assert same_bits(Program(made.graph)(arrays), Program(graph)(arrays))
    costs = made.timed(list(arrays))
    forwards, copy, backwards = [cost.operations for cost in costs]
    assert forwards == backwards == 2 * WIDTH * WIDTH * COUNT
    assert copy == 0


VARYING = """
graph g[n>=2](%h: float32[4], %x: float32[n,4]) {
  %0: float32[4], %1: float32[n,4] = loop(%h, %x) {count=n, carried=(0,), stacked=(False, True)} of
    graph body[n>=2, 0<=t<=n - 1](%h: float32[4], %x: float32[n,4]) {
      %0: float32[4] = row(%x) {at=n - 1 - t}
      %1: float32[4] = multiply(%h, %0)
      %2: float32[4] = negative(%1)
      return %2, %1
    }
  return %0, %1
}
"""


def test_how_often_a_loop_runs_may_be_an_extent_of_its_inputs():
    graph = parse(VARYING, OPS)
    assert parse(str(graph), OPS) == graph
    made, run = jit.compile(graph, "cpu"), Program(graph)
    (repeat,) = repeats(made)
    assert str(repeat.count) == "n"
    for count in (2, 3, 8, 101):
        rng = np.random.default_rng(count)
        arrays = [rng.standard_normal(shape).astype("float32") for shape in ((4,), (count, 4))]
        assert same_bits(made(arrays), run(arrays))


def test_the_end_of_a_symbol_is_told_by_symbols_that_are_declared():
    with pytest.raises(GraphError, match="no dimension"):
        parse(VARYING.replace("t<=n - 1", "t<=m - 1"), OPS)


# ----- loops that hand nothing on -----


def turned(body, x, b):
    """Rows from the last one on."""
    (y,) = body.add(row, (x,), {"at": COUNT - 1 - counter(COUNT)})
    return y


def scaled(body, x, b):
    return apply(body, "tanh", apply(body, "multiply", turned(body, x, b), b))


def twice(body, x, b):
    return apply(body, "add", scaled(body, x, b), turned(body, x, b))


def same_each_turn(body, x, b):
    return apply(body, "negative", b)


def kept_inside(body, x, b):
    y = turned(body, x, b)
    return apply(body, "dot", y, x)


@pytest.mark.parametrize(
    ("build", "flat"),
    [(turned, True), (scaled, True), (twice, True), (same_each_turn, True), (kept_inside, False)],
)
def test_turns_that_need_nothing_of_each_other_are_computed_at_once(build, flat, monkeypatch):
    body, graph = Graph("body"), Graph("turns")
    width = COUNT if build is kept_inside else WIDTH
    types = TensorType((COUNT, width), float32), TensorType((width,), float32)
    made = build(body, *map(body.input, types))
    body.outputs = [made]
    attrs = {"body": body, "count": COUNT, "carried": (), "stacked": (True,)}
    graph.outputs = list(graph.add(loop, [*map(graph.input, types)], attrs))
    arrays = arrays_for(graph)
    with configure(cache="off"):
        compiled = jit.compile(graph, "cpu")
        found = compiled(arrays)
        assert bool(repeats(compiled)) != flat
        monkeypatch.setattr(native, "turns_at_once", lambda *given: None)
        in_turns = jit.compile(graph, "cpu")
        assert repeats(in_turns)
        assert same_bits(found, in_turns(arrays))
