"""Keys of dicts that are passed: what code reads of them is what they hold at each call."""

from __future__ import annotations

import dataclasses
import enum
import warnings

import pytest

import dualflow as df
from tests.modes import if_graphs

SCALES = (1.0, 2.0, 3.0, 3.0, 2.0, 5.0)


class Named:
    """Equals what has its name, whatever else it holds."""

    def __init__(self, name, scale=1.0):
        self.name, self.scale = name, scale

    def __eq__(self, other):
        return isinstance(other, Named) and self.name == other.name

    def __hash__(self):
        return hash(self.name)


class Plain:
    def __init__(self, scale=1.0):
        self.scale = scale


class Kind(Plain):
    pass


class Level(enum.Enum):
    LOW = 1


class Count(int):
    pass


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    scale: float = dataclasses.field(compare=False, default=1.0)


def function():
    pass


def changing(thing):
    """One key that is set anew before each call."""
    for scale in SCALES:
        thing.scale = scale
        yield thing


@pytest.mark.parametrize(
    "keys",
    [
        lambda: changing(Named("a")),
        lambda: changing(Plain()),
        lambda: changing(Kind),
        lambda: changing(Level.LOW),
        lambda: changing(function),
        lambda: changing(Count(3)),
        lambda: (Named("a", scale) for scale in SCALES),
        lambda: (Plain(scale) for scale in SCALES),
        lambda: (Part("a", scale) for scale in SCALES),
    ],
    ids="equal identical class enum function number others new dataclass".split(),
)
@pytest.mark.parametrize("inside", [False, True], ids=["itself", "in a tuple"])
def test_what_keys_hold_is_read_at_each_call(keys, inside):
    @df.function
    def scaled(table, x):
        for key, y in table.items():
            label = key[1][0] if inside else key
            x = x * label.scale + y
        return x

    for key, scale in zip(keys(), SCALES, strict=True):
        table = {("part", (key,)) if inside else key: df.ones(2)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # new objects are new kinds of calls
            assert scaled(table, df.ones(2)).tolist() == [scale + 1.0] * 2


def test_calls_with_keys_that_stay_come_from_the_graph():
    @df.function(strict=True)
    def total(table, x):
        return sum((x * key.scale + y for key, y in table.items()), x)

    table = {Named("a", 2.0): df.ones(2), Level.LOW: df.zeros(2)}
    Level.LOW.scale = 0.5
    for _ in range(4):
        assert total(table, df.ones(2)).tolist() == [4.5] * 2
    assert total.from_graph == if_graphs(3)


def test_what_a_call_sets_on_a_key_is_set_at_each_call():
    @df.function
    def marks(table, x):
        for key in table:
            key.seen = x * 2.0
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for scale in SCALES:
            key = Named("a")
            marks({key: df.ones(1)}, df.asarray([scale]))
            assert key.seen.tolist() == [2.0 * scale]


def pairs():
    return {df.asarray([2.0]): df.ones(1), df.asarray([3.0]): df.zeros(1)}


@pytest.mark.parametrize(
    "tables",
    [
        lambda: [pairs() for _ in range(4)],
        lambda: [{df.Variable([s]): df.ones(1)} for s in SCALES],
        lambda: [{("a", key): y for key, y in pairs().items()} for _ in range(4)],
    ],
    ids=["tensors", "Variables", "in tuples"],
)
def test_keys_that_do_not_compare_are_used_as_in_python(tables):
    def used(table, x):
        for key, y in table.items():
            x = x * (key[1] if isinstance(key, tuple) else key) + y
        return x

    recorded = df.function(used)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for table in tables():
            assert recorded(table, df.ones(1)).tolist() == used(table, df.ones(1)).tolist()
    assert sum("do not say which of them are equal" in str(x.message) for x in told) == if_graphs(1)
