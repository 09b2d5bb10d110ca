"""Softmax over very many classes, most of which are rare."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.layers.containers import ModuleList, Sequential
from dualflow.nn.layers.linear import Linear
from dualflow.nn.module import Module
from dualflow.ops.arrange import concat
from dualflow.ops.choice import clip, where
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import take_along_axis
from dualflow.ops.reduce import argmax
from dualflow.ops.shape import expand_dims, squeeze
from dualflow.ops.statistics import mean
from jit.errors import ShapeError
from jit.types import format_shape, int64


class LogProbAndLoss(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives.

    Attributes:
        output: The logarithm of the probability of each target.
        loss: Minus their mean.
    """

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax by clusters of classes (Grave et al., 2017), for large vocabularies.

    Classes are sorted, frequent ones first. Those before the first cut-off are in the head, beside
    one class for each cluster of the others; the rarer a cluster, the fewer features it gets.

    Args:
        in_features: Length of the input's last dimension.
        n_classes: How many classes.
        cutoffs: Where the clusters begin, in ascending order.
        div_value: By how much the features of each cluster are fewer than those of the one before.
        head_bias: Add a bias in the head.
        dtype: Of the parameters.

    Example:
        >>> import dualflow as df
        >>> layer = df.nn.AdaptiveLogSoftmaxWithLoss(8, 100, cutoffs=[10, 40])
        >>> output, loss = layer(df.ones((3, 8)), df.asarray([0, 20, 99]))
        >>> output.shape, layer.log_prob(df.ones((3, 8))).shape
        ((3,), (3, 100))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        ends = [0, *cutoffs, n_classes]
        if not cutoffs or any(a >= b for a, b in pairwise(ends)):
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs={list(cutoffs)} do not ascend within "
                f"1 to {n_classes - 1}"
            )
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs, self.div_value, self.head_bias = ends[1:], div_value, head_bias
        self.shortlist_size, self.n_clusters = ends[1], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, dtype=dtype)
        self.tail = ModuleList()
        for k, (first, last) in enumerate(pairwise(self.cutoffs)):
            inner = int(in_features // div_value ** (k + 1))
            narrow = Linear(in_features, inner, bias=False, dtype=dtype)
            wide = Linear(inner, last - first, bias=False, dtype=dtype)
            self.tail.append(Sequential(narrow, wide))

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        self.head.reset_parameters()
        for layer in self.tail.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    @placed
    def forward(self, x: Any, target: Any) -> LogProbAndLoss:
        """(n, in_features) and n classes -> n logarithms of probabilities, and the loss.

        Without n, one example's. A class out of range raises `IndexError`.
        """
        x, target = as_tensor(x), as_tensor(target)
        if x.shape[:-1] != target.shape or x.ndim > 2:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: input {format_shape(x.shape)}, "
                f"target {format_shape(target.shape)}",
                "(n, in_features) and (n,), or (in_features,) and ()",
                "flatten what stands before the features",
            )
        if x.ndim == 1:
            output, loss = self(expand_dims(x, 0), expand_dims(target, 0))
            return LogProbAndLoss(squeeze(output, 0), loss)
        head = F.log_softmax(self.head(x))
        at = where((target < 0) | (target >= self.n_classes), self.head_size, target)  # it raises
        for k, first in enumerate(self.cutoffs[:-1]):
            inside = (target >= first) & (target < self.cutoffs[k + 1])
            at = where(inside, self.shortlist_size + k, at)
        output = chosen(head, at)
        for part, first, last in zip(self.tail, self.cutoffs, self.cutoffs[1:]):
            inside = (target >= first) & (target < last)
            own = chosen(F.log_softmax(part(x)), clip(target - first, 0, last - first - 1))
            output = output + where(inside, own, 0.0)
        return LogProbAndLoss(output, -mean(output))

    def log_prob(self, x: Any) -> Tensor:
        """(n, in_features) -> (n, n_classes): the logarithms of all probabilities."""
        head = F.log_softmax(self.head(x))
        parts = [head[..., : self.shortlist_size]]
        for k, part in enumerate(self.tail, self.shortlist_size):
            parts.append(F.log_softmax(part(x)) + head[..., k : k + 1])
        return concat(parts, axis=-1)

    def predict(self, x: Any) -> Tensor:
        """(n, in_features) -> n classes, the likeliest ones."""
        return argmax(self.log_prob(x), axis=-1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.n_classes}, cutoffs={self.cutoffs[:-1]}"


def chosen(x: Tensor, at: Tensor) -> Tensor:
    """An element of each row."""
    return squeeze(take_along_axis(x, astype(expand_dims(at, 1), int64), axis=1), 1)
