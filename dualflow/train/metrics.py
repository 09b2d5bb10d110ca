"""Streaming metrics: sums in Variables that each batch adds to, the same in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.activation import sigmoid
from dualflow.ops.arrange import concat
from dualflow.ops.choice import where
from dualflow.ops.create import arange, zeros
from dualflow.ops.elementwise import abs as absolute
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import argmax
from dualflow.ops.shape import broadcast_to, expand_dims, reshape
from dualflow.ops.special import log
from dualflow.train.losses import alongside, flat
from jit.types import float64

__all__ = [
    "AUC",
    "Accuracy",
    "F1Score",
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
            return share(as_tensor(self.total), as_tensor(self.count))


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
            return share(as_tensor(self.right), as_tensor(self.all))


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


class F1Score(Metric):
    """The harmonic mean of precision and recall.

    Args:
        num_classes: How many classes there are, where predictions are scores of each along the last
            axis and the largest counts; None: predictions mean yes or no.
        average: Of several classes: "macro": their mean; "weighted": the mean by how often each
            should be; "micro": of all counts together; None: one for each class.
        threshold: A prediction above it means yes, where `num_classes` is None.
        name: How logs call it.

    Raises:
        ValueError: Another `average`.

    Example:
        >>> import dualflow as df
        >>> f1 = df.train.metrics.F1Score()
        >>> round(f1([1, 1, 0, 0], [0.9, 0.2, 0.8, 0.1]).item(), 3)
        0.5
        >>> f1 = df.train.metrics.F1Score(num_classes=3)
        >>> round(f1([0, 1, 2], [[2.0, 1, 0], [0.0, 2, 1], [0.0, 2, 1]]).item(), 3)
        0.556
    """

    def __init__(
        self,
        num_classes: int | None = None,
        average: str | None = "macro",
        threshold: float = 0.5,
        name: str = "f1_score",
    ) -> None:
        if average not in ("macro", "micro", "weighted", None):
            raise ValueError(f"F1Score: average={average!r}: macro, micro, weighted or None")
        super().__init__(name)
        self.num_classes, self.average, self.threshold = num_classes, average, threshold
        parts = ("right", "told", "true")
        self.right, self.told, self.true = (counts(f"{name} {part}", num_classes) for part in parts)

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Counts a batch."""
        with no_grad():
            truth, told = self._of_classes(as_tensor(y_true), as_tensor(y_pred))
            for total, hits in ((self.right, truth & told), (self.told, told), (self.true, truth)):
                total.assign_add(astype(hits, float64).sum(axis=0))

    def _of_classes(self, truth: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Bools in a row for each example, or in one for yes and no."""
        if self.num_classes is None:
            return reshape(truth > 0.5, (-1,)), reshape(scores > self.threshold, (-1,))
        labels = flat(truth, scores)
        if labels.ndim == scores.ndim:
            labels = argmax(labels, axis=-1)
        classes = arange(self.num_classes)
        each = (reshape(x, (-1, 1)) == classes for x in (labels, argmax(scores, axis=-1)))
        truth, told = each
        return truth, told

    def result(self) -> Tensor:
        """The score; 0 where nothing should be yes, and nothing was."""
        with no_grad():
            right, told, true = (as_tensor(v) for v in (self.right, self.told, self.true))
            if self.average == "micro":
                right, told, true = right.sum(), told.sum(), true.sum()
            score = share(2.0 * right, told + true)
            if self.average == "weighted" and self.num_classes is not None:
                return share((score * true).sum(), true.sum())
            return score.mean() if self.average == "macro" else score


class AUC(Metric):
    """The area under a curve: how well scores order yes before no, whatever the threshold.

    Scores are counted between thresholds, so batches can be added up; the area is that of a line
    through the points of all thresholds.

    Args:
        num_thresholds: How many, evenly spaced from 0 to 1.
        curve: "ROC": found ones over false alarms; "PR": precision over found ones.
        name: How logs call it.
        from_logits: Whether predictions are logarithms of odds, of which probabilities are made.

    Raises:
        ValueError: Another curve, or fewer than two thresholds.

    Example:
        >>> import dualflow as df
        >>> auc = df.train.metrics.AUC()
        >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).item()
        0.75
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        name: str = "auc",
        *,
        from_logits: bool = False,
    ) -> None:
        if curve not in ("ROC", "PR") or num_thresholds < 2:
            raise ValueError(f"AUC: curve={curve!r}, num_thresholds={num_thresholds}: ROC or PR")
        super().__init__(name)
        self.curve, self.from_logits, self.num_thresholds = curve, from_logits, num_thresholds
        self.yes, self.no = (counts(f"{name} {part}", num_thresholds) for part in ("yes", "no"))

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Counts a batch."""
        with no_grad():
            scores = reshape(as_tensor(y_pred), (-1,))
            scores = sigmoid(scores) if self.from_logits else scores
            truth = reshape(as_tensor(y_true) > 0.5, (-1, 1))
            above = expand_dims(astype(scores, float64), -1) > self._thresholds()
            for total, which in ((self.yes, truth), (self.no, ~truth)):
                total.assign_add(astype(above & which, float64).sum(axis=0))

    def _thresholds(self) -> Tensor:
        """Rising; the first is below 0 and the last above 1, as in Keras."""
        last = self.num_thresholds - 1
        inner = arange(1, last, dtype=float64) / last
        ends = ([edge] for edge in (-EDGE, 1.0 + EDGE))
        low, high = (as_tensor(end, float64) for end in ends)
        return concat([low, inner, high])

    def result(self) -> Tensor:
        """The area; 0 where one kind is missing."""
        with no_grad():
            yes, no = as_tensor(self.yes), as_tensor(self.no)
            found = share(yes, yes[0])
            if self.curve == "ROC":
                alarms = share(no, no[0])
                return ((alarms[:-1] - alarms[1:]) * (found[:-1] + found[1:])).sum() / 2.0
            return under_precision(yes, no)


EDGE = 1e-7


def under_precision(yes: Tensor, no: Tensor) -> Tensor:
    """The area under precision over recall, between whose points counts change evenly.

    J. Davis and M. Goadrich, "The relationship between precision-recall and ROC curves", 2006.
    """
    told = yes + no
    gained, more = yes[:-1] - yes[1:], told[:-1] - told[1:]
    slope = share(gained, more)
    rest = yes[1:] - slope * told[1:]
    both = (told[:-1] > 0) & (told[1:] > 0)
    ratio = where(both, told[:-1] / where(both, told[1:], 1.0), 1.0)
    return share(slope * (gained + rest * log(ratio)), yes[:1]).sum()


def share(part: Tensor, whole: Tensor) -> Tensor:
    """A quotient; 0 where there is nothing to share."""
    return where(whole > 0, part / where(whole > 0, whole, 1.0), 0.0)


def counts(name: str, size: int | None) -> Variable:
    """Sums, at zero: one, or a row of them."""
    return Variable(zeros(() if size is None else size, dtype=float64), trainable=False, name=name)
