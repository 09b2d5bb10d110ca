"""The verifier passes what is built by the rules, and names the statement that breaks one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.dims import symbol
from jit.errors import KernelError
from jit.loops.ir import INDEX, Alloc, Buffer, Kernel, Let, Lit, Load, Var, VType, index
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, float32, int64
from tests.jit.loops.programs import program
from tests.jit.loops.samples import oddments, row_sums

FOUR = VType(float32, 4)
ONE = VType(float32)
X, Y = Buffer("x", float32), Buffer("y", float32, access="out")


def kernel_of(w, item=None, **changed):
    item = item or Var(INDEX, "i")
    return replace(Kernel("k", (X, Y), (), 4, item, tuple(w.body)), **changed)


@given(st.randoms(use_true_random=False), st.sampled_from([1, 2, 8]))
def test_random_kernels_are_valid(random, lanes):
    verify(program(random, lanes, 10).kernel)


@pytest.mark.parametrize("kernel", [row_sums, oddments])
def test_samples_are_valid(kernel):
    verify(kernel())


# ----- each breaks one rule: a function of a Writer, and what is said -----


def number(value, dtype, lanes=1):
    return Lit(value, VType(dtypes[dtype], lanes))


def let(w, op, type_, *args, immediates=()):
    """An instruction as it stands, without the types that a Writer would see to."""
    var = Var(type_)
    w.body.append(Let(var, op, args, immediates))
    return var


def load(w, buffer, type_, at, mask=None, other=None):
    var = Var(type_)
    w.body.append(Load(var, buffer, at, mask, other))
    return var


def out_of_scope(w):
    with w.loop(index(0), index(2)):
        x = w.load(X, index(0))
    w.store(Y, index(0), x)


def loop_variable_after_the_loop(w):
    with w.loop(index(0), index(2)) as k:
        pass
    w.load(X, k)


def value_of_a_condition(w):
    with w.when(Lit(True, VType(bool_))):
        x = w.load(X, index(0))
    w.store(Y, index(0), x)


def assigned_twice(w):
    w.load(X, index(0))
    w.body.append(w.body[0])


def assigned_in_two_blocks(w):
    for _ in range(2):
        with w.loop(index(0), index(2)) as k:
            w.load(X, k)
    w.body[1] = w.body[0]


def buffer_after_its_block(w):
    with w.loop(index(0), index(2)):
        room = w.alloc("room", float32, 4)
    w.load(room, index(0))


def buffer_twice(w):
    w.alloc("room", float32, 4)
    w.body.append(w.body[0])


def masked(w, dtype, lanes):
    w.load(X, index(0), 4, number(dtype == "bool" or 1, dtype, lanes))


ROOM = Buffer("room", float32, "register", "inout", 4)

WRONG = [
    (out_of_scope, "`store y[0] = v0` in kernel k breaks a rule: <Var ?: float32> is not assigned"),
    (loop_variable_after_the_loop, "is not assigned before"),
    (value_of_a_condition, "is not assigned before"),
    (assigned_twice, "the value is assigned twice"),
    (assigned_in_two_blocks, "the variable is assigned twice"),
    (buffer_after_its_block, "buffer room is no parameter, nor allocated before"),
    (buffer_twice, "room is assigned twice"),
    # instructions
    (lambda w: let(w, "add", ONE, number(1, "float32")), "add(float32) has the wrong operands"),
    (lambda w: let(w, "plus", ONE, number(1, "float32")), "no scalar instruction is called 'plus'"),
    (
        lambda w: let(w, "add", FOUR, number(1, "float32", 4), number(1, "float32")),
        "operands have [1, 4] lanes",
    ),
    (
        lambda w: let(w, "add", ONE, number(1, "float32"), number(1, "float64")),
        "add(float32, float64) is not defined",
    ),
    (
        lambda w: let(w, "less", ONE, number(1, "float32"), number(1, "float32")),
        "it gives bool, not float32",
    ),
    (
        lambda w: let(w, "abs", ONE, number(1, "float32"), immediates=(1,)),
        "abs has no immediates",
    ),
    (
        lambda w: let(w, "abs", VType(dtypes["complex64"]), number(1, "complex64")),
        "of complex64",
    ),
    (lambda w: let(w, "fma", ONE, *[number(1, "float32")] * 2), "fma takes 3 operands"),
    (lambda w: let(w, "fma", INDEX, *[index(1)] * 3), "fma is for floating dtypes"),
    (
        lambda w: let(w, "quotient", ONE, *[number(1, "float32")] * 2),
        "quotient is for integer dtypes",
    ),
    (
        lambda w: let(w, "shift_left", INDEX, index(1), number(1, "int32")),
        "the operands differ in type",
    ),
    (lambda w: let(w, "pairs", ONE, *[number(1, "uint32")] * 2), "pairs takes three operands"),
    (
        lambda w: let(w, "pairs", ONE, *[number(1, "float32")] * 3),
        "an operand is float32, not uint32",
    ),
    (
        lambda w: let(w, "pairs", INDEX, *[number(1, "uint32")] * 2, number(1, "float32")),
        "it gives float32, not int64",
    ),
    (lambda w: let(w, "bitcast", ONE, index(1)), "int64 and float32 differ in width"),
    (
        lambda w: let(w, "bitcast", VType(bool_), number(1, "uint8")),
        "bools have no bits to cast",
    ),
    (lambda w: let(w, "splat", FOUR, index(1)), "the operand is not a scalar float32"),
    (lambda w: let(w, "iota", FOUR), "iota gives int64, not float32"),
    (lambda w: let(w, "iota", VType(int64, 4), index(0)), "iota takes no operands"),
    (
        lambda w: let(w, "extract", ONE, number(1, "float32", 4), immediates=(4,)),
        "there is no lane 4 of float32x4",
    ),
    (
        lambda w: let(w, "shuffle", FOUR, *[number(1, "float32", 2)] * 2, immediates=(0, 1, 2, 4)),
        "immediates (0, 1, 2, 4) of 4 lanes",
    ),
    (
        lambda w: let(w, "shuffle", FOUR, *[number(1, "float32", 2)] * 2, immediates=(0, 1)),
        "it gives float32x2, not float32x4",
    ),
    # numbers
    (lambda w: let(w, "negative", VType(dtypes["int8"]), number(128, "int8")), "128 is not int8"),
    (lambda w: let(w, "negative", INDEX, number(1.0, "int64")), "1.0 is not int64"),
    (lambda w: let(w, "negative", INDEX, number(True, "int64")), "True is not int64"),
    (lambda w: let(w, "logical_not", VType(bool_), number(1, "bool")), "1 is not a bool"),
    # places
    (lambda w: load(w, X, INDEX, index(0)), "the buffer holds float32, not int64"),
    (lambda w: load(w, X, ONE, number(0, "int32")), "the index is int32, not int64"),
    (lambda w: load(w, X, FOUR, number(0, "int64", 2)), "2 indices, 4 lanes"),
    (lambda w: masked(w, "int64", 4), "the mask is not boolx4"),
    (lambda w: masked(w, "bool", 1), "the mask is not boolx4"),
    (lambda w: load(w, X, ONE, index(0), other=number(1, "float32")), "there is no mask"),
    (
        lambda w: load(w, X, ONE, index(0), number(True, "bool"), index(1)),
        "`else` is int64, not float32",
    ),
    (lambda w: w.store(X, index(0), number(1, "float32")), "the buffer is for input only"),
    (lambda w: w.load(Y, index(0)), "the buffer is for output only"),
    (lambda w: w.load(w.alloc("r", float32, 4), index(1), 4), "the buffer has 4 elements"),
    (lambda w: w.load(w.alloc("r", float32, 4), index(-1)), "the buffer has 4 elements"),
    # the rest
    (lambda w: w.check(number(1, "int64")), "the condition is int64, not bool"),
    (lambda w: w.check(number(True, "bool", 4), number(True, "bool")), "the mask is not boolx4"),
    (lambda w: w.body.append(Alloc(replace(ROOM, scope="param"))), "the scope is 'param'"),
    (lambda w: w.body.append(Alloc(replace(ROOM, access="in"))), "the access is 'in'"),
    (lambda w: w.body.append(Alloc(replace(ROOM, size=0))), "the size is 0"),
]


@pytest.mark.parametrize(("build", "what"), WRONG, ids=[row[1] for row in WRONG])
def test_what_breaks_a_rule_is_refused(build, what):
    w = Writer()
    build(w)
    with pytest.raises(KernelError) as caught:
        verify(kernel_of(w))
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("start", "stop", "step", "what"),
    [
        (index(0), index(4), 0, "the step is 0, not positive"),
        (index(0), index(4), -1, "the step is -1, not positive"),
        (number(0, "int32"), index(4), 1, "a bound or the variable is int32, not int64"),
        (index(0), number(4, "int64", 2), 1, "a bound or the variable is int64x2, not int64"),
    ],
)
def test_loops(start, stop, step, what):
    w = Writer()
    with w.loop(start, stop, step):
        pass
    with pytest.raises(KernelError, match=what):
        verify(kernel_of(w))


def test_a_condition_is_one_bool():
    w = Writer()
    with w.when(number(True, "bool", 4)):
        pass
    with pytest.raises(KernelError, match="the condition is boolx4, not a bool"):
        verify(kernel_of(w))


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"buffers": (X, X)}, "x is assigned twice"),
        ({"buffers": (ROOM,)}, "parameter room has scope register"),
        ({"buffers": (replace(X, access="read"),)}, "parameter x: 'read'"),
        ({"buffers": (Buffer("z", np.dtype("S4")),)}, "z is of"),
        ({"sizes": (Var(VType(float32), "n"),)}, "n is float32, not int64"),
        ({"item": Var(FOUR, "i")}, "i is float32x4, not int64"),
        ({"grid": symbol("n", hint=3) + 1}, "no size is called n"),
    ],
)
def test_parameters(changed, what):
    with pytest.raises(KernelError, match=what):
        verify(kernel_of(Writer(), **changed))
