"""Streaming metrics: sums in Variables that each batch adds to, the same in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import where
from dualflow.ops.elementwise import abs as absolute
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import argmax
from dualflow.ops.shape import broadcast_to, expand_dims, reshape
from dualflow.train.losses import alongside, flat
from jit.types import float64

__all__ = [
    "Accuracy",
    "Mean",
    "MeanAbsoluteError",
    "MeanOf",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "TopKAccuracy",
]


class Metric:
    """Base of metrics. A subclass adds to its Variables in `update_state`, and `result` reads them.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def update_state(self, *batch: Any, **options: Any) -> None:
        """Takes a batch into account, most often its `(y_true, y_pred)`."""
        raise NotImplementedError(f"{type(self).__name__} defines no update_state")

    def __call__(self, *batch: Any, **options: Any) -> Tensor:
        """Takes a batch into account; gives the metric so far."""
        self.update_state(*batch, **options)
        return self.result()

    def result(self) -> Tensor:
        """The metric over all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} defines no result")

    def variables(self) -> dict[str, Variable]:
        """Its Variables by name."""
        return {name: v for name, v in vars(self).items() if isinstance(v, Variable)}

    def reset_state(self) -> None:
        """Forgets all batches."""
        for variable in self.variables().values():
            variable.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """What it has summed up."""
        return {name: v.read_value() for name, v in self.variables().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from sums that were saved."""
        for name, variable in self.variables().items():
            variable.assign(state[name])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}={float(self.result()):.6g})"


def count(name: str) -> Variable:
    """A sum, at zero."""
    return Variable(0.0, float64, trainable=False, name=name)


class Average(Metric):
    """Base of means: a sum, and of how many.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.total, self.count = count(f"{name} total"), count(f"{name} count")

    def add(self, value: Any, size: Any = 1) -> None:
        """Adds the mean of a batch of `size` examples."""
        with no_grad():
            weight = astype(as_tensor(size), float64)
            self.total.assign_add(astype(as_tensor(value), float64) * weight)
            self.count.assign_add(weight)

    def add_each(self, values: Tensor) -> None:
        """Adds a value for each example, or for more than one."""
        with no_grad():
            summed = astype(values, float64) if values.dtype.kind == "b" else values
            self.total.assign_add(astype(summed.sum(), float64))
            self.count.assign_add(astype(as_tensor(values.size), float64))

    def result(self) -> Tensor:
        """The mean; 0 before the first value."""
        with no_grad():
            return where(self.count > 0, self.total / where(self.count > 0, self.count, 1.0), 0.0)


class Mean(Average):
    """The mean of values.

    Args:
        name: How logs call it.

    Example:
        >>> import dualflow as df
        >>> mean = df.train.metrics.Mean()
        >>> mean.add(2.0, 1)  # the mean of a batch, and its size
        >>> mean.add(5.0, 3)
        >>> mean.result().item()
        4.25
        >>> mean.reset_state()
        >>> mean([1.0, 2.0]).item()
        1.5
    """

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds values, each as often as its weight says."""
        with no_grad():
            each = as_tensor(values)
            if sample_weight is None:
                self.add_each(each)
            else:
                weight = broadcast_to(astype(as_tensor(sample_weight), float64), each.shape)
                self.total.assign_add((astype(each, float64) * weight).sum())
                self.count.assign_add(weight.sum())


class MeanOf(Average):
    """The mean of a function of predictions and targets.

    Args:
        function: `(y_pred, y_true) -> value of the batch`.
        name: How logs call it; the function's name by default.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__))
        self.function = function

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Adds the value of a batch."""
        with no_grad():
            self.add(as_tensor(self.function(y_pred, y_true)).mean(), as_tensor(y_true).shape[0])


class Accuracy(Average):
    """The share of right answers; what is right follows from the shapes.

    With a score for each class along the last axis, the largest must be the label's; where
    predictions have the shape of the labels, both are yes or no.

    Args:
        threshold: A prediction above it means yes.
        name: How logs call it.

    Example:
        >>> import dualflow as df
        >>> accuracy = df.train.metrics.Accuracy()
        >>> accuracy.update_state([1, 0], [[0.1, 2.0], [0.3, 0.4]])
        >>> accuracy.result().item()
        0.5
    """

    def __init__(self, threshold: float = 0.5, name: str = "accuracy") -> None:
        super().__init__(name)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Counts right answers."""
        with no_grad():
            scores = as_tensor(y_pred)
            truth = flat(y_true, scores)
            if scores.ndim == truth.ndim + 1 and scores.shape[-1] == 1:
                scores = reshape(scores, truth.shape)
            if scores.ndim == truth.ndim + 1:
                self.add_each(argmax(scores, axis=-1) == truth)
            elif scores.ndim > 1 and scores.shape[-1] != 1:
                self.add_each(argmax(scores, axis=-1) == argmax(truth, axis=-1))
            else:
                self.add_each((scores > self.threshold) == (truth > 0.5))


class TopKAccuracy(Average):
    """The share of examples whose class is among the `k` with the largest scores.

    Args:
        k: How many.
        name: How logs call it.
    """

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name or f"top_{k}_accuracy")
        self.k = k

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Counts classes that fewer than `k` others exceed."""
        with no_grad():
            scores = as_tensor(y_pred)
            truth = flat(y_true, scores)
            classes = range(scores.shape[-1])  # pyright: ignore[reportArgumentType]
            chosen = as_tensor(list(classes)) == expand_dims(truth, axis=-1)
            own = where(chosen, scores, 0.0).sum(axis=-1, keepdims=True)
            self.add_each((scores > own).sum(axis=-1) < self.k)


class MeanSquaredError(Average):
    """The mean of squared differences.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Adds the squares of a batch."""
        with no_grad():
            self.add_each(square(as_tensor(y_pred) - alongside(y_true, y_pred)))


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of squared differences.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def result(self) -> Tensor:
        """The root; 0 before the first value."""
        return sqrt(super().result())


class MeanAbsoluteError(Average):
    """The mean of absolute differences.

    Args:
        name: How logs call it.
    """

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Adds the differences of a batch."""
        with no_grad():
            self.add_each(absolute(as_tensor(y_pred) - alongside(y_true, y_pred)))


class Precision(Metric):
    """The share of right ones among the predictions that mean yes.

    Args:
        threshold: A prediction above it means yes.
        name: How logs call it.
    """

    def __init__(self, threshold: float = 0.5, name: str = "precision") -> None:
        super().__init__(name)
        self.threshold = threshold
        self.right, self.all = count(f"{name} right"), count(f"{name} all")

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Counts a batch."""
        with no_grad():
            truth = as_tensor(y_true) > 0.5
            told = reshape(as_tensor(y_pred) > self.threshold, truth.shape)
            self.right.assign_add(astype(truth & told, float64).sum())
            self.all.assign_add(astype(self.counted(truth, told), float64).sum())

    def counted(self, truth: Tensor, told: Tensor) -> Tensor:
        """Of what the share is taken."""
        return told

    def result(self) -> Tensor:
        """The share; 0 where there is nothing to share."""
        with no_grad():
            return where(self.all > 0, self.right / where(self.all > 0, self.all, 1.0), 0.0)


class Recall(Precision):
    """The share of found ones among what should be yes.

    Args:
        threshold: A prediction above it means yes.
        name: How logs call it.
    """

    def __init__(self, threshold: float = 0.5, name: str = "recall") -> None:
        super().__init__(threshold, name)

    def counted(self, truth: Tensor, told: Tensor) -> Tensor:
        """Of what the share is taken."""
        return truth
