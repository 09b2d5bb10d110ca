"""What there is, by the array API standard: dtypes and their limits, devices, capabilities.

These functions answer in Python values, so that they are no ops.
"""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

from dualflow.core import backend
from dualflow.core.context import context
from dualflow.core.convert import SCALARS
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.dataclass import dataclass
from jit.dims import Dim
from jit.errors import DeviceError, DTypeError
from jit.types import (
    as_dtype,
    complex64,
    dtypes,
    float32,
    int64,
    kind,
    promote,
    weak_dtype,
)
from jit.types import (
    broadcast_shapes as common_shape,
)

# The standard's kinds of dtypes: what `isdtype` and `dtypes(kind=)` take.
KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"] + KINDS["complex floating"]
PARTS = {dtypes["complex64"]: float32, dtypes["complex128"]: dtypes["float64"]}
WHOLES = {real: cplx for cplx, real in PARTS.items()}
STANDARD = frozenset(dtypes) - {"float16", "bfloat16"}  # the dtypes that the standard names


VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")  # of the standard


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of absolute values."""
    return PARTS.get(dtype, dtype)


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The complex dtype that holds values of a floating or complex one."""
    return dtype if dtype in PARTS else WHOLES.get(dtype, complex64)


# ----- limits -----


@dataclass(frozen=True)
class FInfo:
    """The limits of a floating dtype.

    Attributes:
        bits: How many bits a number takes; of a complex dtype, each of its parts.
        eps: The distance from 1.0 to the next greater number.
        max: The greatest finite number.
        min: The least finite number.
        smallest_normal: The least positive number of full precision.
        dtype: The dtype; of a complex dtype, that of its parts.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class IInfo:
    """The limits of an integer dtype.

    Attributes:
        bits: How many bits a number takes.
        max: The greatest number.
        min: The least number.
        dtype: The dtype.
    """

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def finfo(type: Any, /) -> FInfo:
    """The limits of a floating or complex dtype.

    Args:
        type: The dtype, or a tensor of it.

    Returns:
        Object with `bits`, `eps`, `max`, `min`, `smallest_normal` and `dtype`.

    Raises:
        DTypeError: It is no floating or complex dtype.

    Example:
        >>> import dualflow as df
        >>> df.finfo(df.float32).eps
        1.1920928955078125e-07
    """
    dtype = _dtype_of(type)
    if kind(dtype) not in ("floating", "complex"):
        raise DTypeError(
            f"finfo: {dtype} is no floating dtype", "a floating or complex dtype", "df.iinfo"
        )
    real = real_dtype(dtype)
    found: Any = ml_dtypes.finfo(real)
    return FInfo(
        bits=int(found.bits),
        eps=float(found.eps),
        max=float(found.max),
        min=float(found.min),
        smallest_normal=float(found.smallest_normal),
        dtype=real,
    )


def iinfo(type: Any, /) -> IInfo:
    """The limits of an integer dtype.

    Args:
        type: The dtype, or a tensor of it.

    Returns:
        Object with `bits`, `max`, `min` and `dtype`.

    Raises:
        DTypeError: It is no integer dtype.

    Example:
        >>> import dualflow as df
        >>> df.iinfo(df.int8).max
        127
    """
    dtype = _dtype_of(type)
    if kind(dtype) != "integer":
        raise DTypeError(f"iinfo: {dtype} is no integer dtype", "an integer dtype", "df.finfo")
    found = np.iinfo(dtype)
    return IInfo(int(found.bits), int(found.max), int(found.min), dtype)


def _dtype_of(x: Any) -> np.dtype[Any]:
    return x.dtype if isinstance(x, Tensor | np.ndarray | np.generic) else as_dtype(x)


# ----- relations between dtypes -----


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of some kind.

    Args:
        dtype: The dtype.
        kind: A dtype; one of "bool", "signed integer", "unsigned integer", "integral",
            "real floating", "complex floating", "numeric"; or a tuple of these.

    Returns:
        True where it is of one of the kinds.

    Raises:
        DTypeError: There is no such dtype or kind.

    Example:
        >>> import dualflow as df
        >>> df.isdtype(df.int8, "integral"), df.isdtype(df.int8, (df.bool, "real floating"))
        (True, False)
    """
    dtype = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str) and kind in KINDS:
        return dtype.name in KINDS[kind]
    return dtype == as_dtype(kind)


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether values of one dtype become another by promotion.

    Args:
        from_: A dtype, or a tensor of it.
        to: The dtype to arrive at.

    Returns:
        True where both meet in `to`: docs/promotion.md shows in which dtype any two meet.

    Example:
        >>> import dualflow as df
        >>> df.can_cast(df.int8, df.int16), df.can_cast(df.float64, df.float32)
        (True, False)
    """
    target = as_dtype(to)
    try:
        return promote(_dtype_of(from_), target) == target
    except DTypeError:
        return False


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype in which tensors, dtypes and Python numbers meet.

    Args:
        *arrays_and_dtypes: Tensors or arrays, dtypes, and numbers; these are weak, they take the
            dtype of the others where its kind allows.

    Returns:
        The dtype of what an op computes from them.

    Raises:
        DTypeError: They have none in common, or there are only numbers.

    Example:
        >>> import dualflow as df
        >>> df.result_type(df.int8, df.ones(2, dtype=df.int16), 7)
        dtype('int16')
    """
    numbers = [x for x in arrays_and_dtypes if _is_number(x)]
    met = None
    for x in arrays_and_dtypes:
        if not _is_number(x):
            met = _dtype_of(x) if met is None else promote(met, _dtype_of(x))
    if met is None:
        raise DTypeError(
            "result_type: nothing but numbers", "one tensor or dtype at least", "add a dtype"
        )
    for x in numbers:
        met = weak_dtype(x, met)
    return met


def _is_number(x: Any) -> bool:
    return isinstance(x, SCALARS) and not isinstance(x, np.generic)


def broadcast_shapes(*shapes: tuple[int | Dim, ...]) -> tuple[int | Dim, ...]:
    """The shape to which shapes broadcast.

    Args:
        *shapes: Any number of shapes.

    Returns:
        Their common shape; () when there are none.

    Raises:
        ShapeError: Two extents differ and neither is 1.

    Example:
        >>> import dualflow as df
        >>> df.broadcast_shapes((2, 1), (3,))
        (2, 3)
    """
    return common_shape(*map(tuple, shapes)) if shapes else ()


# ----- the namespace -----


class NamespaceInfo:
    """What `df.__array_namespace_info__()` gives: devices, dtypes and capabilities.

    Example:
        >>> import dualflow as df
        >>> df.__array_namespace_info__().default_dtypes()["integral"]
        dtype('int64')
    """

    def capabilities(self) -> dict[str, Any]:
        """What else may depend on values or is limited: masks, shapes, the number of dimensions."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": 64,
        }

    def default_device(self) -> str:
        """The device that new tensors lie on."""
        return context.device

    def devices(self) -> tuple[str, ...]:
        """All devices that are there."""
        try:
            count = backend.cupy().cuda.runtime.getDeviceCount()
        except DeviceError:
            count = 0
        return ("cpu", *(f"gpu:{k}" for k in range(count)))

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype[Any]]:
        """The dtypes of Python numbers and of indices; the same on every device."""
        del device
        return {
            "real floating": float32,
            "complex floating": complex64,
            "integral": int64,
            "indexing": int64,
        }

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, np.dtype[Any]]:
        """The standard's dtypes by name, of all kinds or some; the same on every device.

        Args:
            device: Any device.
            kind: A kind as `df.isdtype` takes it, or a tuple of them; None for all.
        """
        del device
        wanted = ("bool", "numeric") if kind is None else kind
        return {
            name: dtype
            for name, dtype in dtypes.items()
            if name in STANDARD and isdtype(dtype, wanted)
        }


def namespace(version: str | None) -> Any:
    """The module that holds the standard's functions, for `x.__array_namespace__()`.

    Raises:
        ValueError: It does not follow that version of the standard.
    """
    if version is not None and version not in VERSIONS:
        raise ValueError(
            f"array API {version}: dualflow follows {VERSIONS[-1]}; known are {', '.join(VERSIONS)}"
        )
    return sys.modules["dualflow"]


functions["namespace"] = namespace


def __array_namespace_info__() -> NamespaceInfo:  # noqa: N807 - the standard's name
    """Devices, dtypes and capabilities of dualflow, as the array API standard asks for them."""
    return NamespaceInfo()
