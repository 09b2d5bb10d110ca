"""Collecting: sums of rows leave loops with the same bits, and what is no such sum stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jit
from jit import dims
from jit.config import configure
from jit.errors import ShapeError
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.loop import COUNTER, counter, laid_out, loop, row
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.native import NativeCode
from jit.passes.collect import Collect
from jit.types import TensorType, bfloat16, dtypes, float32, kind
from tests.jit.agreement import check
from tests.jit.stages import Stages
from tests.jit.toy import OPS, apply, nasty, same_bits

DTYPES = "float32 float64 float16 bfloat16 int32 uint8 bool complex64".split()
OFF = frozenset({"collect"})


@dataclass(frozen=True)
class Case:
    """A loop that adds rows up.

    Attributes:
        dtype: Of all arrays.
        shape: Of the sum.
        block: The shape of a row.
        axis: Along which rows follow each other.
        first: Where the first one begins.
        apart: How far each is from the one before.
        steps: Between the elements of a row.
        count: How many there are.
        swapped: Whether the row comes first in the sum.
        view: Whether a row is a view of what the loop is given.
        value: What is around rows.
    """

    dtype: np.dtype = float32
    shape: tuple = (5, 3)
    block: tuple = (1, 3)
    axis: int = 0
    first: int = 0
    apart: int = 1
    steps: tuple = (1, 1)
    count: int = 4
    swapped: bool = False
    view: bool = False
    value: float = 0

    @property
    def overlaps(self):
        """Whether an element may be in several rows, or lie between two elements of others."""
        return (self.block[self.axis] - 1) * self.steps[self.axis] >= abs(self.apart)


@st.composite
def cases(draw, names=tuple(DTYPES), spare=0):
    rank = draw(st.integers(1, 3))
    axis, count = draw(st.integers(0, rank - 1)), draw(st.integers(1, 5))
    block = [draw(st.integers(1, 3)) for _ in range(rank)]
    steps = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank)]
    inner = [(n - 1) * step + 1 for n, step in zip(block, steps, strict=True)]
    pitch = max(1, inner[axis] + draw(st.integers(-1 if spare == 0 else 0, 2)))
    starts = [draw(st.integers(0, 2)) for _ in range(rank)]
    shape = [s + n + draw(st.integers(0, 2)) for s, n in zip(starts, inner, strict=True)]
    shape[axis] += (count - 1) * pitch
    down = draw(st.booleans())
    return Case(
        dtypes[draw(st.sampled_from(names))],
        tuple(shape),
        tuple(block),
        axis,
        starts[axis] + (count - 1) * pitch * down,
        -pitch if down else pitch,
        tuple(steps),
        count,
        swapped=draw(st.booleans()),
        view=draw(st.booleans()),
    )


def built(case, *, other=lambda body, total, x: None):
    """The sum of a case, read on behind the loop, beside a carry that is another one."""
    graph, body = Graph("sums"), Graph("body")
    whole = TensorType(case.shape, case.dtype)
    rows = TensorType((case.count, *case.block), case.dtype)
    state = TensorType(case.block, case.dtype)
    given = [graph.input(type_) for type_ in (whole, state, rows)]
    before, h, xs = [body.input(value.type) for value in given]
    at = counter(case.count)
    (x,) = body.add(row, (xs,), {"at": at})
    after = apply(body, "add", h, x)
    starts = [0] * len(case.shape)
    starts[case.axis] = case.first + case.apart * at
    places = {"shape": case.shape, "starts": tuple(starts), "steps": case.steps}
    added = apply(body, "pad", x if case.view else after, value=case.value, **places)
    pair = (added, before) if case.swapped else (before, added)
    total = apply(body, "add", *pair, source="nets.py:7")
    body.outputs = [after, total]
    if (more := other(body, before, total)) is not None:
        body.outputs.append(more)
    stacked = (False, False, *[True] * (len(body.outputs) - 2))
    attrs = {"count": case.count, "carried": (1, 0), "stacked": stacked, "body": body}
    results = graph.add(loop, given, attrs, source="nets.py:7")
    graph.outputs = [*results, apply(graph, "multiply", results[1], given[0])]
    return graph


def arrays_for(graph, seed):
    """Numbers on which shortcuts go wrong, with NaNs of one kind: which of two is left is open."""
    random = np.random.default_rng(seed)
    made = []
    for value in graph.inputs:
        dtype = value.type.dtype
        array = random.choice(nasty(dtype), value.type.shape)
        if kind(dtype) in ("floating", "complex"):
            zeros = random.random(array.shape) < 0.3
            array[zeros] = random.choice(np.array([0.0, -0.0], dtype), zeros.sum())
            array[np.isnan(array)] = np.nan
        made.append(array)
    return made


def collected(graph, **options):
    """The graph after the pass, which is valid and can be read."""
    after = Collect(**options).run(graph)
    verify(after)
    assert parse(str(after), OPS) == after
    return after


@settings(max_examples=150)
@given(cases(), st.integers(0, 9))
def test_the_bits_are_those_of_the_sums_in_the_loop(case, seed):
    graph = built(case)
    before = str(graph)
    after = collected(graph)
    assert str(graph) == before
    assert (after is graph) == (case.count == 1 or case.overlaps)
    arrays = arrays_for(graph, seed)
    with np.errstate(all="ignore"):
        assert same_bits(Program(after)(arrays), Program(graph)(arrays)), f"{case}\n{after}"


@settings(max_examples=25)
@given(cases(names=tuple(DTYPES[:-2])), st.integers(0, 9))
def test_machine_code_gives_the_same_bits(case, seed):
    graph = built(case)
    with configure(passes_off=OFF):
        plain = jit.compile(graph, "cpu")
    made = jit.compile(graph, "cpu")
    arrays = arrays_for(graph, seed)
    with np.errstate(all="ignore"):
        wanted = plain(list(arrays))
        assert same_bits(made(list(arrays)), wanted), f"{case}\n{made.graph}"
        assert same_bits(Program(made.graph)(arrays), wanted)


def test_a_loop_stays_native_and_its_launches_touch_a_row_each():
    made = jit.compile(built(Case(view=True)), "cpu")
    (node,) = [each for each in made.graph.nodes if each.op is loop]
    assert isinstance(made.code, NativeCode)
    assert not made.host_steps
    assert node.attrs["stacked"] == (False, True)
    assert node.outputs[1].type.shape == (4, 1, 3)


@settings(max_examples=15)
@given(cases(names=("float32",), spare=1), st.integers(0, 9))
def test_rows_lie_where_they_belong_at_every_stage(case, seed):
    graph = Graph("laid")
    rows = graph.input(TensorType((case.count, *case.block), case.dtype))
    starts = tuple([case.first * (k == case.axis) for k in range(len(case.shape))])
    places = {"axis": case.axis, "apart": case.apart, "starts": starts}
    places |= {"shape": case.shape, "steps": case.steps}
    (whole,) = graph.add(laid_out, (rows,), places)
    graph.outputs = [apply(graph, "negative", whole)]
    check(Stages(graph), arrays_for(graph, seed), case)


@pytest.mark.parametrize(
    "change",
    [
        {"apart": 1},
        {"apart": -3},
        {"axis": 2},
        {"shape": (7, 2)},
        {"steps": (3, 1)},
        {"starts": (0, 1)},
        {"starts": (0,)},
    ],
)
def test_rows_that_do_not_lie_side_by_side_are_refused(change):
    x = TensorType((3, 2, 2), float32)
    places = {"shape": (9, 2), "starts": (0, 0), "steps": (1, 1), "axis": 0, "apart": 3}
    assert laid_out.infer(x, **places) == TensorType((9, 2), float32)
    with pytest.raises(ShapeError, match=r"rows of float32\[3,2,2\] do not lie side by side"):
        laid_out.infer(x, **(places | change))


@pytest.mark.parametrize("axis", [0, 1])
def test_other_extents_may_vary(axis):
    n = dims.symbol("n", hint=3)
    shape, block = (tuple([k if at == axis else n for at in (0, 1)]) for k in (9, 2))
    case = Case(shape=shape, block=block, axis=axis, first=6, apart=-2)
    graph = built(case)
    made = jit.compile(graph, "cpu")
    assert "laid_out" in [each.op.name for each in made.graph.nodes]
    with configure(passes_off=OFF):
        plain = jit.compile(graph, "cpu")
    rng = np.random.default_rng(0)
    for size in (3, 7):
        shapes = [[dims.evaluate(d, {"n": size}) for d in x.type.shape] for x in graph.inputs]
        arrays = [rng.standard_normal(each).astype("float32") for each in shapes]
        assert same_bits(made(list(arrays)), plain(list(arrays)))
        assert same_bits(Program(made.graph)(arrays), plain(list(arrays)))


def test_rows_are_stacked_and_laid_out_behind_the_loop(golden):
    golden("jit_collect", f"{collected(built(Case(first=3, apart=-1)))}")


def test_integers_need_no_zero():
    ops = [each.op.name for each in collected(built(Case(dtype=dtypes["int32"]))).nodes]
    assert ops == ["loop", "laid_out", "add", "multiply"]


def test_a_body_that_does_not_fit_gives_copies_or_stays():
    graph = built(Case())
    asked = []

    def fits(body):
        asked.append([each.op.name for each in body.nodes])
        return body.nodes[-1].op.name == "copied"

    (node,) = [each for each in collected(graph, fits=fits).nodes if each.op is loop]
    assert asked == [["row", "add"], ["row", "add", "copied"]]
    assert node.attrs["body"].nodes[-1].op.name == "copied"
    assert collected(graph, fits=lambda body: False) is graph


@pytest.mark.parametrize(
    "change",
    [
        {"value": 1},
        {"value": -0.0},  # leaves -0.0 as it is
        {"apart": 0},
        {"count": 1},
        {"block": (2, 3), "shape": (6, 3)},
        {"block": (2, 3), "shape": (9, 3), "apart": 2, "steps": (2, 1)},
    ],
)
def test_other_sums_stay(change):
    graph = built(replace(Case(), **change))
    assert collected(graph) is graph


@pytest.mark.parametrize(
    "other",
    [
        lambda body, before, total: apply(body, "negative", before),
        lambda body, before, total: apply(body, "negative", total),
        lambda body, before, total: total,
        lambda body, before, total: before,
    ],
    ids=["carry", "sum", "stacked", "handed"],
)
def test_a_sum_that_a_run_reads_stays(other):
    graph = built(Case(), other=other)
    assert collected(graph) is graph


def test_a_loop_that_may_end_stays():
    body, whole, flag = Graph("body"), TensorType((5, 3), float32), TensorType((), dtypes["bool"])
    before, again = body.input(whole), body.input(flag)
    x = body.constant(np.ones((1, 3), float32))
    places = {"shape": (5, 3), "starts": (counter(4), 0), "steps": (1, 1)}
    total = apply(body, "add", before, apply(body, "pad", x, value=0, **places))
    body.outputs = [total, apply(body, "logical_not", again)]
    attrs = {"count": 4, "carried": (0, 1), "stacked": (False, False), "body": body}
    for more in ({}, {"going": 1}):
        graph = Graph("sums")
        graph.outputs = list(graph.add(loop, [graph.input(whole), graph.input(flag)], attrs | more))
        assert (collected(graph) is graph) == bool(more)


def test_rows_that_move_along_two_axes_or_unevenly_stay():
    for line in (lambda at: (at, at), lambda at: (at * at, 0)):
        graph = built(Case(shape=(10, 6)))
        (node,) = [each for each in graph.nodes if each.op is loop]
        (pad,) = [each for each in node.attrs["body"].nodes if each.op.pads]
        pad.attrs["starts"] = line(dims.symbol(COUNTER, lo=0, hi=3))
        verify(graph)
        assert collected(graph) is graph


def test_two_sums_of_a_loop_are_two_stacks():
    """And a sum to which a run adds twice is none of them."""
    graph, body = Graph("sums"), Graph("body")
    dtypes_of = (float32, bfloat16, float32, float32, bfloat16)  # three sums, and rows
    given = [graph.input(TensorType((4, 2), dtype)) for dtype in dtypes_of]
    inside = [body.input(value.type) for value in given]
    at = counter(4)
    for k, source in enumerate((3, 4, 3)):
        (x,) = body.add(row, (inside[source],), {"at": at})
        x = apply(body, "reshape", x, shape=(1, 2))
        places = {"shape": (4, 2), "starts": (at, 0), "steps": (1, 1)}
        added = apply(body, "pad", x, value=0, **places)
        total = apply(body, "add", inside[k], added)
        body.outputs.append(apply(body, "add", total, added) if k == 2 else total)
    attrs = {"count": 4, "carried": (0, 1, 2), "stacked": (False,) * 3, "body": body}
    graph.outputs = list(graph.add(loop, given, attrs))
    after = collected(graph)
    (node,) = [each for each in after.nodes if each.op is loop]
    assert node.attrs["stacked"] == (True, True, False)
    assert node.attrs["carried"] == (2,)
    arrays = arrays_for(graph, 0)
    with np.errstate(all="ignore"):
        assert same_bits(Program(after)(arrays), Program(graph)(arrays))
