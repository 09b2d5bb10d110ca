"""`tf.train`: optimisers whose `minimize` appends gradients and updates to the graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow_v1.steps import (
    ExponentialMovingAverage,
    exponential_decay,
    get_global_step,
    get_or_create_global_step,
    piecewise_constant,
    polynomial_decay,
)
from dualflow.compat.translate import hints


class Optimizer:
    """Base of optimisers; a subclass says the updates of one variable.

    Args:
        learning_rate: The learning rate: a number, or a symbolic tensor.
    """

    def __init__(self, learning_rate: Any) -> None:
        self.learning_rate = learning_rate

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """Operations of one step, of which the last is the variable's own."""
        raise NotImplementedError(f"{type(self).__name__} defines no updates")

    def begin(self) -> list[Any]:
        """Operations of one step that no variable has."""
        return []

    def compute_gradients(self, loss: Any, var_list: Any = None) -> list[tuple[Any, Any]]:
        """Gradients and variables, in pairs.

        Args:
            loss: What to minimise.
            var_list: Which variables; all trainable ones by default.
        """
        variables = [v for v in df.graph.global_variables() if v.trainable]
        chosen = variables if var_list is None else list(var_list)
        return list(zip(df.graph.gradients(loss, chosen), chosen, strict=True))

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        global_step: Any = None,
        name: str | None = None,
    ) -> Any:
        """An operation that takes a step.

        Args:
            grads_and_vars: Pairs; a gradient of None leaves its variable as it is.
            global_step: A variable that counts steps.
            name: The operation's.
        """
        steps = self.begin()
        for gradient, variable in grads_and_vars:
            if gradient is not None:
                steps += self.updates(variable, gradient)
        if global_step is not None:
            steps.append(df.graph.assign_add(global_step, 1))
        return df.graph.group(*steps, name=name or type(self).__name__)

    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        *,
        name: str | None = None,
    ) -> Any:
        """An operation that takes a step towards a smaller loss; see `apply_gradients`."""
        return self.apply_gradients(self.compute_gradients(loss, var_list), global_step, name)


class GradientDescentOptimizer(Optimizer):
    """Subtracts the gradient times the learning rate."""

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """One step."""
        return [df.graph.assign_sub(variable, self.learning_rate * gradient)]


class MomentumOptimizer(Optimizer):
    """Gradient descent that keeps moving.

    Args:
        learning_rate: The learning rate.
        momentum: How much of the movement is kept.
    """

    def __init__(self, learning_rate: Any, momentum: float) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """One step."""
        moved = slot(variable, "momentum")
        new = self.momentum * moved + gradient
        return [
            df.graph.assign(moved, new),
            df.graph.assign_sub(variable, self.learning_rate * new),
        ]


class AdamOptimizer(Optimizer):
    """Adam (Kingma and Ba, 2015).

    Args:
        learning_rate: The learning rate.
        beta1: How much of the mean of gradients is kept.
        beta2: How much of the mean of their squares is kept.
        epsilon: Added to the denominator.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._count: Any = None

    def begin(self) -> list[Any]:
        """Counts the step."""
        self._count = df.graph.GraphVariable(0.0, "float32", "adam/step", trainable=False)
        return [df.graph.assign_add(self._count, 1.0)]

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """One step."""
        mean, square = slot(variable, "m"), slot(variable, "v")
        m = self.beta1 * mean + (1 - self.beta1) * gradient
        v = self.beta2 * square + (1 - self.beta2) * gradient * gradient
        step = self._count + 1.0
        rate = self.learning_rate * df.sqrt(1 - self.beta2**step) / (1 - self.beta1**step)
        return [
            df.graph.assign(mean, m),
            df.graph.assign(square, v),
            df.graph.assign_sub(variable, rate * m / (df.sqrt(v) + self.epsilon)),
        ]


class AdagradOptimizer(Optimizer):
    """Adagrad (Duchi et al., 2011).

    Args:
        learning_rate: The learning rate.
        initial_accumulator_value: Where the sums of squares begin.
    """

    def __init__(self, learning_rate: Any, initial_accumulator_value: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.initial = initial_accumulator_value

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """One step."""
        sums = slot(variable, "accumulator", self.initial)
        new = sums + gradient * gradient
        return [
            df.graph.assign(sums, new),
            df.graph.assign_sub(variable, self.learning_rate * gradient / df.sqrt(new)),
        ]


class RMSPropOptimizer(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Args:
        learning_rate: The learning rate.
        decay: How much of the mean of squares is kept.
        momentum: How much of the movement is kept.
        epsilon: Added to the mean of squares.
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        super().__init__(learning_rate)
        self.decay, self.momentum, self.epsilon = decay, momentum, epsilon

    def updates(self, variable: Any, gradient: Any) -> list[Any]:
        """One step."""
        square, moved = slot(variable, "rms", 1.0), slot(variable, "momentum")
        mean = self.decay * square + (1 - self.decay) * gradient * gradient
        new = self.momentum * moved + self.learning_rate * gradient / df.sqrt(mean + self.epsilon)
        return [
            df.graph.assign(square, mean),
            df.graph.assign(moved, new),
            df.graph.assign_sub(variable, new),
        ]


class Saver:
    """Writes the values of variables into files, and reads them again.

    Args:
        var_list: Which variables: a list, or a dict by the names they have in files; all by
            default.
        max_to_keep: How many files of this saver stay; None: all.
    """

    def __init__(self, var_list: Any = None, max_to_keep: int | None = 5, **_: Any) -> None:
        self._given, self._keep = var_list, max_to_keep
        self._written: list[Path] = []

    def _variables(self) -> dict[str, Any]:
        if isinstance(self._given, dict):
            return self._given
        chosen = df.graph.global_variables() if self._given is None else self._given
        return {variable.name: variable for variable in chosen}

    def save(self, sess: Any, save_path: Any, global_step: Any = None, **_: Any) -> str:
        """Writes a file of safetensors.

        Args:
            sess: The session.
            save_path: Its path, without the ending that it gets.
            global_step: A number, or a variable that counts steps, which is added to the name.
            **_: Other words of TensorFlow's change nothing.

        Returns:
            The path that `restore` takes.
        """
        if global_step is not None:
            step = sess.run(global_step) if isinstance(global_step, df.Tensor) else global_step
            save_path = f"{save_path}-{int(step)}"
        file = Path(f"{save_path}.safetensors")
        variables = self._variables()
        values = sess.run(list(variables.values()))
        df.io.save(file, dict(zip(variables, map(df.asarray, values), strict=True)))
        (file.parent / "checkpoint").write_text(f'model_checkpoint_path: "{Path(save_path).name}"')
        self._written = [*[known for known in self._written if known != file], file]
        while self._keep is not None and len(self._written) > self._keep:
            self._written.pop(0).unlink(missing_ok=True)
        return str(save_path)

    def restore(self, sess: Any, save_path: Any) -> None:
        """Sets the variables to what a file holds.

        Args:
            sess: The session.
            save_path: What `save` or `latest_checkpoint` gave.

        Raises:
            KeyError: The file has no value for a variable.
            ShapeError: A value has another shape than its variable.
        """
        values = df.io.load(f"{save_path}.safetensors")
        variables = self._variables()
        if missing := [name for name in variables if name not in values]:
            raise KeyError(f"{save_path} holds no value for {', '.join(missing)}")
        sess.run([df.graph.assign(v, values[name]) for name, v in variables.items()])


def latest_checkpoint(checkpoint_dir: Any) -> str | None:
    """The path of what was saved last in a folder; None where nothing was."""
    note = Path(checkpoint_dir) / "checkpoint"
    if not note.exists():
        return None
    return str(note.parent / note.read_text().partition('"')[2].rstrip('"'))


def slot(variable: Any, name: str, start: float = 0.0) -> Any:
    """State of an optimiser for a variable, at first one number everywhere."""
    values = df.full(variable.shape, start, dtype=variable.dtype)
    return df.graph.GraphVariable(values, name=f"{variable.name}/{name}", trainable=False)


__getattr__ = hints("tensorflow_v1.train")
__all__ = [
    "ExponentialMovingAverage",
    "exponential_decay",
    "get_global_step",
    "get_or_create_global_step",
    "piecewise_constant",
    "polynomial_decay",
]
