"""`save` and `load` for any format: by the file's name, and by what the file begins with."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dualflow.core.files import FilePath, damaged, reading
from dualflow.io.keras_format import load_keras
from dualflow.io.numpy_format import load_npz, save_npz
from dualflow.io.safetensors_format import load_safetensors, save_safetensors
from dualflow.io.torch_format import load_torch

WRITERS: dict[str, Callable[[FilePath, Mapping[str, Any]], None]] = {
    ".safetensors": save_safetensors,
    ".npz": save_npz,
}


def save(path: FilePath, tensors: Mapping[str, Any]) -> None:
    """Writes tensors to a file, at once: a crash leaves the old file or the new one.

    Args:
        path: Its suffix says the format: `.safetensors` or `.npz`.
        tensors: Names and Tensors or NumPy arrays, such as `model.state_dict()`.

    Raises:
        ValueError: Another suffix.

    Example:
        >>> import dualflow as df
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.io.save(f"{folder}/weights.npz", {"w": df.ones(2)})
        ...     df.io.load(f"{folder}/weights.npz")["w"].tolist()
        [1.0, 1.0]
    """
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise ValueError(f"df.io.save: {str(path)!r} ends in none of {', '.join(WRITERS)}")
    WRITERS[suffix](path, tensors)


def load(path: FilePath) -> Any:
    """Reads a file of weights, whichever of the formats it has; its name does not count.

    Args:
        path: A safetensors, npz, PyTorch (zip or older) or Keras (HDF5, `.keras`) file.

    Returns:
        Names and Tensors; of a PyTorch file, whatever nest it holds.

    Raises:
        TypeError: No path.
        FileError: None of these, or damaged.
    """
    path = os.fspath(path)  # a number would be a file that is open already
    return reader_of(path)(path)


def reader_of(path: FilePath) -> Callable[[FilePath], Any]:
    """What reads a file, told by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(9)
    if start[:4] == b"PK\x03\x04":
        with reading(path, "zip"), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/data.pkl") for name in names):
            return load_torch
        return load_keras if "model.weights.h5" in names else load_npz
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return load_keras
    if start[:2] == b"\x80\x02":
        return load_torch
    if start[8:9] == b"{":
        return load_safetensors
    raise damaged(path, "safetensors, npz, PyTorch or Keras", "it begins like no file of weights")
