"""Kernels as LLVM IR: golden text, and machine code that gives the bits of the interpreter."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from functools import partial
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.codegen.llvm import emit
from jit.codegen.llvm_spell import literal
from jit.errors import KernelError
from jit.loops.direct import is_direct
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Kernel, Let, Lit, Var, VType, index
from jit.loops.writer import Writer
from jit.runtime.cpu import assembly
from jit.runtime.cpu import host_target as host
from jit.target import Target
from jit.types import bool_, dtypes, float32, int64
from tests.jit.loops.native import run_native
from tests.jit.loops.programs import ELEMENTS, Program, bits, elements, program
from tests.jit.loops.samples import oddments, row_sums

LANES = [1, 2, 3, 4, 8, 16, 64]
ANY = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16)
AVX512 = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64, 32)
ARM = Target("aarch64-unknown-linux-gnu", "generic", "", 16, 32)


def test_text(golden):
    golden("kernel_llvm", "\n".join(emit(kernel(), ANY) for kernel in (row_sums, oddments)))


def assert_agrees(case: Program) -> None:
    """Machine code gives the interpreter's bits and status."""
    expected, wanted = case.run(interpret)
    holds, found = case.run(partial(run_native, direct=True))
    for buffer, a, b in zip(case.kernel.buffers, wanted, found):
        np.testing.assert_array_equal(bits(b), bits(a), f"{buffer.name} of\n{case.kernel}")
    assert holds == expected


# ----- random kernels -----


SEEDS = st.integers(0, 2**32)  # shrinking is left to the number of steps


@given(SEEDS, st.sampled_from(LANES), st.integers(1, 40), st.integers(0, 40))
def test_random_kernels(seed, lanes, count, steps):
    assert_agrees(program(Random(seed), lanes, count, steps))


@pytest.mark.parametrize("kernel", [row_sums, oddments])
def test_samples(kernel):
    kernel = kernel()
    for fill in (0.0, 1.0, 50.0):
        arrays = [np.full(60, fill, b.dtype) for b in kernel.buffers]
        assert_agrees(Program(kernel, arrays, [20, 3][: len(kernel.sizes)]))


# ----- each instruction -----

BOTH = "equal not_equal less less_equal greater greater_equal".split()
FLOATS = ["add subtract multiply divide copysign fma larger".split(), BOTH]
FLOATS += ["sqrt negative abs floor ceil trunc round".split()]
INTEGERS = ["add subtract multiply quotient rest shift_left shift_right".split(), BOTH]
INTEGERS += ["bitwise_and bitwise_or bitwise_xor negative bitwise_invert".split()]
BOOLS = ["bitwise_and bitwise_or bitwise_xor bitwise_invert equal not_equal".split()]
BOOLS += ["logical_and logical_or logical_xor logical_not".split()]
ONE = "sqrt negative abs floor ceil trunc round bitwise_invert logical_not".split()


def instructions():
    for dtype, table in (
        *[(d, FLOATS) for d in ("float32", "float64")],
        *[(d, INTEGERS) for d in ELEMENTS if d.startswith(("int", "uint"))],
        ("bool", BOOLS),
    ):
        yield from ((op, dtype) for op in itertools.chain(*table))


@pytest.mark.parametrize(("op", "dtype"), list(instructions()))
def test_instructions(op, dtype):
    """On special numbers: all pairs of them, as a vector with one scalar lane left over."""
    numbers = operands(dtypes[dtype])
    arity = 1 if op in ONE else 3 if op == "fma" else 2
    columns = [np.array(c) for c in zip(*itertools.product(numbers, repeat=arity))]
    if op == "copysign":
        columns[1] = np.nan_to_num(columns[1])  # the sign of a NaN is left open
    if op == "larger":
        columns = [np.where(column == 0, 0, column) for column in columns]  # so is that of a zero
    if op in ("quotient", "rest"):
        columns[1][columns[1] == 0] = 3
        if dtype.startswith("int"):
            least = columns[0] == np.iinfo(dtype).min
            columns[1][least & (columns[1] == -1)] = 3
    if op.startswith("shift"):
        columns[1] &= columns[1].dtype.type(8 * columns[1].dtype.itemsize - 1)
    assert_agrees(elementwise(lambda w, *xs: w.let(op, *xs), columns))


def operands(dtype):
    if dtype == bool_:
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        below = [] if dtype.kind == "u" else [-1, -2, -77]
        return np.array([limits.min, limits.min + 1, limits.max, 0, 1, 2, 3, 77, *below], dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    some = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -3.7, 1e9 + 0.5, tiny, np.inf, -np.inf, np.nan]
    return np.array(some, dtype)


def elementwise(function, columns, width=4):
    """A kernel that applies `function` to columns: vectors, and what is left one by one."""
    count, item, w = len(columns[0]), Var(INDEX, "i"), Writer()
    buffers = [Buffer(f"x{k}", column.dtype) for k, column in enumerate(columns)]
    whole = count // width * width
    results = []
    for lanes, first, stop in ((width, 0, whole), (1, whole, count)):
        with w.loop(index(first), index(stop), lanes) as at:
            y = function(w, *[w.load(x, at, lanes) for x in buffers])
            if not results:
                results.append(Buffer("y", y.type.dtype, access="out"))
            w.store(results[0], at, y)
    kernel = Kernel("columns", (*buffers, *results), (), 1, item, tuple(w.body))
    return Program(kernel, [*columns, np.zeros(count, results[0].dtype)], [])


@pytest.mark.skipif(not host().pairs, reason="the processor multiplies no pairs of bfloat16")
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@given(SEEDS)
def test_pairs(lanes, seed):
    """On words whose products and sums come near the ends of the range, or are beyond."""
    generator = np.random.default_rng(seed)
    halves = np.array([0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x1F80, 0x2000, 0x3F80, 0xBF81, 0x7F7F])
    halves = np.array([*halves, 0x7F80, 0xFF80, 0x7FC0, *generator.integers(0, 2**16, 12)], "u4")
    a, b = (generator.choice(halves, (2, 64)) for _ in "ab")
    sums = np.array([0, -0.0, 1e-40, -(2.0**-126), 2.0**-125, 1.0, -3e38, np.inf, np.nan], "f4")
    columns = [x[0] << 16 | x[1] for x in (a, b)]
    columns.append(generator.choice(sums, 64))
    assert_agrees(elementwise(lambda w, *xs: w.let("pairs", *xs), columns, lanes))


PAIRS = [
    (a, b)
    for a, b in itertools.product(ELEMENTS, repeat=2)
    if is_direct("astype", dtypes[a], dtypes[b])
]


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_conversions(old, new):
    column = elements(dtypes[old], 41, np.random.default_rng(3))
    assert_agrees(elementwise(lambda w, x: w.let("astype", x, dtype=dtypes[new]), [column]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("old", ["float32", "float64"])
def test_floats_in_range_become_integers(old, dtype):
    limit = min(np.iinfo(dtype).max, 2**20)
    column = np.linspace(0 if dtype[0] == "u" else -limit, limit, 37).astype(old)
    kernel = elementwise(lambda w, x: w.let("astype", x, dtype=dtypes[dtype]), [column])
    text = emit(kernel.kernel, host())
    assert f"{'fptoui' if dtype[0] == 'u' else 'fptosi'} <4 x " in text
    assert_agrees(kernel)


@pytest.mark.parametrize("old", ["float32", "float64"])
def test_floats_become_bools(old):
    column = elements(dtypes[old], 61, np.random.default_rng(4))
    column[:7] = [np.nan, 0.0, -0.0, 1e-40, np.inf, -1.0, 0.1]
    assert_agrees(elementwise(lambda w, x: w.let("astype", x, dtype=bool_), [column]))


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_numbers_are_exact(dtype):
    """Every number that a dtype has, written into the code, is stored as that number."""
    column = elements(dtypes[dtype], 64, np.random.default_rng(5))
    y, w = Buffer("y", dtypes[dtype], access="out"), Writer()
    for k, value in enumerate(column.tolist()):
        w.store(y, index(k), Lit(value, VType(dtypes[dtype])))
    kernel = Kernel("numbers", (y,), (), 1, Var(INDEX), tuple(w.body))
    found = np.zeros_like(column)
    run_native(kernel, [found])
    np.testing.assert_array_equal(bits(found), bits(column))


def test_a_number_that_float32_cannot_hold_is_rounded():
    assert literal(Lit(1e300, VType(float32))) == literal(Lit(float("inf"), VType(float32)))
    assert literal(Lit(0.1, VType(float32, 2))) == "splat (float 0x3fb99999a0000000)"


# ----- memory -----


def guarded(array):
    """A copy of `array` that ends where memory that must not be touched begins."""
    page = mmap.PAGESIZE
    rooms = -(-array.nbytes // page)
    memory = mmap.mmap(-1, (rooms + 1) * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert protect(address + rooms * page, page, 0) == 0  # neither read nor written
    flat = np.frombuffer(memory, array.dtype, array.size, rooms * page - array.nbytes)
    flat[:] = array
    return flat


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect")
@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("gathers", [False, True])
def test_masked_lanes_touch_nothing_beyond_the_buffer(dtype, lanes, gathers):
    """A wrong access ends the process."""
    x, y = Buffer("x", dtypes[dtype]), Buffer("y", dtypes[dtype], access="out")
    item, n, w = Var(INDEX, "i"), Var(INDEX, "n"), Writer()
    start = w.let("multiply", item, index(lanes))
    at = w.let("add", w.splat(start, lanes), w.iota(lanes))
    mask = w.let("less", at, w.splat(n, lanes))
    place = at if gathers else start
    w.store(y, place, w.load(x, place, lanes, mask), mask)
    # One item more than there are elements for: all of its lanes are masked.
    kernel = Kernel("copy", (x, y), (n,), 100 // lanes + 2, item, tuple(w.body))
    column = elements(dtypes[dtype], 101, np.random.default_rng(7))
    found = guarded(np.zeros_like(column))
    assert run_native(kernel, [guarded(column), found], [101])
    np.testing.assert_array_equal(bits(found), bits(column))


def test_items_are_those_from_begin_to_end():
    y, item, w = Buffer("y", int64, access="out"), Var(INDEX, "i"), Writer()
    w.store(y, item, item)
    kernel = Kernel("items", (y,), (), 9, item, tuple(w.body))
    found = np.full(9, -1)
    run_native(kernel, [found], items=range(2, 5))
    run_native(kernel, [found], items=range(7, 7))
    run_native(kernel, [found], items=range(8, 6))
    assert found.tolist() == [-1, -1, 2, 3, 4, -1, -1, -1, -1]


def test_a_buffer_may_be_read_and_written():
    y, item, w = Buffer("y", float32, access="inout"), Var(INDEX, "i"), Writer()
    with w.loop(index(1), index(16)) as k:
        before = w.load(y, w.let("subtract", k, index(1)))
        w.store(y, k, w.let("add", before, w.load(y, k)))
    kernel = Kernel("sums", (y,), (), 1, item, tuple(w.body))
    assert_agrees(Program(kernel, [np.ones(16, np.float32)], []))


# ----- other machines -----


@pytest.mark.parametrize("target", [ANY, AVX512, ARM], ids=lambda target: target.cpu)
def test_targets(target):
    for lanes in (1, 4, 16, 64):
        kernel = program(Random(lanes), lanes, 10, 30).kernel
        assert "entry" in assembly(emit(kernel, target), target)
    assert "entry" in assembly(emit(row_sums(), target), target)


def test_vectors_fill_the_registers_of_a_target():
    w = Writer()
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    value = w.load(x, index(0), 16)
    w.store(y, index(0), w.let("fma", value, value, value))
    kernel = Kernel("wide", (x, y), (), 1, Var(INDEX), tuple(w.body))
    for target, name, register, times in (
        (AVX512, "vfmadd", "zmm", 1),
        (ANY, "vfmadd", "ymm", 2),
        (ARM, "fmla", ".4s", 4),
    ):
        lines = assembly(emit(kernel, target), target).splitlines()
        found = [line for line in lines if name in line]
        assert len(found) == times
        assert all(register in line for line in found)


def test_nothing_is_contracted():
    w = Writer()
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    value = w.load(x, index(0), 8)
    w.store(y, index(0), w.let("add", w.let("multiply", value, value), value))
    kernel = Kernel("apart", (x, y), (), 1, Var(INDEX), tuple(w.body))
    assert "vfmadd" not in assembly(emit(kernel, ANY), ANY)


# ----- what is not direct -----


@pytest.mark.parametrize(
    ("op", "dtype"),
    [("exp", "float32"), ("add", "float16"), ("abs", "int32"), ("divide", "int8"), ("add", "bool")],
)
def test_what_is_not_direct_is_refused(op, dtype):
    w = Writer()
    one = Lit(True if dtype == "bool" else 1, VType(dtypes[dtype]))
    args = [one] if op in ("exp", "abs") else [one, one]
    w.body.append(Let(Var(one.type), op, tuple(args)))
    kernel = Kernel("k", (), (), 1, Var(INDEX), tuple(w.body))
    with pytest.raises(KernelError, match=f"{op} of {dtype} to {dtype} is not a direct"):
        emit(kernel, host())
