"""What native code reads of CuPy's arrays, on memory that is laid out as theirs; and in Python."""

from __future__ import annotations

import ctypes
import gc
import weakref
from types import ModuleType

import numpy as np
import pytest

from jit.runtime import cuda, cupy_abi, gpu_entry
from jit.runtime.cupy_abi import ArrayStruct, PointerStruct
from jit.runtime.gpu_entry import Entry, is_free, unheld
from jit.runtime.numpy_abi import ListStruct
from tests.modes import graphs_only

pytestmark = graphs_only
F4, I8 = np.dtype(np.float32), np.dtype(np.int64)
INPUTS = [(2, (3, 4), F4), (3, (), I8), (4, (5,), F4)]
DEVICE, PLACE = 1, 4096


class Kind:
    """Instead of `cupy.ndarray`: only its identity counts."""


def array(shape, dtype, address):
    """The memory of an array as CuPy makes it."""
    dims = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    data = PointerStruct(references=1, address=address, device=DEVICE)
    made = ArrayStruct(references=2, type=id(Kind), c_contiguous=1, f_contiguous=0)
    begin = ctypes.addressof(dims)
    made.dims[:] = begin, begin + 8 * len(shape), begin + 8 * len(shape)
    made.dtype, made.data, made.base = id(dtype), ctypes.addressof(data), id(None)
    made.alive = dims, data
    return made


def some():
    """Arrays that fit."""
    return [array(shape, dtype, PLACE * (k + 1)) for k, (_, shape, dtype) in enumerate(INPUTS)]


def called(function, structs):
    """What a native function says of a list of them."""
    arrays = [None] * len(structs)
    head = ListStruct.from_address(id(arrays))
    items = (ctypes.c_void_p * len(structs))(*map(ctypes.addressof, structs))
    before = ctypes.cast(head.items, ctypes.c_void_p).value
    gc.disable()
    try:
        head.items = ctypes.cast(items, ctypes.POINTER(ctypes.c_void_p))
        return function(arrays)
    finally:
        head.items = ctypes.cast(before, ctypes.POINTER(ctypes.c_void_p))
        gc.enable()


@pytest.fixture
def native(monkeypatch):
    """Native code that takes `Kind` for the class of arrays."""
    pytest.importorskip("llvmlite")
    fake = ModuleType("fake")
    fake.ndarray = Kind
    monkeypatch.setattr(gpu_entry, "cupy", lambda: fake)
    monkeypatch.setattr(cupy_abi, "as_expected", lambda module: True)
    gpu_entry.functions.cache_clear()
    gpu_entry.unheld.cache_clear()
    yield fake
    gpu_entry.functions.cache_clear()
    gpu_entry.unheld.cache_clear()


def entry(given=()):
    bases = np.zeros(5 + len(INPUTS), np.int64)
    return Entry(INPUTS, bases, DEVICE, given), bases


def test_addresses_are_read_and_compared_with_those_before(native):
    reader, bases = entry()
    assert type(reader.read) is type(len)
    assert called(reader.read, some()) == 1
    assert bases.tolist() == [0, 0, PLACE, 2 * PLACE, 3 * PLACE, 0, 0, 0]
    assert called(reader.read, some()) == 0
    moved = some()
    moved[1].alive[1].address += 16
    assert called(reader.read, moved) == 1
    assert bases[3] == 2 * PLACE + 16
    assert called(reader.read, some()) == 1


BAD = {
    "class": lambda x: setattr(x, "type", id(object)),
    "dtype": lambda x: setattr(x, "dtype", id(I8)),
    "extent": lambda x: x.alive[0].__setitem__(0, 4),
    "rank": lambda x: x.dims.__setitem__(1, x.dims[1] - 8),
    "order": lambda x: setattr(x, "c_contiguous", 0),
    "device": lambda x: setattr(x.alive[1], "device", 0),
    "alignment": lambda x: setattr(x.alive[1], "address", PLACE + 8),
    "nowhere": lambda x: setattr(x.alive[1], "address", 0),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_told(native, what):
    reader, _ = entry()
    assert called(reader.read, some()) == 1
    arrays = some()
    BAD[what](arrays[0])
    assert called(reader.read, arrays) == -1
    assert called(reader.read, [*some()[:2], arrays[0]]) == -3
    assert called(reader.read, some()[:2]) == -1
    assert called(reader.read, some()) == 0


HELD = {
    "reference": lambda x: setattr(x, "references", 3),
    "weak reference": lambda x: setattr(x, "weak_references", 1),
    "view": lambda x: setattr(x, "base", id(I8)),
}


@pytest.mark.parametrize("what", HELD)
def test_memory_that_others_see_is_not_taken(native, what):
    reader, _ = entry(given=[2])
    assert called(reader.read, some()) == 1
    arrays = some()
    HELD[what](arrays[2])
    assert called(reader.read, arrays) == -3
    arrays = some()
    HELD[what](arrays[0])  # which is only read
    assert called(reader.read, arrays) == 0


def test_what_is_copied_or_left_alone(native):
    reader, bases = entry()
    called(reader.read, some())
    reader.copy(0)
    arrays = some()
    arrays[0].alive[1].address = 9 * PLACE
    assert called(reader.read, arrays) == 0
    assert (reader.copied, bases[2], bases[5]) == ([(0, 5)], PLACE, 9 * PLACE)
    reader.leave(1)
    BAD["dtype"](arrays[1])
    assert called(reader.read, arrays) == 0
    assert reader.by_python == [1]
    reader.leave(0)
    assert reader.copied == []


def test_arrays_that_nobody_has(native):
    function = unheld(native)
    arrays = some()
    for x in arrays:
        x.references = 1
    assert called(function, arrays) == 1
    for change in ("reference", "weak reference"):
        one = some()[1]
        one.references = 1
        HELD[change](one)
        assert called(function, [arrays[0], one]) == 0
    assert function([]) == 1


def test_where_arrays_are_others_python_reads_them(machine):
    module = cuda.cupy()
    assert not cupy_abi.as_expected(module)
    shapes = [shape for _, shape, _ in INPUTS]
    arrays = [module.ndarray(shape, dtype) for _, shape, dtype in INPUTS]
    bases = np.zeros(8, np.int64)
    reader = Entry(INPUTS, bases, 0, [2])
    keep = [*arrays, *arrays]
    assert reader.read(arrays) == -3  # somebody has it twice
    del keep
    holder = arrays[2]
    assert (reader.read(arrays), reader.read(arrays)) == (1, 0)
    assert bases[2:5].tolist() == [x.data.ptr for x in arrays]
    reader = Entry(INPUTS, bases, 0, [])
    for k, bad in ((0, arrays[0].T), (1, np.zeros(())), (2, module.ndarray((6,), F4))):
        others = [*arrays]
        others[k] = bad
        assert reader.read(others) == -1 - k
    assert shapes[2] == holder.shape


def test_python_counts_as_cpython_does(machine):
    module = cuda.cupy()
    arrays = [module.ndarray((2,), F4), module.ndarray((3,), F4)]
    function = unheld(module)
    assert function(arrays)
    holder = arrays[1]
    assert not function(arrays)
    assert is_free(arrays, 1)
    seen = weakref.ref(holder)
    assert not is_free(arrays, 1)
    del holder
    assert not function(arrays)
    del seen
    assert function(arrays)


def test_cupy_is_laid_out_as_expected():
    cupy = pytest.importorskip("cupy")
    assert cupy_abi.as_expected(cupy)
