"""Attention in half precision, eager and compiled, by the kernels of a GPU with tensor cores.

The stand-in's launches are interpreted: all threads of a launch at once, with exact products.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import dualflow as df
from dualflow.core import gpu_kernels
from jit import native
from jit.config import configure
from jit.dims import evaluate
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.ir import Mma
from jit.target import gpu
from tests.gpu import standin_kernels
from tests.jit.loops.side_by_side import run_all
from tests.modes import graphs_only

pytestmark = graphs_only
SM90 = replace(gpu("sm_90"), products="float32")
LONGEST = 1 << 24  # bytes of a buffer, more than any has
ran = list[str]()


def run(kernel, words):
    """Runs a kernel with the parameters of a launch."""
    count = len(kernel.buffers)
    *sizes, _ = words[count:]
    if not evaluate(kernel.grid, {n.hint: v for n, v in zip(kernel.sizes, sizes)}):
        return
    direct = expand(scheduled(kernel, SM90))
    arrays = [
        np.ctypeslib.as_array((ctypes.c_uint8 * LONGEST).from_address(address)).view(buffer.dtype)
        for address, buffer in zip(words, kernel.buffers)
    ]
    if any(isinstance(s, Mma) for s in direct.statements()):
        ran.append(kernel.name)
    assert run_all(direct, arrays, sizes)


@pytest.fixture
def interpreted(machine, monkeypatch):
    """A machine that runs kernels for an H100."""
    monkeypatch.setattr(native, "gpu_target", lambda number: SM90)
    monkeypatch.setattr(standin_kernels, "run", run)
    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(gpu_kernels, "quick", {})
    ran.clear()
    with configure(passes_off=("merging",)):
        yield machine


def layer(x, w):
    """Self-attention of two heads, whose queries, keys and values lie side by side."""
    with df.GradientTape() as tape:
        tape.watch([x, w])
        parts = [df.reshape(y, (*x.shape[:2], 2, 16)) for y in df.split(x @ w, 3, axis=-1)]
        q, k, v = (df.permute_dims(y, (0, 2, 1, 3)) for y in parts)
        y = df.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = df.reshape(df.permute_dims(y, (0, 2, 1, 3)), x.shape)
        total = df.sum(df.tanh(y.astype("float32")))
    return (y, *tape.gradient(total, [x, w]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_eager_and_compiled_calls_run_the_same_kernels(dtype, interpreted):
    rng = np.random.default_rng(0)
    x, w = (
        df.asarray(rng.normal(size=shape) * 0.5).astype(dtype) for shape in ((2, 70, 32), (32, 96))
    )
    there = x.to("gpu"), w.to("gpu")
    eager = [y.numpy() for y in layer(*there)]
    assert ran == ["half_attention", "half_attention_flow", "half_attention_flow"]
    ran.clear()
    f = df.function(layer)
    compiled = [y.numpy() for y in f(*there)]
    assert ran == ["half_attention", "half_attention_flow", "half_attention_flow"]
    for ours, theirs, near in zip(compiled, eager, layer(x, w), strict=True):
        assert ours.tobytes() == theirs.tobytes()
        wanted = near.numpy().astype(float)
        assert np.abs(ours.astype(float) - wanted).max() <= 0.05 * np.abs(wanted).max()
