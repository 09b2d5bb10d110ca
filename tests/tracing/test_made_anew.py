"""What is passed and counts by what it holds: objects that are made anew for each call."""

from __future__ import annotations

import dataclasses
import functools
import gc

import pytest

import dualflow as df
from tests.modes import bits, graphs_only
from tests.tracing.both import vector

X = vector(0.5, -1.5)


@dataclasses.dataclass
class Config:
    rate: float


@dataclasses.dataclass
class Hidden:
    rate: float
    hidden: float = dataclasses.field(default=0.0, compare=False)


def scaled(x, factor, shift):
    return x * factor + shift


class Extended(Config):
    """Sets an attribute that is no field."""

    def __init__(self, k):
        super().__init__(0.5)
        self.extra = k


def renamed(k):
    def python(x):
        return x * 2.0

    python.__name__ = "n" * k
    return python


def with_attribute(k):
    made = functools.partial(scaled, factor=2.0, shift=1.0)
    vars(made)["extra"] = k
    return made


# What is made anew for each call, and read of it.
WHOLE = {
    "an attribute beside fields": (Extended, lambda x, thing: x * thing.extra),
    "a field that does not compare": (
        lambda k: Hidden(0.5, k),
        lambda x, thing: x * thing.rate + thing.hidden,
    ),
    "the name of a function": (renamed, lambda x, thing: thing(x) * len(thing.__name__)),
    "an attribute of a partial": (with_attribute, lambda x, thing: thing(x) * thing.extra),
    "arguments of a partial by place": (
        lambda k: functools.partial(scaled, *[2.0, 3.0][:k], **{"shift": 2.0, "factor": 3.0}),
        lambda x, thing: x * len(thing.args),
    ),
    "what a lambda closes over": (lambda k: lambda x: x * k, lambda x, thing: thing(x)),
}


@graphs_only
@pytest.mark.filterwarnings("ignore:.*recorded again")
@pytest.mark.parametrize("collects", [False, True], ids=["", "with a collector"])
@pytest.mark.parametrize("name", WHOLE)
def test_r7_what_counts_by_what_it_holds_counts_with_all_of_it(name, collects):
    """The recorded one is gone when the next one comes, whether or not somebody collects."""
    make, python = WHOLE[name]
    f = df.function(python)
    for k in (1, 1, 2, 1, 2, 2, 1):
        if collects:
            gc.collect()
        assert bits(f(X, make(k))) == bits(python(X, make(k)))
    assert f.from_graph >= 4
