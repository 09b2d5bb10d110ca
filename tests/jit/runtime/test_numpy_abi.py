"""The layout of NumPy's arrays is checked before native code relies on it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from jit.runtime import numpy_abi


def test_it_is_as_expected_here():
    assert numpy_abi.as_expected()


FIELDS = [name for name, _ in numpy_abi.ArrayStruct._fields_ if name != "weak_references"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_elsewhere_is_noticed(name, monkeypatch):
    """As if another field stood in its place."""
    other = "strides" if name == "dims" else "dims" if name == "strides" else "weak_references"

    class Moved(ctypes.Structure):
        _fields_ = numpy_abi.ArrayStruct._fields_

    kind = dict(numpy_abi.ArrayStruct._fields_)[name]
    descriptor = getattr(numpy_abi.ArrayStruct, other)

    def moved(self):
        place = ctypes.addressof(self) + descriptor.offset
        found = kind.from_address(place)
        return getattr(found, "value", found)

    setattr(Moved, name, property(moved))
    monkeypatch.setattr(numpy_abi, "ArrayStruct", Moved)
    assert not numpy_abi.as_expected.__wrapped__()


def test_a_list_laid_out_otherwise_is_noticed(monkeypatch):
    class Moved(ctypes.Structure):
        _fields_ = (("more", ctypes.c_void_p), *numpy_abi.ListStruct._fields_)

    monkeypatch.setattr(numpy_abi, "ListStruct", Moved)
    assert not numpy_abi.as_expected.__wrapped__()


def test_symbols():
    assert numpy_abi.symbols()["PyArray_Type"] == id(np.ndarray)
    assert all(numpy_abi.symbols().values())
