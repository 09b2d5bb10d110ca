"""Boxes that native code opens and makes are those that Python does."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

from jit.runtime import boxes
from jit.runtime.boxes import boxes_of, in_python, places_of
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
