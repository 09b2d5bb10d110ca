"""Counted steps: rates that fall with them, and averages of variables over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow_v1.variables import get_variable

GLOBAL_STEP = "global_step"


def get_global_step(graph: Any = None) -> Any:
    """The variable of the graph that counts steps; None where there is none."""
    variables = (graph or df.graph.get_default_graph()).variables
    return next((v for v in variables if v.name == GLOBAL_STEP), None)


def get_or_create_global_step(graph: Any = None) -> Any:
    """The variable of the graph that counts steps, made where there is none."""
    found = get_global_step(graph)
    if found is not None:
        return found
    return get_variable(GLOBAL_STEP, (), "int64", lambda *_: 0, trainable=False)


def share(global_step: Any, decay_steps: Any) -> Any:
    """How much of some steps is done."""
    return df.astype(df.asarray(global_step), "float32") / decay_steps


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,  # noqa: FBT001, FBT002 - TensorFlow's position
    name: str | None = None,
) -> Any:
    """`learning_rate * decay_rate ** (global_step / decay_steps)`; by whole numbers on request."""
    del name
    power = share(global_step, decay_steps)
    return learning_rate * df.pow(decay_rate, df.floor(power) if staircase else power)


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    **_: Any,
) -> Any:
    """From one rate to another in so many steps, along a power."""
    left = 1.0 - df.minimum(share(global_step, decay_steps), 1.0)
    return (learning_rate - end_learning_rate) * df.pow(left, power) + end_learning_rate


def piecewise_constant(x: Any, boundaries: Sequence[Any], values: Sequence[Any], **_: Any) -> Any:
    """The first value up to the first boundary, and so on."""
    found = df.asarray(values[-1], dtype="float32")
    for boundary, value in zip(reversed(boundaries), reversed(values[:-1]), strict=True):
        found = df.where(df.asarray(x) <= boundary, value, found)
    return found


class ExponentialMovingAverage:
    """Averages of variables, of which the last steps count most.

    Args:
        decay: How much of an average is kept in a step.
        num_updates: How many steps there were: at first less is kept.
    """

    def __init__(self, decay: Any, num_updates: Any = None, **_: Any) -> None:
        self._decay, self._count = decay, num_updates
        self._averages: dict[Any, Any] = {}

    def apply(self, var_list: Iterable[Any] | None = None) -> Any:
        """An operation that takes a step.

        Args:
            var_list: Which variables; all trainable ones by default.
        """
        trained = [v for v in df.graph.global_variables() if v.trainable]
        steps = []
        for v in trained if var_list is None else var_list:
            name = f"{v.name}/ExponentialMovingAverage"
            average = df.graph.GraphVariable(v.initial, name=name, trainable=False)
            kept = df.asarray(self._decay)
            if self._count is not None:
                count = df.astype(df.asarray(self._count), "float32")
                kept = df.minimum(kept, (1.0 + count) / (10.0 + count))
            steps.append(df.graph.assign_sub(average, (1.0 - kept) * (average - v)))
            self._averages[v] = average
        return df.graph.group(*steps, name="averages")

    def average(self, var: Any) -> Any:
        """The average of a variable; None where `apply` was not given it."""
        return self._averages.get(var)
