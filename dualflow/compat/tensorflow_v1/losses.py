"""`tf.losses`: means over a batch."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints


def mean_squared_error(labels: Any, predictions: Any) -> Any:
    """The mean of squared differences."""
    return df.mean((predictions - labels) ** 2)


def absolute_difference(labels: Any, predictions: Any) -> Any:
    """The mean of absolute differences."""
    return df.mean(df.abs(predictions - labels))


def softmax_cross_entropy(onehot_labels: Any, logits: Any) -> Any:
    """The mean loss against probabilities of classes."""
    scores = df.nn.functional.log_softmax(logits, axis=-1)
    return df.mean(-df.sum(onehot_labels * scores, axis=-1))


def sparse_softmax_cross_entropy(labels: Any, logits: Any) -> Any:
    """The mean loss against the numbers of the right classes."""
    return df.nn.functional.cross_entropy(logits, labels)


__getattr__ = hints("tensorflow_v1.losses")
