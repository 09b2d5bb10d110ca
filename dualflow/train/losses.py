"""Losses under Keras's words: means over a batch, or with `reduction="none"` of each example."""

from __future__ import annotations

from collections.abc import Callable
from math import log as log_of
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.ops.activation import softplus
from dualflow.ops.choice import clip, maximum, where
from dualflow.ops.elementwise import abs as absolute_value
from dualflow.ops.elementwise import astype
from dualflow.ops.losses import paired, reduced
from dualflow.ops.power import square
from dualflow.ops.shape import reshape
from dualflow.ops.special import log, log1p
from jit.types import kind

Loss = Callable[[Any, Any], Any]
SMALLEST = 1e-7  # a probability is not taken to be less


def logarithms(probabilities: Any) -> Tensor:
    """Logarithms of probabilities, none of them infinite."""
    return log(clip(as_tensor(probabilities), SMALLEST, 1 - SMALLEST))


def alongside(y_true: Any, y_pred: Any) -> Tensor:
    """Targets in the shape of predictions, where that only adds an axis of extent 1."""
    truth, shape = as_tensor(y_true), as_tensor(y_pred).shape
    return reshape(truth, shape) if (*truth.shape, 1) == shape else truth


def flat(labels: Any, scores: Any) -> Tensor:
    """Numbers of classes as (n,), also where they came as a column (n, 1)."""
    truth, columns = as_tensor(labels), as_tensor(scores).shape
    column = kind(truth.dtype) == "integer" and len(columns) == 2 and columns[1] != 1
    return reshape(truth, (-1,)) if column and truth.shape[1:] == (1,) else truth


def labelled(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss of scores and numbers of classes, which may come as a column."""

    def with_labels(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
        return loss(y_pred, flat(y_true, y_pred), reduction=reduction)

    return with_labels


def sparse_categorical_crossentropy(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """Keras's: probabilities of classes against the numbers of the right ones."""
    return F.nll_loss(logarithms(y_pred), y_true, reduction=reduction)


def categorical_crossentropy(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """Keras's: probabilities of classes against probabilities."""
    return reduced(-(as_tensor(y_true) * logarithms(y_pred)).sum(axis=-1), reduction)


def binary_crossentropy(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """Keras's: probabilities against 0 and 1, in whatever of the two shapes (n,) and (n, 1)."""
    p = as_tensor(y_pred)
    truth = reshape(astype(as_tensor(y_true), p.dtype), p.shape)
    return reduced(-where(truth > 0.5, logarithms(p), logarithms(1.0 - p)), reduction)


def squared(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """`mse_loss`; labels of the shape (n,) meet predictions of the shape (n, 1)."""
    return F.mse_loss(y_pred, alongside(y_true, y_pred), reduction)


def absolute(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """`l1_loss`; labels of the shape (n,) meet predictions of the shape (n, 1)."""
    return F.l1_loss(y_pred, alongside(y_true, y_pred), reduction)


def huber(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """`huber_loss`; labels of the shape (n,) meet predictions of the shape (n, 1)."""
    return F.huber_loss(y_pred, alongside(y_true, y_pred), reduction)


def logits(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """`binary_cross_entropy_with_logits`, for labels of any dtype."""
    truth = astype(alongside(y_true, y_pred), as_tensor(y_pred).dtype)
    return F.binary_cross_entropy_with_logits(y_pred, truth, reduction=reduction)


def measured(name: str, value: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A loss by its value for predictions and targets, from which axes may be summed away."""

    def loss(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
        target = alongside(y_true, y_pred)
        return reduced(value(*paired(name, y_pred, target, reduction)), reduction)

    loss.__name__ = name
    return loss


def unit(x: Tensor) -> Tensor:
    """Rows of length 1."""
    return F.normalize(x, axis=-1)


def signs(y: Tensor) -> Tensor:
    """-1 and 1, also for labels 0 and 1."""
    return astype(where(y > 0.0, 1.0, -1.0), y.dtype)


def positive(x: Tensor) -> Tensor:
    """Numbers that have a logarithm."""
    return maximum(x, SMALLEST)


log_cosh = measured("log_cosh", lambda p, y: p - y + softplus(-2.0 * (p - y)) - log_of(2.0))
hinge = measured("hinge", lambda p, y: maximum(1.0 - signs(y) * p, 0.0))
poisson = measured("poisson", lambda p, y: p - y * log(positive(p)))
mean_absolute_percentage_error = measured(
    "mean_absolute_percentage_error",
    lambda p, y: 100.0 * absolute_value(p - y) / positive(absolute_value(y)),
)
mean_squared_logarithmic_error = measured(
    "mean_squared_logarithmic_error",
    lambda p, y: square(log1p(positive(p)) - log1p(positive(y))),
)
kl_divergence = measured(
    "kl_divergence", lambda p, y: (positive(y) * (logarithms(y) - logarithms(p))).sum(axis=-1)
)
cosine_similarity = measured("cosine_similarity", lambda p, y: -(unit(p) * unit(y)).sum(axis=-1))

LOSSES: dict[str, Loss] = {
    "mse": squared,
    "mean_squared_error": squared,
    "mae": absolute,
    "mean_absolute_error": absolute,
    "mape": mean_absolute_percentage_error,
    "mean_absolute_percentage_error": mean_absolute_percentage_error,
    "msle": mean_squared_logarithmic_error,
    "mean_squared_logarithmic_error": mean_squared_logarithmic_error,
    "huber": huber,
    "log_cosh": log_cosh,
    "hinge": hinge,
    "poisson": poisson,
    "kl_divergence": kl_divergence,
    "cosine_similarity": cosine_similarity,
    "cross_entropy": labelled(F.cross_entropy),
    "nll": labelled(F.nll_loss),
    "binary_cross_entropy_with_logits": logits,
    "sparse_categorical_crossentropy": labelled(sparse_categorical_crossentropy),
    "categorical_crossentropy": categorical_crossentropy,
    "binary_crossentropy": binary_crossentropy,
}
