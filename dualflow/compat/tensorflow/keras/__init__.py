"""`tf.keras`: `Sequential`, `Model`, layers, losses, optimisers, with Keras's words and order.

Models are `df.train.Model`s, layers are `df.nn.Module`s, optimisers hold those of `df.optim`.
Losses and metrics are called with targets first.
"""

from __future__ import annotations

from dualflow.compat.tensorflow.keras import (
    activations,
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
)
from dualflow.compat.tensorflow.keras.models import Input, Model, Sequential
from dualflow.compat.translate import hints

__getattr__ = hints("tensorflow.keras")
__all__ = [
    "Input",
    "Model",
    "Sequential",
    "activations",
    "callbacks",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
]
