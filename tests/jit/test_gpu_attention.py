"""Attention on tensor cores, without any: what its kernels compute is that of exact products.

Results are near those in float64, and are in every bit those of the definition that
`jit.loops.gpu_attention` states. Kernels are for an H100 and become its machine code.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dualflow as df
from jit.dims import symbol
from jit.forms import nodes
from jit.ir.graph import Graph
from jit.loops.elements import Elements
from jit.loops.expand import expand
from jit.loops.gpu_attention import BLOCK, AttentionNest, KeyFlow
from jit.loops.gpu_parts import THREADS, Tile
from jit.loops.gpu_warps import Warps
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, For, Kernel, Var, VType, index
from jit.loops.values import apply
from jit.loops.verify import verify
from jit.runtime.cubin import linker, ptx
from jit.runtime.gpu_code import gpu_code, written
from jit.target import gpu
from jit.types import TensorType, dtypes, float32, product
from tests.jit.loops.side_by_side import run_all
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits

SM90 = replace(gpu("sm_90"), products="float32")
HALVES = "float16", "bfloat16"
NEAR = {"float16": 2e-3, "bfloat16": 1.6e-2}  # of the largest element
ATTEND = df.nn.functional.scaled_dot_product_attention
needs_linker = pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")


def random(shape, dtype, seed, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtypes[dtype])


def direct(kernel):
    found = expand(scheduled(kernel, SM90))
    verify(found)
    return found


def with_flow(is_causal, scale=None):
    """Means, and what flows to queries, keys and values when `g` flows to them."""

    def function(q, k, v, g):
        with df.GradientTape() as tape:
            for x in (q, k, v):
                tape.watch(x)
            y = ATTEND(q, k, v, is_causal=is_causal, scale=scale)
        return (y, *tape.gradient(y, [q, k, v], output_gradients=g))

    return function


def stages_of(function, arrays, target=SM90):
    return Stages(df.function(function).concrete(*map(df.asarray, arrays)).graph, target)


def run(stages, arrays, by=run_all):
    return stages.run_kernels(arrays, lambda kernel, *given: by(direct(kernel), *given))


def forms_of(stages, kind):
    return [form for form in stages.forms.forms if isinstance(form, kind)]


def inputs(batch, rows, keys, length, dtype, seed=0):
    shapes = (rows, keys, keys, rows)
    return [random((*batch, n, length), dtype, seed + k) for k, n in enumerate(shapes)]


def wanted(q, k, v, g, *, is_causal, scale=None):
    """The same in float64."""
    q, k, v, g = (x.astype(np.float64) for x in (q, k, v, g))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.swapaxes(-1, -2) * scale
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    y = shares @ v
    flow = shares * (g @ v.swapaxes(-1, -2) - (g * y).sum(-1, keepdims=True)) * scale
    return y, flow @ k, flow.swapaxes(-1, -2) @ q, shares.swapaxes(-1, -2) @ g


def check(found, expected, dtype):
    scale = max(np.abs(x).max() for x in expected) + 1e-30
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.astype(float) / scale, other / scale, atol=NEAR[dtype])


# ----- results -----


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(), (1,), (3,), (2, 1, 2)]),
    st.integers(2, 130),
    st.integers(1, 130),
    st.sampled_from(range(16, 129, 16)),
    st.booleans(),
    st.sampled_from(HALVES),
)
def test_means_and_what_flows_back(batch, rows, keys, length, is_causal, dtype):
    arrays = inputs(batch, rows, keys, length, dtype, seed=rows)
    stages = stages_of(with_flow(is_causal), arrays)
    assert len(forms_of(stages, nodes.Attention)) == len(forms_of(stages, nodes.AttentionFlow)) == 1
    check(run(stages, arrays), wanted(*arrays, is_causal=is_causal), dtype)


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_matrix_of_scores_is_in_memory(is_causal):
    arrays = inputs((2, 3), 200, 200, 64, "bfloat16")
    stages = stages_of(with_flow(is_causal), arrays)
    largest = max(product(slot.type.shape) for slot in stages.plan.program.slots)
    assert largest == 2 * 3 * 200 * 64
    assert len(stages.kernels) == 3


def test_forms_mean_what_kernels_compute():
    arrays = inputs((2,), 70, 90, 32, "float16")
    stages = stages_of(with_flow(is_causal=True), arrays)
    check(stages.run("merged", arrays), wanted(*arrays, is_causal=True), "float16")


@pytest.mark.parametrize("scale", [1e-3, 3.0, 40.0])
def test_large_and_small_scores(scale):
    """Of large ones one share is nearly all, and others are too small for a float32."""
    arrays = inputs((2,), 100, 140, 32, "bfloat16")
    found = run(stages_of(with_flow(is_causal=False, scale=scale), arrays), arrays)
    check(found, wanted(*arrays, is_causal=False, scale=scale), "bfloat16")


def test_what_is_no_number_stays_in_its_rows():
    q, k, v, g = inputs((2,), 80, 80, 16, "float16")
    q[0, 70, 3], q[1, 5, 2] = np.nan, np.inf
    (y, *_) = run(stages_of(with_flow(is_causal=True), [q, k, v, g]), [q, k, v, g])
    rows = np.isnan(y).all(-1)
    assert rows[0, 70]
    assert rows[1, 5]
    assert rows.sum() == np.isnan(y).any(-1).sum() == 2


# ----- the definition -----


def power(x):
    """2**x; the machine may decide otherwise on the last bits, but not for these."""
    return apply("near_exp2", [x], VType(float32))


def fma(*args):
    return apply("fma", np.broadcast_arrays(*args), VType(float32))


def products(a, b, steps):
    """Sums in float32, so many inner indices a step."""
    total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
    for at in steps:
        made = a[..., at].astype(np.float64) @ b[..., at, :].astype(np.float64)
        total = (total + made).astype(np.float32)
    return total


def along(length):
    """Which elements of a row are multiplied at once: four of each of four chunks of eight."""
    chunks = np.arange(-(-length // 32) * 32).reshape(-1, 4, 2, 4)
    return [each.ravel() for group in chunks for each in group.transpose(1, 0, 2)]


def in_blocks(q, k, v, scale, is_causal):
    """Means and logarithms of totals of one batch, block by block of the keys; none is skipped."""
    (rows, length), keys, dtype = q.shape, len(k), q.dtype
    wide = -(-length // 32) * 32
    q, k = (np.pad(x, ((0, 0), (0, wide - length))) for x in (q, k))
    k, v = (np.pad(x, ((0, -keys % BLOCK), (0, 0))) for x in (k, v))
    factor = np.float32(scale / math.log(2))
    most, total = np.full((rows, 1), -np.inf, np.float32), np.zeros((rows, 8), np.float32)
    acc = np.zeros((rows, length), np.float32)
    limits = np.minimum(np.arange(1, rows + 1) if is_causal else keys, keys).reshape(-1, 1)
    for first in range(0, len(k), BLOCK):
        part = slice(first, first + BLOCK)
        scores = products(q, k[part].T, along(length))
        column = np.arange(first, first + BLOCK)
        seen = column < limits
        scores = np.where(seen, scores, np.float32(-np.inf))
        now = np.maximum(most, scores.max(-1, keepdims=True))
        fading = power((most - now) * factor)
        shares = power(fma(scores, factor, -(now * factor)))
        each = shares.reshape(rows, 8, 8).cumsum(1, dtype=np.float32)[:, -1]
        total, most = fma(total, fading, each), now
        acc = acc * fading
        halves = shares.astype(dtype)
        for at in range(0, BLOCK, 16):
            some = slice(at, at + 16)
            made = halves[:, some].astype(np.float64) @ v[part][some].astype(np.float64)
            acc = (acc + made).astype(np.float32)
    pairs = total[:, 0::2] + total[:, 1::2]  # of a thread, then of its neighbours
    whole = ((pairs[:, 0] + pairs[:, 1]) + (pairs[:, 2] + pairs[:, 3]))[:, None]
    y = (acc * (np.float32(1) / whole)).astype(dtype)
    logarithm = apply("log", [whole], VType(float32))
    return y, (most * np.float32(scale) + logarithm)[:, 0]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("rows", "keys", "length"), [(130, 130, 64), (70, 200, 48), (129, 65, 128)]
)
def test_results_are_those_of_the_definition(rows, keys, length, is_causal, dtype):
    shapes = [(2, rows, length), (2, keys, length), (2, keys, length)]
    arrays = [random(shape, dtype, k) for k, shape in enumerate(shapes)]
    scale = 1 / math.sqrt(length)
    graph = graph_of(
        partial(attend, is_causal=is_causal, scale=scale),
        [TensorType(shape, dtypes[dtype]) for shape in shapes],
    )
    found = run(Stages(graph, SM90), arrays)
    for each in range(2):
        expected = in_blocks(*[x[each] for x in arrays], scale, is_causal)
        for one, other in zip(found, expected, strict=True):
            assert bits(one[each]) == bits(other)


def attend(form, q, k, v, *, is_causal, scale):
    """The kernel where there is one; without it types are all that is asked for."""
    made = form.attention(q, k, v, is_causal=is_causal, scale=scale)
    if made is None:
        return form.constant(0, q.dtype, q.shape), form.constant(0, float32, q.shape[:-1])
    return made


def test_blocks_that_no_row_sees_are_nothing(monkeypatch):
    """Skipping them changes no bit."""
    arrays = inputs((2,), 200, 260, 32, "bfloat16")
    found = run(stages_of(with_flow(is_causal=True), arrays), arrays)
    monkeypatch.setattr(AttentionNest, "stop", lambda self: self.w.at(self.keys))
    monkeypatch.setattr(KeyFlow, "start", lambda self: index(0))
    every = run(stages_of(with_flow(is_causal=True), arrays), arrays)
    for one, other in zip(found, every, strict=True):
        assert bits(one) == bits(other)


# ----- both modes -----


def layer(x, w, g):
    """Self-attention of two heads, whose queries, keys and values lie side by side."""
    with df.GradientTape() as tape:
        tape.watch(x)
        tape.watch(w)
        parts = [df.reshape(y, (*y.shape[:2], 2, 32)) for y in df.split(x @ w, 3, axis=-1)]
        q, k, v = (df.permute_dims(y, (0, 2, 1, 3)) for y in parts)
        y = df.permute_dims(ATTEND(q, k, v, is_causal=True), (0, 2, 1, 3))
        y = df.tanh(df.reshape(y, x.shape))
    return (y, *tape.gradient(y, [x, w], output_gradients=g))


LAYER = [(2, 70, 64), (64, 192), (2, 70, 64)]


def of_layer(shapes=LAYER, dtype="bfloat16"):
    return [random(shape, dtype, k, 0.5) for k, shape in enumerate(shapes)]


def node_by_node(graph, arrays):
    """Every value of a graph, each node planned for the GPU by itself, as eager execution does."""
    values = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        single = Graph(node.op.name)
        inputs = [single.input(x.type) for x in node.inputs]
        types = tuple([x.type for x in node.outputs])
        single.outputs = list(single.add(node.op, inputs, node.attrs, types))
        found = run(Stages(single, SM90), [values[x] for x in node.inputs])
        values.update(zip(node.outputs, found, strict=True))
    return values


def test_a_node_by_itself_has_the_bits_that_it_has_among_others():
    """So eager results are those of compiled functions: each op is a graph of its own there."""
    arrays = of_layer()
    stages = stages_of(layer, arrays)
    apart = node_by_node(stages.graph, arrays)
    for one, value in zip(run(stages, arrays), stages.graph.outputs, strict=True):
        assert bits(one) == bits(apart[value])


def test_operands_are_read_where_they_lie():
    """Heads side by side in the rows of a product, and what flows to them."""
    program = stages_of(layer, of_layer()).plan.program
    launches = [step for step in program.steps if "half_attention" in step.kernel.name]
    assert len(launches) == 3
    for launch in launches:
        read = [program.slots[launch.buffers[k]].type.shape for k in launch.kernel.read]
        assert (2, 70, 192) in read
        assert sum(shape == (2, 2, 70, 32) for shape in read) <= 1  # the means


def test_what_lies_across_is_copied():
    q, k, v, g = inputs((2,), 40, 50, 32, "bfloat16")
    turned = np.ascontiguousarray(k.swapaxes(-1, -2))

    def function(q, turned, v, g):
        return with_flow(is_causal=False)(q, turned.mT, v, g)

    found = run(stages_of(function, [q, turned, v, g]), [q, turned, v, g])
    check(found, wanted(q, k, v, g, is_causal=False), "bfloat16")


def test_heads_that_share_keys():
    q, _, _, g = inputs((2, 4), 40, 40, 32, "bfloat16")
    k, v = (random((2, 2, 40, 32), "bfloat16", seed) for seed in (7, 8))

    def function(q, k, v, g):
        with df.GradientTape() as tape:
            tape.watch(k)
            y = ATTEND(q, k, v, is_causal=True, enable_gqa=True)
        return y, tape.gradient(y, k, output_gradients=g)

    stages = stages_of(function, [q, k, v, g])
    assert forms_of(stages, nodes.Attention)
    found = run(stages, [q, k, v, g])
    y, _, to_keys, _ = wanted(q, *[np.repeat(x, 2, axis=1) for x in (k, v)], g, is_causal=True)
    check(found, (y, to_keys.reshape(2, 2, 2, 40, 32).sum(2)), "bfloat16")


def forward_and_back(form, q, k, v, g):
    """Both forms; where there are no kernels types are all that is asked for."""
    y, totals = attend(form, q, k, v, is_causal=True, scale=0.2)
    flows = form.attention_flow(q, k, v, g, y, totals, is_causal=True, scale=0.2)
    return y, *(flows or [form.constant(0, x.dtype, x.shape) for x in (q, k, v)])


@pytest.mark.parametrize(("rows", "keys"), [(70, 150), (128, 64), (2, 2)])
def test_sizes_that_vary(rows, keys):
    """One kernel for all of them, whose bits are those of kernels for one size."""
    batch, count, others = (symbol(name, hint=90) for name in ("batch", "rows", "keys"))
    arrays = inputs((2,), rows, keys, 32, "bfloat16")
    shapes = [(batch, n, 32) for n in (count, others, others, count)]
    found = [
        run(Stages(graph_of(forward_and_back, types), SM90), arrays)
        for types in (
            [TensorType(shape, dtypes["bfloat16"]) for shape in shapes],
            [TensorType(x.shape, x.dtype) for x in arrays],
        )
    ]
    for one, other in zip(*found, strict=True):
        assert bits(one) == bits(other)
    check(found[0], wanted(*arrays, is_causal=True, scale=0.2), "bfloat16")


# ----- where there is no kernel -----


@pytest.mark.parametrize(
    ("dtype", "rows", "length", "scale", "target"),
    [
        ("float32", 40, 32, None, SM90),
        ("bfloat16", 40, 40, None, SM90),
        ("bfloat16", 40, 144, None, SM90),
        ("bfloat16", 1, 32, None, SM90),
        ("bfloat16", 40, 32, -1.0, SM90),
        ("bfloat16", 40, 32, None, gpu("sm_75")),
    ],
)
def test_all_else_is_computed_by_the_definition(dtype, rows, length, scale, target):
    arrays = [random((2, rows, length), dtype, k) for k in range(4)]
    stages = stages_of(with_flow(is_causal=True, scale=scale), arrays, target)
    assert not forms_of(stages, nodes.Attention | nodes.AttentionFlow)
    assert stages.kernels


def test_processors_compute_the_definition():
    arrays = inputs((2,), 30, 30, 32, "bfloat16")
    stages = stages_of(with_flow(is_causal=True), arrays, None)
    assert not forms_of(stages, nodes.Attention | nodes.AttentionFlow)
    check(stages.run("native", arrays), wanted(*arrays, is_causal=True), "bfloat16")


# ----- threads and machine code -----


@pytest.mark.parametrize("length", [16, 48])
def test_threads_do_not_race(length):
    arrays = inputs((), 70, 70, length, "bfloat16")
    found = run(stages_of(with_flow(is_causal=True), arrays), arrays, interpret)
    check(found, wanted(*arrays, is_causal=True), "bfloat16")


def kernels(length, dtype="bfloat16"):
    return stages_of(with_flow(is_causal=True), inputs((2, 2), 256, 256, length, dtype)).kernels


def test_powers_are_near():
    x = np.array([0.0, -0.0, 1.0, -0.5, -126.0, -127.0, -np.inf, np.nan], np.float32)
    found = apply("near_exp2", [x], VType(float32))
    wanted = np.array([1, 1, 2, 2**-0.5, 2.0**-126, 0, 0, np.nan], np.float32)
    np.testing.assert_array_equal(found, wanted)


def test_short_loops_stay_loops():
    """Their turns are long."""
    arrays = inputs((2,), 128, 128, 64, "bfloat16")
    for kernel in stages_of(with_flow(is_causal=False), arrays).kernels:
        assert [type(s) for s in direct(kernel).body].count(For) == 1


@needs_linker
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("length", [16, 64, 80, 128])
def test_kernels_become_machine_code(length, dtype):
    for kernel in kernels(length, dtype):
        assert gpu_code(kernel, SM90).image.startswith(b"\x7fELF")


def test_threads_move_whole_chunks():
    """No number is read or written by itself, but for those that there is one of for each row."""
    counts = (128, 68), (192, 64), (128, 32)
    for kernel, (products, powers) in zip(kernels(64), counts, strict=True):
        code = ptx(written("key", kernel, SM90)[1], SM90).decode()
        assert code.count("mma.sync.aligned.m16n8k16") == products
        assert code.count("ex2.approx.ftz.f32") == powers
        for access in ("ld.shared", "st.shared", "ld.global.nc", "st.global"):
            assert code.count(f"{access}.v4.b32") >= 8
        assert "ld.local" not in code
        assert not any(f"{access}.b16" in code for access in ("ld.shared", "ld.global.nc"))


def places(length):
    """Where each thread of a block finds what it reads first of a part: along it, and across."""
    w, buffer = Elements(None, None), Buffer("x", dtypes["bfloat16"])
    warps = Warps(w, buffer.dtype, length, 1)
    tile = Tile(w, warps.thread, "tile", SimpleNamespace(buffer=buffer), length, BLOCK)
    warps.readers(tile)
    found = Buffer("found", np.dtype(np.int64), access="out")
    start = w.let("multiply", warps.thread, index(5))
    for k, place in enumerate([*warps.reads_along, *warps.reads_across, tile.spots[0][2]]):
        w.store(found, w.let("add", start, index(k)), place)
    kernel = Kernel("k", (found,), (), 1, Var(INDEX, "item"), tuple(w.body), THREADS, warps.thread)
    result = np.zeros(5 * THREADS, np.int64)
    run_all(kernel, [result])
    return result.reshape(THREADS, 5).T


@pytest.mark.parametrize("length", [64, 128])
def test_a_quarter_of_a_warp_is_at_all_banks(length):
    """Eight threads read, or write, 16 bytes each of different banks."""
    for kind in places(length):
        banks = kind * 2 // 16 % 8
        assert all(len(set(banks[k : k + 8])) == 8 for k in range(0, THREADS, 8))
