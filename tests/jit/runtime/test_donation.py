"""An output takes the memory of an input only where nobody can notice."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from jit.dims import symbol
from jit.errors import GuardMiss
from jit.runtime import blocks
from jit.runtime.program import GuardStep, Launch
from tests.jit.runtime.small import chain, executable, floats, plus, positive, scalar

GIVE = ((0, 0),)


class Holder:
    """What a variable is to the runtime: one reference to an array."""

    def __init__(self, value):
        self.value = value


def ones(size=8):
    return np.ones(size, np.float32)


def test_a_held_array_is_written():
    run, holder = chain(1), Holder(ones())
    number = id(holder.value)
    for expected in range(2, 5):
        (holder.value,) = run([holder.value], GIVE)
        assert id(holder.value) == number
        np.testing.assert_array_equal(holder.value, ones() * expected)


def test_an_array_that_only_the_list_holds_is_written():
    arrays = [ones()]
    address = arrays[0].ctypes.data
    (y,) = chain(1)(arrays, GIVE)
    assert y.ctypes.data == address


def other_reference(x):
    return [x]


def frozen(x):
    x.flags.writeable = False


SHARERS = {
    "reference": other_reference,
    "closure": lambda x: lambda: x,
    "view": lambda x: x[1:],
    "whole view": lambda x: x[:],
    "reshaped": lambda x: x.reshape(2, -1),
    "memoryview": memoryview,
    "cast memoryview": lambda x: memoryview(x).cast("B"),
    "array interface": lambda x: np.asarray(Interface(x)),
    "DLPack": lambda x: np.from_dlpack(x),
    "capsule": lambda x: x.__dlpack__(),
    "ctypes": lambda x: x.ctypes,
    "iterator": iter,
    "flat": lambda x: x.flat,
    "weak reference": weakref.ref,
    "not writeable": frozen,
}


class Interface:
    """Shares an array by NumPy's array interface."""

    def __init__(self, x):
        self.x = x
        self.__array_interface__ = x.__array_interface__


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("share", SHARERS.values(), ids=SHARERS)
def test_a_shared_array_is_not_written(share, large):
    size = blocks.RECYCLED if large else 8
    run = chain(1, size)
    holder = Holder(run([ones(size) - 1])[0])
    sharer = share(holder.value)
    before = holder.value.copy()
    (y,) = run([holder.value], GIVE)
    assert not np.shares_memory(y, holder.value)
    np.testing.assert_array_equal(holder.value, before)
    np.testing.assert_array_equal(y, before + 1)
    del y
    if share is frozen:
        holder.value.flags.writeable = True
    del sharer
    number = id(holder.value)
    (holder.value,) = run([holder.value], GIVE)
    assert id(holder.value) == number


def test_a_recycled_block_with_two_arrays_is_not_written():
    size = blocks.RECYCLED
    run = chain(1, size)
    holder = Holder(run([ones(size)])[0])
    other = np.ndarray(size, np.float32, holder.value.base)
    (y,) = run([holder.value], GIVE)
    np.testing.assert_array_equal(other, ones(size) * 2)
    np.testing.assert_array_equal(y, ones(size) * 3)


def test_a_view_is_not_written():
    run, whole = chain(1), np.ones((2, 8), np.float32)
    holder = Holder(whole[1])
    (y,) = run([holder.value], GIVE)
    assert y is not holder.value
    np.testing.assert_array_equal(whole, np.ones((2, 8)))
    del whole  # now the view is the only one to see that memory, but it need not be all of it
    (y,) = run([holder.value], GIVE)
    assert y is not holder.value


def test_foreign_memory_is_not_written():
    memory = bytearray(ones().tobytes())
    holder = Holder(np.frombuffer(memory, np.float32))
    (y,) = chain(1)([holder.value], GIVE)
    assert y is not holder.value
    assert memory == ones().tobytes()


def test_the_same_array_twice_is_not_written():
    run = executable([floats(8)] * 4, [0, 1], [plus(1, 1, 3), plus(1, 0, 2)], [2, 3])
    holder = Holder(ones())
    y, z = run([holder.value, holder.value], GIVE)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(holder.value, ones())


def test_what_has_to_be_copied_is_not_written():
    strided = np.ones(16, np.float32)
    holder = Holder(strided[::2])
    (y,) = chain(1)([holder.value], GIVE)
    np.testing.assert_array_equal(y, ones() * 2)
    np.testing.assert_array_equal(strided, np.ones(16))


def test_an_input_that_is_an_output_too_is_not_written():
    run = executable([floats(8)] * 2, [0], [plus(1, 0, 1)], [1, 0])
    holder = Holder(ones())
    new, old = run([holder.value], GIVE)
    assert old is holder.value
    np.testing.assert_array_equal(old, ones())
    np.testing.assert_array_equal(new, ones() * 2)


def test_an_input_of_another_type_is_not_written():
    half = executable([floats(16), floats(8)], [0], [plus(1, 0, 1)], [1])
    holder = Holder(ones(16))
    (y,) = half([holder.value], GIVE)
    assert y.shape == (8,)
    np.testing.assert_array_equal(holder.value, ones(16))


def test_a_run_that_ends_early_has_written_nothing():
    guard = GuardStep(1, expected=True, index=0)
    for steps in ([guard, plus(1, 0, 2)], [plus(1, 0, 2), guard]):
        run = executable([floats(8), scalar("bool"), floats(8)], [0, 1], steps, [2])
        holder = Holder(ones())
        with pytest.raises(GuardMiss):
            run([holder.value, np.array(False)], GIVE)
        np.testing.assert_array_equal(holder.value, ones())
    checked = Launch(positive(), (0, 1), in_place=((0, 1),))
    holder = Holder(ones())
    (y,) = executable([floats(8)] * 2, [0], [checked], [1])([holder.value], GIVE)
    assert y is not holder.value


def test_several_are_given():
    steps = [plus(i, i, 3 + i) for i in range(3)]
    run = executable([floats(8)] * 6, [0, 1, 2], steps, [3, 4, 5])
    held = [ones(), ones(), ones()]
    kept = held[1]
    results = run(held[:], ((0, 0), (1, 1), (2, 2)))
    assert [a is b for a, b in zip(held, results, strict=True)] == [True, False, True]
    np.testing.assert_array_equal(kept, ones())
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, ones() + number)


def test_sizes_and_gifts():
    n = symbol("n", hint=8)
    run = executable([floats(n)] * 2, [0], [plus(1, 0, 1, n)], [1])
    for size in (4, 9, 4):
        holder = Holder(ones(size))
        assert run([holder.value])[0] is not holder.value
        assert run([holder.value], GIVE)[0] is holder.value
        np.testing.assert_array_equal(holder.value, ones(size) * 2)
