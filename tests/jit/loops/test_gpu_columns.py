"""Columns on a GPU: what is folded over rows, computed by many threads or by those that fold."""

from __future__ import annotations

import numpy as np
import pytest

from jit import planner
from jit.forms import cuts
from jit.loops import gpu as schedules
from jit.loops import gpu_columns, parts
from jit.loops.heuristics import scheduled
from jit.loops.ir import WARP, For, Store
from jit.target import gpu
from jit.types import TensorType, float32
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits

SM90 = gpu("sm_90")
BLOCK = 8  # rows that are folded one after the other, instead of 256


def shares(form, x, y):
    """For each column the sums of rows that are scaled to one, and their largest products."""
    total = form.broadcast(form.reduce("sum", x, (1,), keepdims=True), x.shape)
    share = form.pointwise("divide", form.pointwise("exp", x), total)
    product = form.pointwise("multiply", share, y)
    return form.reduce("sum", share, (0,)), form.reduce("max", product, (0,))


def kept(form, x, y):
    """The same, where somebody needs the rows as well."""
    total = form.broadcast(form.reduce("sum", x, (1,), keepdims=True), x.shape)
    share = form.pointwise("divide", form.pointwise("exp", x), total)
    return share, form.reduce("sum", form.pointwise("multiply", share, y), (0,))


def cubes(form, x, y):
    """Over two leading axes, with two that stay."""
    made = form.pointwise("exp", form.pointwise("divide", x, y))
    return form.reduce("sum", made, (0, 1))


@pytest.fixture
def _of_short_blocks(monkeypatch):
    """Columns of more than 8 rows have several blocks, of which 4 rows are computed together."""
    for module in (cuts, parts, gpu_columns):
        monkeypatch.setattr(module, "COLUMN_BLOCK", BLOCK)
    monkeypatch.setattr(gpu_columns, "HIGH", 4)
    monkeypatch.setattr(gpu_columns, "LOW", 4)
    monkeypatch.setattr(planner, "_kernels", {})


def made_of(build, *shapes):
    return Stages(graph_of(build, [TensorType(shape, float32) for shape in shapes]), SM90)


def arrays(*shapes):
    rng = np.random.default_rng(3)
    return [rng.uniform(0.5, 2, shape).astype("f") for shape in shapes]


def columns_of(made):
    """The kernels that a team computes."""
    return [k for k in made.kernels if any(x.var.hint.startswith("rows") for x in loops(k))]


def loops(kernel):
    return [s for s in kernel.statements() if isinstance(s, For)]


CASES = [
    (shares, (16, 32)),  # whole blocks, one warp across
    (shares, (21, 40)),  # neither
    (shares, (20, 130)),  # more than a thread's columns
    (cubes, (3, 7, 2, 18)),
]


@pytest.mark.usefixtures("_of_short_blocks")
@pytest.mark.parametrize(("build", "shape"), CASES)
def test_a_team_gives_the_folds_of_single_threads(build, shape, monkeypatch):
    given = arrays(shape, shape)
    made = made_of(build, shape, shape)
    assert columns_of(made)
    found = {stage: made.run(stage, given) for stage in ("naive", "scheduled", "direct")}
    monkeypatch.setattr(gpu_columns, "CHEAP", 1000)
    monkeypatch.setattr(planner, "_kernels", {})
    other = made_of(build, shape, shape)
    assert not columns_of(other)
    wanted = list(map(bits, other.run("naive", given)))
    for results in found.values():
        assert list(map(bits, results)) == wanted


def test_blocks_of_rows_are_those_of_processors():
    shape = (600, 33)
    given = arrays(shape, shape)
    made = made_of(shares, shape, shape)
    assert columns_of(made)
    found, wanted = made.run("naive", given), made.run("native", given)
    assert list(map(bits, found)) == list(map(bits, wanted))


def stored(made):
    """The elements of what kernels store."""
    slots = made.plan.program.slots
    sizes = []
    for launch in made.plan.program.launches():
        written = {s.buffer for s in launch.kernel.statements() if isinstance(s, Store)}
        for buffer, slot in zip(launch.kernel.buffers, launch.buffers):
            if buffer in written:
                sizes.append(int(np.prod(slots[slot].type.shape)))
    return sizes


def test_rows_are_not_stored_for_columns_alone():
    shape = 1024, 64
    sizes = stored(made_of(shares, shape, shape))
    assert max(sizes) < 1024 * 64
    assert 1024 in sizes  # the sums of the rows
    assert 1024 * 64 in stored(made_of(kept, shape, shape))


def test_what_would_be_read_in_their_place_is_no_more():
    """A map of two large values, whose sums are all that is needed, costs a load less as it is."""

    def build(form, x, y):
        rows = form.broadcast(form.reduce("sum", y, (1,), keepdims=True), x.shape)
        made = form.pointwise("divide", form.pointwise("multiply", x, y), rows)
        top = form.reduce("max", made, (1,))
        return top, form.reduce("sum", made, (0,))

    shape = 1024, 64
    assert 1024 * 64 in stored(made_of(build, shape, shape))


@pytest.mark.parametrize("rows", [1 << 12, 1 << 16])
def test_threads_of_a_team_have_a_few_rows_each(rows):
    shape = rows, 1024
    (kernel,) = columns_of(made_of(shares, shape, shape))
    made = scheduled(kernel, SM90)
    few = kernel.grid <= schedules.FEW
    assert made.threads == (gpu_columns.HIGH if few else gpu_columns.LOW) * WARP // schedules.TURNS


def test_cheap_elements_are_left_to_the_threads_that_fold_them():
    def build(form, x):
        return form.reduce("sum", form.pointwise("multiply", x, x), (0,))

    assert not columns_of(made_of(build, (1024, 64)))
