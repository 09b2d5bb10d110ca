"""Launches: what an op is on a GPU for arrays of forms that it has met, called by native code.

In Python it takes several microseconds to look at arrays, to find what is launched for such, and to
write down its parameters; that is more than the driver takes for the launch. Here one native call
does it: it makes a key of the arrays' forms, has CuPy allocate and make the results, and calls the
driver. The parameters stand on its stack, so threads do not meet.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from jit.runtime import cupy_abi
from jit.runtime.cublas_choice import Choice
from jit.runtime.cuda import array_parts, cupy
from jit.runtime.gpu_direct import Direct
from jit.runtime.gpu_form_code import MOST_INPUTS
from jit.runtime.gpu_launch_code import MOST_OUTPUTS, MOST_WORDS, code
from jit.runtime.library_call import LibraryCall
from jit.runtime.native import addresses_of, maker
from jit.runtime.own_code import linked
from jit.runtime.programmatic import driver

KEPT = 1024  # forms of an op, and numbers of a form
TUPLE = 24  # bytes of a tuple before its items
STREAM = "get_current_stream_ptr"  # CuPy's function in C, and what it says of it
SIGNATURE = b"intptr_t (void)"
IMPORTS = (
    "PyEval_SaveThread PyEval_RestoreThread PyErr_Occurred PyLong_AsVoidPtr PyLong_AsLongLong "
    "PyLong_AsLongLongAndOverflow PyFloat_AsDouble PyBytes_FromStringAndSize "
    "PyDict_GetItemWithError PyObject_GetAttr PyObject_Vectorcall PyList_New PyList_SetItem "
    "Py_IncRef Py_DecRef _Py_NoneStruct"
).split()

Words = ctypes.Array[ctypes.c_int64]


class Launches:
    """What an op, with certain attrs, is for the forms of arrays.

    Args:
        host: What native code calls.

    Attributes:
        known: By form what is done.
        run: `run(arrays)` is a list of the results; None where there is no job for such arrays, or
            the driver refuses it. Numbers may be among the arrays.
    """

    def __init__(self, host: Host) -> None:
        self.known: dict[bytes, tuple[Any, ...]] = {}
        words = (ctypes.c_int64 * 12)(host.words[0], id(self.known), *host.words[2:])
        held = words, self.known, host
        self.run: Callable[[list[Any]], list[Any] | None]
        self.run = host.launched(ctypes.addressof(words), held)
        self._form: Callable[[list[Any]], bytes | None] = host.form(ctypes.addressof(words), held)

    def learn(self, arrays: list[Any], given: Sequence[Any], job: Direct) -> None:
        """Lets `run` know what is done for arrays of this form, and numbers among them.

        Args:
            arrays: Arrays and numbers.
            given: The same, with an array on the GPU for each number.
            job: What is done.
        """
        form = self._form(arrays)
        if form is None:
            return
        found = self.known.get(form)
        if found is None:
            if (found := entry(job, [x.dtype for x in given])) is None:
                return
            if len(self.known) >= KEPT:
                self.known.clear()
            self.known[form] = found
        _, numbers, alive, *_ = found
        for x, array in zip(arrays, given, strict=True):
            if x is not array and len(numbers) < KEPT and (key := bits(x)) is not None:
                numbers[key] = array.data.ptr
                alive.append(array)


def entry(job: Direct, dtypes: list[Any]) -> tuple[Any, ...] | None:
    """What native code finds for a form, whose dtypes live as long; None of what is too large."""
    words = words_of(job)
    return None if words is None else (ctypes.addressof(words), {}, [job, words], dtypes)


def bits(x: Any) -> bytes | None:
    """What native code knows a number by; None of one that is too large."""
    if x.__class__ is float:
        return struct.pack("=d", x)
    return struct.pack("=q", x) if -(2**63) <= x < 2**63 else None


def words_of(job: Direct) -> Any:
    """A job, as native code reads it; None of one that is too large, or takes Python."""
    if any(isinstance(launch, LibraryCall) and launch.by_python for launch, _ in job.launches):
        return None
    inputs, outputs = len(job.inputs), job.outputs
    if inputs > MOST_INPUTS or len(outputs) > MOST_OUTPUTS or len(job.words) > MOST_WORDS:
        return None
    held: list[Any] = [job.arena or None]
    made = [(id(shape), id(dtype), kept(held, size)) for shape, dtype, size in outputs]
    launches = [kept_words(held, launch_words(held, *launch)) for launch in job.launches]
    flat = [x for words in launches for x in words]
    rows = [kept_words(held, [x for part in parts for x in part]) for parts in (made, job.words)]
    places = [ctypes.addressof(x) for x in (*rows, kept_words(held, flat))]
    numbers = job.device, inputs, len(outputs), places[0], id(held[0]) if job.arena else 0
    words = (ctypes.c_int64 * 9)(*numbers, len(job.words), places[1], len(launches), places[2])
    words.held = held  # pyright: ignore[reportAttributeAccessIssue]
    return words


def kept(held: list[Any], x: Any) -> int:
    """The address of an object, which stays."""
    held.append(x)
    return id(x)


def kept_words(held: list[Any], numbers: Sequence[int]) -> Words:
    """Numbers in memory, which stays."""
    words = (ctypes.c_int64 * max(len(numbers), 1))(*numbers)
    held.append(words)
    return words


def launch_words(held: list[Any], launch: Any, start: int) -> list[int]:
    """A launch: its kernel, its numbers in pairs, the first word, the library's product."""
    if isinstance(launch, Choice):
        product = kept_words(held, launch.words(held))
        return [0] * 5 + [start, ctypes.addressof(product)]
    kernel, *numbers = launch
    numbers.append(0)
    pairs = [low | high << 32 for low, high in zip(numbers[::2], numbers[1::2], strict=True)]
    return [kernel, *pairs, start, 0]


class Host:
    """What native code calls: CuPy's functions and the driver's.

    Args:
        module: CuPy.
        parts: What makes arrays, see `cuda.array_parts`.
        stream: The address of a function that gives the current stream's number.
        launch: That of the driver's function for launches.

    Attributes:
        words: The same, as native code reads it; the second is for what is known.
        launched: Makes `run` of the address of such words, and of what must live as long.
        form: Makes a function that gives the form of arrays likewise.
    """

    def __init__(self, module: Any, parts: Any, stream: int, launch: int) -> None:
        cuda = module.cuda
        ask = cuda.runtime.getDevice if cuda.runtime.getDeviceCount() > 1 else None
        self._held = module.ndarray, cuda.alloc, *parts, "ptr", ask
        first, *others = map(id, self._held[:5])
        kinds = id(float), id(int), id(bool)
        self.words = first, 0, *others, 0 if ask is None else id(ask), stream, launch, *kinds
        found = linked(code(), ["launched", "form"], addresses_of(IMPORTS))
        self.launched, self.form = (maker(name, at) for name, at in found.items())


def launches() -> Launches | None:
    """For an op that has met nothing; None where native code cannot read CuPy's arrays."""
    found = host(cupy())
    return None if found is None else Launches(found)


@cache
def host(module: Any) -> Host | None:
    """What native code calls in a module: CuPy, or what stands for it."""
    library, stream, parts = driver(), current_stream(), array_parts(module)
    usual = tuple.__basicsize__ == TUPLE and cupy_abi.as_expected(module)
    if library is None or stream is None or parts is None or not usual:
        return None
    launch = ctypes.cast(library.cuLaunchKernel, ctypes.c_void_p).value
    return Host(module, parts, stream, launch or 0)


def current_stream() -> int | None:
    """The address of CuPy's function; None where it has none like that."""
    try:
        from cupy_backends.cuda import stream  # type: ignore[import-not-found]
    except ImportError:
        return None
    capsule = getattr(stream, "__pyx_capi__", {}).get(STREAM)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    try:
        return None if capsule is None else pointer(capsule, SIGNATURE)
    except ValueError:  # it is a function of another kind
        return None
