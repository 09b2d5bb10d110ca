"""The kernels that the vocabulary was chosen by: right, fused as claimed, the same on two threads.

a  packed matrix product with an epilogue; run-time dimensions, remainders
b  3x3 convolution with bias, relu and both gradients
c  layer_norm backward: sums of rows and of columns in one kernel
d  attention without the matrix of scores, forward and backward
e  argmax, by pairs of value and index
f  cumulative_sum
g  gather, and its gradient, a deterministic scatter-add
h  w5: value and gradient of a sum of elementary functions, in one pass
"""

from __future__ import annotations

import numpy as np
import pytest

import jit
from jit.dims import symbol
from jit.runtime import threads
from jit.types import TensorType
from tests.jit.examples import EXAMPLES, example
from tests.jit.loops.whole import compiled
from tests.jit.sharing import sharing
from tests.jit.stages import bits

NEAR = 3e-5  # of the largest element, in float32


def product(a, b, bias):
    return [np.maximum(a @ b + bias, 0)]


def convolution_backward(x, w, b):
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    before = np.einsum("ncijuv,ocuv->noij", windows, w, optimize=True) + b[:, None, None]
    y = np.maximum(before, 0)
    g = np.where(before > 0, np.cos(y), 0)
    spread = np.pad(g, [(0, 0), (0, 0), (1, 1), (1, 1)])
    spread = np.lib.stride_tricks.sliding_window_view(spread, (3, 3), (2, 3))
    of_x = np.einsum("noijuv,ocuv->ncij", spread, w[:, :, ::-1, ::-1], optimize=True)
    of_w = np.einsum("ncijuv,noij->ocuv", windows, g, optimize=True)
    return [y, of_x, of_w, g.sum((0, 2, 3))]


def layer_norm_backward(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normal = centred * scale
    y = normal * weight + bias
    g = np.cos(y)
    pulled = g * weight
    of_x = pulled - pulled.mean(-1, keepdims=True)
    of_x = scale * (of_x - normal * (pulled * normal).mean(-1, keepdims=True))
    return [y, of_x, (g * normal).sum(0), g.sum(0)]


def attention(q, k, v):
    return attention_backward(q, k, v)[:1]


def attention_backward(q, k, v):
    scale = 1 / np.sqrt(q.shape[-1])
    scores = scale * (q @ k.mT)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    y = share @ v
    g = np.cos(y)
    of_share = g @ v.mT
    of_scores = share * (of_share - (of_share * share).sum(-1, keepdims=True)) * scale
    return [y, of_scores @ k, of_scores.mT @ q, share.mT @ g]


def gather(x, at):
    rows, sums = x[at], np.zeros_like(x)
    np.add.at(sums, at, 2 * rows)
    return [rows, sums]


def w5(x):
    sigmoid, bell = 1 / (1 + np.exp(-2 * x)), np.exp(-x * x)
    value = np.sum(np.tanh(x) * bell + sigmoid * x)
    slope = (1 - np.tanh(x) ** 2) * bell - 2 * x * np.tanh(x) * bell
    return [value, slope + sigmoid + 2 * x * sigmoid * (1 - sigmoid)]


REFERENCES = {
    "product": product,
    "convolution_backward": convolution_backward,
    "layer_norm_backward": layer_norm_backward,
    "attention": attention,
    "attention_backward": attention_backward,
    "argmax": lambda x: [x.argmax(-1)],
    "argmax_of_all": lambda x: [x.argmax()],
    "cumulative_sum": lambda x: [x.cumsum(-1), x.cumsum(0)],
    "gather": gather,
    "w5": w5,
}
# At most so many launches, and what the one that counts computes.
LAUNCHES = {
    "product": (1, "matmul_add_relu"),
    "convolution_backward": (9, "add_relu_cos_greater_where"),  # three products, copies, two sums
    "layer_norm_backward": (
        3,
        "cos_multiply_sum_divide_subtract",
    ),  # and two sums of parts of columns
    "attention": (4, "attention"),  # two of them copy an operand
    "attention_backward": (10, "attention_attention_flow"),
    "argmax": (1, "argmax"),
    "argmax_of_all": (2, "argmax"),  # of each block, and of the blocks
    "cumulative_sum": (2, "cumulative_sum"),  # along each axis
    "gather": (3, "multiply_scatter"),  # indices, rows, sums
    "w5": (2, "exp_sigmoid_add_sum_subtract"),  # of each block, and of the blocks
}


@pytest.mark.parametrize("name", REFERENCES)
def test_right_fused_and_the_same_on_two_threads(name):
    call = example(name, large=True)
    code = jit.compile(call.graph)
    found = []
    with sharing():
        for count in (1, 2):
            threads.set_num_threads(count)
            found.append(code(call.inputs))
    assert list(map(bits, found[0])) == list(map(bits, found[1]))
    wide = [x.astype(np.float64) if x.dtype == np.float32 else x for x in call.inputs]
    for ours, theirs in zip(found[0], REFERENCES[name](*wide), strict=True):
        theirs = np.asarray(theirs)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=NEAR, atol=NEAR * np.abs(theirs).max())
    assert not code.host_steps
    most, label = LAUNCHES[name]
    labels = [kernel.label for kernel in code.kernels]
    assert len(labels) <= most
    assert label in labels


@pytest.mark.parametrize("name", ["attention", "attention_backward"])
def test_no_scores_in_memory(name):
    call = example(name, large=True)
    queries, keys = [x.shape for x in call.inputs[:2]]
    scores = np.prod(queries[:-1]) * keys[-2]
    slots = jit.compile(call.graph).code.plan.program.slots
    assert max(slot.type.size for slot in slots) < scores


def build_product(form, a, b, bias):
    total = form.contract("mk,kn->mn", a, b)
    spread = form.view(bias, total.shape, lambda i, j: (j,))
    y = form.pointwise("add", total, spread)
    zero = form.view(form.constant(0.0, y.dtype), y.shape, lambda i, j: ())
    return form.pointwise("maximum", y, zero)


def test_a_product_of_any_size_has_the_bits_of_one_made_for_it():
    m, k, n = (symbol(name, hint=100, lo=1) for name in "mkn")
    shapes = [(m, k), (k, n), (n,)]
    general = compiled(build_product, [TensorType(shape, np.dtype("f")) for shape in shapes])
    assert len(general.kernels) == 1
    rng = np.random.default_rng(0)
    for m, k, n in [(1, 1, 1), (5, 7, 3), (64, 100, 10), (1, 300, 40), (33, 513, 70), (8, 256, 64)]:
        arrays = [rng.normal(size=s).astype("f") for s in ((m, k), (k, n), (n,))]
        own = compiled(build_product, [TensorType(x.shape, x.dtype) for x in arrays])
        assert bits(general(arrays)[0]) == bits(own(arrays)[0]), (m, k, n)
        (wanted,) = product(*[x.astype(np.float64) for x in arrays])
        np.testing.assert_allclose(general(arrays)[0], wanted, rtol=1e-5, atol=1e-4)


def test_every_proof_has_a_reference():
    others = {"softmax", "layer_norm", "two_layers", "convolution", "cross_entropy"}
    assert set(EXAMPLES) - others == set(REFERENCES) == set(LAUNCHES)
