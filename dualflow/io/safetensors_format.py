"""Weights as safetensors: names, dtypes, shapes and bytes, and nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dualflow.core.files import FilePath, damaged, extra, reading
from dualflow.core.tensor import Tensor
from dualflow.io.files import as_arrays, replacing
from jit.errors import DTypeError
from jit.types import as_dtype

DTYPES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "C64": "complex64",
    **{f"F{n}": f"float{n}" for n in (16, 32, 64)},
    **{f"I{n}": f"int{n}" for n in (8, 16, 32, 64)},
    **{f"U{n}": f"uint{n}" for n in (8, 16, 32, 64)},
}


def save_safetensors(
    path: FilePath, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors to a safetensors file, at once: a crash leaves the old file or the new one.

    Args:
        path: The file.
        tensors: Names and Tensors or NumPy arrays, such as `model.state_dict()`.
        metadata: Text to keep beside them.

    Raises:
        DTypeError: A dtype that the format lacks.
    """
    safetensors = extra("safetensors", "io")
    arrays = as_arrays(tensors)
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES.values():
            raise DTypeError(
                f"save_safetensors: {name} is {array.dtype}",
                f"one of {', '.join(DTYPES.values())}",
                "save_npz, or real and imaginary parts one by one",
            )
    specs = {
        name: safetensors.TensorSpec(
            dtype=array.dtype.name,
            shape=array.shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    data = safetensors.serialize(specs, metadata=None if metadata is None else dict(metadata))
    with replacing(path) as file:
        file.write(data)


def load_safetensors(path: FilePath) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file.

    Args:
        path: The file.

    Returns:
        Names and Tensors.

    Raises:
        FileError: It is no whole safetensors file.
    """
    data = Path(path).read_bytes()
    safetensors = extra("safetensors", "io")
    with reading(path, "safetensors"):
        try:
            entries = safetensors.deserialize(data)
        except safetensors.SafetensorError as error:
            raise damaged(path, "safetensors", str(error)[:200]) from None
        del data
        return {name: tensor_of(entry) for name, entry in entries}


def tensor_of(entry: Mapping[str, Any]) -> Tensor:
    """A Tensor over the bytes of one entry."""
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"dtype {entry['dtype']} is none of dualflow's")
    return Tensor(np.frombuffer(entry["data"], as_dtype(dtype)).reshape(entry["shape"]))
