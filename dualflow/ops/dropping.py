"""Elements set to 0 by chance, for dropout wherever it stands."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.random import Generator, bernoulli


def checked(name: str, x: Any, p: float) -> Tensor:
    """`x` as a tensor.

    Raises:
        ValueError: `p` is no probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p}, expected a probability from 0 to 1")
    return as_tensor(x)


@placed
def dropped(x: Tensor, p: float, shape: Any, generator: Generator | None) -> Tensor:
    """`x` in training, with one chance for each element of `shape`, which broadcasts with it."""
    if p == 0:
        return x
    if p == 1:
        return where(False, x, 0)  # noqa: FBT003 - a condition, not a switch
    kept = bernoulli(shape, 1 - p, generator=generator)
    return where(kept, x * (1 / (1 - p)), 0)
