"""Datasets: things with a length whose elements are examples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import stack
from dualflow.ops.gather import take
from jit.errors import IndexError, ShapeError
from jit.types import format_shape


class Dataset:
    """Base of datasets. A subclass has `__len__`, and `__getitem__` from an int to an example.

    Example:
        >>> import dualflow as df
        >>> class Squares(df.data.Dataset):
        ...     def __len__(self):
        ...         return 10
        ...     def __getitem__(self, index):
        ...         return df.asarray(index), df.asarray(index**2)
        >>> [x.tolist() for x, y in df.data.DataLoader(Squares(), batch_size=4)]
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")


class IterableDataset:
    """Base of datasets that are a stream. A subclass has `__iter__`, which starts it anew.

    Example:
        >>> import dualflow as df
        >>> class Countdown(df.data.IterableDataset):
        ...     def __iter__(self):
        ...         return iter([3, 2, 1])
        >>> [x.tolist() for x in df.data.DataLoader(Countdown(), batch_size=2)]
        [[3, 2], [1]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")


class TensorDataset(Dataset):
    """Examples in the rows of tensors: example `k` is row `k` of each.

    Args:
        *tensors: Tensors or NumPy arrays whose first extents agree.

    Attributes:
        tensors: The tensors.

    Raises:
        ShapeError: The first extents differ, or there is none.
    """

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(as_tensor(x) for x in tensors)
        shapes = [x.shape for x in self.tensors]
        if not shapes or any(not s or s[0] != shapes[0][:1][0] for s in shapes):
            raise ShapeError(
                f"TensorDataset: {', '.join(map(format_shape, shapes)) or 'no tensors'} "
                "have no common number of rows",
                "at least one tensor, and the same first extent in all",
                "check x.shape[0] of each",
            )

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        if isinstance(index, int) and not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}", f"0 to {len(self) - 1}", "")
        return tuple(x[index] for x in self.tensors)

    def rows(self, indices: Any) -> tuple[Tensor, ...]:
        """Many examples at once: the rows `indices` of each tensor.

        Args:
            indices: A slice, or a tensor of integers.
        """
        if isinstance(indices, slice):
            return self[indices]
        return tuple(take(x, indices, axis=0) for x in self.tensors)


class Subset(Dataset):
    """Some examples of a dataset.

    Args:
        dataset: Where they come from.
        indices: Which ones, in which order.
    """

    def __init__(self, dataset: Any, indices: Iterable[int]) -> None:
        self.dataset = dataset
        self.indices = [int(k) for k in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


class ArrayDataset(Dataset):
    """Examples in the rows of NumPy arrays, which stay where they are, such as on disk.

    Rows are read when they are asked for: a memory-mapped array may be larger than the memory.

    Args:
        *arrays: NumPy arrays, or paths of `.npy` files, which are mapped into memory.

    Example:
        >>> import dualflow as df
        >>> import numpy as np
        >>> dataset = df.data.ArrayDataset(np.eye(3, dtype="float32"), np.arange(3))
        >>> [x.tolist() for x in dataset[1]]
        [[0.0, 1.0, 0.0], 1]
    """

    def __init__(self, *arrays: Any) -> None:
        self.arrays = tuple(
            np.load(x, mmap_mode="r") if isinstance(x, str | os.PathLike) else x for x in arrays
        )
        lengths = {len(array) for array in self.arrays}
        if len(lengths) != 1:
            raise ShapeError(
                f"ArrayDataset: arrays of {sorted(lengths)} rows",
                "at least one array, and the same number of rows in all",
                "check len(x) of each",
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(as_tensor(np.asarray(array[index])) for array in self.arrays)

    def rows(self, indices: Any) -> tuple[Tensor, ...]:
        """Many examples at once: a slice, or a tensor of integers."""
        return self[indices if isinstance(indices, slice) else indices.numpy()]


def in_memory(dataset: Any) -> TensorDataset:
    """A dataset whose examples were all made once, and wait in memory.

    Args:
        dataset: Examples are tuples of what becomes tensors of equal shapes, or one such.

    Example:
        >>> import dualflow as df
        >>> slow = df.data.Subset([(1.0, 0), (2.0, 1)], [1, 0])
        >>> [x.tolist() for x in df.data.in_memory(slow).tensors]
        [[2.0, 1.0], [1, 0]]
    """
    examples = [dataset[k] for k in range(len(dataset))]
    columns = zip(*(x if isinstance(x, tuple | list) else (x,) for x in examples), strict=True)
    return TensorDataset(*(stack([as_tensor(x) for x in column]) for column in columns))


def random_split(dataset: Any, lengths: Sequence[int | float], seed: int = 0) -> list[Subset]:
    """Splits a dataset into parts that share no example.

    Args:
        dataset: What to split.
        lengths: The number of examples in each part, or shares that sum to 1.
        seed: The same seed gives the same parts.

    Returns:
        A Subset for each length.

    Raises:
        ValueError: The lengths do not sum to the number of examples.

    Example:
        >>> import dualflow as df
        >>> parts = df.data.random_split(df.data.TensorDataset(df.zeros((10, 2))), [0.7, 0.3])
        >>> [len(part) for part in parts]
        [7, 3]
    """
    total = len(dataset)
    sizes = [int(n) for n in lengths]
    if any(isinstance(n, float) for n in lengths):
        if abs(sum(lengths) - 1) > 1e-6:
            raise ValueError(
                f"random_split: the shares {list(lengths)} sum to {sum(lengths)}, not to 1"
            )
        sizes = [int(n * total + 1e-6) for n in lengths]
        for k in range(total - sum(sizes)):  # what rounding left, one for each part
            sizes[k % len(sizes)] += 1
    if sum(sizes) != total or min(sizes) < 0:
        raise ValueError(f"random_split: the lengths {sizes} do not sum to {total} examples")
    order = np.random.default_rng(seed).permutation(total)
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
