"""Small real data that ship inside scikit-learn, and random trees for recursive nets."""

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
    images, labels = of_scikit_learn("digits")
    x = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return parted(x, labels.astype(np.int64), held_out, seed)


def iris(held_out: int = 30, seed: int = 0) -> tuple[Pair, Pair]:
    """150 irises of three kinds, with four lengths in cm each (Fisher, 1936).

    Args:
        held_out: How many are kept for testing, the same share of each kind.
        seed: Of the choice.

    Returns:
        `(x, y), (x_test, y_test)`: float32 of shape (n, 4), and the kinds, int64 of shape (n,).

    Raises:
        ModuleNotFoundError: scikit-learn, inside of which they ship, is not installed.
    """
    return table("iris", held_out, seed)


def wine(held_out: int = 36, seed: int = 0) -> tuple[Pair, Pair]:
    """178 wines of three growers, with 13 measurements each (Aeberhard and Forina, 1992).

    Their ranges differ much: subtract the means and divide by the deviations first.

    Args:
        held_out: How many are kept for testing, the same share of each grower.
        seed: Of the choice.

    Returns:
        `(x, y), (x_test, y_test)`: float32 of shape (n, 13), and the growers, int64 of shape (n,).

    Raises:
        ModuleNotFoundError: scikit-learn, inside of which they ship, is not installed.
    """
    return table("wine", held_out, seed)


def breast_cancer(held_out: int = 114, seed: int = 0) -> tuple[Pair, Pair]:
    """569 tumours, with 30 measurements each (Wolberg, Mangasarian, Street and Street, 1993).

    Their ranges differ much: subtract the means and divide by the deviations first.

    Args:
        held_out: How many are kept for testing, the same share of both kinds.
        seed: Of the choice.

    Returns:
        `(x, y), (x_test, y_test)`: float32 of shape (n, 30), and whether they are benign, int64 of
        shape (n,).

    Raises:
        ModuleNotFoundError: scikit-learn, inside of which they ship, is not installed.
    """
    return table("breast_cancer", held_out, seed)


def diabetes(held_out: int = 88, seed: int = 0) -> tuple[Pair, Pair]:
    """442 patients, with ten scaled measurements and what came of it (Efron and others, 2004).

    Args:
        held_out: How many are kept for testing.
        seed: Of the choice.

    Returns:
        `(x, y), (x_test, y_test)`: float32 of shape (n, 10), and how far the disease went in a
        year, float32 of shape (n, 1).

    Raises:
        ModuleNotFoundError: scikit-learn, inside of which they ship, is not installed.
    """
    x, y = of_scikit_learn("diabetes")
    given = x.astype(np.float32), y.astype(np.float32)[:, None]
    return parted(*given, held_out, seed, shares=False)


def table(name: str, held_out: int, seed: int) -> tuple[Pair, Pair]:
    """Rows of numbers and their classes."""
    x, y = of_scikit_learn(name)
    return parted(x.astype(np.float32), y.astype(np.int64), held_out, seed)


def of_scikit_learn(name: str) -> tuple[Any, Any]:
    """Arrays that ship inside scikit-learn.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{name}() reads data that ship inside scikit-learn: pip install dualflow[bench]",
            name="sklearn",
        ) from None
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def parted(x: Any, y: Any, held_out: int, seed: int, *, shares: bool = True) -> tuple[Pair, Pair]:
    """Data for training and for testing, with the same shares of each class in both."""
    from sklearn.model_selection import train_test_split

    by = y if shares else None
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=held_out, random_state=seed, stratify=by
    )
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
