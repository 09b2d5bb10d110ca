"""CuPy's array object, as far as native code reads it; checked before use.

CuPy says nothing of how its objects are laid out, so nothing is taken for granted: the structures
below are compared with what Python says of some arrays, and where they differ arrays are read in
Python.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

from jit.runtime.cuda import in_use

WORD = ctypes.sizeof(ctypes.c_void_p)


class ArrayStruct(ctypes.Structure):
    """A `cupy.ndarray`: behind the head of every object what its extension class declares."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("methods", ctypes.c_void_p),
        ("weak_references", ctypes.c_void_p),
        ("size", ctypes.c_ssize_t),
        ("dims", ctypes.c_void_p * 3),  # C++'s vectors: begin, end, end of storage
        ("strides", ctypes.c_void_p * 3),
        ("c_contiguous", ctypes.c_int),
        ("f_contiguous", ctypes.c_int),
        ("index_32_bits", ctypes.c_int),
        ("dtype", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
    )


class PointerStruct(ctypes.Structure):
    """A `cupy.cuda.MemoryPointer`."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("methods", ctypes.c_void_p),
        ("address", ctypes.c_ssize_t),
        ("device", ctypes.c_int),
        ("memory", ctypes.c_void_p),
    )


def array_class() -> type[Any] | None:
    """CuPy's class of arrays, if it is in use and they are laid out as expected."""
    module = sys.modules.get("cupy")
    if module is None or not in_use():
        return None
    return module.ndarray if as_expected(module) else None


@cache
def as_expected(module: Any) -> bool:
    """Whether the arrays of a module are laid out as native code assumes.

    Args:
        module: CuPy, or what stands for it; it needs no GPU.
    """
    kind, pointer = module.ndarray, module.cuda.MemoryPointer
    if (
        sys.implementation.name != "cpython"
        or object.__basicsize__ != 2 * WORD
        or kind.__basicsize__ != ctypes.sizeof(ArrayStruct)
        or pointer.__basicsize__ != ctypes.sizeof(PointerStruct)
        or getattr(kind, "__weakrefoffset__", 0) != ArrayStruct.weak_references.offset
        or getattr(kind, "__dictoffset__", 0)
    ):
        return False
    return all(map(_described, samples(module)))


def samples(module: Any) -> list[Any]:
    """Arrays over memory that nobody touches: of several ranks and dtypes, views, an offset."""
    cuda = module.cuda
    memory = cuda.UnownedMemory(1 << 20, 1 << 16, None, 0)
    whole = module.ndarray((2, 3, 4), np.dtype(np.int16), cuda.MemoryPointer(memory, 64))
    number = module.ndarray((), np.dtype(np.float64), cuda.MemoryPointer(memory, 0))
    return [whole, whole.transpose(2, 1, 0), whole[:, 1:], whole.reshape(6, 4), number]


def _described(array: Any) -> bool:
    """Whether the structures say of an array what Python says."""
    head, data = ArrayStruct.from_address(id(array)), array.data
    begin, end = head.dims[0] or 0, head.dims[1] or 0
    known = (
        head.type == id(type(array))
        and (head.references & 0xFFFFFFFF) == sys.getrefcount(array) - 1
        and head.weak_references is None
        and head.size == array.size
        and end - begin == 8 * array.ndim
        and bool(head.c_contiguous) == bool(array.flags.c_contiguous)
        and bool(head.f_contiguous) == bool(array.flags.f_contiguous)
        and head.dtype == id(array.dtype)
        and head.data == id(data)
        and head.base == id(array.base)
    )
    if not known:
        return False
    dims = (ctypes.c_int64 * array.ndim).from_address(begin)[:] if array.ndim else []
    place = PointerStruct.from_address(id(data))
    return (
        tuple(dims) == array.shape
        and place.type == id(type(data))
        and place.address == data.ptr
        and place.device == data.device_id
        and place.memory == id(data.mem)
    )
