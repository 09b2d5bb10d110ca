"""Products on tensor cores, without any: what their kernels compute is that of exact products.

Elements are rounded to what tensor cores read, the products added in float64: sums in float32 are
near. Kernels are for an H100 and become its machine code.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit import planner
from jit.dims import symbol
from jit.errors import KernelError
from jit.forms import matrices, order
from jit.loops import gpu_mma
from jit.loops.expand import expand
from jit.loops.gpu_mma import BLOCKS
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import Buffer, Kernel, Mma, Var, VType, index
from jit.loops.values import apply
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.target import gpu
from jit.types import TensorType, dtypes, float32
from tests.jit.loops.side_by_side import run_all
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages

SM90 = replace(gpu("sm_90"), products="tf32")
UNITS = {"tf32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
needs_linker = pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Small products are for tensor cores, too."""
    monkeypatch.setattr(matrices, "LARGE", 1)
    monkeypatch.setattr(matrices, "NARROW", 1)
    monkeypatch.setattr(planner, "_kernels", {})


def rounded(x, units):
    """What tensor cores read of an array, in float64."""
    if units == "tf32":
        (x,) = [apply("tf32", [x], VType(float32), ())]
    return x.astype(np.float64)


def random(shape, units, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype(dtypes[UNITS[units]])


def made(build, shapes, units):
    types = [TensorType(tuple(shape), dtypes[UNITS[units]]) for shape in shapes]
    return Stages(graph_of(build, types), SM90)


def uses_mma(kernel):
    return any(isinstance(s, Mma) for s in kernel.statements())


def direct(kernel):
    found = expand(scheduled(kernel, SM90))
    verify(found)
    return found


def check(stages, arrays, wanted, units):
    """Some kernel multiplies matrices, and the results are near."""
    assert any(map(uses_mma, stages.kernels))
    (found,) = stages.run_kernels(arrays, lambda kernel, *given: run_all(direct(kernel), *given))
    scale = np.abs(wanted).max() + 1e-30
    least = {"tf32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}[units]
    np.testing.assert_allclose(found.astype(np.float64) / scale, wanted / scale, atol=least)


def windows(form, x, w, stride=1, margin=1):
    """A convolution with a margin, channels first, and what is done with it."""
    n, channels, h, wide = x.shape
    _, _, u, v = w.shape
    down, across = ((size + 2 * margin - k) // stride + 1 for size, k in ((h, u), (wide, v)))

    def place(b, c, i, j, p, q):
        return b, c, i * stride + p - margin, j * stride + q - margin

    seen = form.view(x, (n, channels, down, across, u, v), place, fill=0)
    total = form.contract("bcijuv,ocuv->boij", seen, w)
    return form.pointwise("negative", total)


def windows_of(x, w, stride=1, margin=1):
    """The same in NumPy."""
    x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return -np.einsum("bcijuv,ocuv->boij", seen[:, :, ::stride, ::stride], w)


def filters(form, x, y):
    """How a filter changes: sums over all pixels of all images."""
    n, channels, h, wide = x.shape

    def place(b, c, i, j, u, v):
        return b, c, i + u - 1, j + v - 1

    seen = form.view(x, (n, channels, h, wide, 3, 3), place, fill=0)
    return form.contract("bcijuv,boij->ocuv", seen, y)


def filters_of(x, y):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("bcijuv,boij->ocuv", seen, y)


# ----- the instruction -----


def mma_kernel(units):
    """One product of matrices, whose elements lie thread by thread."""
    word = 4 // dtypes[UNITS[units]].itemsize
    types = [dtypes[UNITS[units]]] * 2 + [float32] * 2
    names, sizes = ("A", "B", "C", "Y"), (4 * word, 2 * word, 4, 4)
    buffers = [Buffer(x, t, access="in" if x < "Y" else "out") for x, t in zip(names, types)]
    w, item, thread = Writer(), Var(VType(np.dtype(np.int64))), Var(VType(np.dtype(np.int64)))
    places = [w.let("multiply", thread, index(n)) for n in sizes]
    given = [w.load(b, at, n) for b, at, n in zip(buffers[:3], places, sizes)]
    var = Var(VType(float32, 4))
    w.body.append(Mma(var, *given))
    w.store(buffers[3], places[3], var)
    return Kernel("k", tuple(buffers), (), 1, item, tuple(w.body), 32, thread)


def laid_out(units):
    """Random matrices, and what each thread has of them, as the machine's manual says."""
    word = 4 // dtypes[UNITS[units]].itemsize
    a, b = random((16, 8 * word), units, 1), random((8 * word, 8), units, 2)
    c = random((16, 8), "tf32", 3)
    each = []
    for thread in range(32):
        g, t = divmod(thread, 4)
        half = [*range(word)]
        rows = [a[g + r, (t + k) * word + i] for k in (0, 4) for r in (0, 8) for i in half]
        columns = [b[(t + k) * word + i, g] for k in (0, 4) for i in half]
        each.append((rows, columns, [c[g + r, 2 * t + i] for r in (0, 8) for i in (0, 1)]))
    arrays = [np.array(x, a.dtype).ravel() for x in list(zip(*each))[:2]]
    return a, b, c, [*arrays, np.array([x[2] for x in each], np.float32).ravel()]


@pytest.mark.parametrize("units", UNITS)
def test_an_mma_multiplies_matrices(units):
    a, b, c, arrays = laid_out(units)
    if units == "tf32":
        a, b = (apply("tf32", [x], VType(float32), ()) for x in (a, b))
        arrays[:2] = [apply("tf32", [x], VType(float32), ()) for x in arrays[:2]]
    kernel = mma_kernel(units)
    verify(kernel)
    wanted = c + a.astype(np.float64) @ b.astype(np.float64)
    for run in (interpret, run_all):
        result = np.zeros(128, np.float32)
        run(kernel, [*arrays, result])
        for thread, found in enumerate(result.reshape(32, 4)):
            g, t = divmod(thread, 4)
            expected = [wanted[g + r, 2 * t + i] for r in (0, 8) for i in (0, 1)]
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@needs_linker
@pytest.mark.parametrize("units", UNITS)
def test_an_mma_is_an_instruction_of_the_machine(units):
    assert gpu_code(mma_kernel(units), SM90).image.startswith(b"\x7fELF")


def test_an_mma_is_verified():
    kernel = mma_kernel("tf32")
    (s,) = [s for s in kernel.statements() if isinstance(s, Mma)]
    body = tuple([replace(x, a=s.b) if x is s else x for x in kernel.body])
    with pytest.raises(KernelError, match="an operand is float32x2, not float32x4"):
        verify(replace(kernel, body=body))
    with pytest.raises(KernelError, match="there are 16 threads"):
        verify(replace(kernel, threads=16))


def test_tf32_is_rounded():
    half = 1 + 2.0**-11  # between two of them: away from 0
    x = np.array([half, -half, half - 2.0**-20, np.inf, np.nan, 0, -0.0], np.float32)
    found = apply("tf32", [x], VType(float32), ())
    up = 1 + 2.0**-10
    np.testing.assert_array_equal(found, np.array([up, -up, 1, np.inf, np.nan, 0, -0.0], "f4"))
    assert np.signbit(found[-1])
    assert np.isnan(apply("tf32", [np.array([0x7FFFFFFF], "u4").view("f4")], VType(float32), ()))


# ----- kernels -----


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.shape}{block.count}")
def test_every_tile(monkeypatch, block, units):
    """Rests of rows, of columns and of inner indices; several chains."""
    monkeypatch.setattr(gpu_mma, "BLOCKS", (block,))
    monkeypatch.setattr("jit.forms.contraction.UNITS_BLOCK", 54)
    x, w = random((2, 15, 7, 9), units, 1), random((37, 15, 3, 3), units, 2)
    wanted = windows_of(rounded(x, units), rounded(w, units))
    check(made(windows, (x.shape, w.shape), units), [x, w], wanted, units)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_convolutions(monkeypatch, data):
    """Any sizes, chains of whole parts or not."""
    monkeypatch.setattr(planner, "_kernels", {})
    block = data.draw(st.sampled_from([32, 50, 96, order.UNITS_BLOCK]))
    monkeypatch.setattr("jit.forms.contraction.UNITS_BLOCK", block)
    units = data.draw(st.sampled_from([*UNITS]))
    n, channels, outputs, h, wide, u, v = (
        data.draw(st.integers(1, most)) for most in (3, 33, 40, 9, 9, 3, 3)
    )
    stride, margin = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2))
    x = random((n, channels, max(h, u), max(wide, v)), units, data.draw(st.integers(0, 99)))
    w = random((outputs, channels, u, v), units, 5)
    try:
        stages = made(lambda f, x, w: windows(f, x, w, stride, margin), (x.shape, w.shape), units)
    except ZeroDivisionError:  # no inner index
        return
    wanted = windows_of(rounded(x, units), rounded(w, units), stride, margin)
    if any(map(uses_mma, stages.kernels)):
        check(stages, [x, w], wanted, units)


@pytest.mark.parametrize("units", UNITS)
def test_long_sums_are_computed_chain_by_chain(monkeypatch, units):
    monkeypatch.setattr("jit.forms.contraction.UNITS_BLOCK", 40)
    x, y = random((3, 5, 8, 7), units, 1), random((3, 33, 8, 7), units, 2)
    stages = made(filters, (x.shape, y.shape), units)
    *_, chains, fold = stages.kernels
    assert uses_mma(chains)
    assert not uses_mma(fold)
    check(stages, [x, y], filters_of(rounded(x, units), rounded(y, units)), units)


@pytest.mark.parametrize("units", UNITS)
def test_threads_do_not_race(monkeypatch, units):
    monkeypatch.setattr(gpu_mma, "BLOCKS", BLOCKS[-2:-1])
    x, w = random((1, 16, 3, 4), units, 1), random((5, 16, 2, 2), units, 2)
    stages = made(lambda form, x, w: windows(form, x, w, margin=0), (x.shape, w.shape), units)
    run = lambda kernel, *given: interpret(direct(kernel), *given)  # noqa: E731
    (found,) = stages.run_kernels([x, w], run)
    wanted = windows_of(rounded(x, units), rounded(w, units), margin=0)
    np.testing.assert_allclose(found.astype(float), wanted, atol=0.01 * np.abs(wanted).max())


@needs_linker
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("batch", [4, symbol("n", hint=4)])
def test_layers_of_vgg_become_machine_code(units, batch):
    """Of its own layers; images that vary in number have larger tables."""
    shapes = (batch, 128, 56, 56), (256, 128, 3, 3)
    forward = made(windows, shapes, units)
    change = made(filters, (shapes[0], (batch, 256, 56, 56)), units)
    for stages in (forward, change):
        assert any(map(uses_mma, stages.kernels))
        for kernel in stages.kernels:
            assert gpu_code(kernel, SM90).image.startswith(b"\x7fELF")


def test_strict_float32_is_not_for_tensor_cores():
    shapes = (4, 128, 56, 56), (256, 128, 3, 3)
    types = [TensorType(shape, float32) for shape in shapes]
    for target in (gpu("sm_90"), replace(SM90, products="float32"), replace(SM90, cpu="sm_75")):
        assert not any(map(uses_mma, Stages(graph_of(windows, types), target).kernels))


def test_small_convolutions_are_not_for_tensor_cores(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(planner, "_kernels", {})
    stages = made(windows, ((64, 6, 12, 12), (16, 6, 5, 5)), "tf32")  # LeNet's
    assert not any(map(uses_mma, stages.kernels))
