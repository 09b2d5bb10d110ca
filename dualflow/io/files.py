"""What readers and writers share: files replaced at once, and errors that name the file."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from dualflow.core.tensor import Tensor
from dualflow.errors import FileError
from jit.errors import DualflowError
from jit.types import dtypes

FilePath = str | os.PathLike[str]


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


@contextmanager
def reading(path: FilePath, what: str) -> Iterator[None]:
    """Turns whatever a parser raises in the `with` block into a `FileError` that names the file.

    Args:
        path: The file.
        what: What it should be, such as "npz".
    """
    try:
        yield
    except (DualflowError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # it is the system that cannot read
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise damaged(path, what, said[:200]) from error


def damaged(path: FilePath, what: str, why: str) -> FileError:
    """The error about a file that is not what it should be."""
    return FileError(
        f"{os.fspath(path)}: {why}",
        f"a whole {what} file",
        "save or copy it again; df.io.load(path) finds out the format by itself",
    )


def extra(module: str, name: str) -> Any:
    """A module of an optional package.

    Args:
        module: Its name.
        name: The extra of dualflow that installs it.

    Raises:
        ModuleNotFoundError: It is not installed; the message says how to.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"the package {package} is needed here: pip install dualflow[{name}]", name=package
        ) from None


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
