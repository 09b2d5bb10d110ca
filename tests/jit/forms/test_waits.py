"""Waits: no circles, and an order in which every step comes after what it waits for."""

from __future__ import annotations

from random import Random

import pytest

from jit.forms.waits import FAR, Waits


def chain(length: int) -> Waits[int]:
    """Step k waits for step k - 1."""
    waits: Waits[int] = Waits()
    for step in range(length):
        waits.begin(step)
        waits.wait(step, [step - 1] if step else [])
    return waits


def test_a_step_does_not_wait_for_what_waits_for_it():
    waits = chain(4)
    assert not waits.may_wait(0, [3])
    assert not waits.may_wait(1, [1])
    assert waits.may_wait(3, [0])
    assert waits.may_wait(0, [])


def test_a_step_may_wait_for_one_that_began_later():
    waits = chain(3)
    waits.begin(7)
    assert waits.may_wait(0, [7])
    waits.wait(0, [7])
    assert list(waits.in_order()) == [7, 0, 1, 2]
    assert not waits.may_wait(7, [2])


def test_what_takes_long_to_find_out_is_refused():
    waits = chain(FAR + 2)
    waits.begin(-2)
    assert not waits.may_wait(0, [-2])


@pytest.mark.parametrize("seed", range(20))
def test_random_steps(seed):
    random, waits = Random(seed), Waits[int]()
    needs: dict[int, set[int]] = {}

    def reaches(step: int, goal: int) -> bool:
        return step == goal or any(reaches(other, goal) for other in needs[step])

    for step in range(30):
        waits.begin(step)
        needs[step] = set()
        for _ in range(4):
            a, b = random.randrange(step + 1), random.randrange(step + 1)
            assert waits.may_wait(a, [b]) == (not reaches(b, a))
            if waits.may_wait(a, [b]):
                waits.wait(a, [b])
                needs[a].add(b)
    order = list(waits.in_order())
    assert sorted(order) == list(range(30))
    assert all(order.index(b) < order.index(a) for a, others in needs.items() for b in others)
    assert all(set(waits.needs(step)) == others for step, others in needs.items())


def test_two_steps_as_one():
    waits = chain(4)  # 0 <- 1 <- 2 <- 3
    waits.begin(8)
    waits.wait(2, [8])
    waits.unite(1, 2)
    assert set(waits.needs(1)) == {0, 8}
    assert set(waits.needs(3)) == {1}
    assert not waits.may_wait(8, [3])
    order = list(waits.in_order())
    assert order.index(8) < order.index(1) < order.index(3)


def test_a_long_chain_needs_no_recursion():
    assert list(chain(20_000).in_order()) == list(range(20_000))
