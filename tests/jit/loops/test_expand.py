"""Expansion: only direct instructions remain, all else stays, and values do not change."""

from __future__ import annotations

import numpy as np
import pytest

from jit.forms.scalar import result_dtype, scalars
from jit.loops.direct import is_direct
from jit.loops.expand import expand
from jit.loops.ir import (
    INDEX,
    TRUTH,
    Alloc,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Store,
    Var,
    VType,
    index,
    operands,
)
from jit.loops.math.turns import LIMIT
from jit.loops.values import apply
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, float32, float64, kind
from tests.jit.loops.native import run_native
from tests.jit.loops.programs import bits, elements

REAL = [name for name in dtypes if not name.startswith("complex")]
ITEMS = 12


def elementwise(name, ins, out, lanes):
    """A kernel that applies one instruction to whole buffers."""
    w, item = Writer(), Var(INDEX, "i")
    sources = [Buffer(f"x{k}", dtype) for k, dtype in enumerate(ins)]
    target = Buffer("y", out, access="out")
    at = w.let("multiply", item, index(lanes))
    values = [w.load(source, at, lanes) for source in sources]
    result = w.let(name, *values, dtype=out if scalars[name].result == "given" else None)
    w.store(target, at, result)
    return Kernel(name, (*sources, target), (), ITEMS, item, tuple(w.body))


def cases(name, given=None):
    """The dtypes of operands, one tuple for each dtype that the instruction takes."""
    row = scalars[name]
    for dtype in (dtypes[d] for d in REAL):
        if kind(dtype) in row.kinds:
            ins = [dtype] * row.arity
            if name == "where":
                ins[0] = bool_
            yield tuple(ins), result_dtype(name, tuple(ins), given)


def every_case():
    for name, row in scalars.items():
        for given in (dtypes[d] for d in REAL) if row.result == "given" else (None,):
            for ins, out in cases(name, given):
                yield name, ins, out


def arguments(ins, count):
    rng = np.random.default_rng(1)
    xs = [elements(dtype, count, rng) for dtype in ins]
    for x in xs:
        if x.dtype in (float32, float64):  # lanes that take the rare way, beside others
            with np.errstate(over="ignore"):
                x[::5] *= x.dtype.type(LIMIT[x.dtype] * 8)
    return xs


def assert_native_equals_apply(name, ins, out, lanes):
    xs = arguments(ins, ITEMS * lanes)
    y = np.zeros(ITEMS * lanes, out)
    assert run_native(elementwise(name, ins, out, lanes), [*xs, y])
    expected = apply(name, xs, VType(out))
    np.testing.assert_array_equal(bits(y), bits(np.ascontiguousarray(expected)))


def test_only_direct_instructions_remain():
    """Floats become integers directly too, but only where they are in range."""
    for name, ins, out in every_case():
        for lanes in (1, 4):
            kernel = expand(elementwise(name, ins, out, lanes))
            defined = {s.var for s in kernel.statements() if isinstance(s, Let | Load | For)}
            for statement in kernel.statements():
                for x in operands(statement):
                    assert isinstance(x, Lit) or x in defined or x is kernel.item
                if not isinstance(statement, Let) or not statement.args:
                    continue
                before, after = statement.args[-1].type.dtype, statement.var.type.dtype
                into_integer = before in (float32, float64) and after.kind in "iu"
                assert is_direct(statement.op, before, after) or (
                    statement.op == "astype" and into_integer
                )


def test_a_direct_kernel_stays_as_it_is():
    kernel = elementwise("add", (float32, float32), float32, 4)
    assert expand(kernel).body == kernel.body
    once = expand(elementwise("floor_divide", (float64, float64), float64, 4))
    assert expand(once).body == once.body


def test_all_that_reads_an_expanded_value_reads_the_new_one():
    """Bounds, conditions, masks, values to store, checks, operands: in blocks within blocks."""
    w, item = Writer(), Var(INDEX, "i")
    x, y = Buffer("x", INDEX.dtype), Buffer("y", INDEX.dtype, access="out")
    n = w.let("square", w.load(x, index(0)))
    truth = w.let("logical_and", n, n)
    w.check(truth, truth)
    inner = w.alloc("t", INDEX.dtype, 1, "stack")
    with w.loop(index(0), n) as i, w.when(truth):
        at = w.let("maximum", i, n)
        value = w.load(x, at, mask=truth, other=n)
        w.store(inner, index(0), value)
        w.store(y, at, w.let("square", value), mask=truth)
    kernel = expand(Kernel("k", (x, y), (), 1, item, tuple(w.body)))
    kinds = {type(s) for s in kernel.statements()}
    assert kinds == {Let, Load, Store, For, If, Alloc, Check}
    old = {n, truth, at}
    assert not any(v in old for s in kernel.statements() for v in operands(s))


def test_known_exponents_of_integers_are_multiplied_out():
    w, item = Writer(), Var(INDEX, "i")
    x, y = Buffer("x", INDEX.dtype), Buffer("y", INDEX.dtype, access="out")
    w.store(y, item, w.let("pow", w.load(x, item), index(5)))
    kernel = Kernel("k", (x, y), (), 4, item, tuple(w.body))
    assert [s.op for s in expand(kernel).statements() if isinstance(s, Let)] == ["multiply"] * 3
    a, b = np.array([-3, 0, 2, 10]), np.zeros(4, np.int64)
    run_native(kernel, [a, b])
    np.testing.assert_array_equal(b, a**5)


def test_literals_are_rounded_to_their_dtype():
    kernel = expand(elementwise("exp", (float32,), float32, 4))
    for statement in kernel.statements():
        for x in operands(statement):
            if isinstance(x, Lit) and x.type.dtype == float32:
                assert float(np.float32(x.value)) == x.value


@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 8])
def test_rare_lanes_are_found_wherever_they_are(lanes):
    kernel = elementwise("sin", (float64,), float64, lanes)
    for lane in range(lanes):
        x = np.linspace(-3, 3, ITEMS * lanes)
        x[lane::lanes] *= 1e20
        y = np.zeros_like(x)
        run_native(kernel, [x, y])
        np.testing.assert_array_equal(y, apply("sin", [x], VType(float64)))


@pytest.mark.parametrize("name", [n for n, row in scalars.items() if row.result != "given"])
def test_native_values_are_those_of_apply(name):
    """Bit for bit; a few dtypes of each instruction, all of them in the slow test."""
    for ins, out in cases(name):
        if ins[-1].name in ("bool", "int8", "int32", "uint64", "float32", "float64"):
            assert_native_equals_apply(name, ins, out, 8 if ins[-1].itemsize < 8 else 4)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("name", scalars)
def test_native_values_are_those_of_apply_for_all_dtypes(name, lanes):
    for case in every_case():
        if case[0] == name:
            assert_native_equals_apply(*case, lanes)


def test_native_conversions_are_those_of_apply():
    names = ("bool", "int8", "int64", "uint32", "uint64", "float16", "bfloat16", "float64")
    for before in names:
        for after in names:
            assert_native_equals_apply("astype", (dtypes[before],), dtypes[after], 4)


def test_a_condition_of_one_lane_is_a_plain_branch():
    kernel = expand(elementwise("sin", (float32,), float32, 1))
    assert not any(isinstance(s, Let) and s.op == "shuffle" for s in kernel.statements())
    branches = [s for s in kernel.statements() if isinstance(s, If)]
    assert [s.condition.type for s in branches] == [TRUTH]
