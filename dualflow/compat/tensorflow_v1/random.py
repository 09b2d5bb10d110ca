"""`tf.random` and `tf.random_normal`: numbers of the default graph, drawn anew in each run."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.random import set_seed
from dualflow.compat.translate import hints
from jit.types import as_dtype, kind


def normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = df.float32, seed: Any = None
) -> Any:
    """Numbers from a normal distribution; all seeds are `set_random_seed`'s."""
    del seed
    return df.random.normal(shape, mean, stddev, dtype=dtype, generator=df.graph.generator())


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = df.float32, seed: Any = None
) -> Any:
    """Normal numbers within two standard deviations."""
    del seed
    source = df.graph.generator()
    return df.random.truncated_normal(shape, mean, stddev, dtype=dtype, generator=source)


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = df.float32, seed: Any = None
) -> Any:
    """Numbers in [minval, maxval), uniformly; integers where the dtype says so."""
    del seed
    source = df.graph.generator()
    if kind(as_dtype(dtype)) == "integer":
        return df.random.randint(shape, minval, maxval, dtype=dtype, generator=source)
    high = 1.0 if maxval is None else maxval
    return df.random.uniform(shape, minval, high, dtype=dtype, generator=source)


def shuffle(value: Any, seed: Any = None) -> Any:
    """The rows of a tensor in random order."""
    del seed
    rows = df.asarray(value)
    order = df.random.permutation(rows.shape[0], generator=df.graph.generator())
    return df.take(rows, order, axis=0)


__getattr__ = hints("tensorflow_v1.random")
__all__ = ["set_seed"]
