"""`tf.losses`: means over a batch, which the graph remembers: `get_total_loss` adds them up."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.arrays import add_n
from dualflow.compat.tensorflow_v1.collected import GraphKeys, add_to_collection, get_collection
from dualflow.compat.translate import hints

F = df.nn.functional


def add_loss(loss: Any) -> Any:
    """Remembers a loss, and returns it."""
    add_to_collection(GraphKeys.LOSSES, loss)
    return loss


def get_losses() -> list[Any]:
    """The losses of the default graph."""
    return get_collection(GraphKeys.LOSSES)


def get_total_loss() -> Any:
    """The sum of all losses, and of those in the collection for regularisation."""
    return add_n([*get_losses(), *get_collection(GraphKeys.REGULARIZATION_LOSSES)])


def mean_squared_error(labels: Any, predictions: Any) -> Any:
    """The mean of squared differences."""
    return add_loss(df.mean((predictions - labels) ** 2))


def absolute_difference(labels: Any, predictions: Any) -> Any:
    """The mean of absolute differences."""
    return add_loss(df.mean(df.abs(predictions - labels)))


def huber_loss(labels: Any, predictions: Any, *, delta: float = 1.0) -> Any:
    """Squares of small differences, and the size of large ones."""
    return add_loss(F.huber_loss(predictions, df.asarray(labels), delta=delta))


def sigmoid_cross_entropy(multi_class_labels: Any, logits: Any) -> Any:
    """The mean loss against 0 and 1."""
    return add_loss(F.binary_cross_entropy_with_logits(logits, df.asarray(multi_class_labels)))


def softmax_cross_entropy(onehot_labels: Any, logits: Any) -> Any:
    """The mean loss against probabilities of classes."""
    scores = F.log_softmax(logits, axis=-1)
    return add_loss(df.mean(-df.sum(onehot_labels * scores, axis=-1)))


def sparse_softmax_cross_entropy(labels: Any, logits: Any) -> Any:
    """The mean loss against the numbers of the right classes."""
    return add_loss(F.cross_entropy(logits, labels))


__getattr__ = hints("tensorflow_v1.losses")
