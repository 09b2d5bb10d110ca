"""What the words in `compile("adam", "mse", ["accuracy"])` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from inspect import signature
from typing import Any

from dualflow import optim
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.layers import BCEWithLogitsLoss
from dualflow.nn.module import Module
from dualflow.ops.choice import clip, where
from dualflow.ops.elementwise import astype
from dualflow.ops.losses import reduced
from dualflow.ops.shape import reshape
from dualflow.ops.special import log
from dualflow.ops.statistics import mean
from dualflow.train import metrics

Loss = Callable[[Any, Any], Any]
SMALLEST = 1e-7  # a probability is not taken to be less


def logarithms(probabilities: Any) -> Tensor:
    """Logarithms of probabilities, none of them infinite."""
    return log(clip(as_tensor(probabilities), SMALLEST, 1 - SMALLEST))


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


def logits(y_pred: Any, y_true: Any, reduction: str = "mean") -> Tensor:
    """`binary_cross_entropy_with_logits`, for labels of any dtype."""
    truth = astype(alongside(y_true, y_pred), as_tensor(y_pred).dtype)
    return F.binary_cross_entropy_with_logits(y_pred, truth, reduction=reduction)


def alongside(y_true: Any, y_pred: Any) -> Tensor:
    """Targets in the shape of predictions, where that only adds an axis of extent 1."""
    truth, shape = as_tensor(y_true), as_tensor(y_pred).shape
    return reshape(truth, shape) if (*truth.shape, 1) == shape else truth


LOSSES: dict[str, Loss] = {
    "mse": squared,
    "mean_squared_error": squared,
    "mae": absolute,
    "mean_absolute_error": absolute,
    "cross_entropy": F.cross_entropy,
    "nll": F.nll_loss,
    "binary_cross_entropy_with_logits": logits,
    "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "binary_crossentropy": binary_crossentropy,
}
METRICS: dict[str, Callable[[], metrics.Metric]] = {
    "mse": lambda: metrics.MeanSquaredError("mse"),
    "mean_squared_error": metrics.MeanSquaredError,
    "rmse": lambda: metrics.RootMeanSquaredError("rmse"),
    "mae": lambda: metrics.MeanAbsoluteError("mae"),
    "mean_absolute_error": metrics.MeanAbsoluteError,
    "precision": metrics.Precision,
    "recall": metrics.Recall,
    "top_5_accuracy": metrics.TopKAccuracy,
}


def loss_for(wanted: Any) -> Loss:
    """A loss for a word; a function or module `(y_pred, y_true) -> number` as it is."""
    if callable(wanted):
        return wanted
    return LOSSES[known("loss", wanted, LOSSES)]


def each(loss: Loss, y_pred: Any, y_true: Any) -> Tensor:
    """The loss of each example, of shape (n,).

    Raises:
        ValueError: A function of the user's own, which only gives the mean.
    """
    if isinstance(loss, Module) and hasattr(loss, "reduction"):
        alone = copy(loss)
        alone.reduction = "none"
        losses = alone(y_pred, y_true)
    elif "reduction" in signature(loss).parameters:
        losses = loss(y_pred, y_true, reduction="none")  # type: ignore[call-arg]
    else:
        raise ValueError(
            "sample_weight needs the loss of each example: a loss by its word, one of df.nn, or a "
            'function that takes reduction="none"'
        )
    return mean(losses, axis=tuple(range(1, losses.ndim)))


def optimizer_for(wanted: Any, parameters: Iterable[Any]) -> optim.Optimizer:
    """An optimiser for a word or a class, over the parameters; an optimiser as it is."""
    if isinstance(wanted, optim.Optimizer):
        return wanted
    if isinstance(wanted, str):
        classes = {
            name.lower(): value
            for name in optim.__all__
            if isinstance(value := getattr(optim, name), type)
            and issubclass(value, optim.Optimizer)
            and value is not optim.Optimizer
        }
        wanted = classes[known("optimizer", wanted.lower(), classes)]
    return wanted(list(parameters))


def metric_for(wanted: Any, loss: Loss | None) -> metrics.Metric:
    """A metric for a word; the mean of a function; a metric as it is.

    Args:
        wanted: The word, function or metric.
        loss: It says whether predictions are probabilities, of which 0.5 is the middle.
    """
    if isinstance(wanted, metrics.Metric):
        return wanted
    if callable(wanted):
        return metrics.MeanOf(wanted)
    if wanted in ("accuracy", "acc"):
        scores = loss is logits or isinstance(loss, BCEWithLogitsLoss)
        return metrics.Accuracy(0.0 if scores else 0.5, name=wanted)
    return METRICS[known("metric", wanted, {**METRICS, "accuracy": None})]()


def known(what: str, word: Any, table: dict[str, Any]) -> str:
    """`word`, if the table has it.

    Raises:
        ValueError: It has not.
    """
    if word not in table:
        raise ValueError(f"compile: {what} {word!r} is none of {', '.join(sorted(table))}")
    return word
