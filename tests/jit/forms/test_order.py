"""Folds and products have the bits of the canonical order, written out here in plain Python.

The functions say what the docstrings of `jit.forms.order` and `jit.forms.contraction.blocks` say,
loop by loop; a NumPy array in them stands for the same element of every result.
"""

from __future__ import annotations

import math
from itertools import product as every
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.forms.combine import combiners
from jit.forms.order import BLOCK, COLUMN_BLOCK, CONTRACT_BLOCK, LANES
from jit.forms.scalar import accumulator, result_dtype
from jit.loops.fma import fma
from jit.loops.ir import VType
from jit.loops.values import apply
from jit.types import dtypes
from tests.jit.loops.whole import bits, compiled, numbers, type_of

FLOATS = ["float32", "float64", "float16", "bfloat16"]
DTYPES = {
    "sum": [*FLOATS, "int64", "int8"],
    "prod": ["float32", "float64", "int32"],
    "max": ["float32", "bfloat16", "int64", "bool"],
    "min": ["float64", "float16", "uint8"],
    "any": ["bool"],
    "argmax": ["float32", "int64"],
    "argmin": ["float64"],
    "logsumexp": ["float32", "float64"],
    "welford": ["float32", "float64"],
}
EXTENTS = [1, 2, 3, 5, 8, 31, 32, 33, 63, 65, 255, 256, 257, 300]
MOST = 3000  # elements that are folded
FEWER = 100  # those of combiners that compute much


class Fold:
    """A fold of a tuple of arrays over some axes, one merge after the other."""

    def __init__(self, combine: str, xs: list[Any], axes: tuple[int, ...]) -> None:
        self.combiner = combiners[combine]
        self.dtypes = [x.dtype for x in xs]
        # The folded loops come first, those of extent 1 are gone, folded or not.
        x = xs[0]
        loops = [k for k in range(x.ndim) if x.shape[k] > 1]
        self.is_last = bool(loops) and loops[-1] in axes
        self.folded = [k for k in loops if k in axes]
        self.loops = loops
        self.kept = [k for k in range(x.ndim) if k not in axes]
        order = [*self.folded, *self.kept, *(k for k in axes if k not in loops)]
        wide = [np.asarray(x, accumulator(x.dtype)).transpose(order) for x in xs]
        shape = [x.shape[k] for k in [*self.folded, *self.kept]]
        self.xs = [x.reshape(shape) for x in wide]
        self.extents = shape[: len(self.folded)]

    def result(self) -> list[Any]:
        with np.errstate(all="ignore"):
            total = self.along_the_last_loop() if self.is_last else self.along_other_loops()
        return [np.asarray(x).astype(dtype) for x, dtype in zip(total, self.dtypes)]

    def along_the_last_loop(self) -> Any:
        """Trailing loops as one, in lanes; for each index of the other folded loops."""
        count = 0  # of trailing loops that are folded
        while count < len(self.loops) and self.loops[-1 - count] in self.folded:
            count += 1
        outer = self.extents[: len(self.extents) - count]
        inner = self.extents[len(self.extents) - count :]
        total = self.identity()
        for at in every(*map(range, outer)):
            elements = [self.at(*at, *j) for j in every(*map(range, inner))]
            starts = range(0, len(elements), BLOCK)
            blocks = [self.in_lanes(elements[first : first + BLOCK]) for first in starts]
            total = self.merge(total, self.in_lanes(blocks))
        return total

    def in_lanes(self, elements: list[Any]) -> Any:
        """Lane `l` folds the elements with j % LANES == l; the lanes meet by halving."""
        lanes = [self.identity() for _ in range(LANES)]
        for j, element in enumerate(elements):
            lanes[j % LANES] = self.merge(lanes[j % LANES], element)
        width = LANES
        while width > 1:
            width //= 2
            lanes = [self.merge(lanes[k], lanes[k + width]) for k in range(width)]
        return lanes[0]

    def along_other_loops(self) -> Any:
        """One element after the other, in blocks of indices of the first folded loops."""
        count = min(1, len(self.folded))  # of first loops that are adjacent
        places = [self.loops.index(k) for k in self.folded]
        while count < len(places) and places[count] == places[count - 1] + 1:
            count += 1
        first = list(every(*map(range, self.extents[:count])))
        total = self.identity()
        for start in range(0, len(first), COLUMN_BLOCK):
            block = self.identity()
            for at in first[start : start + COLUMN_BLOCK]:
                for rest in every(*map(range, self.extents[count:])):
                    block = self.merge(block, self.at(*at, *rest))
            total = self.merge(total, block)
        return total

    def at(self, *index: int) -> Any:
        return tuple([np.asarray(x[index]) for x in self.xs])

    def identity(self) -> Any:
        numbers = self.combiner.identity(*[x.dtype for x in self.xs])
        return tuple(
            [np.full([x.shape[k] for k in range(len(self.folded), x.ndim)], n, x.dtype)
             for x, n in zip(self.xs, numbers)]
        )  # fmt: skip

    def merge(self, a: Any, b: Any) -> Any:
        return self.combiner.merge(instruction, a, b)


def instruction(name: str, *args: Any) -> Any:
    """A scalar instruction as kernels compute it, on arrays of one shape."""
    like = next(x for x in args if not isinstance(x, bool | int | float))
    arrays = [np.full_like(like, x) if isinstance(x, bool | int | float) else x for x in args]
    dtype = result_dtype(name, tuple([x.dtype for x in arrays]))
    return apply(name, arrays, VType(dtype))


def operands(combine: str, dtype: str, shape: tuple[int, ...], seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    if combine in ("logsumexp", "welford"):
        arity = combiners[combine].arity
        return [np.abs(rng.normal(size=shape)).astype(dtypes[dtype]) for _ in range(arity)]
    x = np.asarray(numbers(dtypes[dtype], shape, rng))
    return [x, rng.integers(0, 50, shape)] if combine.startswith("arg") else [x]


def check(combine: str, dtype: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    xs = operands(combine, dtype, shape, sum(shape))
    code = compiled(
        lambda form, *values: form.reduce(combine, values, axes), [type_of(x) for x in xs]
    )
    for ours, theirs in zip(code(xs), Fold(combine, xs, axes).result(), strict=True):
        assert bits(ours) == bits(theirs)


@st.composite
def folds(draw: Any) -> Any:
    combine = draw(st.sampled_from(sorted(DTYPES)))
    most = FEWER if combine in ("logsumexp", "welford") else MOST
    shape: tuple[int, ...] = ()
    for _ in range(draw(st.integers(1, 4))):
        fitting = [n for n in EXTENTS if n * math.prod(shape) <= most]
        shape = (*shape, draw(st.sampled_from(fitting)))
    axes = [k for k in range(len(shape)) if draw(st.booleans())] or [
        draw(st.integers(0, len(shape) - 1))
    ]
    return combine, draw(st.sampled_from(DTYPES[combine])), shape, tuple(axes)


@given(folds())
def test_folds_follow_the_order(case):
    check(*case)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((BLOCK - 1,), (0,)),
        ((BLOCK + 1,), (0,)),
        ((2, 2 * BLOCK + 33), (1,)),  # rows are few: blocks are shared out
        ((9, BLOCK + 5), (1,)),  # rows are many: they are
        ((3, 70, 100), (0, 2)),
        ((2, 3, 67, 65), (2, 3)),
        pytest.param((33 * BLOCK + 7,), (0,), marks=pytest.mark.slow),  # more blocks than lanes
        ((3 * COLUMN_BLOCK + 5, 3), (0,)),
        ((2, 2 * COLUMN_BLOCK + 1, 5), (1,)),
        ((20, 30, 4), (0, 1)),  # adjacent loops are one
        ((300, 3, 4, 5), (0, 2)),  # those that are not, follow inside
        ((1, 600, 1, 7), (0, 1, 2)),
        ((5, 1), (1,)),  # nothing to fold
    ],
)
def test_folds_of_special_shapes(shape, axes):
    check("sum", "float32", shape, axes)


def test_folds_of_one_program_share_loops_and_keep_the_order():
    """Sums along rows and columns of one array, in one kernel or two."""
    x = numbers(dtypes["float32"], (600, 50), np.random.default_rng(0))

    def build(form, x):
        square = form.pointwise("multiply", x, x)
        return form.reduce("sum", x, (1,)), form.reduce("sum", square, (0,))

    rows, columns = compiled(build, [type_of(x)])([x])
    assert bits(rows) == bits(Fold("sum", [x], (1,)).result()[0])
    assert bits(columns) == bits(Fold("sum", [x * x], (0,)).result()[0])


# ----- products -----


def chains(letters: list[int]) -> list[list[tuple[int, ...]]]:
    """The indices of each chain of inner letters with these extents."""
    turns, size = len(letters), 1
    while turns and size * letters[turns - 1] <= CONTRACT_BLOCK:
        turns -= 1
        size *= letters[turns]
    rest = list(every(*map(range, letters[turns:])))
    if not turns:
        return [rest]
    *before, cut = letters[:turns]
    length = max(1, CONTRACT_BLOCK // size)
    return [
        [(*at, k, *turn) for k in range(first, min(first + length, cut)) for turn in rest]
        for at in every(*map(range, before))
        for first in range(0, cut, length)
    ]


def contraction(spec: str, a: Any, b: Any) -> Any:
    """The sum of products in chains of fused multiply-adds, which are added up in order."""
    terms, _, right = spec.partition("->")
    left = terms.split(",")
    extents = dict(zip("".join(left), (*a.shape, *b.shape)))
    inner = [x for x in dict.fromkeys("".join(left)) if x not in right and extents[x] > 1]
    wide = accumulator(a.dtype)
    laid = [
        np.einsum(f"{term}->{term}", x.astype(wide)) for term, x in zip(left, (a, b), strict=True)
    ]
    total = None
    for chain in chains([extents[x] for x in inner]):
        acc = np.zeros([extents[x] for x in right], wide)
        for at in chain:
            pair = [picked(term, x, dict(zip(inner, at)), right) for term, x in zip(left, laid)]
            acc = fma(*pair, acc) if wide.kind == "f" else acc + pair[0] * pair[1]
        total = acc if total is None else total + acc
    return np.asarray(total).astype(a.dtype)


def picked(term: str, x: Any, at: dict[str, int], right: str) -> Any:
    """An operand at an index of its inner letters, as an array over the letters of the result."""
    index = tuple([at[n] if n in at else slice(None) if n in right else 0 for n in term])
    rest = [n for n in term if n in right]
    order = sorted(range(len(rest)), key=lambda k: right.index(rest[k]))
    laid = x[index].transpose(order)
    present = [n for n in right if n in rest]
    shape = [laid.shape[present.index(n)] if n in present else 1 for n in right]
    return laid.reshape(shape)


PRODUCTS = [
    ("mk,kn->mn", (5, 7), (7, 9)),
    ("mk,kn->mn", (33, 256), (256, 17)),
    ("mk,kn->mn", (7, 257), (257, 65)),
    ("mk,kn->mn", (1, 1000), (1000, 10)),
    ("mk,kn->mn", (3, 300), (300, 1031)),  # few rows, many columns: read as a stream
    ("mk,kn->mn", (1, 257), (257, 1100)),
    ("km,kn->mn", (513, 6), (513, 600)),
    ("mk,k->m", (37, 1029), (1029,)),  # a matrix that is read in rows: turned in registers
    ("mk,nk->mn", (3, 519), (40, 519)),
    ("bmk,bk->bm", (2, 19, 13), (2, 13)),
    ("bmk,bkn->bmn", (2, 2, 260), (2, 260, 1100)),
    ("mk,nk->mn", (17, 520), (3, 520)),
    ("km,kn->mn", (600, 4), (600, 5)),
    ("k,k->", (700,), (700,)),
    ("mk,k->m", (3, 513), (513,)),
    ("bmk,bkn->bmn", (3, 5, 300), (3, 300, 6)),
    ("mkl,kln->mn", (3, 5, 100), (5, 100, 4)),  # chains of 2 turns of 100
    ("mkl,kln->mn", (2, 3, 300), (3, 300, 4)),  # turns that are longer than a chain
    ("mklj,nklj->mn", (2, 4, 9, 11), (3, 4, 9, 11)),
    ("mk,nl->mn", (3, 4), (5, 6)),  # an inner letter of each operand
    ("m,n->mn", (5,), (6,)),
    ("mk,kn->nm", (12, 30), (30, 20)),
    ("b,->b", (9,), ()),
]


@pytest.mark.parametrize(("spec", "a", "b"), PRODUCTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32"])
def test_products_follow_the_order(spec, a, b, dtype):
    rng = np.random.default_rng(len(spec))
    xs = [np.asarray(rng.normal(size=shape) * 4).astype(dtypes[dtype]) for shape in (a, b)]
    code = compiled(lambda form, *values: form.contract(spec, *values), [type_of(x) for x in xs])
    assert bits(code(xs)[0]) == bits(contraction(spec, *xs))


def test_the_windows_of_a_convolution_are_one_inner_index():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 40, 6, 7)).astype("f"), rng.normal(size=(5, 40, 3, 3)).astype("f")

    def build(form, x, w):
        windows = form.view(
            x,
            (2, 40, 6, 7, 3, 3),
            lambda b, c, i, j, u, v: (b, c, i + u - 1, j + v - 1),
            fill=0,
        )
        return form.contract("bcijuv,ocuv->boij", windows, w)

    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    wanted = contraction("bcijuv,ocuv->boij", np.ascontiguousarray(windows), w)
    assert bits(compiled(build, [type_of(x), type_of(w)])([x, w])[0]) == bits(wanted)


@pytest.mark.parametrize(("length", "dtype"), [(5, "float32"), (33, "int32"), (9000, "float32")])
def test_of_equal_winners_the_first_one_is_found(length, dtype):
    def build(form, x):
        places = form.index(x.shape, lambda i, j: j, dtypes["int64"])
        return tuple(form.reduce(name, (x, places), (1,))[1] for name in ("argmax", "argmin"))

    rng = np.random.default_rng(length)
    rows = [rng.integers(0, 40, length), np.full(length, 7), -np.arange(length)]
    least, most = (-np.inf, np.inf) if dtype == "float32" else (-(2**31), 2**31 - 1)
    rows += [np.full(length, least), np.full(length, most)]
    if dtype == "float32":
        rows += [np.where(np.arange(length) % 4 == 3, np.nan, rows[0])]
    x = np.array(rows).astype(dtype)
    highest, lowest = compiled(build, [type_of(x)])([x])
    assert highest.tolist() == np.argmax(x, 1).tolist()
    assert lowest.tolist() == np.argmin(x, 1).tolist()
