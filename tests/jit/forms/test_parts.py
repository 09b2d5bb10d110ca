"""Parts: what joins values is computed part by part where they are, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import Symbol
from jit.forms.parts import line_of
from jit.loops.ir import Load
from jit.loops.verify import verify
from jit.target import gpu
from jit.types import TensorType, int64
from tests.jit.agreement import check
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits

SM90 = gpu("sm_90")


def moved(form, x, start, extent, axis):
    """An array with zeros around it."""
    shape = [extent if k == axis else d for k, d in enumerate(x.shape)]
    return form.view(x, shape, lambda *at: [i - start * (k == axis) for k, i in enumerate(at)], 0)


def padded(form, xs, axis):
    """The sum of arrays, each with zeros where the others are."""
    extent, start, total = sum(x.shape[axis] for x in xs), 0, None
    for x in xs:
        y = moved(form, x, start, extent, axis)
        total = y if total is None else form.pointwise("add", total, y)
        start += x.shape[axis]
    return total


def joined(form, xs, axis):
    """Arrays one after the other."""
    extent, found = sum(x.shape[axis] for x in xs), None
    starts = np.cumsum([0, *[x.shape[axis] for x in xs]])
    for x, start, end in reversed(list(zip(xs, starts, starts[1:], strict=False))):
        y = moved(form, x, int(start), extent, axis)
        if found is not None:
            left = form.index(y.shape, lambda *at, end=end: at[axis] - int(end), int64)
            below = form.pointwise("less", left, form.constant(0, int64))
            y = form.pointwise("where", below, y, found)
        found = y
    return found


def program(how, axis, count, *, odd=False):
    """Values that share much, joined, and what reads all of them."""

    def build(form, x, y):
        wave = form.pointwise("tanh", form.pointwise("multiply", x, y))
        xs = [wave]
        for k in range(count - 1):
            xs.append(form.pointwise("multiply", wave, (x, y)[k % 2]))
        if odd:
            xs[0] = form.view(xs[0], (2, *wave.shape[1:]), lambda i, *others: (i + 1, *others))
        whole = how(form, xs, axis)
        return whole, form.pointwise("abs", form.contract("ij,kj->ik", whole, whole))

    return build


def stages(build, shape=(4, 6), target=None):
    types = [TensorType(shape, np.dtype("float32"))] * 2
    graph = graph_of(build, types)
    return Stages(graph) if target is None else Stages(graph, target)


def arrays(shape=(4, 6)):
    rng = np.random.default_rng(0)
    made = [rng.standard_normal(shape).astype("float32") for _ in range(2)]
    for array in made:
        array[rng.random(shape) < 0.2] = -0.0
    return made


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("how", [padded, joined], ids=["padded", "joined"])
def test_they_are_one_kernel_with_the_same_bits(how, axis, count):
    made = stages(program(how, axis, count))
    assert len(made.kernels) == 2  # and the product
    check(made, arrays(), (how, axis, count))


@pytest.mark.parametrize("axis", [0, 1])
def test_on_a_gpu_too(axis):
    """Whose bits are the processor's."""
    build = program(padded, axis, 4)
    made = stages(build, target=SM90)
    for kernel in made.kernels:
        verify(kernel)
    assert len(made.kernels) == 2
    found = made.run("scheduled", arrays())
    assert list(map(bits, found)) == list(map(bits, stages(build).run("native", arrays())))


def test_parts_behind_a_product():
    """They are stored where its sums are."""

    def build(form, x, y):
        total = form.contract("ij,kj->ik", x, y)
        xs = [form.pointwise("tanh", total), form.pointwise("multiply", total, total)]
        return padded(form, xs, 1)

    for target in (None, SM90):
        made = stages(build, target=target)
        assert len(made.kernels) == 1
        stage = "native" if target is None else "scheduled"
        (found,) = made.run(stage, arrays())
        (naive,) = stages(build).run("naive", arrays())
        assert bits(found) == bits(naive)


def halves(parts, *, reads=lambda i, j, k, n: (i, j + k * n)):
    """A product whose result is asked for, and what each index of its parts makes together."""

    def build(form, x, y):
        total = form.pointwise("tanh", form.contract("ij,kj->ik", x, y))
        (m, n), found = total.shape, None
        for k in range(parts):
            part = form.view(total, (m, n // parts), lambda i, j, k=k: reads(i, j, k, n // parts))
            found = part if found is None else form.pointwise("subtract", found, part)
        return total, found, form.pointwise("multiply", found, found)

    return build


def on_both(build, shapes):
    """The kernels for a GPU, whose bits are the processor's."""
    graph = graph_of(build, [TensorType(shape, np.dtype("float32")) for shape in shapes])
    made, rng = Stages(graph, SM90), np.random.default_rng(1)
    for kernel in made.kernels:
        verify(kernel)
    given = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    found = made.run("scheduled", given)
    assert list(map(bits, found)) == list(map(bits, Stages(graph).run("native", given)))
    return made.kernels


@pytest.mark.parametrize("how", [padded, joined])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_lies_in_memory_is_joined_without_questions_on_a_gpu(how, axis):
    """A thread has an element of each part: none asks in which it is."""
    (kernel,) = on_both(lambda form, *xs: how(form, xs, axis), [(6, 8)] * 3)
    reads = [s for s in kernel.statements() if isinstance(s, Load)]
    assert len({s.buffer for s in reads}) == len(reads) == 3
    assert all(s.mask is None for s in reads)
    assert "where" not in str(kernel)
    assert "if " not in str(kernel)


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize(("rows", "columns"), [(3, 8), (9, 36), (1, 136)])
def test_parts_of_the_columns_of_a_product_meet_in_a_thread(parts, rows, columns):
    assert len(on_both(halves(parts), [(rows, 5), (columns, 5)])) == 1


@pytest.mark.parametrize(("columns", "kernels"), [(8, 1), (16384, 2)])
def test_what_is_read_beside_a_small_product_is_in_its_kernel(columns, kernels):
    """Maps of other values, with what reads both: a launch less."""

    def build(form, x, y, z):
        made = form.contract("ij,kj->ik", x, y)
        gate = form.pointwise("tanh", z)
        total = form.pointwise("multiply", made, gate)
        return total, form.pointwise("subtract", form.pointwise("multiply", gate, gate), total)

    types = [TensorType(s, np.dtype("float32")) for s in ((3, 5), (columns, 5), (3, columns))]
    assert len(Stages(graph_of(build, types), SM90).kernels) == kernels
    if columns == 8:
        assert len(on_both(build, [x.shape for x in types])) == kernels


@pytest.mark.parametrize(
    "build",
    [
        halves(3),
        halves(2, reads=lambda i, j, k, n: (i, j + k)),
        halves(2, reads=lambda i, j, k, n: (i, n - 1 - j + k * n)),
        halves(2, reads=lambda i, j, k, n: (2 - i, j + k * n)),
    ],
    ids=["three", "neighbours", "backwards", "other rows"],
)
def test_other_parts_are_read_from_memory(build):
    assert len(on_both(build, [(3, 5), (24, 5)])) == 2


@pytest.mark.parametrize(
    "build",
    [
        program(padded, 0, 2, odd=True),
        program(padded, 0, 9),
        lambda form, x, y: padded(form, [x, form.pointwise("tanh", y)], 1),
    ],
    ids=["of other sizes", "too many", "not all computed"],
)
def test_others_are_left_alone(build):
    made = stages(build)
    check(made, arrays(), "left")


def test_what_is_asked_of_one_loop():
    i, j = (Symbol(f"i{k}", None, 0, 9).as_dim() for k in (0, 1))
    assert line_of(i - 3) == ("i0", 3)
    assert [line_of(x) for x in (i - j, 2 * i, i // 2, 5)] == [None] * 4
