"""Contractions as products of matrices: what a library is told is what the kernel computes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jit.dims import evaluate, symbol
from jit.forms import matrices
from jit.forms.native import lower_for_code
from jit.loops.interpret import interpret
from jit.planner import plan
from jit.runtime.cpu import host_target
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.runtime.program import Epilogue, Launch
from jit.target import gpu
from jit.types import TensorType, float32
from tests.jit.loops.whole import graph_of
from tests.jit.stages import machine, run_program

TARGET = replace(host_target(), products="float32")
MOST = 100  # multiplications
PARTS = {"batch": "ab", "rows": "mr", "columns": "nc", "inner": "ku"}


def contract(spec, views, form, *xs):
    """A contraction of permuted arguments."""
    turned = [form.view(x, *turn(x, axes)) if axes else x for x, axes in zip(xs, views)]
    return form.contract(spec, *turned)


def turn(x, axes):
    def place(*at):
        return tuple([at[axes.index(k)] for k in range(len(axes))])

    return tuple([x.shape[k] for k in axes]), place


@st.composite
def products(draw):
    """A spec, how its arguments are permuted, and the extent of each letter; some have names."""
    found = {part: draw(st.integers(part == "inner", 2)) for part in PARTS}
    letters = {part: PARTS[part][:count] for part, count in found.items()}
    extents = {x: draw(st.sampled_from([1, 2, 3])) for x in "".join(letters.values())}
    batch, rows, columns, inner = letters.values()
    terms = [batch + rows + inner, batch + inner + columns, batch + rows + columns]
    left, right, result = ["".join(draw(st.permutations(term))) for term in terms]
    views = [draw(st.none() | st.permutations(range(len(term)))) for term in (left, right)]
    named = {x for x in extents if extents[x] > 1 and draw(st.booleans()) and draw(st.booleans())}
    return f"{left},{right}->{result}", views, extents, named


def shapes_of(spec, views, sizes):
    """The shapes of the arguments before they are permuted."""
    for term, axes in zip(spec.partition("->")[0].split(","), views):
        axes = list(axes) if axes else list(range(len(term)))
        yield tuple([sizes[term[axes.index(k)]] for k in range(len(term))])


def view(array, operand, shape):
    """The matrices of an operand, as a library would find them in memory."""
    batch, rows, columns = shape
    count = (1 if operand.shared else batch) * rows * columns
    flat = array[operand.offset : operand.offset + count]
    found = (
        flat.reshape(-1, columns, rows).mT if operand.turned else flat.reshape(-1, rows, columns)
    )
    return np.broadcast_to(found, shape)


def check(told, arrays, sizes):
    """Whether a kernel's results are the products that are told."""
    batch, rows, columns, inner = [int(evaluate(x, sizes)) for x in told.sizes]
    left, right = told.operands
    wanted = view(arrays[left.buffer], left, (batch, rows, inner)) @ view(
        arrays[right.buffer], right, (batch, inner, columns)
    )
    found = arrays[told.result].reshape(batch, rows, columns)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@given(products().filter(lambda x: prod(x[2].values()) <= MOST))
@settings(max_examples=25)
def test_a_library_is_told_what_the_kernel_computes(given):
    spec, views, extents, named = given
    rng, env = np.random.default_rng(0), {f"n_{x}": extents[x] for x in named}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "pays", lambda *given: True)
        sizes = {x: symbol(f"n_{x}", hint=n) if x in named else n for x, n in extents.items()}
        types = [TensorType(shape, float32) for shape in shapes_of(spec, views, sizes)]
        forms = lower_for_code(graph_of(partial(contract, spec, views), types))
        program = plan("products", forms, TARGET).program
    told = {x.kernel: x.matrices for x in program.launches() if x.matrices}
    assert len(told) == 1

    def run(kernel, arrays, numbers):
        holds = interpret(kernel, arrays, numbers)
        if kernel in told:
            check(told[kernel], arrays, env)
        return holds

    arrays = [rng.normal(size=s).astype(np.float32) for s in shapes_of(spec, views, extents)]
    (found,) = run_program(program, arrays, run)
    turned = [x.transpose(axes) if axes else x for x, axes in zip(arrays, views)]
    np.testing.assert_allclose(found, np.einsum(spec, *turned), rtol=1e-5, atol=1e-5)


def launches(build, *shapes, dtype="float32"):
    """What is launched on a GPU."""
    types = [TensorType(shape, np.dtype(dtype)) for shape in shapes]
    target = replace(gpu("sm_90"), products="tf32")
    steps = plan("products", lower_for_code(graph_of(build, types)), target).program.steps
    return [step for step in steps if isinstance(step, Launch)]


def windows(form, x, w):
    """A convolution, which reads what it multiplies again and again."""
    n, h, wide, c = x.shape
    shape = (n, h - 2, wide - 2, 3, 3, c)
    found = form.view(x, shape, lambda b, i, j, u, v, k: (b, i + u, j + v, k))
    return form.contract("bijuvc,uvco->bijo", found, w)


def test_only_large_products_are_for_the_library():
    def product(form, x, y):
        return form.pointwise("abs", form.contract("mk,kn->mn", x, y))

    large, maps = launches(product, (512, 512), (512, 512))
    assert large.is_for_library
    assert large.matrices is not None
    assert large.matrices.precision == "tf32"
    assert maps.matrices is None
    (small,) = launches(product, (64, 64), (64, 64))
    assert small.matrices is None
    (whole,) = launches(product, (512, 512), (512, 512), dtype="int32")
    assert whole.matrices is None


def test_windows_are_not_copied_for_the_library():
    made = launches(windows, (32, 58, 58, 64), (3, 3, 64, 64))
    assert all(launch.matrices is None for launch in made)


def test_sizes_that_vary_are_decided_on_later():
    n = symbol("n", hint=4)
    made = launches(lambda form, x, y: form.contract("mk,kn->mn", x, y), (n, 64), (64, 64))
    assert [(x.matrices is not None, x.is_for_library) for x in made] == [(True, False)]


def followed(form, x, w, b, *, relu=True):
    """relu(x w + b)."""
    total = form.contract("mk,kn->mn", x, w)
    total = form.pointwise("add", total, form.broadcast(b, total.shape))
    zero = form.broadcast(form.constant(0, total.dtype), total.shape)
    return form.pointwise("maximum", total, zero) if relu else total


@pytest.mark.parametrize("relu", [False, True])
def test_a_product_with_what_follows_it_is_one_launch_or_two(relu, monkeypatch):
    """Its kernel computes the same as those of both, in every bit."""
    monkeypatch.setattr(matrices, "MANY", 1)
    shapes = (9, 20), (20, 8), (8,)
    (made,) = launches(partial(followed, relu=relu), *shapes)
    assert made.is_for_library
    assert made.matrices is not None
    assert made.matrices.epilogue == Epilogue(relu, made.buffers.index(2))
    product, rest = made.apart
    assert product.matrices is not None
    assert (product.matrices.epilogue, rest.matrices) == (None, None)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32).reshape(-1) for shape in shapes]
    memory = dict(enumerate(arrays))
    for launch in (made, product, rest):
        buffers = [memory.setdefault(k, np.zeros(72, np.float32)) for k in launch.buffers]
        assert interpret(launch.kernel, buffers, [])
        if launch is made:
            at_once = buffers[made.matrices.result].copy()
    (slot,) = [made.buffers[k] for k in made.kernel.written]
    assert memory[slot].tobytes() == at_once.tobytes()


def test_a_body_that_is_called_keeps_both_ways():
    """Launches on the slots of a caller have all of their launches there."""
    (made,) = launches(followed, (512, 512), (512, 64), (64,))
    moved = made.on({k: k + 10 for k in range(10)})
    assert moved.buffers == tuple(k + 10 for k in made.buffers)
    assert [x.buffers for x in moved.apart] == [
        tuple(k + 10 for k in x.buffers) for x in made.apart
    ]


@pytest.mark.parametrize("rows", [1, 8])
def test_rows_of_a_batch_are_rows_of_one_product(rows):
    def product(form, x, w):
        wide = form.view(w, (512, *w.shape), lambda b, k, n: (k, n))
        return form.contract("bmk,bkn->bmn", x, wide)

    (made,) = launches(product, (512, rows, 256), (256, 128))
    assert made.matrices is not None
    assert made.matrices.sizes == (1, 512 * rows, 128, 256)


@pytest.mark.parametrize(
    ("sizes", "dtype", "precision", "wanted"),
    [
        ((1, 512, 512, 512), "float32", "float32", True),
        ((96, 128, 128, 64), "float32", "float32", True),
        ((1, 1 << 20, 4, 1024), "float32", "float32", False),  # too narrow
        ((1, 64, 100, 1000), "float32", "float32", True),  # long sums
        ((1, 1000, 100, 64), "float32", "float32", False),
        ((1, 1000, 100, 64), "float32", "tf32", True),
        ((1, 1000, 100, 64), "float64", "tf32", False),
        ((1, 1000, 100, 64), "bfloat16", "float32", True),
        ((1, 64, 64, 64), "bfloat16", "tf32", False),
    ],
)
def test_the_rule_counts_multiplications(sizes, dtype, precision, wanted):
    assert matrices.pays(sizes, dtype, precision) is wanted


@pytest.mark.parametrize("inner", [5, 600])
def test_a_kernel_in_the_place_of_the_library_sums_in_the_same_order(inner, monkeypatch):
    monkeypatch.setattr(matrices, "pays", lambda *given: True)

    def product(form, x, y):
        return form.contract("bmk,bnk->nbm", x, y)

    shapes = (2, 3, inner), (2, 2, inner)
    forms = lower_for_code(graph_of(product, [TensorType(shape, float32) for shape in shapes]))
    arrays = [np.random.default_rng(0).normal(size=s).astype(np.float32) for s in shapes]
    run = machine(host_target())
    ours, theirs = [
        run_program(plan("products", forms, target).program, arrays, run)[0].tobytes()
        for target in (TARGET, host_target())
    ]
    assert ours == theirs


@pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")
def test_a_kernel_in_the_place_of_the_library_cubin():
    (made,) = launches(lambda form, x, y: form.contract("mk,kn->mn", x, y), (512, 512), (512, 512))
    assert gpu_code(made.kernel, gpu("sm_90")).image.startswith(b"\x7fELF")
