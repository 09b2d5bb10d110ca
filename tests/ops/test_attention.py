"""Attention keeps no matrix of scores, forward or backward, eager or compiled."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.ops import attention as module
from jit.native import NativeCode
from tests.ops.laws import recorded

F = df.nn.functional
BATCH, ROWS, COLUMNS = 2, 90, 110
MASKS = {
    "none": None,
    "bools": np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.7,
    "numbers": np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype("float32"),
    "causal": "causal",
}


def operands(rows=ROWS, columns=COLUMNS):
    rng = np.random.default_rng(0)
    shapes = [(BATCH, rows, 8), (BATCH, columns, 8), (BATCH, columns, 12), (BATCH, rows, 12)]
    return [df.asarray(rng.normal(size=shape).astype("float32")) for shape in shapes]


def with_slopes(q, k, v, g, mask=None):
    """The result and what flows to query, key and value."""
    causal = isinstance(mask, str)
    with df.GradientTape() as tape:
        tape.watch([q, k, v])
        y = F.scaled_dot_product_attention(q, k, v, None if causal else mask, is_causal=causal)
    return y, *tape.gradient(y, [q, k, v], g)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_no_slot_of_a_compiled_call_holds_scores(mask):
    graph = recorded(lambda q, k, v, g: with_slopes(q, k, v, g, mask), operands()).graph
    executable = jit.compile(graph)
    assert executable.mode == "compiled"
    assert isinstance(executable.run, NativeCode)
    slots = executable.run.plan.program.slots
    written = [slot.type.size for slot in slots if slot.role == "temporary"]
    assert max(written) < BATCH * ROWS * COLUMNS


def step(x, w, out):
    """Self-attention of two heads within a net, and the slopes of its weights."""
    with df.GradientTape() as tape:
        tape.watch([w, out])
        heads = df.permute_dims(df.reshape(x @ w, (*x.shape[:2], 2, 24)), (0, 2, 1, 3))
        q, k, v = heads[..., :8], heads[..., 8:16], heads[..., 16:]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = df.reshape(df.permute_dims(y, (0, 2, 1, 3)), (*x.shape[:2], 16))
        error = df.mean(F.gelu(x + y @ out) ** 2)
    return error, *tape.gradient(error, [w, out])


def test_a_step_of_training_keeps_no_scores():
    rng = np.random.default_rng(0)
    shapes = [(BATCH, ROWS, 16), (16, 48), (16, 16)]
    xs = [df.asarray(rng.normal(size=shape).astype("float32")) for shape in shapes]
    plan = jit.compile(recorded(step, xs).graph).run.plan
    assert max(slot.type.size for slot in plan.program.slots) < BATCH * 2 * ROWS * ROWS
    for ours, theirs in zip(df.function(step)(*xs), step(*xs), strict=True):
        assert np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_slopes_are_those_of_the_definition(mask):
    def plain(q, k, v):
        scores = q @ k.mT / np.sqrt(8.0).astype("float32")
        if isinstance(mask, str):
            scores = df.where(df.asarray(np.tri(ROWS, COLUMNS, dtype=bool)), scores, -np.inf)
        elif mask is not None:
            scores = scores + mask if mask.dtype != bool else df.where(mask, scores, -np.inf)
        return F.softmax(scores) @ v

    q, k, v, g = operands()
    with df.GradientTape() as tape:
        tape.watch([q, k, v])
        y = plain(q, k, v)
    wanted = y, *tape.gradient(y, [q, k, v], g)
    for ours, theirs in zip(with_slopes(q, k, v, g, mask), wanted, strict=True):
        assert np.allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_eager_calls_allocate_less_than_the_scores():
    xs = operands(500, 600)
    for _ in range(3):  # compiles; what comes again may have kernels of its own
        with_slopes(*xs)
    tracemalloc.start()
    with_slopes(*xs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < BATCH * 500 * 600 * 4 / 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_both_modes_give_the_same_bits(dtype):
    xs = [df.astype(x, dtype) for x in operands()]
    eager, compiled = with_slopes(*xs), df.function(with_slopes)(*xs)
    for ours, theirs in zip(eager, compiled, strict=True):
        assert np.array_equal(ours.numpy(), theirs.numpy())


# ----- in half precision -----


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_near(dtype, mask):
    xs = operands()
    near = {"bfloat16": 0.03, "float16": 0.004}[dtype]
    for ours, theirs in zip(
        with_slopes(*[df.astype(x, dtype) for x in xs], mask), with_slopes(*xs, mask), strict=True
    ):
        assert ours.dtype.name == dtype
        wanted = theirs.numpy()
        assert np.abs(ours.numpy().astype(float) - wanted).max() <= near * np.abs(wanted).max()


def test_autocast_chooses_the_op_of_halves(monkeypatch):
    seen = []
    bind = module.bind
    monkeypatch.setattr(module, "bind", lambda op, *rest: seen.append(op.name) or bind(op, *rest))
    q, k, v, g = operands()
    with df.autocast("bfloat16"):
        y, *flows = with_slopes(q, k, v, g.astype("bfloat16"))
    assert y.dtype == df.bfloat16
    assert {flow.dtype for flow in flows} == {df.float32}
    assert "half_attention" in seen
    assert "attention" not in seen


def test_what_a_slope_needs_of_halves_is_kept(monkeypatch):
    """Nothing is computed a second time for it."""
    kept = []
    all_of = module.all_of
    monkeypatch.setattr(
        module, "all_of", lambda op, y, *rest: kept.append(y) or all_of(op, y, *rest)
    )
    with_slopes(*[df.astype(x, "bfloat16") for x in operands(37, 41)])
    assert kept
    assert all(x is not None for y in kept for x in y)


def test_slopes_of_slopes_of_halves():
    def second(x):
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = df.sum(F.scaled_dot_product_attention(x, x, x, is_causal=True) ** 2)
            slope = df.sum(inner.gradient(y, x) ** 2)
        return outer.gradient(slope, x)

    x = df.asarray(np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32"))
    wanted, found = second(x).numpy(), second(df.astype(x, "float16")).numpy()
    assert np.abs(found - wanted).max() <= 0.02 * np.abs(wanted).max()


def test_batches_of_halves():
    x = df.astype(operands()[0], "bfloat16")

    def attend(x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    assert np.array_equal(df.vmap(attend)(x).numpy(), attend(x).numpy())
