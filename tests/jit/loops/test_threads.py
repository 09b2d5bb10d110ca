"""Kernels whose items several threads run together: what they mean, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from jit.errors import KernelError, ScheduleError
from jit.loops.gpu import packed
from jit.loops.interpret import interpret
from jit.loops.ir import (
    INDEX,
    WARP,
    Buffer,
    Exchange,
    For,
    Kernel,
    Sync,
    Var,
    VType,
    index,
    walk,
)
from jit.loops.schedule import unrolled
from jit.loops.spread import spread
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import float32

X, Y = Buffer("x", float32), Buffer("y", float32, access="out")
Z = Buffer("z", float32, access="inout")


def kernel_of(build, threads=WARP, grid=1):
    w, item, thread = Writer(), Var(INDEX, "item"), Var(INDEX, "thread")
    build(w, item, thread)
    made = Kernel("k", (X, Y, Z), (), grid, item, tuple(w.body), threads, thread)
    verify(made)
    return made


def run(kernel, size=64):
    x, y, z = np.arange(size, dtype="f"), np.full(size, -1, "f"), np.zeros(size, "f")
    assert interpret(kernel, [x, y, z])
    return y.tolist()


def through_shared(w, item, thread, *, wait=True):
    """Each thread takes what its neighbour has stored."""
    room = w.alloc("room", float32, WARP, "shared")
    w.store(room, thread, w.load(X, thread))
    if wait:
        w.body.append(Sync(WARP))
    other = w.let("rest", w.let("add", thread, index(1)), index(WARP))
    w.store(Y, thread, w.load(room, other))


def test_threads_wait_for_each_other():
    assert run(kernel_of(through_shared))[:WARP] == [*range(1, WARP), 0]


def test_a_race_is_refused():
    kernel = kernel_of(lambda *given: through_shared(*given, wait=False))
    with pytest.raises(KernelError, match=r"`.*` (races with thread|reads an element)"):
        run(kernel)


def test_a_race_in_memory_is_refused():
    def build(w, item, thread):
        w.store(Z, thread, w.number(1, VType(float32)))
        w.store(Y, thread, w.load(Z, index(0)))

    with pytest.raises(KernelError, match="races with thread 0 for element 0"):
        run(kernel_of(build))


def test_all_threads_must_come():
    def build(w, item, thread):
        with w.when(w.let("less", thread, index(3))):
            w.body.append(Sync(WARP))

    with pytest.raises(KernelError, match="`sync 32` is not reached by all threads"):
        run(kernel_of(build))


def test_exchange():
    def build(w, item, thread):
        var = Var(VType(float32))
        w.body.append(Exchange(var, w.load(X, thread), w.let("add", thread, index(3))))
        w.store(Y, thread, var)

    assert run(kernel_of(build, 2 * WARP)) == [
        *range(3, WARP),
        0,
        1,
        2,
        *range(WARP + 3, 2 * WARP),
        WARP,
        WARP + 1,
        WARP + 2,
    ]


@pytest.mark.parametrize(
    ("build", "threads", "said"),
    [
        (lambda w, item, thread: w.body.append(Sync(48)), 64, "48 of 64 threads wait"),
        (lambda w, item, thread: w.body.append(Sync(16)), 32, "16 of 32 threads wait"),
        (
            lambda w, item, thread: w.body.append(Exchange(Var(INDEX), thread, index(0))),
            16,
            "there are 16 threads",
        ),
    ],
)
def test_the_verifier_complains(build, threads, said):
    with pytest.raises(KernelError, match=said):
        kernel_of(build, threads)


# ----- schedules -----


def naive(build, grid=3):
    w, item = Writer(), Var(INDEX, "item")
    build(w, item)
    return Kernel("k", (X, Y, Z), (), grid, item, tuple(w.body))


def sum_by_halving(w, item):
    """The sum of 40 elements, in 32 parts that meet by halving."""
    room = w.alloc("room", float32, WARP)
    with w.loop(index(0), index(WARP), hint="lane") as t:
        w.store(room, t, w.load(X, t))
    with w.loop(index(0), index(8), hint="lane2") as t:
        x = w.load(X, w.let("add", t, index(WARP)))
        w.store(room, t, w.let("add", w.load(room, t), x))
    count = WARP
    while count > 1:
        count //= 2
        with w.loop(index(0), index(count), hint=f"lane_{count}") as t:
            other = w.load(room, w.let("add", t, index(count)))
            w.store(room, t, w.let("add", w.load(room, t), other))
    w.store(Y, item, w.load(room, index(0)))


def neighbours_of_neighbours(w, item):
    """Every element is read by other threads, in several turns: it lies in shared memory."""
    room = w.alloc("room", float32, 100, "stack")
    with w.loop(index(0), index(100), hint="lane") as t:
        w.store(room, t, w.load(X, t))
    with w.loop(index(0), index(20), hint="lane2") as t:
        at = w.let("multiply", w.let("add", item, index(1)), index(20))
        mirrored = w.let("subtract", index(99), t)
        w.store(Y, w.let("add", at, t), w.load(room, mirrored))


@pytest.mark.parametrize("build", [sum_by_halving, neighbours_of_neighbours])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_warps_compute_what_loops_say(build, count):
    before = naive(build)
    after = packed(spread(before), count)
    verify(after)
    assert after.threads == count * WARP
    assert run(after, 128) == run(before, 128)


def test_warps_wait_once_before_a_loop_over_what_was_stored():
    """Not in each turn, of which there may be hundreds."""

    def build(w, item):
        room, total = w.alloc("room", float32, 512, "stack"), w.alloc("total", float32, WARP)
        with w.loop(index(0), index(512), hint="lane") as t:
            w.store(room, t, w.load(X, t))
        with w.loop(index(0), index(WARP), hint="lane1") as t:
            w.store(total, t, w.number(0, VType(float32)))
        chunks = w.loop(index(0), index(512), WARP, hint="chunk")
        with chunks as first, w.loop(index(0), index(WARP), hint="lane2") as t:
            x = w.load(room, w.let("add", first, t))
            w.store(total, t, w.let("add", w.load(total, t), x))
        with w.loop(index(0), index(WARP), hint="lane3") as t:
            w.store(Y, t, w.load(total, t))

    before = naive(build)
    after = spread(before, 4 * WARP)
    verify(after)
    loops = [s for s in after.statements() if isinstance(s, For)]
    assert not any(isinstance(s, Sync) for loop in loops for s in walk(loop.body))
    assert sum(isinstance(s, Sync) for s in after.statements()) == 1
    assert run(after, 512) == run(before, 512)


@pytest.mark.parametrize("count", [2, 128])
def test_items_side_by_side(count):
    def build(w, item):
        w.store(Y, item, w.load(X, item))

    before = naive(build, grid=5)
    assert run(packed(before, count)) == run(before)


def test_turns_that_need_each_other_are_refused():
    def build(w, item):
        with w.loop(index(1), index(40), hint="lane") as t:
            w.store(Z, t, w.load(Z, w.let("subtract", t, index(1))))

    with pytest.raises(ScheduleError, match="one turn may need what another one stores in z"):
        spread(naive(build))


@pytest.mark.parametrize("bounds", [(0, 12), (0, 13), (3, 30), (9, 2), (5, 5)])
@pytest.mark.parametrize("step", [1, 3])
def test_several_turns_of_a_loop_at_once(bounds, step):
    """The number of turns is known only when the kernel runs, or before."""
    start, stop = Var(INDEX, "start"), Var(INDEX, "stop")

    def build(ends):
        w, item = Writer(), Var(INDEX, "item")
        with w.loop(*ends, step, hint="k") as k:
            w.store(Y, k, w.load(X, k))
        return Kernel("k", (X, Y), (start, stop), 1, item, tuple(w.body))

    found = []
    for kernel in (build((start, stop)), build(tuple(map(index, bounds)))):
        for factor in (1, 4):
            made = unrolled(kernel, lambda loop, trip, n=factor: n if not (trip or 0) % n else 1)
            verify(made)
            y = np.full(40, -1, "f")
            interpret(made, [np.arange(40, dtype="f"), y], bounds)
            found.append(y.tolist())
    assert all(each == found[0] for each in found)
