"""Tables of numbers in CSV files."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Sequence
from itertools import chain

import numpy as np

from dualflow.core.files import FilePath, reading
from dualflow.core.tensor import Tensor
from jit.types import as_dtype

CODES = {"float32": "f", "float64": "d", "int64": "q"}


def read_csv(
    path: FilePath,
    columns: Sequence[str] | None = None,
    *,
    dtype: str = "float32",
    header: bool = True,
    delimiter: str = ",",
) -> dict[str, Tensor]:
    r"""Reads columns of numbers.

    Args:
        path: The file.
        columns: Which ones, by name; all when None.
        dtype: "float32", "float64" or "int64"; an empty field is NaN where there is one.
        header: The first line has the names; otherwise they are "0", "1", ...
        delimiter: Between fields.

    Returns:
        Names and Tensors of one dimension.

    Raises:
        FileError: A line has more or fewer fields than the first, or a field is no number.
        ValueError: A column is not there, or another dtype.

    Example:
        >>> import dualflow as df
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "points.csv")
        ...     done = path.write_text("x,y\n1,2\n3,4\n")
        ...     {name: x.tolist() for name, x in df.data.read_csv(path).items()}
        {'x': [1.0, 3.0], 'y': [2.0, 4.0]}
    """
    if str(dtype) not in CODES:
        raise ValueError(f"read_csv: dtype={dtype!r}: {', '.join(CODES)}")
    with reading(path, "CSV"), open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter=delimiter)
        first = next(rows, [])
        names = first if header else [str(k) for k in range(len(first))]
        wanted = names if columns is None else list(columns)
        missing = [name for name in wanted if name not in names]
        if not missing:
            places = [names.index(name) for name in wanted]
            found = [array(CODES[str(dtype)]) for _ in wanted]
            for number, row in enumerate(rows if header else chain([first], rows), 1 + header):
                add(found, places, row, len(names), number)
            kind = as_dtype(dtype)
            return {
                name: Tensor(np.frombuffer(column, kind) if len(column) else np.empty(0, kind))
                for name, column in zip(wanted, found, strict=True)
            }
    raise ValueError(f"read_csv: no column {', '.join(missing)}; there are {', '.join(names)}")


def add(
    columns: list[array[float]], places: list[int], row: list[str], width: int, line: int
) -> None:
    """Adds the fields of a line to its columns."""
    if not row:
        return
    if len(row) != width:
        raise ValueError(f"line {line} has {len(row)} fields, the first one {width}")
    for column, place in zip(columns, places, strict=True):
        field = row[place]
        try:
            if column.typecode == "q":
                column.append(int(field))
            else:
                column.append(float(field) if field.strip() else float("nan"))
        except (ValueError, OverflowError):
            raise ValueError(f"line {line}: {field[:40]!r} is no number that fits") from None
