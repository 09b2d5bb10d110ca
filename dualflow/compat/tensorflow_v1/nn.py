"""`tf.nn`: activations, and the losses of classes, with TensorFlow 1's words."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.nn import log_softmax, relu, sigmoid, softmax, tanh
from dualflow.compat.translate import hints


def softmax_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each example, against probabilities of classes."""
    return -df.sum(labels * log_softmax(logits), axis=-1)


softmax_cross_entropy_with_logits_v2 = softmax_cross_entropy_with_logits


def sparse_softmax_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each example, against the numbers of the right classes."""
    return df.nn.functional.cross_entropy(logits, labels, reduction="none")


def sigmoid_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each element, against 0 and 1."""
    return df.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def l2_loss(t: Any) -> Any:
    """Half the sum of squares."""
    return df.sum(t * t) / 2.0


__getattr__ = hints("tensorflow_v1.nn")
__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]
