"""Rows on a GPU, without one: passes over a row read it once, and give the bits of the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from jit import planner
from jit.codegen.llvm import emit
from jit.codegen.ptx import dynamic_bytes
from jit.loops import folds, gpu_rows
from jit.loops import gpu as gpu_schedules
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.ir import TEAM, WARP, Alloc, For, Let, Load, Store, walk
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.target import gpu
from jit.types import TensorType, float32, int64
from tests.gpu.workloads import WORKLOADS, softmax
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits

SM90 = gpu("sm_90")


def made_of(build, *shapes):
    return Stages(graph_of(build, [TensorType(shape, float32) for shape in shapes]), SM90)


def check(made, *shapes):
    """The interpreter gives what the machine code of this machine gives."""
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=shape).astype("f") for shape in shapes]
    found, wanted = made.run("direct", inputs), made.run("native", inputs)
    assert list(map(bits, found)) == list(map(bits, wanted))


def rooms(kernel, scope):
    found = [s.buffer for s in kernel.statements() if isinstance(s, Alloc)]
    return [x for x in found if x.size > WARP and x.scope == scope]


def touches(kernel, kind, name):
    found = [s for s in kernel.statements() if isinstance(s, kind) and s.buffer.name == name]
    return len(found)


def shifted(form, x):
    """What is stored and read again: x - max, and its softmax."""
    top = form.broadcast(form.reduce("max", x, (1,), keepdims=True), x.shape)
    low = form.pointwise("subtract", x, top)
    e = form.pointwise("exp", low)
    total = form.broadcast(form.reduce("sum", e, (1,), keepdims=True), x.shape)
    return low, form.pointwise("divide", e, total)


SLOW = pytest.mark.slow
CASES = [(build, width) for build in (softmax, shifted) for width in (10, 31, 33, 70, 290)]
FAST = [(shifted, 10), (softmax, 70), (shifted, 290)]


@pytest.mark.parametrize(
    ("build", "width"),
    [pytest.param(*x, marks=[SLOW] * (x not in FAST)) for x in CASES],
)
def test_rows_of_any_width(build, width):
    check(made_of(build, (2, width)), (2, width))


def test_a_row_is_read_once_and_its_room_is_filled_anew():
    (kernel,) = made_of(softmax, (640, 1024)).kernels
    (room,) = rooms(kernel, "stack")
    assert room.size == 1024
    assert touches(kernel, Load, "b0") == 1
    assert touches(kernel, Store, "b1") == 1
    made = scheduled(kernel, SM90)
    assert [x.size for x in rooms(made, "shared")] == [4 * 1024]  # of four rows
    assert made.threads == 128


def test_what_is_stored_is_not_read_back():
    (kernel,) = made_of(shifted, (640, 1024)).kernels
    assert [touches(kernel, Load, f"b{k}") for k in range(3)] == [1, 0, 0]


def test_what_all_rows_share_has_no_room():
    shapes = WORKLOADS["normed"].large
    (kernel,) = made_of(WORKLOADS["normed"].build, *shapes).kernels
    assert len(rooms(kernel, "stack")) == 1


def test_rows_that_do_not_fit_go_through_memory():
    kernels = made_of(softmax, (64, 1 << 16)).kernels
    assert not any(room.size == 1 << 16 for kernel in kernels for room in rooms(kernel, "stack"))


def test_few_elements_of_a_thread_stay_in_registers():
    (kernel,) = made_of(softmax, (640, 256)).kernels
    made = scheduled(kernel, SM90)
    assert not rooms(made, "shared")
    assert not rooms(made, "stack")


# ----- few rows: teams of warps -----


def losses(form, x, at):
    """Sums of what is looked up, and of how much of it counts; one of them is stored as well."""
    rows = x.shape[1]
    found = form.view(x, (rows,), lambda i: (form.load(at, i), i))
    counts = form.pointwise("greater", at, form.constant(0, at.dtype, at.shape))
    kept = form.pointwise("where", counts, found, form.constant(0.0, x.dtype, (rows,)))
    return kept, *[form.reduce("sum", y, (0,)) for y in (kept, form.pointwise("exp", found))]


def best(form, x):
    """Pairs, and what they are made of later."""
    tops = form.reduce("max", x, (1,), keepdims=True)
    low = form.pointwise("subtract", x, form.broadcast(tops, x.shape))
    return form.reduce("sum", low, (1,)), *form.reduce("logsumexp", (x, low), (1,))


def threads_of(made):
    return [scheduled(kernel, SM90).threads for kernel in made.kernels]


@pytest.fixture
def _of_two_warps(monkeypatch):
    """Teams from 64 elements on."""
    monkeypatch.setattr(gpu_schedules, "LONG", 64)
    monkeypatch.setattr(gpu_schedules, "EACH", 1)
    monkeypatch.setattr(planner, "_kernels", {})


@pytest.mark.usefixtures("_of_two_warps")
@pytest.mark.parametrize("size", [64, 100])
def test_a_team_gives_the_sums_of_a_warp(size):
    types = [TensorType((3, size), float32), TensorType((size,), int64)]
    made = Stages(graph_of(losses, types), SM90)
    assert threads_of(made) == [64]
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=(3, size)).astype("f"), rng.integers(0, 3, size)]
    found, wanted = made.run("direct", inputs), made.run("native", inputs)
    assert list(map(bits, found)) == list(map(bits, wanted))


@pytest.mark.slow
@pytest.mark.usefixtures("_of_two_warps")
def test_a_team_folds_pairs():
    made = made_of(best, (2, 67))
    check(made, (2, 67))
    assert threads_of(made) == [64]


def test_many_rows_have_a_warp_each():
    for rows, width, threads, items in [
        (4096, 1024, 128, 4),
        (64, 1024, 128, 1),
        (64, 4096, 512, 1),
    ]:
        (kernel,) = made_of(softmax, (rows, width)).kernels
        made = scheduled(kernel, SM90)
        assert (made.threads, made.items) == (threads, items)


# ----- long rows: a warp for each block -----


@pytest.fixture
def _of_short_blocks(monkeypatch):
    """Rows of more than 64 elements have several blocks."""
    for module in (folds, gpu_rows):
        monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(gpu_schedules, "WARPS", 2)
    monkeypatch.setattr(planner, "_kernels", {})


@pytest.mark.usefixtures("_of_short_blocks")
@pytest.mark.parametrize(
    ("build", "width"),
    [(shifted, 101), pytest.param(best, 192, marks=SLOW), pytest.param(softmax, 290, marks=SLOW)],
)
def test_warps_share_out_the_blocks_of_a_row(build, width):
    made = made_of(build, (2, width))
    assert threads_of(made) == [128]
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=(2, width)).astype("f")]
    found, wanted = made.run("direct", inputs), made.run("naive", inputs)
    assert list(map(bits, found)) == list(map(bits, wanted))


def weighted(form, x, weight):
    """What is left of a softmax of weighted rows, where its weighted sum is taken away."""
    rows = [form.broadcast(weight, x.shape)]

    def spread(combine, y):
        return form.broadcast(form.reduce(combine, y, (1,), keepdims=True), x.shape)

    scaled = form.pointwise("divide", x, spread("max", x))
    y = form.pointwise("multiply", scaled, *rows)
    e = form.pointwise("exp", form.pointwise("subtract", y, spread("max", y)))
    share = form.pointwise("divide", e, spread("sum", e))
    mean = spread("sum", form.pointwise("multiply", share, *rows))
    left = form.pointwise("subtract", share, mean)
    return scaled, share, form.pointwise("multiply", left, scaled)


@pytest.mark.usefixtures("_of_short_blocks")
@pytest.mark.parametrize("width", [128, 264])
def test_all_threads_fill_rooms_and_memory_where_one_room_is_all(width, monkeypatch):
    """What takes long is not left to the warps that fold; they go along longer rows in vectors."""
    monkeypatch.setattr(gpu_schedules, "most_shared", lambda target: gpu_rows.OTHERS + 4 * width)
    made = made_of(weighted, (2, width), (width,))
    (kernel,) = made.kernels
    assert [x.size for x in rooms(kernel, "stack")] == [width]
    teams = [s for s in kernel.statements() if isinstance(s, For) and s.var.hint.startswith(TEAM)]
    assert len(teams) == 4
    inside = [s.op for team in teams for s in walk(team.body) if isinstance(s, Let)]
    assert not {"exp", "divide"} & {*inside}
    made_of_vectors = [s for s in scheduled(kernel, SM90).statements() if isinstance(s, Store)]
    assert (max(s.value.type.lanes for s in made_of_vectors) == 4) == (width > WARP * 4)
    rng = np.random.default_rng(5)
    inputs = [rng.uniform(0.5, 2, shape).astype("f") for shape in [(2, width), (width,)]]
    found, wanted = made.run("direct", inputs), made.run("naive", inputs)
    assert list(map(bits, found)) == list(map(bits, wanted))


def test_a_long_row_has_a_room_that_the_launch_asks_for():
    (kernel,) = made_of(softmax, (640, 50304)).kernels
    made = expand(scheduled(kernel, SM90))
    assert made.threads == 2 * 13 * 32  # twice as many warps as blocks
    assert 4 * 50304 <= dynamic_bytes(made) <= 227 << 10
    assert "@room = external addrspace(3) global [0 x i8]" in emit(made, SM90)
    if linker() is not None:
        code = gpu_code(kernel, SM90)
        assert code.shared == dynamic_bytes(made)
        assert code.image.startswith(b"\x7fELF")


def test_small_machines_have_small_rooms():
    (kernel,) = Stages(made_of(softmax, (640, 30000)).given, gpu("sm_89")).kernels
    assert dynamic_bytes(expand(scheduled(kernel, gpu("sm_89")))) == 0


def test_rows_and_maps_leave_room_for_others():
    """So many blocks of 128 threads have the registers of a processor."""
    found = []
    for build, shapes in ((softmax, [(4096, 1024)]), (WORKLOADS["chain"].build, [(1 << 20,)])):
        (kernel,) = made_of(build, *shapes).kernels
        text = emit(expand(scheduled(kernel, SM90)), SM90)
        found += [count for count in (8, 12) if f'"nvvm.minctasm"="{count}"' in text]
    assert found == [8, 12]


def squares(form, x):
    return form.reduce("sum", form.pointwise("exp", x), (0,)), form.reduce("max", x, (0,))


def test_a_team_computes_what_is_folded_of_few_blocks(monkeypatch):
    """One thread a lane would compute 128 elements, one after the other."""
    (first, *_) = made_of(squares, (8192,)).plan.program.steps
    kernel = scheduled(first.kernel, SM90)
    assert (first.kernel.grid, kernel.threads) == (2, gpu_schedules.MOST_THREADS)
    assert len(rooms(kernel, "shared")) == 2
    monkeypatch.setattr(gpu_schedules, "MOST_THREADS", 64)
    made, inputs = made_of(squares, (5000,)), [np.sin(np.arange(5000, dtype="f"))]
    found, wanted = made.run("scheduled", inputs), made.run("native", inputs)
    assert list(map(bits, found)) == list(map(bits, wanted))


def test_many_blocks_have_a_warp_each():
    first, *_ = made_of(squares, (4096 * (gpu_schedules.FEW + 1),)).plan.program.steps
    assert not rooms(scheduled(first.kernel, SM90), "shared")
