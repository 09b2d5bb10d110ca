"""DataLoader: a dataset in batches, in order or shuffled anew for each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.convert import SCALARS, as_tensor
from dualflow.ops.arrange import stack
from dualflow.random import Generator, permutation


class DataLoader:
    """Iterates over a dataset in batches.

    Each `for` over the loader is an epoch, with an order of its own when shuffling. With a seed the
    epochs of two loaders are the same, one by one; without, the order comes from `df.random`.

    Args:
        dataset: Something with `len` and examples by index, such as `TensorDataset`.
        batch_size: Examples in a batch; the last one may be short.
        shuffle: A new random order for each epoch.
        drop_last: Leave a short last batch out.
        seed: Of the orders.
        generator: Draws the orders instead of a seed: NumPy's, or a `df.random.Generator`.
        collate_fn: Makes a batch of a list of examples; `collate` by default.

    Example:
        >>> import dualflow as df
        >>> dataset = df.data.TensorDataset(df.zeros((10, 3)), df.ones(10))
        >>> loader = df.data.DataLoader(dataset, batch_size=4, shuffle=True, seed=0)
        >>> [x.shape for x, y in loader]
        [(4, 3), (4, 3), (2, 3)]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        generator: np.random.Generator | Generator | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(
                f"DataLoader: batch_size={batch_size}; at least one example makes a batch"
            )
        if seed is not None and generator is not None:
            raise ValueError(
                "DataLoader: a seed and a generator were given; one of them draws the order"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self._generator = generator if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        size = self.batch_size
        total = len(self.dataset)
        order = self._order(total) if self.shuffle else None
        rows = getattr(self.dataset, "rows", None) if self.collate_fn is None else None
        for start in range(0, len(self) * size, size):
            stop = min(start + size, total)
            if rows is not None:
                yield rows(slice(start, stop) if order is None else order[start:stop])
            else:
                chosen = range(start, stop) if order is None else order[start:stop].tolist()
                yield (self.collate_fn or collate)([self.dataset[k] for k in chosen])

    def _order(self, total: int) -> Any:
        """A permutation, as a tensor."""
        if isinstance(self._generator, np.random.Generator):
            return as_tensor(self._generator.permutation(total))
        return permutation(total, generator=self._generator)


def collate(examples: list[Any]) -> Any:
    """A batch of examples: corresponding leaves are stacked along a new first axis.

    Args:
        examples: Tensors, NumPy arrays, numbers, or nests of them, all of one structure; other
            leaves, such as strings, are gathered in a list.

    Returns:
        The structure of one example, with stacked tensors as leaves.

    Raises:
        ValueError: The examples differ in structure, or in the shape of a leaf.
    """

    def stacked(*leaves: Any) -> Any:
        if not isinstance(leaves[0], SCALARS) and not hasattr(leaves[0], "__array__"):
            return list(leaves)
        return stack([as_tensor(x) for x in leaves])

    return tree.tree_map(stacked, *examples)
