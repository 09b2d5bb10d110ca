"""Nets of several outputs: a loss and metrics for each, and the weights of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.train import metrics, words
from dualflow.train.inputs import size_of
from dualflow.train.losses import Loss


class Output(NamedTuple):
    """One output of a net.

    Attributes:
        key: Where it stands: a number in a tuple, a name in a dict.
        name: How logs call it.
    """

    key: Any
    name: str

    def of(self, nest: Any) -> Any:
        """This output in what a net gave, or in targets.

        Raises:
            ValueError: It is not there.
        """
        several = isinstance(nest, Mapping | list | tuple)
        keys = list(nest) if isinstance(nest, Mapping) else list(range(len(nest) if several else 0))
        if self.key not in keys:
            found = f"outputs {keys}" if several else "one output"
            raise ValueError(f"a loss or metric is for output {self.key!r}, and there is {found}")
        return nest[self.key]


def outputs_of(given: Any) -> list[tuple[Output, Any]]:
    """What is given for each output, in a dict by its name or in a list in its order."""
    if isinstance(given, Mapping):
        return [(Output(name, str(name)), value) for name, value in given.items()]
    return [(Output(k, f"output_{k + 1}"), value) for k, value in enumerate(given)]


class Losses:
    """The weighted sum of a loss for each output.

    Args:
        losses: A loss for each output, in a dict or a list; None leaves an output out.
        weights: Their factors, in the same order or under the same names; 1 where not given.

    Attributes:
        means: What logs tell of each loss.

    Raises:
        ValueError: Weights for other outputs.
    """

    def __init__(self, losses: Any, weights: Any = None) -> None:
        factors = {out.key: factor for out, factor in outputs_of(weights or {})}
        given = [(output, loss) for output, loss in outputs_of(losses) if loss is not None]
        if strange := factors.keys() - {out.key for out, _ in given}:
            raise ValueError(f"compile: loss_weights for {sorted(strange)}, which have no loss")
        self.parts = [(o, words.loss_for(loss), factors.get(o.key, 1.0)) for o, loss in given]
        self.means = [metrics.Mean(f"{output.name}_loss") for output, _ in given]

    def __call__(self, y_pred: Any, y_true: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch; that of each output is added to its mean."""
        total: Any = 0.0
        for (output, loss, factor), mean in zip(self.parts, self.means, strict=True):
            found = words.weighted(loss, output.of(y_pred), output.of(y_true), sample_weight)
            mean.add(found, size_of(output.of(y_true)))
            total = factor * found + total
        return total

    def of(self, output: Output) -> Loss | None:
        """The loss of one output."""
        return next((loss for out, loss, _ in self.parts if out.key == output.key), None)


def losses_for(wanted: Any, weights: Any) -> Loss | Losses | None:
    """What `compile` was given as a loss, and the weights of losses."""
    if isinstance(wanted, list | tuple | Mapping):
        return Losses(wanted, weights)
    if weights is not None:
        return Losses(same(wanted, weights), weights)
    return None if wanted is None else words.loss_for(wanted)


def same(loss: Any, outputs: Any) -> Any:
    """One loss for each of some outputs, which stand in a dict or a list."""
    names = isinstance(outputs, Mapping)
    return dict.fromkeys(outputs, loss) if names else [loss for _ in outputs]


def summed(loss: Loss, y_pred: Any, y_true: Any, sample_weight: Any = None) -> Any:
    """One loss for all outputs of a net: their sum."""
    outputs = outputs_of(same(loss, y_pred))
    found = [words.weighted(loss, o.of(y_pred), o.of(y_true), sample_weight) for o, _ in outputs]
    return sum(found[1:], found[0])


def metrics_for(wanted: Any, loss: Loss | Losses | None) -> list[metrics.Metric]:
    """What `compile` was given as metrics: one, some, or in a dict or in lists for each output.

    Raises:
        ValueError: Words that do not say which output they are for.
    """
    ones = some(wanted)
    if isinstance(wanted, Mapping) or any(isinstance(one, list | tuple) for one in ones):
        return [
            OfOutput(output, words.metric_for(one, output_loss(loss, output)))
            for output, given in outputs_of(wanted)
            for one in some(given)
        ]
    if isinstance(loss, Losses):
        if any(isinstance(one, str) for one in ones):
            raise ValueError(
                f"compile: metrics={wanted!r} for several outputs: give a dict, such as "
                f"{{{str(loss.parts[0][0].key)!r}: [...]}}, or a list of lists"
            )
        loss = None
    return [words.metric_for(one, loss) for one in ones]


def output_loss(loss: Loss | Losses | None, output: Output) -> Loss | None:
    """The loss of one output: its own, or that of all."""
    return loss.of(output) if isinstance(loss, Losses) else loss


def some(wanted: Any) -> list[Any]:
    """One or some, as a list; None is none."""
    return list(wanted) if isinstance(wanted, list | tuple) else [] if wanted is None else [wanted]


class OfOutput(metrics.Metric):
    """A metric of one output.

    Args:
        output: Which.
        metric: What is measured.
    """

    def __init__(self, output: Output, metric: metrics.Metric) -> None:
        super().__init__(f"{output.name}_{metric.name}")
        self.output, self.metric = output, metric

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Takes a batch into account."""
        self.metric.update_state(self.output.of(y_true), self.output.of(y_pred))

    def result(self) -> Tensor:
        """The metric over all batches since the last reset."""
        return self.metric.result()

    def variables(self) -> dict[str, Variable]:
        """Those of the metric."""
        return self.metric.variables()
