"""The workloads of `bench gpu` in JAX: `jax.jit` with donated state."""

# JAX is there, or not.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from dualflow.bench.gpu_contest import Made
from dualflow.bench.gpu_data import VGG, Array, Work, batch, parameters, sizes_of

Loss = Callable[..., Any]
IMAGES = ("NHWC", "HWIO", "NHWC")


def made(work: Work, who: str, *, quick: bool) -> Made:
    """A step of a workload."""
    del who
    precision = "tensorfloat32" if work.precision == "tf32" else "highest"
    jax.config.update("jax_default_matmul_precision", precision)
    last: list[Any] = []
    device = jax.devices()[0]
    before = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
    lying = (device.memory_stats() or {}).get("bytes_in_use", 0)
    step = (functions if work.kind in ("norm", "value", "slope") else training)(work, quick=quick)

    def run() -> Any:
        last[:] = [step()]
        return last[0]

    def memory() -> int | None:
        peak = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
        return peak - lying if peak > before else None  # it cannot be set back

    return Made(run, lambda: jax.block_until_ready(last), memory)


def training(work: Work, *, quick: bool) -> Callable[[], Any]:
    """A step with its update."""
    loss = partial(LOSSES[work.kind], work, sizes_of(work, quick=quick))
    weights = [jnp.asarray(turned(a)) for a in parameters(work, quick=quick)]
    x, y = batch(work, quick=quick)
    given = jnp.asarray(np.moveaxis(x, 1, -1) if x.ndim == 4 else x), jnp.asarray(y)
    zeros = [jnp.zeros_like(a) for a in weights]
    state = [weights, zeros, [jnp.zeros_like(a) for a in weights], jnp.zeros(())]
    update = momentum if work.kind == "vgg" else partial(adam, work)

    def step(state: Any, x: Any, y: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(state[0], x, y)
        return value, update(state, slopes)

    compiled = jax.jit(step, donate_argnums=0)

    def run() -> Any:
        nonlocal state
        value, state = compiled(state, *given)
        return value

    return run


def turned(value: Array) -> Array:
    """The weights of a convolution as (height, width, inputs, outputs)."""
    return value.transpose(2, 3, 1, 0).copy() if value.ndim == 4 else value


def adam(work: Work, state: Any, slopes: Any) -> Any:
    """A step of Adam; of AdamW for transformers."""
    p, m, v, t = state
    rate, decay = (1e-4, 1e-2) if work.kind == "gpt" else (1e-3, 0.0)
    t = t + 1
    m = [0.9 * a + 0.1 * b for a, b in zip(m, slopes)]
    v = [0.999 * a + 0.001 * b * b for a, b in zip(v, slopes)]
    one, two = 1 - 0.9**t, 1 - 0.999**t
    p = [
        a - rate * decay * a - rate * (b / one) / (jnp.sqrt(c / two) + 1e-8)
        for a, b, c in zip(p, m, v)
    ]
    return [p, m, v, t]


def momentum(state: Any, slopes: Any) -> Any:
    """A step of gradient descent with momentum."""
    p, m, v, t = state
    m = [0.9 * a + b for a, b in zip(m, slopes)]
    return [[a - 1e-3 * b for a, b in zip(p, m)], m, v, t]


# ----- losses -----


def cross_entropy(scores: Any, labels: Any) -> Any:
    """Of labels, the mean."""
    scores = scores.astype(jnp.float32)
    right = jnp.take_along_axis(scores, labels[:, None], -1)[:, 0]
    return (jax.nn.logsumexp(scores, -1) - right).mean()


def dense(x: Any, parameters: Any) -> Any:
    """A dense layer in the dtype of `x`."""
    weight, bias = parameters
    return x @ weight.astype(x.dtype) + bias.astype(x.dtype)


def convolved(x: Any, parameters: Any, padding: str) -> Any:
    """A convolution in the dtype of `x`."""
    weight, bias = parameters
    y = lax.conv_general_dilated(
        x, weight.astype(x.dtype), (1, 1), padding, dimension_numbers=IMAGES
    )
    return y + bias.astype(x.dtype)


def pooled(x: Any) -> Any:
    """Half of the height and width."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def flat(x: Any) -> Any:
    """Images as rows, channel by channel."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def mlp(work: Work, n: dict[str, int], p: Any, x: Any, y: Any) -> Any:
    """A net of two layers, and the mean of squared errors."""
    return ((dense(jax.nn.relu(dense(x, p[:2])), p[2:]) - y) ** 2).mean()


def lenet(work: Work, n: dict[str, int], p: Any, x: Any, y: Any) -> Any:
    """LeNet-5 with modern parts, and cross-entropy."""
    x = pooled(jax.nn.relu(convolved(x, p[:2], "SAME")))
    x = flat(pooled(jax.nn.relu(convolved(x, p[2:4], "VALID"))))
    x = jax.nn.relu(dense(x, p[4:6]))
    return cross_entropy(dense(jax.nn.relu(dense(x, p[6:8])), p[8:]), y)


def lstm(work: Work, n: dict[str, int], p: Any, x: Any, y: Any) -> Any:
    """An LSTM whose products with the input are one, its steps unrolled."""
    from_input = x @ p[0] + p[2] + p[3]

    def cell(state: Any, gates: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(gates + h @ p[1], 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros(x.shape[1:])
    states = lax.scan(cell, (zeros, zeros), from_input, unroll=x.shape[0])[1]
    return ((states - y) ** 2).mean()


def vgg(work: Work, n: dict[str, int], p: Any, x: Any, y: Any) -> Any:
    """VGG-16 without dropout, and cross-entropy."""
    x = x.astype(jnp.bfloat16 if work.precision == "bfloat16" else jnp.float32)
    left = list(p)
    for width in VGG:
        if width == 0:
            x = pooled(x)
        else:
            weight, bias, *left = left
            x = jax.nn.relu(convolved(x, (weight, bias), "SAME"))
    x = flat(x)
    x = jax.nn.relu(dense(jax.nn.relu(dense(x, left[:2])), left[2:4]))
    return cross_entropy(dense(x, left[4:]), y)


def normal(x: Any, scale: Any, shift: Any) -> Any:
    """Layer norm, in float32."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    y = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return (y * scale + shift).astype(x.dtype)


def gpt(work: Work, n: dict[str, int], p: Any, ids: Any, targets: Any) -> Any:
    """GPT-2, and cross-entropy of next tokens."""
    low = work.precision == "bfloat16"
    words, places, *rest, scale, shift = p
    x = (words[ids] + places).astype(jnp.bfloat16 if low else jnp.float32)
    for k in range(n["layers"]):
        x = block(n, rest[12 * k : 12 * k + 12], x, "cudnn" if low else "xla")
    scores = normal(x, scale, shift) @ words.astype(x.dtype).T
    return cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))


def block(n: dict[str, int], p: Any, x: Any, by: str) -> Any:
    """Attention and dense layers, each with a way around it."""
    parts = dense(normal(x, *p[:2]), p[2:4]).reshape(*x.shape[:2], 3, n["heads"], -1)
    q, k, v = (parts[:, :, j] for j in range(3))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=by)
    x = x + dense(y.reshape(x.shape), p[4:6])
    wide = jax.nn.gelu(dense(normal(x, *p[6:8]), p[8:10]), approximate=True)
    return x + dense(wide, p[10:])


LOSSES: dict[str, Loss] = {"mlp": mlp, "lenet": lenet, "lstm": lstm, "vgg": vgg, "gpt": gpt}


# ----- functions -----


def chain(x: Any) -> Any:
    """Elementwise ops one after the other."""
    return jnp.tanh(x) * jnp.exp(-x * x) + jax.nn.sigmoid(2.0 * x) * x


def functions(work: Work, *, quick: bool) -> Callable[[], Any]:
    """Elementwise ops, or layer norm with cross-entropy, and their gradients."""
    x, other = map(jnp.asarray, batch(work, quick=quick))
    if work.kind == "value":
        value = jax.jit(chain)
        return lambda: value(x)
    if work.kind == "slope":
        both = jax.jit(lambda x, g: (lambda y, pull: (y, pull(g)))(*jax.vjp(chain, x)))
        return lambda: both(x, other)
    given = [x, *map(jnp.asarray, parameters(work, quick=quick))]

    def loss(x: Any, scale: Any, shift: Any) -> Any:
        return cross_entropy(normal(x, scale, shift), other)

    slopes = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return lambda: slopes(*given)
