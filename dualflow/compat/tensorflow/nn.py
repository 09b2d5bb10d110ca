"""`tf.nn`: activations. Losses and convolutions differ in layout; their hints say how."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints, namespace

globals().update(namespace("TensorFlow", "tanh", "relu sigmoid"))


def softmax(logits: Any, axis: int = -1) -> Any:
    """Exponentials along `axis`, divided by their sum."""
    return df.nn.functional.softmax(logits, axis=axis)


def log_softmax(logits: Any, axis: int = -1) -> Any:
    """The logarithm of `softmax`."""
    return df.nn.functional.log_softmax(logits, axis=axis)


__getattr__ = hints("tensorflow.nn")
