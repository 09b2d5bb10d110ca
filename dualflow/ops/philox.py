"""Random bits: the counter-based generator Philox4x32-10, as one pure op.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC 2011. A block of four 32-bit words is a function of a 64-bit key and a 128-bit counter. Here
the upper half of the counter counts calls and the lower half blocks, so that element i of a call
depends on (key, call, i) and on nothing else: not on the shape, nor on who computes it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from dualflow.core.axes import canonical_shape
from dualflow.core.backend import to_device
from dualflow.core.context import context
from dualflow.core.kernels import computed
from dualflow.core.op import Op, bind
from dualflow.core.record import NO_ATTRS
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import DTypeError
from jit.types import TensorType, dtypes, product

UINT32, UINT64, FLOAT32 = dtypes["uint32"], dtypes["uint64"], dtypes["float32"]
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
CHUNK = 8192  # blocks at a time: the working arrays stay in the cache
FEW = 8  # blocks that Python computes faster than NumPy
MANY = 1 << 16  # words from which a kernel is worth its compilation


def _bits_type(state: TensorType, *, shape: tuple[Any, ...]) -> TensorType:
    if state.dtype != UINT64 or state.shape != (2,):
        raise DTypeError(f"random_bits: a state {state}", "uint64[2]: key and count of calls")
    return TensorType(shape, UINT32)


# ----- in NumPy -----


def philox(counter: list[Any], key: tuple[int, int]) -> list[Any]:
    """Four words below 2**32 for each counter.

    Args:
        counter: Four Python ints, or uint64 arrays that broadcast, lowest word first.
        key: Two words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW
        c2, c3 = (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return [c0, c1, c2, c3]


def _bits(xp: Any, state: Any, *, shape: tuple[int, ...]) -> Any:
    if xp is np and product(shape) >= MANY and context.trace is None:
        found = computed(_bits_like, (state, np.empty(product(shape), np.bool_)), NO_ATTRS)
        if found is not None:
            return found[0].reshape(shape)
    seed, call = (int(word) for word in state)
    key = (seed & LOW, seed >> 32)
    size = int(product(shape))
    blocks = -(-size // 4)
    if blocks <= FEW:
        words = [philox([b, 0, call & LOW, call >> 32], key) for b in range(blocks)]
        out = xp.asarray(words, dtype=np.uint32)
    else:
        out = xp.empty((blocks, 4), np.uint32)
        calls = [xp.asarray([w], dtype=np.uint64) for w in (call & LOW, call >> 32)]
        for first in range(0, blocks, CHUNK):
            block = xp.arange(first, min(first + CHUNK, blocks), dtype=np.uint64)
            for k, word in enumerate(philox([block & LOW, block >> 32, *calls], key)):
                out[first : first + CHUNK, k] = word
    return out.reshape(-1)[:size].reshape(shape)


# ----- in forms -----


def _bits_lower(form: Any, state: Any, *, shape: tuple[Any, ...]) -> Any:
    def apply(name: str, *xs: Any) -> Any:
        return form.pointwise(name, *(number(x) if isinstance(x, int) else x for x in xs))

    def number(x: int) -> Any:
        return form.constant(x, UINT64)

    def halves(x: Any) -> tuple[Any, Any]:
        return apply("bitwise_and", x, LOW), apply("bitwise_right_shift", x, 32)

    size = product(shape)
    block = form.index(((size + 3) // 4,), lambda b: b, UINT64)
    k0, k1 = halves(form.view(state, (), lambda: (0,)))
    c0, c1 = halves(block)
    c2, c3 = halves(form.view(state, (), lambda: (1,)))
    for _ in range(ROUNDS):
        low0, high0 = halves(apply("multiply", c0, MULTIPLIERS[0]))
        low1, high1 = halves(apply("multiply", c2, MULTIPLIERS[1]))
        c0, c1 = apply("bitwise_xor", apply("bitwise_xor", high1, c1), k0), low1
        c2, c3 = apply("bitwise_xor", apply("bitwise_xor", high0, c3), k1), low0
        k0 = apply("bitwise_and", apply("add", k0, KEY_STEPS[0]), LOW)
        k1 = apply("bitwise_and", apply("add", k1, KEY_STEPS[1]), LOW)
    place = form.index((size,), lambda i: i % 4, UINT64)
    words = [form.pointwise("astype", word, dtype=UINT32) for word in (c0, c1, c2, c3)]
    parts = [form.view(word, (size,), lambda i: (i // 4,)) for word in words]
    chosen = parts[3]
    for k in (2, 1, 0):
        chosen = apply("where", apply("equal", place, k), parts[k], chosen)
    return form.reshape(chosen, shape)


_random_bits = Op(name="random_bits", evaluate=_bits, infer=_bits_type, lower=_bits_lower)
# The same in the shape of an array: one kernel for all sizes.
_bits_like = Op(
    name="random_bits_like",
    evaluate=lambda xp, state, like: _bits(xp, state, shape=like.shape),
    infer=lambda state, like: _bits_type(state, shape=like.shape),
    lower=lambda form, state, like: _bits_lower(form, state, shape=tuple(like.shape)),
    fused=True,
)


# Numbers in [0, 1) of so many words, in one step where each of the ops that make them would read
# and write everything.
_unit_like = Op(
    name="random_unit_like",
    evaluate=lambda xp, state, like: _unit(xp, _bits(xp, state, shape=like.shape)),
    infer=lambda state, like: _bits_type(state, shape=like.shape).with_dtype(FLOAT32),
    lower=lambda form, state, like: _unit_lower(form, state, shape=tuple(like.shape)),
    fused=True,
)


def _unit(xp: Any, bits: Any) -> Any:
    return (bits >> 8).astype(FLOAT32) * xp.float32(2.0**-24)


def _unit_lower(form: Any, state: Any, *, shape: tuple[Any, ...]) -> Any:
    bits = _bits_lower(form, state, shape=shape)
    high = form.pointwise("bitwise_right_shift", bits, form.constant(8, UINT32))
    unit = form.constant(2.0**-24, FLOAT32)
    return form.pointwise("multiply", form.pointwise("astype", high, dtype=FLOAT32), unit)


def unit_numbers(state: Tensor, shape: Any) -> Tensor:
    """Uniform float32 numbers in [0, 1): the upper 24 bits of the words of `random_bits`.

    Args:
        state: As of `random_bits`.
        shape: Of the result.

    Returns:
        Tensor of float32.
    """
    extents = canonical_shape("random_bits", shape)
    size = product(extents)
    if state.raw.__class__ is np.ndarray and size >= MANY:
        found = computed(_unit_like, (state.raw, np.empty(size, np.bool_)), NO_ATTRS)
        if found is not None:
            return Tensor(found[0].reshape(extents))
    bits = random_bits(state, extents)
    return functions["astype"](bits >> 8, FLOAT32) * 2.0**-24


def random_bits(state: Tensor, shape: Any) -> Tensor:
    """Uniform uint32 words.

    Args:
        state: uint64 tensor of shape (2,): the key, and which call this is.
        shape: Of the result.

    Returns:
        Tensor of uint32; element i, in row-major order, is word i % 4 of block i // 4.
    """
    return bind(_random_bits, (state,), {"shape": canonical_shape("random_bits", shape)})


@cache
def one_call(device: str) -> Tensor:
    """What is added to a state on a device: the next call gets other words."""
    return Tensor(to_device(np.array([0, 1], UINT64), device))
