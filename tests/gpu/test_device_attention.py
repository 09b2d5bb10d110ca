"""Attention in half precision on a GPU: both modes have the same bits, near those of float64."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.types import dtypes
from tests.gpu.device import available, device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(), reason="there is no CuPy, or no device"),
]
NEAR = {"float16": 4e-3, "bfloat16": 3e-2}
SIZES = [  # batch, queries, keys, elements of a head
    ((2, 3), 130, 130, 64),
    ((1,), 70, 200, 48),
    ((2,), 300, 129, 128),
    ((8, 12), 1024, 1024, 64),
]


def attend(q, k, v, g, *, is_causal):
    """Means, and what flows to queries, keys and values."""
    with df.GradientTape() as tape:
        for x in (q, k, v):
            tape.watch(x)
        y = df.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    return (y, *tape.gradient(y, [q, k, v], output_gradients=g))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_modes(size, dtype, is_causal):
    batch, rows, keys, length = size
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(*batch, n, length)).astype(dtypes[dtype]) for n in (rows, keys, keys, rows)
    ]
    given = [df.asarray(x, device="gpu") for x in arrays]

    def function(q, k, v, g):
        return attend(q, k, v, g, is_causal=is_causal)

    f = df.function(function)
    for _ in range(3):
        made = [x.numpy() for x in f(*given)]
    for ours, theirs in zip(made, function(*given), strict=True):
        assert ours.tobytes() == theirs.numpy().tobytes()
    wanted = function(*[df.asarray(x.astype(np.float64)) for x in arrays])
    for ours, theirs in zip(made, wanted, strict=True):
        right = theirs.numpy()
        assert np.abs(ours.astype(np.float64) - right).max() <= NEAR[dtype] * np.abs(right).max()


def test_heads_that_lie_side_by_side():
    """Eager calls copy what compiled ones read where it lies, until it has come often."""
    rng = np.random.default_rng(1)
    x = df.asarray(rng.normal(size=(2, 140, 384)).astype(dtypes["bfloat16"]), device="gpu")

    def function(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            parts = [df.reshape(y, (2, 140, 2, 64)) for y in df.split(x, 3, axis=-1)]
            q, k, v = (df.permute_dims(y, (0, 2, 1, 3)) for y in parts)
            y = df.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y, tape.gradient(y, x)

    f = df.function(function)
    for _ in range(12):
        for ours, theirs in zip(f(x), function(x), strict=True):
            assert ours.numpy().tobytes() == theirs.numpy().tobytes()


def test_this_gpu_has_the_kernels():
    assert device().units("bfloat16") == "bfloat16"
