"""Parts: what joins values is computed part by part where they are, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import Symbol
from jit.forms.parts import line_of
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
