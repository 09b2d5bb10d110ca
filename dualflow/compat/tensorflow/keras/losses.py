"""`tf.keras.losses`: called with targets first; means over the batch."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints

F = df.nn.functional
WORDS = df.train.losses.LOSSES


class Loss:
    """Base of losses: `call` gives the loss of each example, of which the mean is taken."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example."""
        raise NotImplementedError(f"{type(self).__name__} defines no call")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        each = self.each(y_true, y_pred)
        return df.mean(each if sample_weight is None else each * df.asarray(sample_weight))

    def each(self, y_true: Any, y_pred: Any) -> Any:
        """`call`; targets of the shape (n,) meet predictions of the shape (n, 1)."""
        return self.call(df.train.losses.alongside(y_true, y_pred), df.asarray(y_pred))


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
            return F.binary_cross_entropy_with_logits(y_pred, truth, reduction="none")
        yes, no = self.logarithms(y_pred), self.logarithms(1.0 - y_pred)
        return -(truth * yes + (1.0 - truth) * no)


class _Named(Loss):
    """A loss of `df.train` under its word.

    Args:
        word: The word.
    """

    def __init__(self, word: str) -> None:
        self.word = word

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each element, or of each example."""
        return WORDS[self.word](y_pred, y_true, reduction="none")  # type: ignore[call-arg]


NAMES = {
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
}


def turned(loss: Any) -> Any:
    """A loss as `df.train` calls it: predictions first, and a mean or one for each example."""

    def call(y_pred: Any, y_true: Any, reduction: str = "mean") -> Any:
        if reduction == "mean":
            return loss(y_true, y_pred)
        return loss.each(y_true, y_pred) if isinstance(loss, Loss) else loss(y_true, y_pred)

    return call


def turned_all(loss: Any) -> Any:
    """What `compile` is given as a loss: one, or some in a dict or a list; None stays None."""
    if isinstance(loss, dict):
        return {name: turned_all(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [turned_all(one) for one in loss]
    return None if loss is None else turned(get(loss))


def get(identifier: Any) -> Any:
    """A loss for a name; one that is given stays.

    Raises:
        ValueError: A name that is not known.
    """
    if callable(identifier):
        return identifier
    if identifier in NAMES:
        return NAMES[identifier]()
    if identifier in WORDS:
        return _Named(identifier)
    raise ValueError(f"loss {identifier!r}: {', '.join(sorted({*NAMES, *WORDS}))}")


__getattr__ = hints("tensorflow.keras.losses")
