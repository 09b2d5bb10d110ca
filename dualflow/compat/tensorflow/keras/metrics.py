"""`tf.keras.metrics`: the metrics of `df.train`, which have Keras's methods."""

from __future__ import annotations

import dualflow as df
from dualflow.compat.translate import mirror


class BinaryAccuracy(df.train.metrics.Accuracy):
    """`Accuracy` of probabilities, under Keras's name.

    Args:
        name: How logs call it.
        threshold: A prediction above it means yes.
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(threshold, name)


class CategoricalAccuracy(df.train.metrics.Accuracy):
    """`Accuracy` of scores against rows with one 1, under Keras's name.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name=name)


class SparseCategoricalAccuracy(df.train.metrics.Accuracy):
    """`Accuracy` of scores against numbers of classes, under Keras's name.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name=name)


__getattr__ = mirror("tensorflow.keras.metrics", "train.metrics")
