"""Readers of data sets in binary files: idx, in which MNIST comes, and CIFAR's."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dualflow.core.files import FilePath, damaged, reading
from dualflow.core.tensor import Tensor

# The third byte of an idx file -> the dtype of its numbers.
IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PIXELS = 3 * 32 * 32
PIECE = 2**20  # bytes that are read at once


def read_idx(path: FilePath, *, max_bytes: int = 2**26) -> Tensor:
    """Reads an idx file, such as those of MNIST, packed by gzip or not.

    Args:
        path: The file.
        max_bytes: What a packed file may unpack to.

    Returns:
        Tensor of the file's shape and dtype: uint8 (n, 28, 28) and (n,) for MNIST.

    Raises:
        FileError: It is no whole idx file.
    """
    with reading(path, "idx"), open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            return Tensor(idx_array(file, os.path.getsize(path)))
        with gzip.open(file) as unpacked:
            return Tensor(idx_array(unpacked, max_bytes))  # pyright: ignore[reportArgumentType]


def idx_array(file: IO[bytes], limit: int) -> np.ndarray[Any, Any]:
    """The array of an idx file of at most `limit` bytes."""
    zeros, code, rank = file.read(2), *file.read(2)
    if zeros != b"\0\0" or code not in IDX_DTYPES:
        raise ValueError("it does not begin as idx files do")
    shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(rank))
    dtype = np.dtype(IDX_DTYPES[code])
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    if size > limit:
        raise ValueError(f"shape {shape} takes {size:,} bytes, where {limit:,} may be")
    data = up_to(file, size + 1)
    if len(data) != size:
        raise ValueError(f"shape {shape} takes {size:,} bytes, and others than these are there")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def up_to(file: IO[bytes], count: int) -> bytes:
    """The next bytes of a file, so many if they are there; memory is taken for those that are."""
    pieces = []
    while count and (piece := file.read(min(count, PIECE))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def read_cifar(
    paths: FilePath | Sequence[FilePath], *, coarse: bool = False, classes: int = 10
) -> tuple[Tensor, Tensor]:
    """Reads images and labels of CIFAR-10 or CIFAR-100 in their binary form.

    Args:
        paths: A file, such as `data_batch_1.bin`, or several.
        coarse: Of CIFAR-100: the numbers of the 20 groups of classes.
        classes: 10 or 100.

    Returns:
        uint8 (n, 3, 32, 32), and labels, int64 (n,).

    Raises:
        FileError: It is no whole file of this kind.
        ValueError: `classes` is neither.
    """
    if classes not in (10, 100):
        raise ValueError(f"read_cifar: classes={classes}; there are 10 or 100")
    heads = 1 if classes == 10 else 2
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    rows = [cifar_rows(path, heads, classes) for path in given]
    table = rows[0] if len(rows) == 1 else np.concatenate(rows)
    labels = table[:, 0 if coarse or heads == 1 else 1]
    return Tensor(table[:, heads:].reshape(-1, 3, 32, 32)), Tensor(labels.astype(np.int64))


def cifar_rows(path: FilePath, heads: int, classes: int) -> np.ndarray[Any, Any]:
    """The records of one file, a row of bytes for each."""
    data = Path(path).read_bytes()
    length = heads + PIXELS
    if not data or len(data) % length:
        raise damaged(path, "CIFAR", f"{len(data):,} bytes are no whole number of {length:,}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, length)
    if rows[:, heads - 1].max() >= classes:
        raise damaged(path, "CIFAR", f"a label is {rows[:, heads - 1].max()}, of {classes} classes")
    return rows
