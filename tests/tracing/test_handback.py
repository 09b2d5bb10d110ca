"""What a call keeps of its arguments is the caller's own object, wherever Python can find it."""

from __future__ import annotations

from collections import OrderedDict, deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import pytest

import dualflow as df
from dualflow.tracing.handback import Handback


@dataclass
class Point:
    v: Any
    more: list[Any] = field(default_factory=list)


class Slotted:
    __slots__ = ("v",)

    def __init__(self, v):
        self.v = v


class Pair(NamedTuple):
    first: Any
    second: Any


class Kept:
    last: Any
    log: list[Any]
    table: dict[Any, Any]
    late: Any


NAMES = ("last", "log", "table", "recent", "names")
kept: Any = Kept()
unset: Any = Slotted.__new__(Slotted)
WORD = "late"
current: ContextVar[Any] = ContextVar("current", default=None)
later: ContextVar[Any] = ContextVar("later")
late: Any = None


def begin():
    """Sets all state to what it was."""
    vars(kept).clear()
    kept.last, kept.log, kept.table = None, [], {}
    kept.recent, kept.names = deque(maxlen=3), set()
    globals().pop("late", None)
    if hasattr(unset, "v"):
        del unset.v
    current.set(None)
    later.set(None)


def an_item(x, bag):
    kept.table[0] = x
    return x * 2.0


def a_list_that_is_read(x, bag):
    kept.log.append(x)
    return x * float(len(kept.log))


def a_list_of_the_caller(x, bag):
    kept.log.append(bag)
    return x * 2.0


def a_dict_and_its_item(x, bag):
    kept.log.append([bag, bag["v"]])
    kept.table["now"] = bag["v"]
    return x + 1.0


def an_attribute_that_appears(x, bag):
    kept.late = [x, x * 2.0]
    return kept.late


def an_attribute_by_a_computed_name(x, bag):
    setattr(kept, WORD, x)
    return (lambda: bag["v"].sum())()  # more code, which names more


def a_slot_that_was_empty(x, bag):
    unset.v = kept.last = x
    return x * 2.0


def a_global_that_appears(x, bag):
    global late
    late = (x, 1)
    return late


def a_global_by_a_computed_name(x, bag):
    globals()["la" + "te"] = [x, bag]
    return x


def a_global_that_text_sets(x, bag):
    exec("global late; late = (x, bag)", globals(), {"x": x, "bag": bag})
    return x


def something_that_is_returned_too(x, bag):
    kept.last = part = [x, {"bag": bag}]
    return part, part


def in_objects(x, bag):
    kept.last = Point(x, [Slotted(x), Pair(x, bag)])
    return x


def in_a_function(x, bag):
    kept.last = lambda: x
    return x * 2.0


def keys_and_sets(x, bag):
    kept.table = OrderedDict([("a", 1), (x, bag), ("b", 2)])
    kept.names = {x}
    return x * 2.0


def a_deque(x, bag):
    kept.recent.append({"x": x})
    return x * 2.0


def in_an_argument_too(x, bag):
    kept.last = bag["new"] = [x]
    return x


def in_what_is_called_later(x, bag):
    kept.last = partial(a_deque, x, bag=bag)
    kept.log.append(x.sum)
    return x


def iterators(x, bag):
    def pair(y):
        return [y, x]

    kept.last = [iter([x]), iter((bag, x)), enumerate((x,)), reversed([bag, x]), zip((x,), [x])]
    kept.last += [map(pair, (x,)), filter(lambda y: y is not None, [None, x])]
    next(kept.last[1])
    return x


def generators(x, bag):
    def walk(y):
        held = [y, bag]
        yield held[0]
        yield y, held, x

    kept.last = [(y for y in (x, bag)), walk(x), walk(x)]
    next(kept.last[2])
    return x


def a_variable_of_the_context(x, bag):
    current.set([x, bag])
    later.set(x)
    kept.last = (current.get(), later.get())
    return x


def before_an_error(x, bag):
    kept.log.append((x, [bag]))
    if x.sum() > 0.0:
        raise ValueError("too large", x, bag)
    return x


CASES = [
    an_item,
    a_list_that_is_read,
    a_list_of_the_caller,
    a_dict_and_its_item,
    an_attribute_that_appears,
    an_attribute_by_a_computed_name,
    a_slot_that_was_empty,
    a_global_that_appears,
    a_global_by_a_computed_name,
    a_global_that_text_sets,
    something_that_is_returned_too,
    in_objects,
    in_a_function,
    keys_and_sets,
    a_deque,
    in_an_argument_too,
    in_what_is_called_later,
    iterators,
    generators,
    a_variable_of_the_context,
    before_an_error,
]


class Objects:
    """Tells which of the things that can be found are one object, each by a number."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, int | float | str | None):
            return x
        if isinstance(x, tuple):
            return [*map(self, x)]
        if id(x) in self._known:
            return self._known[id(x)]
        self._known[id(x)] = len(self._known)
        self._alive.append(x)
        if isinstance(x, dict):
            return [(self(key), self(item)) for key, item in x.items()]
        if isinstance(x, Slotted):
            return [self(x.v)]
        if isinstance(x, partial):
            return self((x.args, x.keywords))
        if isinstance(x, MethodType):
            return self(x.__self__)
        if hasattr(x, "__next__"):
            return [*map(self, x)]
        if callable(x):
            return [self(cell.cell_contents) for cell in x.__closure__ or ()]
        if isinstance(x, list | deque | set):
            return [*map(self, x)]
        return x.tolist() if isinstance(x, df.Tensor) else self(vars(x))


def found(f: Any) -> list[Any]:
    """What is one object after each of some calls."""
    begin()
    told = []
    for k in range(4):
        x, bag = df.asarray([1.0 + k, 2.0]), {"v": df.asarray(3.0)}
        try:
            result = f(x, bag)
        except ValueError as error:
            result = error.args
        more = [globals().get("late"), current.get(), later.get(), getattr(unset, "v", None)]
        told.append(Objects()([x, bag, result, vars(kept), *more]))
    return told


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("python", CASES, ids=lambda f: f.__name__)
def test_what_is_kept_is_the_callers_own(python):
    assert found(df.function(python)) == found(python)


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
def test_numbers_that_are_kept_are_plain():
    """A number that differs from call to call is no plain one while a call is recorded."""

    def python(x, k):
        kept.log.append([k, k * 2])
        return x * k + len(kept.log)

    begin()
    f = df.function(python)
    for k in range(4):
        f(df.asarray([1.0]), k)
        f(df.asarray([1.0]), 0.5 + k)
    assert [type(x) for pair in kept.log for x in pair] == [int, int, float, float] * 4


def test_a_long_chain_of_functions_is_gone_through():
    def behind(g):
        return lambda: g

    stand_in, own = [1.0], [2.0]
    chain = behind(stand_in)
    for _ in range(2000):
        chain = behind(chain)
    Handback(lambda x: own if x is stand_in else x, lambda x: False).of(chain)
    for _ in range(2001):
        chain = chain()
    assert chain is own
