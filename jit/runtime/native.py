"""The native side of a call: reading arguments, making results, running the launch table.

Written once, as LLVM IR (`native_code`); what a program does is data for it. A *plan* is that data
for one set of sizes, `slots` the numbers and pointers of one call: `slots[0]` is the status, 0 as
long as all is well. A kernel is called with (slots, record, first item, end of items).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from jit.dataclass import dataclass
from jit.runtime import numpy_abi, threads
from jit.runtime.kernel_code import guard_texts
from jit.runtime.native_code import code
from jit.runtime.own_code import linked

PYTHON_API = (
    "PyEval_SaveThread PyEval_RestoreThread PyGILState_Ensure PyGILState_Release "
    "PyErr_CheckSignals PyLong_AsVoidPtr PyLong_AsLongLong PyLong_FromLongLong Py_IncRef "
    "Py_DecRef PyList_New PyList_SetItem PyList_Append PyList_Type PyType_GenericAlloc "
    "PyBytes_FromStringAndSize PyDict_Size PyObject_GetAttr PyObject_Vectorcall PyIter_Next "
    "_Py_NoneStruct"
).split()
FASTCALL = 0x80  # METH_FASTCALL


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Native:
    """The native functions.

    Attributes:
        enter: Makes `enter(arrays, results, slots, base)` of a plan's address; None where the
            structures of Python or NumPy are not laid out as expected.
        resume: Makes `resume(slots, first)` of a plan's address.
        same: Makes `same(*objects)` of an address, where the number of objects and their ids are.
        kernels: Addresses of guard kernels, of `batch` and of `repeat`.
        direct: Makes `direct(*arrays)` of a plan's address and of what must live as long as the
            function; None where `enter` is.
        within: Makes `within(*boxes)` of the address of what `boxes` writes for it, likewise.
        opened: Makes a function of `boxes` likewise.
        boxed: Another one.
        held: Another one.
        put: Another one.
        walk: Makes a function of `walks` likewise.
        noted: Makes one of `notes`.
    """

    enter: Callable[[int], Callable[..., int]] | None
    resume: Callable[[int], Callable[..., int]]
    kernels: Mapping[str, int]
    same: Callable[[int, Any], Callable[..., int]]
    direct: Callable[[int, Any], Callable[..., list[Any] | None]] | None = None
    within: Callable[[int, Any], Callable[..., list[Any] | None]] | None = None
    opened: Callable[[int, Any], Callable[..., list[Any] | None]] | None = None
    boxed: Callable[[int, Any], Callable[..., list[Any]]] | None = None
    held: Callable[[int, Any], Callable[[], list[Any] | None]] | None = None
    put: Callable[[int, Any], Callable[[list[Any]], int]] | None = None
    walk: Callable[[int, Any], Callable[..., bytes | None]] | None = None
    noted: Callable[[int, Any], Callable[..., Any]] | None = None


@cache
def native() -> Native:
    """The native functions of this process."""
    kernels = ["batch", "repeat", *guard_texts()]
    imports = addresses_of(PYTHON_API) | numpy_abi.symbols() | {"parallel": threads.pool().parallel}
    functions = "enter resume direct within same opened boxed held put walk noted".split()
    found = linked(code(), [*functions, *kernels], imports)
    reads = numpy_abi.as_expected()
    return Native(
        enter=maker("enter", found["enter"]) if reads else None,
        resume=maker("resume", found["resume"]),
        kernels={name: found[name] for name in kernels},
        same=maker("same", found["same"]),
        direct=maker("direct", found["direct"]) if reads else None,
        within=maker("within", found["within"]) if reads else None,
        opened=maker("opened", found["opened"]) if reads else None,
        boxed=maker("boxed", found["boxed"]) if reads else None,
        held=maker("held", found["held"]) if reads else None,
        put=maker("put", found["put"]) if reads else None,
        walk=maker("walk", found["walk"]) if reads else None,
        noted=maker("noted", found["noted"]) if reads else None,
    )


def is_ready() -> bool:
    """Whether the native functions are there; to make their code takes LLVM a while."""
    return native.cache_info().currsize > 0


def same(objects: Sequence[Any]) -> Callable[..., int]:
    """A builtin function that is true when its arguments are these very objects.

    It takes 1 ns for each, where `is` in Python takes 30.
    """
    ids = (ctypes.c_ssize_t * (len(objects) + 1))(len(objects), *map(id, objects))
    return native().same(ctypes.addressof(ids), (ids, *objects))


def addresses_of(names: Sequence[str]) -> dict[str, int]:
    """The addresses of what CPython exports."""
    found = {name: getattr(ctypes.pythonapi, name) for name in names}
    return {name: ctypes.cast(x, ctypes.c_void_p).value or 0 for name, x in found.items()}


_definitions: list[MethodDef] = []  # builtin functions point at them, as long as the process lives


def maker(name: str, address: int) -> Callable[..., Callable[..., Any]]:
    """From a plan's address to the builtin function (a call costs 0.05 us, by ctypes 0.4).

    The second argument is kept alive by the function.
    """
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.argtypes = ctypes.c_void_p, ctypes.py_object, ctypes.py_object
    new.restype = ctypes.py_object
    _definitions.append(MethodDef(name.encode(), address, FASTCALL, None))
    definition = ctypes.addressof(_definitions[-1])
    return lambda plan, held=None: new(definition, plan, held)
