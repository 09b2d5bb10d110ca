"""Launches that are merged: the same bits, fewer launches, memory that is still given away."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from dualflow.core import doors
from jit import merging, planner
from jit.config import configure
from jit.errors import KernelError
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Choose, Kernel, Var, index
from jit.loops.together import Part, together
from jit.loops.touched import touched
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.merging import merged
from jit.runtime.cpu import host_target
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import content_key, gpu_code
from jit.runtime.memory import donors, timeline
from jit.runtime.program import HostStep, Launch
from jit.target import gpu
from jit.types import float32
from tests.jit.random_graphs import RandomProgram
from tests.jit.runtime.small import add, add_number, floats, plus, pointwise, positive, program
from tests.jit.stages import Stages, bits, run_program
from tests.ops import laws

SM90 = gpu("sm_90")
F = df.nn.functional
needs_linker = pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def sums(*steps):
    """Launches (reads, written): sums of two slots, or a slot and one."""
    return [
        Launch(add(), (*reads, to), label="add") if len(reads) == 2 else plus(1, *reads, to)
        for reads, to in steps
    ]


def steps_of(made, donate=(), target=SM90):
    """What the launches of a merged program write, in order."""
    return [sorted(made.writes(step)) for step in merged(made, donate, target)]


def of_rows(count, *steps, outputs):
    return program([floats(8)] * count, [0], sums(*steps), outputs)


# ----- what becomes one -----


def test_launches_that_need_nothing_of_each_other_become_one():
    made = of_rows(6, ((0,), 1), ((1,), 2), ((0,), 3), ((3, 2), 4), ((0, 0), 5), outputs=[4, 5])
    assert steps_of(made) == [[1, 3, 5], [2], [4]]


def test_what_nobody_waits_for_joins_the_longest_way():
    chain = [((k,), k + 1) for k in range(4)]
    made = of_rows(8, ((0,), 5), *chain, ((5, 5), 6), ((5,), 7), outputs=[4, 6, 7])
    assert steps_of(made) == [[1, 5], [2, 6, 7], [3], [4]]


def test_what_keeps_little_memory_runs_long_before_its_turn(monkeypatch):
    """Slot 4 is ready at once; the large launches before it wait for nothing."""
    made = of_rows(6, ((0,), 1), ((1, 1), 2), ((2, 2), 3), ((0,), 4), ((3, 4), 5), outputs=[5])
    monkeypatch.setattr(merging, "WAITING", 0)
    assert steps_of(made) == [[1, 4], [2], [3], [5]]
    monkeypatch.setattr(merging, "EARLY", 31)
    assert steps_of(made) == [[1], [2], [3], [4], [5]]


def test_few_launches_are_left_alone():
    made = of_rows(3, ((0,), 1), ((0,), 2), outputs=[1, 2])
    assert merged(made, (), SM90) is made.steps


def test_it_can_be_left_out():
    made = of_rows(4, ((0,), 1), ((0,), 2), ((0,), 3), outputs=[1, 2, 3])
    with configure(passes_off=frozenset({merging.NAME})):
        assert merged(made, (), SM90) is made.steps
    assert steps_of(made) == [[1, 2, 3]]


def test_large_launches_stay_where_they_are(monkeypatch):
    made = of_rows(5, ((0,), 1), ((0,), 2), ((1, 2), 3), ((0,), 4), outputs=[3, 4])
    monkeypatch.setattr(merging, "EARLY", 0)
    monkeypatch.setattr(merging, "LARGE", 64)
    assert steps_of(made) == [[1, 2], [3], [4]]
    monkeypatch.setattr(merging, "LARGE", 63)
    assert steps_of(made) == [[1], [2], [3], [4]]


def test_launches_that_hold_much_do_not_wait(monkeypatch):
    """The sum of slot 1 would keep it up to the end, where slot 4 is ready, too."""
    steps = ((0,), 1), ((1, 1), 2), ((0,), 3), ((3,), 4), ((4, 4), 5), ((0, 0), 6)
    made = of_rows(7, *steps, outputs=[2, 5, 6])
    monkeypatch.setattr(merging, "EARLY", 0)
    assert [2, 4] in steps_of(made)
    monkeypatch.setattr(merging, "WAITING", 31)
    assert [2, 4] not in steps_of(made)
    monkeypatch.setattr(merging, "WAITING", 32)
    monkeypatch.setattr(merging, "HELD", 31)
    assert [2, 4] not in steps_of(made)


def test_parameters_of_a_launch_are_limited(monkeypatch):
    made = of_rows(6, *[((0,), k) for k in range(1, 6)], outputs=range(1, 6))
    monkeypatch.setattr(merging, "WORDS", 4)
    assert steps_of(made) == [[1, 2], [3, 4], [5]]


def test_checks_and_python_stay_in_order_and_alone():
    host = HostStep(lambda arrays: [arrays[0]], (0,), (3,))
    check = Launch(positive(), (0, 2))
    steps = [*sums(((0,), 1)), check, host, *sums(((0,), 4), ((2, 2), 5))]
    made = program([floats(8)] * 6, [0], steps, [1, 2, 3, 4, 5])
    assert steps_of(made) == [[2], [3], [1, 4, 5]]


def test_a_check_that_nobody_waits_for_is_put_off():
    steps = [Launch(positive(), (0, 2)), *sums(((0,), 1), ((1, 1), 4), ((1,), 3))]
    made = program([floats(8)] * 5, [0], steps, [1, 2, 3, 4])
    assert steps_of(made) == [[1, 2], [3, 4]]
    assert [2] in steps_of(made, donate=[(0, 0)])
    kernel = merged(made, (), SM90)[0].kernel
    for x in (np.ones(8, np.float32), -np.ones(8, np.float32)):
        arrays = [x if buffer.access == "in" else np.zeros_like(x) for buffer in kernel.buffers]
        assert interpret(kernel, arrays, []) == (x[0] > 0)


def test_a_gather_touches_few_of_many(monkeypatch):
    """Its launch is as small as what it reads of a large table."""

    def taken(count):
        w, item = Writer(), Var(INDEX, "item")
        at, x = Buffer("at", INDEX.dtype), Buffer("x", float32)
        y, z = Buffer("y", float32, access="out"), Buffer("z", float32, access="out")
        with w.loop(index(0), index(3)) as k, w.when(w.let("less", k, index(2))):
            w.store(y, item, w.load(x, w.load(at, w.let("add", item, k)), 4))
        with w.loop(index(0), w.load(at, item)) as k:
            w.store(z, k, w.load(x, item))
        return Kernel("k", (at, x, y, z), (), count, item, tuple(w.body))

    kernel = taken(5)
    found = [touched(kernel)[x] for x in kernel.buffers]
    assert found == [5 * 3 + 5, math.inf, 5 * 3 * 4, math.inf]
    table = program([floats(8), floats(1 << 20), floats(8), floats(8)], [0, 1], [], [2, 3])
    table.steps = [Launch(pointwise(2, lambda w, a, b: a), (0, 1, k)) for k in (2, 3)] + [
        Launch(add(), (2, 3, 2))
    ]
    monkeypatch.setattr(merging, "LARGE", 96)
    monkeypatch.setattr(merging, "SMALL", 0)
    assert steps_of(table)[0] == [2, 3]
    monkeypatch.setattr(merging, "LARGE", 95)
    assert steps_of(table)[0] == [2]


# ----- memory -----


def test_memory_that_others_read_is_not_taken_over():
    """Slot 2 would take the memory of slot 1, which another launch reads at that time."""
    first, second, third = sums(((0,), 1), ((1,), 2), ((1, 1), 3))
    second.in_place = ((1, 2),)
    made = program([floats(8)] * 4, [0], [first, second, third], [2, 3])
    assert merged(made, (), SM90)[1].in_place == ()
    third.buffers = (0, 0, 3)
    assert merged(made, (), SM90)[1].in_place == ((1, 2),)


def test_an_update_waits_for_the_other_readers():
    """Slot 1 takes the memory of the input: who reads that comes before."""
    update, *others = sums(((0,), 1), ((0, 0), 2), ((2,), 3))
    update.in_place = ((0, 1),)
    made = program([floats(8)] * 4, [0], [others[0], update, others[1]], [1, 3])
    assert steps_of(made) == [[1, 2], [3]]
    assert steps_of(made, [(0, 0)]) == [[2], [1, 3]]
    made.steps = [*merged(made, [(0, 0)], SM90)]
    assert donors(made, [(0, 0)], timeline(made), -1) == {0: 0}


# ----- the same bits -----


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=12)


@settings(max_examples=25)
@given(STEPS, st.sampled_from([31, 100, 1 << 25]))
def test_any_order_gives_the_same(drawn, held):
    steps = []
    for at, (a, b, one) in enumerate(drawn, 1):
        reads = (a % at,) if one else (a % at, b % at)
        steps.append((reads, at))
    made = of_rows(len(steps) + 1, *steps, outputs=range(len(steps) + 1))
    x = np.arange(8, dtype=np.float32)
    wanted = run_program(made, [x], interpret)
    before, merging.HELD = merging.HELD, held
    try:
        for target in (SM90, host_target()):
            made.steps = sums(*steps)
            made.steps = [*merged(made, [(0, 0)], target)]
            for ours, theirs in zip(run_program(made, [x], interpret), wanted, strict=True):
                assert bits(ours) == bits(theirs)
    finally:
        merging.HELD = before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "start", [0, *[pytest.param(k, marks=pytest.mark.slow) for k in range(4, 80, 4)]]
)
def test_random_programs_give_the_same_bits(start):
    """As machine code of this machine."""
    for seed in range(start, start + 4):
        made = RandomProgram(seed)
        arrays = [df.asarray(x) for x in made.arrays]
        call = laws.recorded(made, arrays)
        stages = Stages(call.graph)
        wanted = stages.run("machine", call.inputs)
        stages.plan.program.steps = [*merged(stages.plan.program, (), stages.target)]
        found = stages.run("machine", call.inputs)
        assert list(map(bits, found)) == list(map(bits, wanted)), seed


def net(x, w, b, v):
    """The gradients of a small net, and an update of its weights."""
    with df.GradientTape() as tape:
        tape.watch([w, b, v])
        loss = (F.relu(x @ w + b) @ v).sum()
    grads = tape.gradient(loss, [w, b, v])
    return [p - 0.1 * g for p, g in zip((w, b, v), grads)]


def small_net():
    """It, as a graph, and its arguments."""
    rng = np.random.default_rng(0)
    shapes = (2, 3), (3, 4), (4,), (4, 2)
    arrays = [df.asarray(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    return laws.recorded(net, arrays)


def test_threads_of_a_gpu_give_the_same_bits():
    """Products, whose threads wait for each other, and others beside them; races are refused."""
    call = small_net()
    stages = Stages(call.graph, SM90)
    wanted = stages.run("direct", call.inputs)
    before = len(stages.plan.program.steps)
    stages.plan.program.steps = [*merged(stages.plan.program, (), SM90)]
    assert len(stages.plan.program.steps) < before
    kernels = [kernel for kernel in stages.kernels if kernel.parts]
    assert any(kernel.threads > 32 and kernel.parts > 1 for kernel in kernels)
    assert list(map(bits, stages.run("direct", call.inputs))) == list(map(bits, wanted))


@needs_linker
def test_they_become_machine_code_of_a_gpu():
    stages = Stages(small_net().graph, SM90)
    for step in merged(stages.plan.program, (), SM90):
        verify(scheduled(step.kernel, SM90))
        code = gpu_code(step.kernel, SM90)
        assert code.image.startswith(b"\x7fELF")
        if step.kernel.parts:
            assert code.blocks([0] * len(code.sizes)) == (step.kernel.grid, 1, 1)


def test_their_code_is_found_again(monkeypatch):
    """The same program has the same kernels, whoever plans it."""
    keys = []
    for _ in range(2):
        monkeypatch.setattr(planner, "_kernels", {})
        program = Stages(small_net().graph, SM90).plan.program
        steps = merged(program, (), SM90)
        keys.append([content_key(step.kernel, SM90) for step in steps])
    assert keys[0] == keys[1]


# ----- kernels -----


def test_sizes_belong_to_launches():
    """Two launches of one kernel, which adds a size to each element."""
    w, item, n = Writer(), Var(INDEX, "item"), Var(INDEX, "n")
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    number = w.let("astype", n, dtype=float32)
    w.store(y, item, w.let("add", w.load(x, item), number))
    kernel = Kernel("shift", (x, y), (n,), 3, item, tuple(w.body))
    both = together("both", [Part(add_number(1.0)), Part(kernel, 2)])
    verify(both)
    rooms = [np.arange(8, dtype=np.float32), np.zeros(8, np.float32)]
    rooms += [np.arange(3, dtype=np.float32) * k for k in (1, 10)]
    rooms += [np.zeros(3, np.float32) for _ in range(2)]
    interpret(both, rooms, [100, 200])
    assert rooms[1].tolist() == [*range(1, 9)]
    assert [rooms[4].tolist(), rooms[5].tolist()] == [[100, 101, 102], [200, 210, 220]]


def test_the_text_of_a_kernel(golden):
    golden("kernels/together", str(together("both", [Part(add_number(1.0), 2), Part(add())])))


def checked(kernel, rooms):
    """Verified and run."""
    verify(kernel)
    interpret(kernel, rooms)


@pytest.mark.parametrize(
    ("among", "at", "said"),
    [
        ([0, 2], 0, "no parameters in a row"),
        ([], 0, "no parameters in a row"),
        ([2, 3], 0, "unlike those parameters"),
        ([0, 1], 2, "chooses number 2 of 2"),
    ],
)
def test_choices_that_are_none(among, at, said):
    every = [Buffer(f"x{k}", float32, access="in" if k < 2 else "out") for k in range(4)]
    x, item, w = Buffer("x", float32), Var(INDEX, "item"), Writer()
    w.body.append(Choose(x, tuple([every[k] for k in among]), index(at)))
    w.store(every[2], item, w.load(x, item))
    kernel = Kernel("k", tuple(every), (), 1, item, tuple(w.body))
    with pytest.raises(KernelError, match=said):
        checked(kernel, [np.zeros(1, np.float32) for _ in every])
