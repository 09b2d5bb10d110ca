"""A tuple that a call is given, or has made and put in several places, stays one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import dualflow as df
from tests.modes import if_graphs
from tests.tracing.test_returned import Kept, begin, inputs


class Pair(NamedTuple):
    first: Any
    second: Any


def a_tuple_itself(x, t, bag):
    return t


def parts_of_tuples(x, t, bag):
    return [t, t[0]], {"again": t, "new": (t, x)}


def a_tuple_of_a_list_that_changes(x, t, bag):
    t[1].append(x * 2.0)
    return t, t[1]


def a_tuple_twice(x, t, bag):
    pair = (x * 2.0, x)
    return pair, [pair], {"pair": pair}


def a_named_tuple_twice(x, t, bag):
    pair = Pair(x * 2.0, [x])
    return pair, (pair, pair.second)


def a_tuple_left_and_returned(x, t, bag):
    bag["pair"] = bag["again"] = pair = (x * 2.0, x, t)
    return pair, bag, t


def a_tuple_that_is_kept(x, t, bag):
    Kept.log.append(t)
    return x * 2.0


def a_tuple_that_is_kept_and_returned(x, t, bag):
    pair = (x * 2.0, 1)
    Kept.log.append(pair)
    return pair


def tuples_that_are_kept_in_many_places(x, t, bag):
    pair = Pair(x * 2.0, [x])
    Kept.log += [pair, {"in": [pair, pair.second]}]
    Kept.log.append((pair, t))
    bag["pair"] = pair
    return pair.second, (pair, pair)


def gone_through(x: Any, find: Callable[[Any], int]) -> Any:
    """Which object each part of a nest is, by number."""
    inner = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    own = find(x) if isinstance(x, df.Tensor | list | dict) or inner else x
    return own, type(x).__name__, [gone_through(item, find) for item in inner]


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize(
    "python",
    [
        a_tuple_itself,
        parts_of_tuples,
        a_tuple_of_a_list_that_changes,
        a_tuple_twice,
        a_named_tuple_twice,
        a_tuple_left_and_returned,
        a_tuple_that_is_kept,
        a_tuple_that_is_kept_and_returned,
        tuples_that_are_kept_in_many_places,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("kind", [tuple, Pair._make])
def test_tuples_are_those_that_python_has(python, kind):
    def found(f):
        begin()
        told = []
        for x in inputs()[:5]:
            t, bag, alive = kind([x, []]), {"n": 1}, list[Any]()

            def find(y, alive=alive):
                alive += [] if any(y is z for z in alive) else [y]
                return next(k for k, z in enumerate(alive) if z is y)

            told.append(gone_through([x, t, bag, f(x, t, bag), Kept.log], find))
        return told

    assert found(df.function(python)) == found(python)


@pytest.mark.parametrize("make", [lambda *of: of, Pair, lambda *of: [*of], lambda a, b: {a: b}])
def test_what_is_kept_and_returned_is_one_thing_that_the_graph_gives(make):
    log: list[Any] = []
    lists = {"one": [], "other": []}

    @df.function(strict=True)
    def logged(x):
        made = make("y", x * 2.0)
        log.append(made)
        for each in ("one", "other"):
            lists[each].append([made])
        return made

    for k in range(4):
        made = logged(df.asarray([float(k)]))
        assert made is log[-1]
        assert lists["one"][-1][0] is lists["other"][-1][0] is made
        assert df.tree.flatten(made)[0][-1].tolist() == [2.0 * k]
    assert len(log) == len(lists["one"]) == 4
    assert logged.from_graph == if_graphs(3)


def test_numbers_in_a_tuple_that_is_given_twice_may_be_others():
    """The recording has one tuple in two places, later calls two."""
    f: Any = df.function(lambda t, u: (u, t, t[0] + u[0]))
    for k in range(4):
        for u in ((k, k), (k, k + 1)):
            t = (k, k) if u[1] > k else u
            first, second, total = f(t, u)
            assert (first is u, second is t, total) == (True, True, 2 * k)
