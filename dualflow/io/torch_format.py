"""PyTorch's checkpoints, in the zip format and in the older pickles; no code of the file runs."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

from dualflow.core.files import BoundedFile, FilePath, damaged, member, reading
from dualflow.core.tensor import Tensor
from dualflow.io.pickles import Machine, RefusedError, mapped, plain_key
from jit.dataclass import dataclass
from jit.types import as_dtype

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
PROTOCOL = 1001
STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
PLAIN = (str, bytes, int, float, complex, set, type(None))


@dataclass(frozen=True)
class Kind:
    """The class of a storage: the dtype of its elements."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, in a place of their own in the file.

    Attributes:
        key: The name of the place.
        dtype: Of the numbers.
        count: How many there are.
        start: Where a part of a larger storage begins.
    """

    key: str
    dtype: str
    count: int
    start: int = 0


@dataclass(frozen=True)
class Stored:
    """A tensor that is yet to be made of its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def ordered(items: Iterable[Any] = ()) -> dict[Any, Any]:
    """An ordered dict, which every dict is."""
    return {plain_key(key): value for key, value in items}


def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Stored:
    """`torch._utils._rebuild_tensor`, and `_v2`, which adds what only learning needs."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor is described by something else than numbers")
    return Stored(storage, offset, tuple(shape), tuple(strides))


def parameter(data: Any, *_: Any) -> Any:
    """`torch._utils._rebuild_parameter`: the tensor."""
    return data


NAMES: dict[str, Any] = {
    "collections.OrderedDict": ordered,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": parameter,
    **{f"torch.{name}Storage": Kind(dtype) for name, dtype in STORAGES.items()},
}


def load_torch(path: FilePath) -> Any:
    """Reads a file that `torch.save` wrote: tensors, numbers and text, in lists and dicts.

    PyTorch need not be installed. A file that holds a whole model, or anything else of which
    loading would run code, is refused.

    Args:
        path: The file.

    Returns:
        What was saved, such as a state_dict, with Tensors of dualflow's in the place of PyTorch's.

    Raises:
        FileError: It is no whole PyTorch file, or needs code.
    """
    with reading(path, "PyTorch"), BoundedFile(path) as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            return from_zip(path, file)
        if start[:1] == b"\x80":
            return from_pickles(path, file)
        raise damaged(path, "PyTorch", "it begins neither as a zip file nor as a pickle")


# ----- the zip format -----


def from_zip(path: FilePath, file: IO[bytes]) -> Any:
    """What a zip of one pickle and a file for each storage holds."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        size = os.path.getsize(path)
        if sum(info.file_size for info in entries.values()) > size:
            raise ValueError(f"its parts are larger than the {size:,} bytes of the file")
        (root,) = {name.partition("/")[0] for name in entries if name.endswith("/data.pkl")}
        order = entries.get(f"{root}/byteorder")
        if order is not None and member(archive, order) != b"little":
            raise ValueError("it was written on a big-endian machine")

        def numbers(storage: Storage) -> np.ndarray[Any, Any]:
            data = member(archive, entries[f"{root}/data/{storage.key}"])
            return np.frombuffer(data, as_dtype(storage.dtype))

        with archive.open(entries[f"{root}/data.pkl"]) as pickle:
            nest = Machine(pickle, NAMES, persistent).run()  # pyright: ignore[reportArgumentType]
        return finished(nest, numbers)


def persistent(key: Any) -> Storage:
    """The storage that a pickle refers to."""
    word, kind, name, _, count, *view = key
    start = 0
    if view and view[0] is not None:  # of the older format: a part of another storage
        _, start, count = view[0]
    checks = [word == "storage", isinstance(kind, Kind), isinstance(name, str)]
    if not all(checks) or type(count) is not int or type(start) is not int or min(count, start) < 0:
        raise ValueError("the pickle refers to something that is no storage")
    return Storage(name, kind.dtype, count, start)


# ----- the older format -----


def from_pickles(path: FilePath, file: IO[bytes]) -> Any:
    """What a row of pickles with the numbers of all storages behind them holds."""
    if Machine(file, {}).run() != MAGIC or Machine(file, {}).run() != PROTOCOL:
        raise damaged(path, "PyTorch", "it is a pickle, but not one of torch.save")
    system = Machine(file, {}).run()
    if not system["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def noted(key: Any) -> Storage:
        storage = persistent(key)
        storages.setdefault(storage.key, storage)
        return storage

    nest = Machine(file, NAMES, noted).run()
    keys = Machine(file, {}).run()
    places: dict[str, np.ndarray[Any, Any]] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        dtype = as_dtype(storages[key].dtype)
        places[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return finished(nest, lambda storage: places[storage.key])


# ----- tensors -----


def finished(nest: Any, numbers: Callable[[Storage], np.ndarray[Any, Any]]) -> Any:
    """The nest with Tensors over the numbers of each storage, which are read once."""
    places: dict[str, np.ndarray[Any, Any]] = {}
    copied = Budget()

    def leaf(value: Any) -> Any:
        if isinstance(value, Stored):
            storage = value.storage
            if storage.key not in places:
                places[storage.key] = numbers(storage)
                copied.grow(places[storage.key].nbytes)
            return Tensor(arranged(places[storage.key], value, copied))
        if isinstance(value, PLAIN):
            return value
        raise RefusedError(
            f"it holds a {type(value).__name__}, which is neither a tensor nor plain"
        )

    return mapped(nest, leaf)


class Budget:
    """How many bytes may be copied: as many as were read, or a small file would fill the memory."""

    def __init__(self) -> None:
        self.left = 0

    def grow(self, count: int) -> None:
        """Bytes were read."""
        self.left += count

    def spend(self, count: int) -> None:
        """Bytes are copied."""
        self.left -= count
        if self.left < 0:
            raise ValueError("its tensors are larger than its storages")


def arranged(flat: np.ndarray[Any, Any], stored: Stored, copied: Budget) -> np.ndarray[Any, Any]:
    """A tensor's array, in rows: a view where its numbers lie so already."""
    shape, strides = stored.shape, stored.strides
    if len(shape) != len(strides) or len(shape) > 32:
        raise ValueError(f"shape {shape} with strides {strides}")
    count, start = math.prod(shape), stored.offset + stored.storage.start
    last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if (count and last >= len(flat)) or count > len(flat):
        raise ValueError(f"shape {shape} needs more than the {len(flat)} numbers of its storage")
    if stored.storage.dtype != flat.dtype.name:
        raise ValueError("one storage is used with two dtypes")
    if not count:
        return np.zeros(shape, flat.dtype)
    steps = tuple(step * flat.itemsize for step in strides)
    view = np.lib.stride_tricks.as_strided(flat[start:], shape, steps, writeable=False)
    if not view.flags.c_contiguous:
        copied.spend(view.nbytes)
    return np.ascontiguousarray(view).reshape(shape)
