"""NumPy's array object and C functions, as far as native code uses them; checked before use.

The layout of the array object is part of NumPy's public headers (`PyArrayObject_fields`).
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

NEW_FROM_DESCR = 94  # its place in the table of NumPy's C interface
C_CONTIGUOUS, OWNS_DATA, ALIGNED, WRITEABLE = 0x1, 0x4, 0x100, 0x400


class ArrayStruct(ctypes.Structure):
    """The head of an ndarray."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int),
        ("dims", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("base", ctypes.c_void_p),
        ("descr", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("weak_references", ctypes.c_void_p),
    )


class ListStruct(ctypes.Structure):
    """The head of a list."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("length", ctypes.c_ssize_t),
        ("items", ctypes.POINTER(ctypes.c_void_p)),
    )


@cache
def symbols() -> dict[str, int]:
    """Addresses of what native code calls or compares with."""
    from jit.runtime.blocks import Block

    umath = getattr(np, "_core")._multiarray_umath  # noqa: B009 - where the C interface is kept
    table_of = ctypes.pythonapi.PyCapsule_GetPointer
    table_of.restype, table_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(table_of(umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return {
        "PyArray_NewFromDescr": table[NEW_FROM_DESCR] or 0,
        "PyArray_Type": id(np.ndarray),
        "Block_Type": id(Block),
    }


@cache
def as_expected() -> bool:
    """Whether lists and arrays are laid out as native code assumes."""
    if (
        sys.implementation.name != "cpython"
        or object.__basicsize__ != ctypes.sizeof(ctypes.c_void_p) * 2
    ):
        return False
    whole = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    samples = [whole, whole[:, 1:, ::2], whole.T, np.array(1.5), np.zeros((0, 3))]
    locked = np.ones(3)
    locked.flags.writeable = False
    odd = np.zeros(9, np.uint8)[1:].view(np.float64)
    return (
        all(map(_described, [*samples, locked, odd]))
        and _list_described(samples)
        and _made_as_asked()
    )


def _described(array: np.ndarray[Any, Any]) -> bool:
    """Whether the structure says of an array what Python says."""
    head = ArrayStruct.from_address(id(array))
    flags = array.flags
    told = (
        (flags.c_contiguous, C_CONTIGUOUS),
        (flags.owndata, OWNS_DATA),
        (flags.aligned, ALIGNED),
        (flags.writeable, WRITEABLE),
    )
    return (
        head.type == id(type(array))
        and head.data == array.ctypes.data
        and head.rank == array.ndim
        and tuple(head.dims[: array.ndim]) == array.shape
        and tuple(head.strides[: array.ndim]) == array.strides
        and head.base == (None if array.base is None else id(array.base))
        and head.descr == id(array.dtype)
        and all(bool(head.flags & bit) == flag for flag, bit in told)
        and (head.references & 0xFFFFFFFF) == sys.getrefcount(array) - 1
        and head.weak_references is None
    )


def _list_described(arrays: list[Any]) -> bool:
    head = ListStruct.from_address(id(arrays))
    return (
        head.type == id(list)
        and head.length == len(arrays)
        and head.items[: len(arrays)] == [id(array) for array in arrays]
    )


def _made_as_asked() -> bool:
    """Whether NumPy's function for new arrays is where the headers say."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, pointer, pointer, number, pointer, pointer, pointer, number, pointer
    )
    dtype = np.dtype(np.float32)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))  # the function takes over a reference
    dims = (ctypes.c_ssize_t * 2)(3, 5)
    make = prototype(symbols()["PyArray_NewFromDescr"])
    made = make(id(np.ndarray), id(dtype), 2, ctypes.addressof(dims), None, None, 0, None)
    return type(made) is np.ndarray and made.shape == (3, 5) and made.dtype is dtype
