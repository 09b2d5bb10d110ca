"""`tf.random`: samplers with TensorFlow's words, and the seed."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints
from jit.types import as_dtype, kind


def set_seed(seed: int) -> None:
    """Starts the global generator anew."""
    df.random.seed(seed)


def uniform(shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = df.float32) -> Any:
    """Numbers in [minval, maxval), uniformly; integers where the dtype says so."""
    if kind(as_dtype(dtype)) == "integer":
        return df.random.randint(shape, minval, maxval, dtype=dtype)
    return df.random.uniform(shape, minval, 1.0 if maxval is None else maxval, dtype=dtype)


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = df.float32) -> Any:
    """Numbers from a normal distribution."""
    return df.random.normal(shape, mean, stddev, dtype=dtype)


__getattr__ = hints("tensorflow.random")
