"""Steps that overwrite an input wait for its readers, and for what may end a run."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from jit.loops.ir import INDEX, Buffer, Kernel, Var
from jit.loops.writer import Writer
from jit.ordering import needs, ordered
from jit.runtime.executable import Executable
from jit.runtime.memory import donors, timeline
from jit.runtime.program import GuardStep, HostStep, Launch
from jit.types import float32
from tests.jit.runtime.small import (
    add,
    add_number,
    address,
    count_up,
    executable,
    floats,
    plus,
    program,
    scalar,
)


def numbers(made, pairs):
    """The order in which the steps of a program come, by their positions before."""
    return [made.steps.index(step) for step in ordered(made, pairs)]


def two_sums():
    """y0 = x0 + 1, y1 = x1 + 1."""
    xs = [Buffer(f"x{k}", float32) for k in range(2)]
    ys = [Buffer(f"y{k}", float32, access="out") for k in range(2)]
    item, writer = Var(INDEX, "item"), Writer()
    for x, y in zip(xs, ys):
        value = writer.load(x, item)
        writer.store(y, item, writer.let("add", value, writer.number(1, value.type)))
    return Kernel("two_sums", (*xs, *ys), (), 8, item, tuple(writer.body))


def sums(*steps):
    """Launches (reads, written): sums of two slots, or a slot and one."""
    return [
        Launch(add(), (*reads, to)) if len(reads) == 2 else plus(1, *reads, to)
        for reads, to in steps
    ]


def test_without_pairs_nothing_moves():
    made = program([floats(8)] * 4, [0], sums(((0,), 1), ((0,), 2), ((1, 2), 3)), [1, 3])
    assert ordered(made, ()) is made.steps
    assert numbers(made, ()) == [0, 1, 2]


def test_an_update_waits_for_the_other_readers():
    made = program([floats(8)] * 4, [0], sums(((0,), 1), ((0,), 2), ((2,), 3)), [1, 3])
    assert numbers(made, [(0, 0)]) == [1, 0, 2]


def test_an_update_waits_for_guards_and_host_steps():
    guard = GuardStep(1, expected=True, index=0)
    host = HostStep(lambda arrays: [arrays[0]], (0,), (3,))
    slots = [floats(8), scalar("bool"), floats(8), floats(8)]
    made = program(slots, [0, 1], [*sums(((0,), 2)), guard, host], [2, 3])
    assert numbers(made, [(0, 0)]) == [1, 2, 0]


def test_what_needs_the_update_does_not_hold_it_up():
    """Step 1 reads the old and the new value: nothing can be given away, the order is kept."""
    made = program([floats(8)] * 4, [0], sums(((0,), 1), ((0, 1), 2), ((2,), 3)), [1, 3])
    assert numbers(made, [(0, 0)]) == [0, 1, 2]


def test_updates_that_wait_for_each_other():
    steps = sums(((0,), 2), ((1,), 3), ((0, 3), 4), ((1, 2), 5))
    made = program([floats(8)] * 6, [0, 1], steps, [2, 3, 4, 5])
    order = numbers(made, [(0, 0), (1, 1)])
    assert sorted(order) == [0, 1, 2, 3]
    assert order.index(0) < order.index(3)
    assert order.index(1) < order.index(2)


def test_guards_stay_in_their_order():
    guards = [GuardStep(1, expected=True, index=0), GuardStep(2, expected=True, index=1)]
    less = Launch(add_number(1), (0, 3))
    slots = [floats(8), scalar("bool"), scalar("bool"), floats(8)]
    made = program(slots, [0, 1, 2], [less, *guards], [3])
    assert numbers(made, [(0, 0)]) == [1, 2, 0]


def test_a_kernel_that_adds_to_its_result_waits_for_nobody():
    count = Launch(count_up(8), (1,))
    made = program([floats(8)] * 3, [0], [count, *sums(((1,), 2))], [2])
    assert numbers(made, [(0, 0)]) == [0, 1]


def test_one_step_that_overwrites_several():
    both = Launch(two_sums(), (0, 1, 2, 3), in_place=((0, 2), (1, 3)))
    slots = [floats(8)] * 6
    made = program(slots, [0, 1], [both, *sums(((0,), 4), ((1,), 5))], [2, 3, 4, 5])
    assert numbers(made, [(0, 0), (1, 1)]) == [1, 2, 0]


def called(name, *launches):
    """Launches that compute an op of this name."""
    return [replace(launch, made=((name, None),)) for launch in launches]


def test_short_updates_come_last_and_side_by_side():
    """Updates read what comes in between; step 4 is read, and step 5 alone of its kind."""
    gradients = sums(((0,), 1), ((1,), 2))
    update, other = called("update", *sums(((1,), 3), ((2,), 4))), called("other", plus(1, 2, 7))
    steps = [gradients[0], update[0], gradients[1], update[1], *called("update", plus(1, 0, 5))]
    steps += [*other, *sums(((5,), 6))]
    made = program([floats(8)] * 8, [0], steps, [3, 4, 6, 7])
    assert numbers(made, ()) == [0, 2, 4, 5, 6, 1, 3]


def test_long_updates_stay():
    long = [replace(x, cost=1.0) for x in called("update", *sums(((0,), 1), ((0,), 2)))]
    made = program([floats(8)] * 4, [0], [*long, *sums(((0,), 3))], [1, 2, 3])
    assert ordered(made, ()) is made.steps


@st.composite
def programs(draw):
    """Sums over three inputs; some results are offered the memory of an input."""
    steps, made = [], 3
    for _ in range(draw(st.integers(1, 12))):
        reads = draw(st.lists(st.integers(0, made - 1), min_size=1, max_size=2))
        steps.append((tuple(reads), made))
        made += 1
    outputs = draw(st.lists(st.integers(3, made - 1), min_size=1, max_size=4, unique=True))
    given = draw(st.permutations(range(3)))
    pairs = list(zip(given, range(len(outputs))))
    return steps, made, outputs, pairs


@given(programs())
def test_another_order_computes_the_same_and_gives_at_least_as_much(drawn):
    steps, count, outputs, pairs = drawn
    build = lambda: (  # noqa: E731
        ([floats(8)] * count, [0, 1, 2], called("sum", *sums(*steps)), outputs)
    )
    before = program(*build())
    after = program(*build())
    after.steps = ordered(after, pairs)
    assert len(after.steps) == len(before.steps)
    arrays = [np.arange(8, dtype=np.float32) * k for k in range(3)]
    wanted = executable(*build())(arrays)
    found = Executable(after, address)(arrays)
    assert [x.tobytes() for x in found] == [x.tobytes() for x in wanted]
    granted = [len(donors(p, pairs, timeline(p), -1)) for p in (before, after)]
    assert granted[1] >= granted[0]


def test_who_writes_what_another_has_begun_waits_for_it_and_for_its_readers():
    reads = [set(), {1}, {0, 1}, set(), {1}]
    writes = [{1}, {2}, {1}, {1}, {3}]
    assert list(needs(reads, writes)) == [set(), {0}, {0, 1}, {2}, {3}]
