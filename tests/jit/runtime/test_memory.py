"""Lifetimes of temporaries and their places in one block."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from jit.runtime.memory import ALIGNMENT, Heap, donors, layout, timeline
from jit.runtime.program import GuardStep, HostStep, Launch
from tests.jit.runtime.small import add, floats, plus, program, scalar


def placed(made, size=32, **changed):
    """The layout of all temporaries, `size` bytes each but for those in `changed`."""
    sizes = {slot: size for slot, each in enumerate(made.slots) if each.role == "temporary"}
    return layout(
        timeline(made), sizes | {int(slot[1:]): bytes_ for slot, bytes_ in changed.items()}
    )


def test_lives_end_with_the_last_use():
    steps = [plus(1, 0, 1), plus(1, 1, 2), Launch(add(), (1, 2, 3))]
    known = timeline(program([floats(8)] * 4, [0], steps, [3]))
    assert known.births == {1: 0, 2: 1, 3: 2}
    assert known.deaths == {0: 0, 1: 2, 2: 2, 3: 2}


def test_a_place_is_used_again_but_not_in_the_launch_that_frees_it():
    steps = [Launch(plus(1, 0, 1).kernel, (i, i + 1)) for i in range(4)]
    found = placed(program([floats(8)] * 5, [0], steps, [4]))
    assert found.offsets == {1: 0, 2: ALIGNMENT, 3: 0, 4: ALIGNMENT}
    assert found.size == 2 * ALIGNMENT


def test_in_place_needs_one_place():
    steps = [plus(1, i, i + 1) for i in range(4)]
    found = placed(program([floats(8)] * 5, [0], steps, [4]))
    assert set(found.offsets.values()) == {0}
    assert found.size == ALIGNMENT


def test_in_place_only_where_the_value_dies_and_fits():
    both = [plus(1, 0, 1), plus(1, 1, 2), Launch(add(), (1, 2, 3))]
    found = placed(program([floats(8)] * 4, [0], both, [3]))
    assert found.offsets[1] != found.offsets[2]
    grown = placed(program([floats(8)] * 3, [0], [plus(1, 0, 1), plus(1, 1, 2)], [2]), s2=4096)
    assert grown.offsets == {1: 0, 2: ALIGNMENT}


requests = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), max_size=60)


@given(requests)
def test_a_heap_never_gives_a_place_twice(asked):
    heap, held = Heap(), list[tuple[int, int, int]]()
    for now, (size, duration) in enumerate(asked):
        for start, length, end in [each for each in held if each[2] <= now]:
            heap.give(start, length)
            held.remove((start, length, end))
        start = heap.take(size * ALIGNMENT)
        for other, length, _ in held:
            assert start + size * ALIGNMENT <= other or other + length <= start
        held.append((start, size * ALIGNMENT, now + duration))
        assert start + size * ALIGNMENT <= heap.size
    for start, length, _ in held:
        heap.give(start, length)
    assert heap.by_size == ([(heap.size, 0)] if asked else [])


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 300)), min_size=1, max_size=40))
def test_values_that_live_together_do_not_overlap(asked):
    """Each step reads an earlier value, in place if it can, and writes a new one."""
    steps = [plus(1, source % (at + 1), at + 1) for at, (source, _) in enumerate(asked)]
    made = program([floats(8)] * (len(asked) + 1), [0], steps, [len(asked)])
    sizes = {at + 1: size for at, (_, size) in enumerate(asked)}
    known = timeline(made)
    found = layout(known, sizes)
    for a in sizes:
        for b in sizes:
            apart = (
                found.offsets[a] + sizes[a] <= found.offsets[b]
                or found.offsets[b] + sizes[b] <= found.offsets[a]
            )
            one_by_one = known.deaths[a] <= known.births[b] or known.deaths[b] <= known.births[a]
            assert a == b or apart or one_by_one
    assert all(offset % ALIGNMENT == 0 for offset in found.offsets.values())


def granted(steps, outputs, pairs=((0, 0),), slots=5):
    made = program([floats(8)] * slots + [scalar("bool")], [0, 1, 5], steps, outputs)
    return donors(made, pairs, timeline(made), may_fail(made))


def may_fail(made):
    return max([at for at, step in enumerate(made.steps) if not isinstance(step, Launch)] or [-1])


def test_an_input_is_given_where_the_order_of_the_steps_allows_it():
    assert granted([plus(1, 0, 2)], [2]) == {0: 0}
    assert granted([plus(1, 1, 2), plus(1, 0, 3)], [3]) == {0: 0}
    assert granted([plus(1, 0, 2), plus(1, 0, 3)], [2]) == {}  # read after it was overwritten
    assert granted([Launch(add(), (0, 1, 2))], [2]) == {}  # not in place
    assert granted([plus(1, 1, 2)], [2]) == {0: 0}  # never read
    assert granted([plus(1, 0, 2)], [2, 0]) == {}  # it is an output itself
    assert granted([plus(1, 0, 2)], [2, 2], [(0, 1)]) == {}  # the output is there already
    assert granted([plus(1, 0, 2), plus(1, 1, 3)], [2, 3], [(0, 0), (1, 1)]) == {0: 0, 1: 1}
    assert granted([plus(1, 1, 2), plus(1, 1, 3)], [2, 3], [(0, 0), (0, 1)]) == {0: 0}


def test_nothing_is_given_before_a_step_that_may_end_the_run():
    guard = GuardStep(5, expected=True, index=0)
    host = HostStep(lambda arrays: arrays, (1,), (3,))
    assert granted([guard, plus(1, 0, 2)], [2]) == {0: 0}
    assert granted([plus(1, 0, 2), guard], [2]) == {}
    assert granted([plus(1, 0, 2), host], [2]) == {}


def test_sizes_are_at_least_one_line():
    found = placed(program([floats(0)] * 2, [0], [plus(1, 0, 1)], [1]), size=0)
    assert found.size == ALIGNMENT
    assert math.prod(found.offsets.values()) == 0
