"""Kernels as text: golden files, names, and the canonical text that stands for the machine code."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.loops.ir import INDEX, Buffer, Kernel, Lit, Var, VType, index
from jit.loops.text import format_kernel, format_number, format_statement, format_type
from jit.loops.writer import Writer
from jit.types import dtypes, float32, float64
from tests.jit.loops.programs import program
from tests.jit.loops.samples import oddments, row_sums


def test_text(golden):
    golden("kernel_text", f"{row_sums()}\n\n{oddments()}")


def test_canonical_text(golden):
    text = [format_kernel(kernel(), named=False) for kernel in (row_sums, oddments)]
    golden("kernel_canonical", "\n\n".join(text))


def small(
    name="k",
    hints=("x", "y", "n", "i", "k"),
    grid=3,
    dtype=float32,
    op="add",
    number=1.0,
    lanes=4,
    stop=4,
    access="out",
    scope="register",
):
    """A kernel whose every part can be chosen."""
    x, y = Buffer(hints[0], dtype), Buffer(hints[1], dtype, access=access)
    n, item = Var(INDEX, hints[2]), Var(INDEX, hints[3])
    w = Writer()
    room = w.alloc("room", dtype, 64, scope)
    with w.loop(index(0), index(stop), hint=hints[4]) as k:
        at = w.let("multiply", item, n)
        value = w.load(x, at, lanes)
        w.store(room, k, w.let(op, value, w.number(number, value.type)))
        w.store(y, at, w.load(room, k, lanes))
    w.store(y, index(0), w.number(0, VType(dtype, lanes)))
    return Kernel(name, (x, y), (n,), grid, item, tuple(w.body))


SAME = [{}, {"name": "other"}, {"hints": ("y", "x", "m", "v0", "")}, {"grid": 4}]
OTHERS = [
    {"dtype": float64},
    {"op": "multiply"},
    {"number": 1.5},
    {"number": -1.0},
    {"number": float("nan")},
    {"lanes": 8},
    {"stop": 5},
    {"access": "inout"},
    {"scope": "stack"},
]


def test_canonical_text_is_of_what_changes_the_code():
    texts = [format_kernel(small(**changed), named=False) for changed in SAME]
    assert texts[0].count("\n") > 8
    assert set(texts) == {texts[0]}


def test_canonical_text_tells_kernels_apart():
    texts = [format_kernel(small(**changed), named=False) for changed in [{}, *OTHERS]]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("value", [VType(float32), VType(float32, 4)])
def test_a_number_that_is_stored_shows_its_lanes(value):
    y = Buffer("y", float32, access="out")
    w = Writer()
    w.store(y, index(0), w.number(1, value))
    kernel = Kernel("k", (y,), (), 1, Var(INDEX, "i"), tuple(w.body))
    line = "store y[0] = 1.0" if value.lanes == 1 else "store y[0] = 1.0: float32x4"
    assert format_statement(kernel, kernel.body[0]) == line


def test_names_are_unique():
    w = Writer()
    item = Var(INDEX, "i")
    for hint in ("i", "", "v0", "i", "not a name", "3", ""):
        w.let("add", item, index(1)).hint = hint
    text = format_kernel(Kernel("k", (), (), 1, item, tuple(w.body)))
    names = [line.split(":")[0].strip() for line in text.splitlines()[1:-1]]
    assert names == ["i1", "v0", "v01", "i2", "not_a_name", "_3", "v1"]


def test_a_buffer_that_is_allocated_twice_by_name_has_two_names():
    w = Writer()
    for _ in range(2):
        w.alloc("room", float32, 4)
    text = str(Kernel("k", (), (), 1, Var(INDEX, "i"), tuple(w.body)))
    assert "alloc room: float32[4] register" in text
    assert "alloc room1: float32[4] register" in text


NUMBERS = [
    (True, "bool", "true"),
    (False, "bool", "false"),
    (255, "uint8", "255"),
    (-(2**63), "int64", "-9223372036854775808"),
    (0.1, "float32", "0.1"),
    (0.1, "float64", "0.1"),
    (1 / 3, "float32", "0.33333334"),
    (1 / 3, "bfloat16", "0.333984"),
    (2, "float32", "2.0"),
    (-0.0, "float64", "-0.0"),
    (1e300, "float32", "inf"),
    (float("nan"), "float16", "nan"),
]


@pytest.mark.parametrize(("value", "dtype", "text"), NUMBERS)
def test_numbers(value, dtype, text):
    assert format_number(Lit(value, VType(dtypes[dtype], 2))) == text
    number = format_number(Lit(value, VType(dtypes[dtype], 2)), typed=True)
    assert number == f"{text}: {dtype}x2"


@given(st.floats(width=32), st.sampled_from(["float32", "float64"]))
def test_a_number_reads_back(value, dtype):
    text = format_number(Lit(value, VType(dtypes[dtype])))
    back = dtypes[dtype].type(text)
    assert str(back) == str(dtypes[dtype].type(value))
    np.testing.assert_array_equal(back, dtypes[dtype].type(value))


@pytest.mark.parametrize("dtype", dtypes)
def test_types_are_written_as_str_writes_them(dtype):
    for lanes in (1, 8):
        type_ = VType(dtypes[dtype], lanes)
        assert format_type(type_) == str(type_)


@given(st.randoms(use_true_random=False))
def test_the_text_does_not_depend_on_the_objects(random):
    seed = random.randrange(2**32)
    kernels = [program(Random(seed), 4, 10).kernel for _ in range(2)]
    assert str(kernels[0]) == str(kernels[1])
    assert kernels[0].body[0] is not kernels[1].body[0]


def test_a_statement_of_elsewhere_shows_unknown_values():
    kernel = row_sums()
    stranger = Writer()
    stranger.let("add", Var(INDEX), index(1))
    empty = replace(kernel, body=())
    assert format_statement(empty, stranger.body[0]) == "v0: int64 = add(?, 1)"
