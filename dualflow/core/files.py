"""What readers of files share: errors that name the file, and packages that may be missing."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dualflow.errors import FileError
from jit.errors import DualflowError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

FilePath = str | os.PathLike[str]
PACKED = (0, 8)  # what zip files call stored, and deflated
SLACK = 16 * 2**20  # bytes that reading may take beside twice the size of a file


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


def members(
    path: FilePath, what: str, archive: ZipFile, max_bytes: int | None
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the files in an archive, one after the other.

    Args:
        path: The archive.
        what: What it should be, such as "npz".
        archive: It, opened.
        max_bytes: What all files together may take; None: the archive's size, and some megabytes.

    Raises:
        FileError: They would take more.
    """
    size = os.path.getsize(path)
    limit = size + SLACK // 2 if max_bytes is None else max_bytes
    entries = archive.infolist()
    needed = sum(entry.file_size for entry in entries)
    if needed > limit:
        said = f"{needed:,} bytes unpacked from {size:,}; if you trust it: max_bytes={needed}"
        raise damaged(path, what, said)
    for entry in entries:
        yield entry.filename, member(archive, entry)


def member(archive: ZipFile, entry: ZipInfo) -> bytes:
    """The bytes of one file of an archive, which must be as many as it says.

    Raises:
        ValueError: They are not, or it is packed in another way than ours.
    """
    if entry.compress_type not in PACKED:
        raise ValueError(f"{entry.filename} is neither stored nor deflated")
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ValueError(f"{entry.filename} holds {len(data)} bytes, not {entry.file_size}")
    return data


class BoundedFile(io.BufferedReader):
    """A file that believes no length: asked for more than it has, it takes no memory for that."""

    def __init__(self, path: FilePath) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes: `size` of them, or what is left where that is less."""
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


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
