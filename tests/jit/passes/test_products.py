"""Products: sums of products leave loops with the same bits, and what is no such sum stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jit
from jit.config import configure
from jit.errors import ShapeError
from jit.forms.matrices import is_chain
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.loop import ahead, counter, loop, row, row_products
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.native import NativeCode
from jit.passes.products import Products
from jit.types import TensorType, dtypes, float32
from tests.jit.agreement import check
from tests.jit.stages import Stages
from tests.jit.toy import OPS, apply, nasty, same_bits

OFF = frozenset({"products"})


@dataclass(frozen=True)
class Case:
    """A loop that adds up products of what it reads with what it computes.

    Attributes:
        dtype: Of all arrays.
        sizes: Rows, columns, inner indices.
        start: The first row that is read, `step` from one to the next.
        count: How many runs there are.
        turned: Whether the factors are, and what the product gives.
        swapped: Whether what is computed is the factor on the left.
        first: What the sum is at first: "product", "zeros", or "other".
        again: What a run computes is stacked anyway, in another shape.
    """

    dtype: np.dtype = float32
    sizes: tuple[int, int, int] = (6, 5, 3)
    start: int = 1
    step: int = 1
    count: int = 4
    turned: tuple[bool, bool, bool] = (True, False, False)
    swapped: bool = False
    first: str = "product"
    again: bool = False

    @property
    def rows(self):
        """How many rows there are to read from."""
        return 2 + (self.count - 1) * abs(self.step) + 1

    def matrix(self, side):
        """The type of a factor before it is turned."""
        m, n, k = self.sizes
        shape = (m, k) if side == 0 else (k, n)
        return TensorType(shape[::-1] if self.turned[side] else shape, self.dtype)


@st.composite
def cases(draw, names=("float32", "float64")):
    m, n = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    k, count = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    step = draw(st.sampled_from([1, -1, 2, 0]))
    start = 1 + (count - 1) * -step if step < 0 else max(1, step)
    return Case(
        dtypes[draw(st.sampled_from(names))],
        (m, n, k),
        start,
        step,
        count,
        tuple([draw(st.booleans()) for _ in range(3)]),
        draw(st.booleans()),
        draw(st.sampled_from(["product", "zeros"])),
        draw(st.booleans()),
    )


def term(graph, case, read, made):
    """A product of both, as it is added."""
    sides = [made, read] if case.swapped else [read, made]
    sides = [
        apply(graph, "permute_dims", x, axes=(1, 0)) if turned else x
        for x, turned in zip(sides, case.turned)
    ]
    total = apply(graph, "matmul", *sides, source="nets.py:7")
    return apply(graph, "permute_dims", total, axes=(1, 0)) if case.turned[2] else total


def built(case, *, other=lambda body, total, before: None):
    """The sum of a case, beside a carry that is another one."""
    graph, body = Graph("sums"), Graph("body")
    read, made = (1, 0) if case.swapped else (0, 1)
    of, state = case.matrix(read), case.matrix(made)
    h, xs = graph.input(state), graph.input(of.with_shape((case.rows, *of.shape)))
    whole = case.sizes[1::-1] if case.turned[2] else case.sizes[:2]
    if case.first == "product":
        (x,) = graph.add(row, (xs,), {"at": case.start - case.step})
        first = term(graph, case, x, apply(graph, "tanh", h))
    elif case.first == "zeros":
        first = graph.constant(np.zeros(whole, case.dtype))
    else:
        first = graph.input(TensorType(whole, case.dtype))
    given = [first, h, xs]
    before, h_in, xs_in = [body.input(value.type) for value in given]
    (x,) = body.add(row, (xs_in,), {"at": case.start + case.step * counter(case.count)})
    after = apply(body, "tanh", apply(body, "add", h_in, h_in))
    total = apply(body, "add", before, term(body, case, x, after), source="nets.py:8")
    body.outputs = [total, after]
    if case.again:
        body.outputs = [total, apply(body, "negative", after)]
        body.outputs.append(apply(body, "reshape", after, shape=(1, *after.type.shape)))
    if (more := other(body, total, before)) is not None:
        body.outputs.append(more)
    stacked = (False, False, *[True] * (len(body.outputs) - 2))
    attrs = {"count": case.count, "carried": (0, 1), "stacked": stacked, "body": body}
    graph.outputs = [*graph.add(loop, given, attrs, source="nets.py:7")]
    return graph


def arrays_for(graph, seed):
    """Numbers on which shortcuts go wrong, with NaNs of one kind; zeros of both signs."""
    random = np.random.default_rng(seed)
    made = []
    for value in graph.inputs:
        array = random.standard_normal(value.type.shape).astype(value.type.dtype)
        odd = random.random(array.shape) < 0.1 * (seed % 3)
        array[odd] = random.choice(nasty(array.dtype), odd.sum())
        array[np.isnan(array)] = np.nan
        made.append(array)
    return made


def behind(graph, **options):
    """The graph after the pass, which is valid and can be read."""
    after = Products(**options).run(graph)
    verify(after)
    assert parse(str(after), OPS) == after
    return after


def same(a, b):
    """The same bits but for those of NaNs."""
    plain = [[np.where(np.isnan(x), np.nan, x) for x in arrays] for arrays in (a, b)]
    return same_bits(*plain)


@settings(max_examples=100)
@given(cases(), st.integers(0, 9))
def test_the_bits_are_those_of_the_sums_in_the_loop(case, seed):
    graph = built(case)
    before = str(graph)
    after = behind(graph)
    assert str(graph) == before
    assert after is not graph
    assert not any(x.op.multiplies for node in after.nodes for x in body_of(node))
    arrays = arrays_for(graph, seed)
    with np.errstate(all="ignore"):
        assert same(Program(after)(arrays), Program(graph)(arrays)), f"{case}\n{after}"


def body_of(node):
    return node.attrs["body"].nodes if node.op is loop else []


@settings(max_examples=20)
@given(cases(), st.integers(0, 9))
def test_machine_code_gives_the_same_bits(case, seed):
    graph = built(case)
    with configure(passes_off=OFF):
        plain = jit.compile(graph, "cpu")
    made = jit.compile(graph, "cpu")
    assert "row_products" in [each.op.name for each in made.graph.nodes]
    assert isinstance(made.code, NativeCode)
    assert not made.host_steps
    arrays = arrays_for(graph, seed)
    with np.errstate(all="ignore"):
        assert same(made(list(arrays)), plain(list(arrays))), f"{case}\n{made.graph}"


@settings(max_examples=10)
@given(cases(names=("float32",)), st.integers(0, 9))
def test_every_stage_adds_products_in_their_order(case, seed):
    graph = Graph("added")
    sides = [case.matrix(side) for side in (0, 1)]
    stacks = [graph.input(x.with_shape((case.rows, *x.shape))) for x in sides]
    places = tuple([(case.start, case.step, turned) for turned in case.turned[:2]])
    (total,) = graph.add(row_products, stacks, {"count": case.count, "places": places})
    (more,) = graph.add(ahead, (graph.input(sides[0]), stacks[0]), {})
    graph.outputs = [total, more]
    check(Stages(graph), arrays_for(graph, 3 * seed), case)


def test_the_product_stands_behind_the_loop(golden):
    golden("jit_products", f"{behind(built(Case(start=4, step=-1)))}")


def test_what_is_stacked_in_another_shape_is_not_stacked_again():
    after = behind(built(Case(again=True)))
    (node,) = [each for each in after.nodes if each.op is loop]
    assert node.attrs["stacked"] == (False, True)
    assert [each.op.name for each in after.nodes][-3:] == ["reshape", "ahead", "row_products"]


@pytest.mark.parametrize(
    "change",
    [
        {"first": "other"},
        {"count": 1},
        {"sizes": (3, 2, 9)},  # what is stacked of each run is more than the sum
        {"dtype": dtypes["float16"]},  # sums are wider than the carry
    ],
)
def test_other_sums_stay(change):
    graph = built(replace(Case(), **change))
    assert behind(graph) is graph


@pytest.mark.parametrize(
    "other",
    [
        lambda body, total, before: apply(body, "negative", before),
        lambda body, total, before: apply(body, "negative", total),
        lambda body, total, before: apply(body, "negative", total.node.inputs[1]),
        lambda body, total, before: total,
    ],
    ids=["carry", "sum", "product", "stacked"],
)
def test_a_sum_that_a_run_reads_stays(other):
    graph = built(Case(), other=other)
    assert behind(graph) is graph


def test_a_product_with_another_first_row_stays():
    graph = built(Case())
    (first,) = [each for each in graph.nodes if each.op is row]
    first.attrs["at"] = 1
    assert behind(graph) is graph


def test_a_body_that_does_not_fit_gives_copies_or_stays():
    graph, asked = built(Case()), []

    def fits(body):
        asked.append(body.nodes[-1].op.name)
        return asked[-1] == "copied"

    (node,) = [each for each in behind(graph, fits=fits).nodes if each.op is loop]
    assert asked == ["tanh", "copied"]
    assert node.attrs["body"].nodes[-1].op.name == "copied"
    assert behind(graph, fits=lambda body: False) is graph


def test_products_of_a_library_and_sums_of_several_chains_stay():
    graph = built(Case())
    assert behind(graph, is_chain=lambda sizes, dtype: False) is graph
    assert is_chain((128, 512, 32), "float32", "tf32")
    assert not is_chain((256, 512, 32), "float32", "tf32")
    assert is_chain((256, 512, 32), "float32", "float32")
    assert is_chain((256, 512, 256), "float32", "")
    assert not is_chain((256, 512, 257), "float32", "")


@pytest.mark.parametrize(
    "change",
    [
        {"count": 9},
        {"places": ((0, 1, False), (0, 1, False))},
        {"places": ((2, -1, True), (0, 1, False))},
    ],
)
def test_rows_that_do_not_multiply_are_refused(change):
    a, b = TensorType((4, 3, 2), float32), TensorType((4, 3, 5), float32)
    attrs = {"count": 4, "places": ((0, 1, True), (3, -1, False))}
    assert row_products.infer(a, b, **attrs) == TensorType((2, 5), float32)
    with pytest.raises(ShapeError, match="row_products"):
        row_products.infer(a, b, **(attrs | change))
    with pytest.raises(ShapeError, match=r"ahead: float32\[4,3,2\] is no row"):
        ahead.infer(a, b)
