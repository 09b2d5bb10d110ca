"""Boxes that native code opens and makes are those that Python does."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

from jit.runtime import boxes
from jit.runtime.boxes import At, boxes_of, held, in_python, places_of, put_in
from jit.runtime.native import native


class Box:
    """Of the kind that a framework has."""

    __slots__ = ("__weakref__", "array", "mark", "other")


class Inherited(Box):
    """The same with one more slot."""

    __slots__ = ("more",)


NAMES = ("array", "mark", "other")
WAYS = {
    "native": lambda kind: boxes_of(kind, "array", "mark", ["other"]),
    "Python": lambda kind: in_python(kind, *NAMES),
}


@pytest.fixture(params=WAYS)
def made(request):
    return WAYS[request.param](Box)


def some(count=3):
    return [np.arange(k, dtype=np.float32) for k in range(count)]


def test_it_is_native_here():
    pytest.importorskip("llvmlite")
    assert type(WAYS["native"](Box).opened) is type(len)
    assert type(WAYS["native"](Box).boxed) is type(len)


def test_what_was_put_in_comes_out(made):
    arrays = some()
    objects = made.boxed(*arrays)
    assert [type(x) for x in objects] == [Box] * 3
    assert all(x.array is array for x, array in zip(objects, arrays, strict=True))
    assert all(x.mark is None and x.other is None for x in objects)
    for opened in (made.opened, made.unmarked):
        assert all(a is b for a, b in zip(opened(*objects), arrays, strict=True))
    assert made.boxed() == made.opened() == made.unmarked() == []


def test_marked_boxes_are_told(made):
    objects = made.boxed(*some())
    objects[1].mark = "something"
    assert made.opened(*objects) is not None
    assert made.unmarked(*objects) is None
    objects[1].mark, objects[1].other = None, "something"
    assert made.unmarked(*objects) is not None


def test_nothing_else_is_opened(made):
    (box,) = made.boxed(np.zeros(2))
    (of_subclass,) = boxes_of(Inherited, "array", "mark", ["other", "more"]).boxed(np.zeros(2))
    contents = [None, 1.5, [1.0], np.float32(1), np.ma.zeros(2), object()]
    others = [*made.boxed(*contents), of_subclass, Box(), None, 1, np.zeros(2), Box, object()]
    for other in others:
        assert made.opened(other) is None, other
        assert made.opened(box, other) is None
        assert made.unmarked(other, box) is None
    assert made.opened(box) is not None


def test_nothing_is_kept_and_nothing_is_lost(made):
    array = np.zeros(3)
    before = sys.getrefcount(array), sys.getrefcount(Box)
    for _ in range(100):
        objects = made.boxed(array, array)
        first, second = made.opened(*objects)
        assert first is second is array
        assert made.opened(*objects, None) is None
    assert sys.getrefcount(array) == before[0] + 4  # in boxes, and by name
    del objects, first, second
    assert (sys.getrefcount(array), sys.getrefcount(Box)) == before


def test_boxes_are_objects_like_others(made):
    """They are collected, die with their last reference, and take other values."""
    (box,) = made.boxed(np.zeros(3))
    gone = weakref.ref(box)
    box.other = box
    assert gc.is_tracked(box)
    assert [x is box for x in gc.get_referents(box)].count(True) == 1
    del box
    gc.collect()
    assert gone() is None


def test_a_class_of_another_layout_is_left_to_python(monkeypatch):
    class Own:
        __slots__ = NAMES

        def __new__(cls):
            return object.__new__(cls)

    assert places_of(Box, NAMES) is not None
    assert places_of(Own, NAMES) is None
    (box,) = boxes_of(Own, "array", "mark", ["other"]).boxed(7)
    assert box.array == 7
    without = replace(native(), opened=None, boxed=None)
    monkeypatch.setattr(boxes, "native", lambda: without)
    assert boxes_of(Box, "array", "mark", ["other"]).boxed(7)[0].array == 7


class Holder:
    """An object that has a box."""

    __slots__ = ("box", "name")

    def __init__(self, array):
        self.box, self.name = filled(array), None


def filled(array):
    box = Box()
    box.array, box.mark, box.other = array, None, None
    return box


@pytest.fixture
def holders():
    pytest.importorskip("llvmlite")
    return [Holder(array) for array in some()]


def test_boxes_are_opened_where_others_hold_them(holders):
    places = [At(holders[0], "box"), None, At(holders[2], "box", alone=True)]
    function = held(Box, "array", places)
    first, none, last = function()
    assert (first, none, last) == (holders[0].box.array, None, holders[2].box.array)
    before = sys.getrefcount(first)
    for _ in range(50):
        assert function() is not None
    assert sys.getrefcount(first) == before
    holders[0].box = filled(np.ones(1))
    assert function()[0] is holders[0].box.array
    shared = [holders[0].box]
    assert function() is not None
    shared = [holders[2].box]  # which must be alone
    assert function() is None
    del shared
    assert function() is not None
    for bad in (Box(), Inherited(), None):
        holders[0].box = bad
        assert function() is None


def test_boxes_that_others_hold_are_filled(holders):
    function = put_in(
        Box, "array", ["mark"], [(At(x, "box"), 2 - k) for k, x in enumerate(holders)]
    )
    new, boxes_before = [object(), object(), object()], [x.box for x in holders]
    assert function(new) == 0  # somebody has the boxes
    del boxes_before
    old = [weakref.ref(x.box.array) for x in holders]
    assert function(new) == 1
    assert [x.box.array for x in holders] == new[::-1]
    assert [x() for x in old] == [None] * 3
    counts = [sys.getrefcount(x) for x in new]
    assert function(new) == 1
    assert [sys.getrefcount(x) for x in new] == counts
    for bad in (Inherited(), None):
        good, holders[1].box = holders[1].box, bad
        assert function(some()) == 0
        holders[1].box = good
        del good
    holders[2].box.mark = "something"
    assert function(some()) == 0
    assert [x.box.array for x in holders] == new[::-1]


class Owner:
    """What has a holder."""

    __slots__ = ("holder",)

    def __init__(self, array):
        self.holder = Holder(array)


def test_boxes_are_filled_if_nobody_has_them_or_what_holds_them(holders):
    owners, new = [Owner(x) for x in some()], [object(), object(), object()]
    places = [(At(x, "holder"), k) for k, x in enumerate(owners)]
    function = put_in(Box, "array", ["mark", "other"], places, (Holder, "box"))
    assert function(new) == 1
    assert [x.holder.box.array for x in owners] == new
    for kept in (owners[1].holder, owners[1].holder.box):
        assert function(some()) == 0
        del kept
    for slot in ("mark", "other"):
        setattr(owners[2].holder.box, slot, "something")
        assert function(some()) == 0
        setattr(owners[2].holder.box, slot, None)
    for bad in (None, filled(new[0]), Owner(new[0])):
        good, owners[0].holder = owners[0].holder, bad
        assert function(some()) == 0
        owners[0].holder = good
        del good
    assert [x.holder.box.array for x in owners] == new
    assert function(new) == 1
    assert sys.getrefcount(new[1]) == sys.getrefcount(new[2])


def test_places_of_another_layout_are_left_to_python(monkeypatch, holders):
    class Other:
        box = None

    assert held(Box, "array", [At(Other(), "box")]) is None
    assert put_in(Box, "array", ["mark"], [(At(Other(), "box"), 0)]) is None
    without = replace(native(), held=None, put=None)
    monkeypatch.setattr(boxes, "native", lambda: without)
    assert held(Box, "array", [At(holders[0], "box")]) is None
    assert put_in(Box, "array", ["mark"], [(At(holders[0], "box"), 0)]) is None
