"""Walks of native code give equal words for what is equal, and other words for all else."""

from __future__ import annotations

import ctypes
import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jit.runtime.walks import WORDS, Slots, walker
from tests.gpu import test_entry


class Box:
    """Holds an array, and says where it comes from."""

    __slots__ = ("array", "origin")

    def __init__(self, array, origin=None):
        self.array, self.origin = array, origin


class Record:
    """What was done, with what."""

    __slots__ = ("op", "inputs", "attrs", "tick", "types")

    def __init__(self, op, inputs, tick, attrs=None, types=None):
        self.op, self.inputs, self.tick = op, inputs, tick
        self.attrs, self.types = attrs or {}, types


class Part:
    """One of several results."""

    __slots__ = ("whole", "number")

    def __init__(self, whole, number):
        self.whole, self.number = whole, number


class End:
    """Behind it there is nothing."""

    __slots__ = ("mark",)

    def __init__(self, mark=True):
        self.mark = mark


ADD, TIMES = "add", "times"
EVER = -1, 2**62


@pytest.fixture(scope="module")
def walk():
    pytest.importorskip("llvmlite")
    found = walker(
        Slots(Box, ("array", "origin")),
        Slots(Record, ("op", "inputs", "attrs", "tick", "types")),
        Slots(Part, ("whole", "number")),
        Slots(End, ("mark",)),
    )
    assert found is not None
    return lambda *boxes, span=EVER: found(boxes, *span)


def array(*shape, dtype="float32"):
    return np.zeros(shape or (3,), dtype)


def chain(*steps, start=None, tick=10, scale=2.0):
    """Ops one after the other, each of what came before, an input that is new, and a number."""
    box = start or Box(array(), End())
    for k, op in enumerate(steps):
        box = Box(array(), Record(op, (box, Box(array()), scale), tick + k))
    return box


def test_equal_walks_have_equal_words_whenever_they_were_made(walk):
    assert walk(chain(ADD, TIMES)).words == walk(chain(ADD, TIMES, tick=1000)).words


def test_what_was_met_is_told_in_order(walk):
    leaf = End()
    low = Box(array(), leaf)
    middle = Box(array(), Record(ADD, (low, 7, low), 1))
    top = Box(array(), Record(TIMES, (middle, 0.5), 2, {"axis": 0}))
    found = walk(top)
    assert found.records == [top.origin, middle.origin]
    assert found.boxes == [top, middle, low]
    assert found.ends == [leaf]
    assert found.marked == [top.origin]
    assert found.others == [7]


def others():
    """Walks that differ from `chain(ADD, TIMES)` in one thing each."""
    yield "op", chain(ADD, ADD)
    yield "order of ops", chain(TIMES, ADD)
    yield "length", chain(ADD, TIMES, TIMES)
    yield "number", chain(ADD, TIMES, scale=2.5)
    yield "sign of zero", chain(ADD, TIMES, scale=-0.0)
    yield "a whole number", chain(ADD, TIMES, scale=2)
    yield "shape", chain(ADD, TIMES, start=Box(array(4), End()))
    yield "rank", chain(ADD, TIMES, start=Box(array(3, 1), End()))
    yield "dtype", chain(ADD, TIMES, start=Box(array(dtype="float64"), End()))
    yield "strides", chain(ADD, TIMES, start=Box(array(6)[::2], End()))
    yield "no end", chain(ADD, TIMES, start=Box(array()))
    yield "mark of the end", chain(ADD, TIMES, start=Box(array(), End(mark=False)))
    yield "a part", chain(TIMES, start=Box(array(), Part(chain(ADD).origin, 1)), tick=11)
    late = chain(ADD, TIMES)
    late.origin.tick += 1
    yield "time", late
    several = chain(ADD, TIMES)
    several.origin.types = ("one",)
    yield "several results", several
    known = chain(ADD, TIMES)
    known.origin.attrs = {"axis": 0}
    yield "attrs", known
    shared = chain(ADD)
    twice = Box(array(), Record(TIMES, (shared, shared, 2.0), 11))
    yield "what is shared", twice


@pytest.mark.parametrize(("what", "box"), list(others()), ids=lambda x: x if type(x) is str else "")
def test_whatever_differs_is_in_the_words(walk, what, box):
    found = walk(box)
    assert found is not None
    assert found.words != walk(chain(ADD, TIMES)).words


def test_numbers_of_parts_are_told_apart(walk):
    def of(number):
        return walk(Box(array(), Part(chain(ADD).origin, number))).words

    assert of(0) == of(0) != of(1)


def test_dicts_of_attrs_count_by_who_shares_them(walk):
    attrs = {"axis": 1}

    def of(first, second):
        low = Box(array(), Record(ADD, (Box(array()),), 1, first))
        return walk(Box(array(), Record(ADD, (low,), 2, second)))

    assert len(of(attrs, attrs).marked) == 1
    assert len(of(attrs, dict(attrs)).marked) == 2
    assert of(attrs, attrs).words != of(attrs, dict(attrs)).words


def test_only_records_of_the_time_count(walk):
    top = chain(ADD, TIMES, ADD, tick=10)  # at 10, 11, 12
    assert [r.tick for r in walk(top, span=(10, 2**62)).records] == [12, 11]
    assert walk(top, span=(0, 12)).records == []
    assert len(walk(top, span=(9, 13)).records) == 3


def test_what_words_cannot_say_is_left_to_python(walk):
    assert walk(Box(None)) is None
    assert walk(Box("no array")) is None
    released, listed = chain(ADD), chain(ADD)
    released.origin.inputs = None
    listed.origin.inputs = list(listed.origin.inputs)
    assert walk(released) is walk(listed) is None
    assert walk(Box(array(), "no record")) is walk(Box(array(), Part("no record", 0))) is None
    assert walk(chain(ADD)) is not None


def test_long_walks_are_left_to_python(walk):
    assert walk(chain(*[ADD] * 100)) is not None
    assert walk(chain(*[ADD] * (WORDS // 8))) is None
    wide = Box(array(), Record(ADD, tuple([1.0] * WORDS), 1))
    assert walk(wide) is None
    assert walk(chain(ADD)).words == walk(chain(ADD)).words


def test_nothing_is_held_afterwards(walk):
    box = chain(ADD, TIMES)
    count = sys.getrefcount(box), sys.getrefcount(box.origin), sys.getrefcount(None)
    for _ in range(100):
        walk(box)
        walk(Box(None))
    after = sys.getrefcount(box), sys.getrefcount(box.origin), sys.getrefcount(None)
    assert after[:2] == count[:2]
    assert abs(after[2] - count[2]) < 50


# ----- arrays on a GPU -----


@pytest.fixture
def there():
    """What walks over boxes of arrays that are laid out as CuPy's."""
    pytest.importorskip("llvmlite")
    found = walker(
        Slots(Box, ("array", "origin")),
        Slots(Record, ("op", "inputs", "attrs", "tick", "types")),
        Slots(Part, ("whole", "number")),
        Slots(End, ("mark",)),
        test_entry.Kind,
    )
    assert found is not None
    gc.disable()  # it would look into what is no object of Python's
    yield lambda array: found([Box(array.seen, End())], *EVER)
    gc.enable()


def laid(shape=(3, 4), dtype=test_entry.F4):
    """An array as CuPy has it."""
    made = test_entry.array(shape, dtype, 4096)
    made.seen = ctypes.cast(ctypes.addressof(made), ctypes.py_object).value
    return made


def gaps(x, *strides):
    x.c_contiguous, x.more = 0, (ctypes.c_int64 * len(strides))(*strides)
    x.strides[0] = ctypes.addressof(x.more)


UNLIKE = {
    "dtype": lambda x: setattr(x, "dtype", id(test_entry.I8)),
    "extent": lambda x: x.alive[0].__setitem__(1, 5),
    "rank": lambda x: x.dims.__setitem__(1, x.dims[1] - 8),
    "device": lambda x: setattr(x.alive[1], "device", 0),
    "gaps": lambda x: gaps(x, 32, 4),
    "turned": lambda x: gaps(x, 4, 12),
}


def test_words_of_arrays_on_a_gpu_say_what_these_are(there, walk):
    arrays = [laid() for _ in range(2 + len(UNLIKE))]
    for x, change in zip(arrays[2:], UNLIKE.values(), strict=True):
        change(x)
    found = [there(x).words for x in arrays]
    moved = laid()
    moved.alive[1].address += 64
    assert there(moved).words == found[0] == found[1]
    assert len(set(found)) == 1 + len(UNLIKE)
    assert walk(Box(arrays[0].seen, End())) is None  # which was not told of such a class
    here = there(SimpleNamespace(seen=np.zeros((3, 4), np.float32)))
    assert here is not None
    assert here.words not in found
