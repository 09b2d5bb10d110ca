"""Values that are not stored: kernels compute again what is cheap, and made of as few bytes."""

from __future__ import annotations

import numpy as np
import pytest

from jit.forms.chains import tasks_of
from jit.forms.fuse import Group, fuse
from jit.forms.placement import Placement
from jit.forms.tasks import TaskMaker
from jit.forms.unstored import with_less_stored
from jit.target import gpu
from jit.types import dtypes
from tests.jit.forms.small import program, tensor
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits

INT = dtypes["int64"]
SM90 = gpu("sm_90")
X = tensor(600, 16)


def steps_of(build, *types):
    """The steps of a program, before and after."""
    placement = Placement(program(build, *types))
    steps = fuse(TaskMaker(placement).tasks(), many=True)
    return steps, with_less_stored(steps, placement)


def left_by(steps):
    """The elements of all values that groups compute and others read."""
    home = {x: step for step in steps for task in tasks_of(step) for x in task.outputs}
    read = {
        (step, x)
        for step in steps
        for task in tasks_of(step)
        for x in (*task.reads(), *([] if isinstance(step, Group) else task.form.inputs))
    }
    left = {x for step, x in read if isinstance(home.get(x), Group) and home[x] is not step}
    return sum(int(np.prod(x.shape)) for x in left)


def read_twice(first):
    """A value of which rows are made in its own group, and columns in another one."""

    def build(form, *xs):
        h = first(form, *xs)
        rows = form.reduce("sum", form.pointwise("tanh", h), (1,))
        return rows, form.reduce("max", form.pointwise("exp", h), (0,))

    return build


def cheap(form, x):
    return form.pointwise("exp", x)


def biased(form, x, b):
    return form.pointwise("exp", form.pointwise("add", x, b))


def widened(form, x):
    return form.pointwise("exp", form.pointwise("astype", x, dtype=dtypes["float64"]))


def narrowed(form, x):
    return form.pointwise("astype", form.pointwise("exp", x), dtype=dtypes["bfloat16"])


def of_two(form, x, y):
    return form.pointwise("multiply", form.pointwise("exp", x), y)


def slow(form, x):
    """More than readers of rows compute again, and less than those of columns."""
    for _ in range(3):
        x = form.pointwise("sin", x)
    return x


def dear(form, x):
    return slow(form, slow(form, slow(form, x)))


def standard(form, x):
    """Of rows with mean 0 and root 1 another group needs two numbers a row."""
    mean = form.reduce("sum", x, (1,), keepdims=True)
    low = form.pointwise("subtract", x, form.broadcast(mean, x.shape))
    total = form.reduce("sum", form.pointwise("square", low), (1,), keepdims=True)
    return form.pointwise("divide", low, form.broadcast(form.pointwise("sqrt", total), x.shape))


NOT_STORED = [(cheap, X), (biased, X, tensor(16)), (widened, X), (standard, X), (slow, X)]


@pytest.mark.parametrize("given", NOT_STORED)
def test_what_is_not_stored(given):
    first, *types = given
    before, after = steps_of(read_twice(first), *types)
    assert left_by(before) >= 600 * 16
    assert left_by(after) < 600 * 16
    assert len(before) == len(after)


@pytest.mark.parametrize("given", [(of_two, X, X), (narrowed, X), (dear, X)])
def test_what_reads_more_or_takes_long_is_stored(given):
    first, *types = given
    before, after = steps_of(read_twice(first), *types)
    assert left_by(before) == left_by(after) >= 600 * 16


def test_what_nobody_reads_any_more_is_not_computed():
    """A map that only others wanted leaves its group; those after it find what it was made of."""

    def build(form, x):
        h = form.pointwise("exp", x)
        sums = [form.reduce(name, form.pointwise("tanh", h), (0,)) for name in ("sum", "max")]
        return (*sums, form.reduce("sum", h, (1,)))

    before, after = steps_of(build, X)
    words = [task.form for step in after for task in tasks_of(step)]
    assert len(words) <= sum(len(tasks_of(step)) for step in before)
    assert left_by(after) < 600 * 16


def tabled(form, t, x):
    one = form.constant(1, INT, t.shape)
    places = form.pointwise("add", form.pointwise("multiply", t, t), one)
    rows = form.view(x, (600, 8), lambda i, j: (form.load(places, i), j))
    return form.reduce("sum", places, (0,)), form.pointwise("exp", rows)


def result(form, x):
    h = form.pointwise("exp", x)
    return (h, *read_twice(lambda form, x: h)(form, x))


def multiplied(form, x):
    h = form.pointwise("exp", x)
    return (form.contract("mk,mn->kn", h, h), *read_twice(lambda form, x: h)(form, x))


@pytest.mark.parametrize(
    ("build", "types"),
    [(tabled, (tensor(600, dtype="int64"), tensor(9, 8))), (result, (X,)), (multiplied, (X,))],
)
def test_what_lies_in_memory_anyway_is_read(build, types):
    """Index tables, results, and what products multiply."""
    before, after = steps_of(build, *types)
    assert left_by(before) == left_by(after) > 0


@pytest.mark.parametrize("given", NOT_STORED)
def test_every_bit_is_the_same(given):
    first, *types = given
    made = Stages(graph_of(read_twice(first), types), SM90)
    rng = np.random.default_rng(7)
    arrays = [rng.uniform(-1, 1, x.shape).astype("f") for x in types]
    found, wanted = made.run("naive", arrays), made.run("native", arrays)
    assert list(map(bits, found)) == list(map(bits, wanted))
