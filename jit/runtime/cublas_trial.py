"""Trials of cuBLASLt's algorithms on a device: see `jit.runtime.trials`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jit.runtime import trials
from jit.runtime.cublas import Product
from jit.runtime.trials import PERIOD, numbers

SAMPLES = 64  # elements of a result that are compared


class Trial(trials.Trial):
    """Memory on the active device in which algorithms are tried; it goes with this object.

    Args:
        product: What they compute; with an epilogue, both it and the product without.
        workspace: How many bytes they need at most.

    Raises:
        OutOfMemoryError: There is no room.
    """

    def __init__(self, product: Product, workspace: int) -> None:
        self.product, self.operations = product, 2 * math.prod(product.sizes)
        operands = [numbers(product.dtype, side) for side in (0, 1)]
        about = product.dtype, product.precision, product.epilogue, product.sizes[2]
        super().__init__(*about, product.elements, workspace, operands)

    def samples(self) -> Iterator[tuple[int, float, float, int]]:
        """Some elements; the first and the last are among them."""
        batch, rows, columns, inner = self.product.sizes
        rng = np.random.default_rng(3)
        drawn = rng.integers(0, (batch, rows, columns), (SAMPLES, 3)).tolist()
        for at in ((0, 0, 0), (batch - 1, rows - 1, columns - 1), *drawn):
            place = (at[0] * rows + at[1]) * columns + at[2]
            yield place, *element(self.product, *at), inner


def element(product: Product, batch: int, row: int, column: int) -> tuple[float, float]:
    """An element of a product, and the sum of the absolute values that it is the sum of."""
    _, rows, columns, inner = product.sizes
    k = np.arange(inner)
    first = 0 if product.shared[0] else batch * rows * inner
    left = first + (k * rows + row if product.turned[0] else row * inner + k)
    first = 0 if product.shared[1] else batch * inner * columns
    right = first + (column * inner + k if product.turned[1] else k * columns + column)
    sides = [
        numbers(product.dtype, side)[at % PERIOD].astype(np.float64)
        for side, at in enumerate((left, right))
    ]
    terms = sides[0] * sides[1]
    return float(terms.sum()), float(np.abs(terms).sum())
