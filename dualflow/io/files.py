"""What writers share: files that are replaced at once, and tensors as arrays."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from dualflow.core.files import FilePath
from dualflow.core.tensor import Tensor
from jit.types import dtypes


@contextmanager
def replacing(path: FilePath) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the `with` block ends well, all at once.

    Whoever opens `path`, also after a crash, finds the old file or the new one, never a part.

    Args:
        path: The file; its folder must be there.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder last, where the system can: else a power cut may undo a rename."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def as_arrays(tensors: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Names and tensors as names and arrays on the host, each in one piece.

    Raises:
        TypeError: A name is no text, or a value no array of a dtype that tensors have.
    """
    arrays = {}
    for name, value in dict(tensors).items():
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        if not isinstance(name, str) or array.dtype.name not in dtypes:
            raise TypeError(f"{name!r}: {array.dtype} array; names are text, values are tensors")
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return arrays
