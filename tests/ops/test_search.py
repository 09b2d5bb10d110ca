"""Searches among sorted numbers: any number of keys, eager at large sizes, in graphs for all."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import dualflow as df
from dualflow.core import large
from tests.modes import in_mode

COUNTS = [2, 3, 31, 32, 33, 64, 100, 1000]


def keys_and_values(count, dtype):
    """Sorted keys, some of them equal, and values between, among and around them; NaN, too."""
    rng = np.random.default_rng(count)
    keys = np.sort(rng.integers(-count, count, count)).astype(dtype)
    values = np.concatenate([keys, keys - 1, keys + 1, [-9 * count, 9 * count]]).astype(dtype)
    if np.dtype(dtype).kind == "f":
        keys[-1:], values[1] = np.nan, np.nan
        values = np.append(values, np.array([np.inf, -np.inf], dtype))
    return keys, values


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_graphs_search_among_any_number_of_keys(mode, dtype, side):
    kind = getattr(df, dtype)
    specs = [df.TensorSpec((None,), kind), df.TensorSpec((None,), kind)]
    place = partial(df.searchsorted, side=side)
    search: Any = df.function(place)
    search = search.concrete(*specs) if mode == "compiled" else place
    for count in COUNTS:
        keys, values = keys_and_values(count, dtype)
        found = search(df.asarray(keys), df.asarray(values))
        assert found.tolist() == np.searchsorted(keys, values, side).tolist(), count


@pytest.mark.parametrize("count", COUNTS)
def test_so_do_kernels_of_large_arrays(monkeypatch, count):
    monkeypatch.setattr(large, "LARGE", 1)
    monkeypatch.setattr(large, "rows", {})
    keys, values = keys_and_values(count, "float32")
    found = df.searchsorted(df.asarray(keys), df.asarray(values))
    assert found.tolist() == np.searchsorted(keys, values).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("count", [1, 33, 200])
def test_floats_are_looked_for_among_many(mode, dtype, count):
    keys, values = keys_and_values(count, "float32")
    keys, values = (df.astype(df.asarray(x), getattr(df, dtype)) for x in (keys, values))
    found, other = in_mode(mode, lambda x, y: (df.isin(x, y), df.isin(x, y, invert=True)))(
        values, keys
    )
    wide = [x.astype(df.float64).numpy() for x in (values, keys)]
    assert found.tolist() == np.isin(*wide).tolist()
    assert other.tolist() == np.isin(*wide, invert=True).tolist()
