"""What the words in `compile("adam", "mse", ["accuracy"])` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from inspect import signature
from typing import Any

from dualflow import optim
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn.layers import BCEWithLogitsLoss
from dualflow.nn.module import Module
from dualflow.ops.statistics import mean
from dualflow.train import metrics
from dualflow.train.losses import LOSSES, Loss, logits

METRICS: dict[str, Callable[[], metrics.Metric]] = {
    "binary_accuracy": lambda: metrics.Accuracy(name="binary_accuracy"),
    "categorical_accuracy": lambda: metrics.Accuracy(name="categorical_accuracy"),
    "sparse_categorical_accuracy": lambda: metrics.Accuracy(name="sparse_categorical_accuracy"),
    "mse": lambda: metrics.MeanSquaredError("mse"),
    "mean_squared_error": metrics.MeanSquaredError,
    "rmse": lambda: metrics.RootMeanSquaredError("rmse"),
    "mae": lambda: metrics.MeanAbsoluteError("mae"),
    "mean_absolute_error": metrics.MeanAbsoluteError,
    "auc": metrics.AUC,
    "f1_score": metrics.F1Score,
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


def weighted(loss: Loss, y_pred: Any, y_true: Any, sample_weight: Any = None) -> Any:
    """The loss of a batch: the mean over its examples, each times its weight.

    Raises:
        ValueError: There are weights, and no losses of single examples.
    """
    if sample_weight is None:
        return loss(y_pred, y_true)
    losses = each(loss, y_pred, y_true)
    return (losses * as_tensor(sample_weight, losses.dtype)).mean()


def optimizer_for(wanted: Any, parameters: Iterable[Any]) -> optim.Optimizer:
    """An optimiser for a word or a class, over the parameters; an optimiser, which meets them."""
    if isinstance(wanted, optim.Optimizer):
        wanted.meet(parameters)
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
    if wanted in LOSSES and wanted not in METRICS:
        return metrics.MeanOf(LOSSES[wanted], wanted)
    if wanted in ("accuracy", "acc"):
        scores = loss is logits or isinstance(loss, BCEWithLogitsLoss)
        return metrics.Accuracy(0.0 if scores else 0.5, name=wanted)
    return METRICS[known("metric", wanted, {**METRICS, **LOSSES, "accuracy": None})]()


def known(what: str, word: Any, table: dict[str, Any]) -> str:
    """`word`, if the table has it.

    Raises:
        ValueError: It has not.
    """
    if word not in table:
        raise ValueError(f"compile: {what} {word!r} is none of {', '.join(sorted(table))}")
    return word
