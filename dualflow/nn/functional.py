"""The functions that layers are made of, under PyTorch's names: `df.nn.functional`.

Arguments are PyTorch's too, with dualflow's words for axes: `axis` for `dim`.
"""

from __future__ import annotations

from typing import Any

from dualflow import random
from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.ops.activation import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus
from dualflow.ops.attention import scaled_dot_product_attention
from dualflow.ops.choice import where
from dualflow.ops.create import one_hot
from dualflow.ops.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
)
from dualflow.ops.neural import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    embedding,
    layer_norm,
    linear,
    log_softmax,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    softmax,
)
from dualflow.ops.special import tanh

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def dropout(
    x: Any,
    p: float = 0.5,
    *,
    training: bool = True,
    generator: random.Generator | None = None,
) -> Tensor:
    """Each element set to 0 with probability `p`; the others grow so that the mean stays.

    Args:
        x: Tensor of any shape, of floating numbers.
        p: The probability, from 0 to 1.
        training: Nothing happens when False.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: `p` is no probability.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.dropout(df.ones(2), 0.9, training=False).tolist()
        [1.0, 1.0]
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p}, expected a probability from 0 to 1")
    x = as_tensor(x)
    if not training or p == 0:
        return x
    if p == 1:
        return where(False, x, 0)  # noqa: FBT003 - a condition, not a switch
    with beside(x):
        kept = random.bernoulli(x.shape, 1 - p, generator=generator)
    return where(kept, x * (1 / (1 - p)), 0)
