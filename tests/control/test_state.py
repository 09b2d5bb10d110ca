"""What bodies change is changed in each step, also when the call has changed it before."""

from __future__ import annotations

import itertools

import pytest

import dualflow as df
from tests.modes import bits

X = df.asarray([0.5, -0.25, 1.0])


class Kept:
    """State in all the places where a body can leave something."""

    def __init__(self) -> None:
        self.variable = df.Variable(1.0, trainable=False)
        self.generator = df.random.Generator(3)

    def assigned(self):
        self.variable.assign(self.variable * 2 + 1)
        return self.variable.read_value()

    def drawn(self):
        return df.random.uniform((), generator=self.generator)

    def held(self):
        """The state of this call: in a cell, in a list, in an object."""
        total, items, other = X[0], [X[1]], Counter(X[2])

        def in_a_cell():
            nonlocal total
            total = total * 2 + 1
            return total

        def in_a_list():
            items[0] = items[0] * 2 + 1
            return items[0]

        def in_an_object():
            other.value = other.value * 2 + 1
            return other.value

        return {"cell": in_a_cell, "list": in_a_list, "object": in_an_object}

    def steps(self, place):
        """What changes the state that lies there, and gives a number that tells what it is."""
        named = {"variable": self.assigned, "generator": self.drawn}
        return named[place] if place in named else self.held()[place]


class Counter:
    def __init__(self, value):
        self.value = value


def in_scan(step):
    return df.scan(lambda c, x: (c + step(), c * x), df.zeros(()), X)


def in_blocks(step):
    return df.scan(lambda c, x: (c + step(), c * x), df.zeros(()), df.concat([X, X]), unroll=2)


def in_fori_loop(step):
    return df.fori_loop(0, 3, lambda i, c: c + step(), df.zeros(()))


def in_map(step):
    return df.map(lambda x: x * step(), X)


def in_while_loop(step):
    return df.while_loop(lambda c: c < 3.0, lambda c: c + 1 + step() * 0.125, df.zeros(()))


def in_a_condition(step):
    return df.while_loop(lambda c: c + step() * 0.125 < 3.0, lambda c: c + 1, df.zeros(()))


def in_a_branch(step):
    return df.cond(X[0] > 0, lambda: step() * 2, lambda: X[0])


def in_a_switch(step):
    return df.switch(df.asarray(1), [lambda: X[0], lambda: step() + step()])


def in_a_nest(step):
    return df.fori_loop(
        0, 2, lambda i, c: df.cond(i < 1, lambda: in_fori_loop(step) + c, lambda: c * step()), X[0]
    )


WAYS = (
    in_scan, in_blocks, in_fori_loop, in_map, in_while_loop, in_a_condition, in_a_branch,
    in_a_switch, in_a_nest,
)  # fmt: skip
PLACES = ("variable", "generator", "cell", "list", "object")


@pytest.mark.parametrize(("way", "place"), [*itertools.product(WAYS, PLACES)])
def test_bodies_change_state_that_was_changed_before(way, place):
    def calls(decorate):
        kept = Kept()

        def call(before):
            step = kept.steps(place)
            first = [step() for _ in range(before)]
            return first, way(step), step()

        f = decorate(call)
        found = [f(before) for before in (0, 1, 1, 2, 0)]
        state = [kept.variable, kept.generator.state]
        return [bits(x) for x in df.tree.flatten([found, state])[0]]

    assert calls(df.function) == calls(lambda f: f)
