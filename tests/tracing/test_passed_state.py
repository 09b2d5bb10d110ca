"""What is passed to a function is looked into as far as its code can see."""

from __future__ import annotations

import contextlib
import types
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from tests.modes import graphs_only
from tests.tracing.both import vector


class Kept:
    """A class with an attribute that changes."""

    k = 1.0

    @classmethod
    @df.function
    def of_class(cls, x):
        return x * cls.k

    @df.function
    @classmethod
    def of_function(cls, x):
        return x * cls.k


class Inherits(Kept):
    pass


MODULE = types.ModuleType("settings_of_a_user")
PASSED = {
    "a class": (df.function(lambda x, c: x * c.k), lambda f, x: f(x, Kept)),
    "a class that inherits": (df.function(lambda x, c: x * c.k), lambda f, x: f(x, Inherits)),
    "a class that is called": (df.function(lambda x, c: x * c().k), lambda f, x: f(x, Kept)),
    "a class in a dict": (df.function(lambda x, d: x * d["c"].k), lambda f, x: f(x, {"c": Kept})),
    "a class passed on": (
        df.function(lambda x, c: (lambda of: x * of.k)(c)),
        lambda f, x: f(x, Kept),
    ),
    "a class method": (Kept, lambda c, x: c.of_class(x)),
    "a class method of an object": (Kept(), lambda c, x: c.of_class(x)),
    "a class method that inherits": (Inherits, lambda c, x: c.of_class(x)),
    "a decorated class method": (Kept, lambda c, x: c.of_function(x)),
    "a module": (df.function(lambda x, m: x * m.k), lambda f, x: f(x, MODULE)),
}


@pytest.mark.parametrize("name", PASSED)
def test_r9_attributes_of_classes_and_modules_that_are_passed(name, monkeypatch):
    f, call = PASSED[name]
    for k in (2.0, 2.0, 3.0, 3.0, 5.0, 2.0, 2.0):
        monkeypatch.setattr(Kept, "k", k)
        monkeypatch.setattr(MODULE, "k", k, raising=False)
        assert call(f, vector(1)).item() == k


class Items(list):
    k = 1.0


class Table(dict):
    k = 1.0


class Word(str):
    k = 1.0


class Amount(float):
    k = 1.0


class Pair(tuple):
    k = 1.0


def change(thing, k):
    thing.k = k


# What is passed, what is read of it, and how that changes.
LOOKED_INTO = {
    "item of a list of a class": (Items([1.0]), lambda a: a[0], lambda a, k: a.__setitem__(0, k)),
    "attribute of such a list": (Items(), lambda a: a.k, change),
    "item of a dict of a class": (Table(k=1), lambda a: a["k"], lambda a, k: a.update(k=k)),
    "attribute of such a dict": (Table(), lambda a: a.k, change),
    "a counter": (Counter(k=1), lambda a: a["k"], lambda a, k: a.update({"k": k - a["k"]})),
    "attribute of a string": (Word("a"), lambda a: len(a) * a.k, change),
    "attribute of a number": (Amount(1.0), lambda a: float(a) * a.k, change),
    "attribute of a tuple": (Pair((1.0,)), lambda a: a[0] * a.k, change),
    "an object in a set": (
        {Kept()},
        lambda a: next(iter(a)).k,
        lambda a, k: change(next(iter(a)), k),
    ),
    "an object in a frozenset": (
        frozenset([Kept()]),
        lambda a: next(iter(a)).k,
        lambda a, k: change(next(iter(a)), k),
    ),
    "arguments of an exception": (
        ValueError(1.0),
        lambda a: a.args[0],
        lambda a, k: setattr(a, "args", (k,)),
    ),
    "a view of bytes": (
        memoryview(bytearray(1)),
        lambda a: a[0],
        lambda a, k: a.__setitem__(0, int(k)),
    ),
    "an object in an array": (
        np.array([Kept()], dtype=object),
        lambda a: a[0].k,
        lambda a, k: change(a[0], k),
    ),
}


@pytest.mark.filterwarnings("ignore:.*runs in segments")
@pytest.mark.parametrize("holder", [lambda a: a, lambda a: (a,), lambda a: SimpleNamespace(a=a)])
@pytest.mark.parametrize("name", LOOKED_INTO)
def test_r9_r7_what_is_passed_is_looked_into(name, holder):
    thing, read, write = LOOKED_INTO[name]

    def python(x, held):
        held = held.a if isinstance(held, SimpleNamespace) else held
        inner = held[0] if type(held) is tuple else held
        return x * read(inner)

    f, given = df.function(python), holder(thing)
    for k in (2.0, 2.0, 2.0, 3.0, 3.0, 5.0, 2.0):
        write(thing, k)
        assert f(vector(1.0), given).tolist() == python(vector(1.0), given).tolist() == [k]


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.add(3),
        lambda s: s.discard(1),
        lambda s: s.__ior__({5, 6}),
        lambda s: s.clear(),
        lambda s: s.symmetric_difference_update({1, 2}),
    ],
)
def test_r9_a_set_that_is_passed_is_changed_as_without_the_decorator(change):
    """Others that hold the same come to the same recording."""

    def python(x, held):
        for each in held:
            change(each)
        return x * sum(map(len, held))

    f = df.function(python)
    for items in ([1], [1], [1], [1, 2], [3], [1], [], [3]):
        ours, theirs = ({*items}, {*items, 7}), ({*items}, {*items, 7})
        assert f(vector(1.0), ours).tolist() == python(vector(1.0), theirs).tolist()
        assert ours == theirs
    kept = {1, 2}
    assert [f(vector(1.0), [kept]).item() for _ in range(4)][-1] == len(kept)


def of_a_tree(x, node):
    total = node["v"] * x
    for kid in node["kids"]:
        total = total + kid["v"] * kid["parent"]["v"]
    return total


def made_circular(x, node):
    print("called")
    node["self"] = node
    return x * len(node)


def returned_circular(x, node):
    made = [x * node["v"]]
    made.append(made)
    return made


@graphs_only
@pytest.mark.parametrize("python", [of_a_tree, made_circular, returned_circular])
def test_r9_what_is_in_itself_is_passed_and_returned_as_without_the_decorator(python, capsys):
    def tree():
        root = {"v": 2.0, "kids": []}
        if python is of_a_tree:
            root["kids"] += [{"v": k + 1.0, "parent": root, "kids": []} for k in range(2)]
        return root

    f, told = df.function(python), pytest.warns(FunctionWarning, match="is in itself")
    for k in range(4):
        given, other = tree(), tree()
        with contextlib.nullcontext() if k else told:
            found = f(vector(k), given)
        wanted = python(vector(k), other)
        if isinstance(found, list):
            assert found[1] is found
            found, wanted = found[0], wanted[0]
        assert found.tolist() == wanted.tolist()
        assert ("self" in given) == ("self" in other)
        assert given.get("self", given) is given
    assert capsys.readouterr().out == "called\n" * (8 if python is made_circular else 0)
