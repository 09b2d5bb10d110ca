"""`tf.keras.Model` and `Sequential`: `df.train.Model` with Keras's words and order."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import layers as keras_layers
from dualflow.compat.tensorflow.keras import losses, optimizers


class Model(df.train.Model):
    """A net that trains itself; a subclass defines `call`."""

    def call(self, x: Any) -> Any:
        """What the model computes."""
        raise NotImplementedError(f"{type(self).__name__} defines no call")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """`call`."""
        return self.call(*args, **kwargs)

    def applied_to(self, x: Any) -> Any:
        """What the model computes of inputs: `call` gets several as one list or dict."""
        return self(x)

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = (),
        loss_weights: Any = None,
        *,
        run_eagerly: bool = False,
        **_: Any,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: An optimiser of `tf.keras.optimizers`, or its name.
            loss: A loss of `tf.keras.losses`, its name, or a function with targets first; for
                several outputs in a dict or a list.
            metrics: Metrics or their names.
            loss_weights: Factors of the losses of several outputs.
            run_eagerly: Do not compile steps.
            **_: Other words of Keras's change nothing.
        """
        chosen, turned = optimizers.get(optimizer), losses.turned_all(loss)
        measured = metrics if isinstance(metrics, dict) else list(metrics or ())
        self._waits = (chosen, turned, measured, loss_weights, run_eagerly)
        if list(self.parameters()):
            self._compiled()

    def _compiled(self) -> None:
        """Weights are there: the optimiser can be made."""
        optimizer, loss, metrics, weights, eager = self._waits
        super().compile(optimizer, loss, metrics, loss_weights=weights, run_eagerly=eager)

    def fit(self, x: Any, y: Any = None, *args: Any, **options: Any) -> Any:
        """Trains; see `df.train.Model.fit`."""
        self._weighted(x, y)
        return super().fit(x, y, *args, **options)

    def evaluate(self, x: Any, y: Any = None, *args: Any, **options: Any) -> Any:
        """Loss and metrics; see `df.train.Model.evaluate`."""
        self._weighted(x, y)
        return super().evaluate(x, y, *args, **options)

    def summary(self, *inputs: Any, **_: Any) -> None:  # type: ignore[override]
        """Prints the table of `df.train.Model.summary`; before `fit`, of the parameters alone."""
        fitted = self._state is not None and self._state.seen is not None
        table = super().summary(*inputs) if inputs or fitted else self
        sys.stdout.write(f"{table}\n")

    def _weighted(self, x: Any, y: Any) -> None:
        """Makes the weights, and with them the optimiser, where the first call has to."""
        if self._state is None and hasattr(self, "_waits"):
            with df.no_grad():
                self(first_rows(x) if y is not None else next(iter(x))[0])
            self._compiled()

    @property
    def weights(self) -> list[Any]:
        """All weights."""
        return list(self.parameters())

    trainable_weights = df.nn.Module.trainable_variables

    def get_weights(self) -> list[Any]:
        """The values of all weights, as NumPy arrays."""
        return [variable.numpy().copy() for variable in self.parameters()]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Sets all weights."""
        for variable, value in zip(list(self.parameters()), weights, strict=True):
            variable.assign(value)


class Sequential(Model):
    """Layers in a chain.

    Args:
        layers: They; more can be added.

    Example:
        >>> import dualflow as df
        >>> keras = df.compat.tensorflow.keras
        >>> model = keras.Sequential([keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
        >>> model(df.ones((3, 5))).shape
        (3, 2)
    """

    def __init__(self, layers: Iterable[Any] = ()) -> None:
        self.layers: list[Any] = []
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Adds a layer at the end; where the first one knows its inputs, all weights are made."""
        self.layers = [*self.layers, layer]
        example = getattr(self.layers[0], "example", None)
        if example is not None:
            was = self.training
            with df.no_grad():
                self.eval()
                self.call(df.zeros((2, *example)))
            self.train(was)

    def call(self, x: Any) -> Any:
        """`x` through all layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x


def first_rows(x: Any) -> Any:
    """The first example of inputs, as a batch."""
    module = df.train.inputs  # pyright: ignore[reportAttributeAccessIssue]
    rows = module.numbers_of(x, df.float32)
    return df.tree.tree_map(lambda part: part[:1], rows)


def Input(shape: Any, **_: Any) -> Any:  # noqa: N802 - Keras's
    """A layer that says the shape of an example, as the first one of a `Sequential`."""
    return keras_layers.InputLayer(input_shape=shape)
