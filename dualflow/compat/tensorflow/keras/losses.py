"""`tf.keras.losses`: called with targets first; means over the batch."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints

F = df.nn.functional


class Loss:
    """Base of losses: `call` gives the loss of each example, of which the mean is taken."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example."""
        raise NotImplementedError(f"{type(self).__name__} defines no call")

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        return df.mean(self.call(df.asarray(y_true), df.asarray(y_pred)))


class MeanSquaredError(Loss):
    """The mean of squared differences."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each example."""
        return df.mean((y_pred - y_true) ** 2, axis=-1)


class MeanAbsoluteError(Loss):
    """The mean of absolute differences."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each example."""
        return df.mean(df.abs(y_pred - y_true), axis=-1)


class _OfClasses(Loss):
    """Base of losses of classes.

    Args:
        from_logits: Predictions are scores, not probabilities.
    """

    def __init__(self, *, from_logits: bool = False) -> None:
        self.from_logits = from_logits

    def logarithms(self, y_pred: Any) -> Any:
        """Logarithms of probabilities."""
        if self.from_logits:
            return F.log_softmax(y_pred, axis=-1)
        return df.log(df.clip(y_pred, 1e-7, 1 - 1e-7))


class SparseCategoricalCrossentropy(_OfClasses):
    """Against the numbers of the right classes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each example."""
        scores = self.logarithms(y_pred)
        labels = df.astype(df.reshape(y_true, scores.shape[:-1]), "int64")
        chosen = df.one_hot(labels, scores.shape[-1])
        return -df.sum(scores * df.astype(chosen, scores.dtype), axis=-1)


class CategoricalCrossentropy(_OfClasses):
    """Against probabilities of classes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each example."""
        return -df.sum(y_true * self.logarithms(y_pred), axis=-1)


class BinaryCrossentropy(_OfClasses):
    """Against 0 and 1."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each element."""
        truth = df.astype(df.reshape(y_true, y_pred.shape), y_pred.dtype)
        if self.from_logits:
            return F.binary_cross_entropy_with_logits(y_pred, truth)
        yes, no = self.logarithms(y_pred), self.logarithms(1.0 - y_pred)
        return -(truth * yes + (1.0 - truth) * no)


NAMES = {
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
}


def get(identifier: Any) -> Any:
    """A loss for a name; one that is given stays.

    Raises:
        ValueError: A name that is not known.
    """
    if callable(identifier):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"loss {identifier!r}: {', '.join(NAMES)}")
    return NAMES[identifier]()


__getattr__ = hints("tensorflow.keras.losses")
