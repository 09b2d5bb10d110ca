"""Weights as NumPy's npz: a zip of npy files. Arrays of Python objects are refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualflow.core.files import FilePath, members, reading
from dualflow.core.tensor import Tensor
from dualflow.io.files import as_arrays, replacing
from jit.errors import DTypeError
from jit.types import dtypes, product


def save_npz(path: FilePath, tensors: Mapping[str, Any]) -> None:
    """Writes tensors to an npz file, at once: a crash leaves the old file or the new one.

    Args:
        path: The file.
        tensors: Names and Tensors or NumPy arrays.

    Raises:
        DTypeError: bfloat16, which NumPy's format lacks.
    """
    arrays = as_arrays(tensors)
    for name, array in arrays.items():
        if array.dtype.name == "bfloat16":
            raise DTypeError(
                f"save_npz: {name} is bfloat16",
                "a dtype of NumPy's own",
                "save_safetensors, or x.astype(df.float32)",
            )
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_npz(path: FilePath, *, max_bytes: int | None = None) -> dict[str, Tensor]:
    """Reads the arrays of an npz file.

    Args:
        path: The file.
        max_bytes: What all arrays together may take; by default twice the file's size, and some
            megabytes. A compressed file may need more.

    Returns:
        Names and Tensors.

    Raises:
        FileError: It is no whole npz file, holds Python objects, or needs more than `max_bytes`.
    """
    with reading(path, "npz"), zipfile.ZipFile(path) as archive:
        return {
            name.removesuffix(".npy"): Tensor(parsed(data))
            for name, data in members(path, "npz", archive, max_bytes)
        }


def parsed(data: bytes) -> np.ndarray[Any, Any]:
    """The array of an npy file, over its bytes."""
    head = io.BytesIO(data)
    version = np.lib.format.read_magic(head)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"npy version {version} is not known")
    shape, by_columns, dtype = read_header(head)
    if dtype.name not in dtypes:
        raise ValueError(f"an array of {dtype}; nothing but numbers is read")
    if any(extent < 0 for extent in shape):
        raise ValueError(f"shape {shape}")
    body = memoryview(data)[head.tell() :]
    if product(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{len(body)} bytes for shape {shape} of {dtype}")
    flat = np.frombuffer(body, dtype)
    array = flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)
    native = array if dtype.isnative else array.astype(dtype.newbyteorder("="))
    return np.ascontiguousarray(native).reshape(shape)
