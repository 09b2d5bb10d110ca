"""A stand-in for CuPy on a machine without a GPU: NumPy behind CuPy's surface and refusals.

Its arrays are of a class of their own and belong to a device by number. As CuPy does, it refuses
implicit conversion to NumPy, NumPy arrays as operands, arrays of a device that is not active, what
CuPy lacks (`cupy_names.txt`), and dtypes that CuPy has no code for. Memory is the host's: kernels
of the CPU can be run on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import ml_dtypes
import numpy as np

from dualflow.core import backend
from tests.gpu import cupy_names
from tests.gpu.standin_driver import MemoryPointer, Pool, cuda_of, state

NAMES = cupy_names.read()
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# Functions that take arrays of the host: they copy them.
VIEWS = frozenset("reshape transpose ravel view".split())  # of arrays, where nothing is launched
CONVERT = frozenset("array asarray ascontiguousarray asanyarray asfortranarray".split())
# Seen to work with bfloat16 on a device; the rest is not known.
WITH_BFLOAT16 = frozenset("add matmul exp sum copy astype".split()) | CONVERT | VIEWS
# Dtypes that `ufunc.at` has atomic operations for.
ATOMIC = frozenset("int32 uint32 uint64 float16 float32 float64 complex64 complex128".split())
_arrays: WeakValueDictionary[int, ndarray] = WeakValueDictionary()


class ndarray:  # noqa: N801 - its name in CuPy
    """An array on a device."""

    __slots__ = ("host", "data", "base", "__weakref__")
    __module__ = "cupy"
    __array_priority__ = 100

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: MemoryPointer | None = None, order: str = "C"
    ) -> None:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        self.data = memptr or cuda.alloc(size)
        buffer = self.data.mem.view(self.data.ptr, size)
        self.host = np.ndarray(shape, dtype, buffer, order=order)
        self.base = None

    @classmethod
    def of(cls, host: Any, device: int, given: list[ndarray]) -> ndarray:
        """An array of what NumPy gave; a view of what was `given` if it is one."""
        self = cls.__new__(cls)
        self.host = host = np.asarray(host)
        self.base = None
        for x in given:
            if np.may_share_memory(host, x.host):
                self.base = x.base if x.base is not None else x
                self.data = MemoryPointer(self.base.data.mem, host.ctypes.data)
                return self
        with cuda.Device(device):
            self.data = cuda.alloc(host.nbytes)
        strides = np.empty_like(host).strides  # in one piece
        buffer = self.data.mem.view(self.data.ptr, host.nbytes)
        self.host = np.ndarray(host.shape, host.dtype, buffer, strides=strides)
        self.host[...] = host
        return self

    @property
    def flags(self) -> Any:
        known = self.host.flags
        names = {name: getattr(known, name) for name in ("c_contiguous", "f_contiguous", "owndata")}
        return SimpleNamespace(**names)

    @property
    def device(self) -> Any:
        return cuda.Device(self.data.device_id)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        told = self.host.__array_interface__
        strides = None if self.host.flags.c_contiguous else self.host.strides
        return {**told, "data": (self.data.ptr, False), "version": 3, "strides": strides}

    def get(self, stream: Any = None) -> Any:
        del stream
        state.count("to host")
        return self.host.copy(order="K")

    def set(self, array: Any, stream: Any = None) -> None:
        del stream
        self.host[...] = array

    def item(self, *args: Any) -> Any:
        state.count("to host")
        return self.host.item(*args)

    def tolist(self) -> Any:
        state.count("to host")
        return self.host.tolist()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`.")

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        return getattr(module, ufunc.__name__)(*args, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return getattr(module, function.__name__)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name not in NAMES["arrays"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        value = getattr(self.host, name)
        return called(name, value, self) if callable(value) else outward(value, [self])

    def __len__(self) -> int:
        return len(self.host)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __getitem__(self, key: Any) -> ndarray:
        key = inward(key)
        made = self.host[key]
        if isinstance(made, np.generic):  # CuPy's are views of one element
            made = self.host[(*key, ...) if isinstance(key, tuple) else (key, ...)]
        device = state.device if made.size else self.data.device_id  # a view shares nothing then
        return ndarray.of(made, device, [self])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[inward(key)] = inward(value)

    def __iter__(self) -> Any:
        return iter([self[k] for k in range(len(self.host))])

    def __repr__(self) -> str:
        return repr(self.host)

    def __dlpack__(self, **kwargs: Any) -> Any:
        kwargs.pop("stream", None)
        return self.host.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.data.device_id

    __hash__ = None  # type: ignore[assignment]


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: ndarray, *others: Any) -> Any:
        if any(isinstance(x, np.ndarray) for x in others):
            raise TypeError(f"Unsupported type {np.ndarray}")
        checked(name.strip("_"), [self, *others])
        with np.errstate(all="ignore"):
            out = getattr(self.host, name)(*map(inward, others))
        if out is NotImplemented:
            return out
        return self if name.startswith("__i") and name != "__invert__" else outward(out, [self])

    return apply


for _name in (
    "add sub mul truediv floordiv mod pow matmul radd rsub rmul rtruediv rfloordiv rmod rpow "
    "rmatmul iadd isub imul itruediv ifloordiv imod ipow and or xor rand ror rxor lshift rshift "
    "rlshift rrshift iand ior ixor neg pos abs invert eq ne lt le gt ge"
).split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def inward(x: Any, *, anywhere: bool = False) -> Any:
    """Arrays of a device as NumPy's; those of NumPy are refused."""
    if isinstance(x, ndarray):
        if x.data.device_id != state.device and not anywhere:
            raise ValueError(
                f"Array device must be same as the current device: array device = "
                f"{x.data.device_id} while current = {state.device}"
            )
        return x.host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(x, list | tuple):
        return type(x)([inward(item, anywhere=anywhere) for item in x])
    return x


def arrays_in(x: Any) -> list[ndarray]:
    """The arrays of a device among arguments."""
    if isinstance(x, ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [y for item in x for y in arrays_in(item)] if isinstance(x, list | tuple) else []


def outward(x: Any, given: list[ndarray]) -> Any:
    """Arrays and scalars of NumPy as arrays of the active device."""
    if isinstance(x, np.ndarray | np.generic):
        return ndarray.of(x, state.device, given)
    return type(x)([outward(item, given) for item in x]) if isinstance(x, list | tuple) else x


def checked(name: str, args: Any) -> None:
    """Refuses dtypes that CuPy is not known to have code for."""
    if name not in WITH_BFLOAT16 and any(x.host.dtype == BFLOAT16 for x in arrays_in(list(args))):
        raise TypeError(f"cupy.{name}: no code for bfloat16")


def called(name: str, function: Callable[..., Any], *owner: ndarray) -> Callable[..., Any]:
    """A function or method of NumPy as CuPy's: arrays in, arrays out."""

    def call(*args: Any, **kwargs: Any) -> Any:
        given = [*owner, *arrays_in(args), *arrays_in(kwargs)]
        checked(name, given)
        for x in given:
            inward(x, anywhere=name in VIEWS)
        if name in CONVERT and args and isinstance(args[0], np.ndarray | np.generic):
            state.count("to device")
            args, kwargs = (np.array(args[0]), *args[1:]), {**kwargs}
        else:
            args = inward(tuple(args), anywhere=name in VIEWS)
        kwargs = {key: inward(value) for key, value in kwargs.items()}
        with np.errstate(all="ignore"):
            made = function(*args, **kwargs)
        if name in VIEWS:
            return ndarray.of(made, given[0].data.device_id, given)
        return outward(made, given)

    return call


class ufunc:  # noqa: N801 - as above
    """A universal function, with the methods that CuPy's have."""

    def __init__(self, numpy: np.ufunc) -> None:
        self.numpy = numpy
        self.__name__ = numpy.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return called(self.__name__, self.numpy)(*args, **kwargs)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        if self.__name__ not in ("add", "maximum", "minimum"):
            raise NotImplementedError(f"`{self.__name__}.at` is not supported yet")
        if a.host.dtype.name not in ATOMIC:
            raise TypeError(f"scatter_{self.__name__} does not support {a.host.dtype}")
        self.numpy.at(inward(a), inward(indices), inward(b))

    def reduce(self, array: ndarray, **kwargs: Any) -> Any:
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.__name__}.reduce` is not supported yet")
        return called(self.__name__, self.numpy.reduce)(array, **kwargs)


class Module(ModuleType):
    """The module that is imported under the name `cupy`."""

    ndarray = ndarray
    __version__ = "14.2.0"

    def __getattr__(self, name: str) -> Any:
        if name not in NAMES["functions"]:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        value = getattr(np, name)
        if isinstance(value, np.ufunc):
            return ufunc(value)
        return called(name, value) if callable(value) and not isinstance(value, type) else value

    @staticmethod
    def get_default_memory_pool() -> Pool:
        return POOL

    @staticmethod
    def asnumpy(x: Any, **kwargs: Any) -> Any:
        del kwargs
        return x.get() if isinstance(x, ndarray) else np.asarray(x)

    @staticmethod
    def asarray(x: Any, dtype: Any = None, **kwargs: Any) -> ndarray:
        if isinstance(x, ndarray) and x.data.device_id != state.device:
            return ndarray.of(x.host.astype(dtype or x.host.dtype), state.device, [])
        if isinstance(x, ndarray) and dtype in (None, x.host.dtype):
            return x
        return called("asarray", np.asarray)(x, dtype, **kwargs)

    @staticmethod
    def from_dlpack(x: Any) -> ndarray:
        return ndarray.of(np.from_dlpack(x.host), x.data.device_id, [x])


cuda = cuda_of()
POOL = Pool()  # of eager code
module = Module("cupy")
module.cuda = cuda  # type: ignore[attr-defined]


class Installed:
    """A `with` block in which `import cupy` gives the stand-in, with some devices."""

    def __init__(self, devices: int = 1) -> None:
        self.devices = devices

    def __enter__(self) -> Any:
        self.before = sys.modules.get("cupy"), state.devices
        state.devices, state.device = self.devices, 0
        state.counts.clear()
        backend.count_of_devices.cache_clear()
        sys.modules["cupy"] = module
        return state

    def __exit__(self, *exc: object) -> None:
        before, state.devices = self.before
        if before is None:
            sys.modules.pop("cupy", None)
        else:
            sys.modules["cupy"] = before


__name__ = "cupy"  # to a recording: whose code it skips
