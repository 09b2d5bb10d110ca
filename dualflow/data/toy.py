"""Small data to try things on: real handwritten digits, and random trees for recursive nets."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.tensor import Tensor

Pair = tuple[Tensor, Tensor]


def digits(held_out: int = 360, seed: int = 0) -> tuple[Pair, Pair]:
    """1797 handwritten digits that ship inside scikit-learn (UCI, Alpaydin and Kaynak, 1998).

    Args:
        held_out: How many are kept for testing, the same share of each digit.
        seed: Of the choice.

    Returns:
        `(x, y), (x_test, y_test)`: images, float32 of shape (n, 1, 8, 8) from 0 to 1, and their
        digits, int64 of shape (n,).

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "digits() reads images that ship inside scikit-learn: pip install dualflow[bench]",
            name="sklearn",
        ) from None
    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = labels.astype(np.int64)
    x, x_test, y, y_test = train_test_split(x, y, test_size=held_out, random_state=seed, stratify=y)
    return (Tensor(x), Tensor(y)), (Tensor(x_test), Tensor(y_test))


def random_trees(
    n: int, seed: int = 0, *, leaves: tuple[int, int] = (15, 25), width: int = 64
) -> list[Any]:
    """Binary trees of random shape, for nets that recurse.

    Args:
        n: How many.
        seed: The same seed gives the same trees.
        leaves: The least and the largest number of leaves.
        width: Length of the leaves' vectors.

    Returns:
        Trees: a leaf is a float32 Tensor of shape (width,) with standard normal values, anything
        else a pair (left, right).

    Example:
        >>> import dualflow as df
        >>> [tree] = df.data.random_trees(1, leaves=(2, 2), width=3)
        >>> [leaf.shape for leaf in tree]
        [(3,), (3,)]
    """
    generator = np.random.default_rng(seed)
    low, high = leaves
    if not 1 <= low <= high:
        raise ValueError(f"random_trees: leaves={leaves} is not a range of numbers from 1")

    def grown(count: int) -> Any:
        if count == 1:
            return Tensor(generator.standard_normal(width, dtype=np.float32))
        left = int(generator.integers(1, count))
        return (grown(left), grown(count - left))

    return [grown(int(generator.integers(low, high + 1))) for _ in range(n)]
