"""`tf.keras.optimizers`: settings under Keras's words; variables are met at the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dualflow as df
from dualflow.compat.translate import hints


class Optimizer:
    """Base of optimisers: one of `df.optim`, made for the variables of the first step.

    Args:
        ours: Its class.
        learning_rate: The learning rate.
        **settings: Its other arguments.
    """

    def __init__(self, ours: Any, learning_rate: Any, **settings: Any) -> None:
        self._class, self._settings = ours, {"lr": learning_rate, **settings}
        self._made: Any = None

    def __call__(self, variables: Iterable[Any]) -> Any:
        """The optimiser of `df.optim` for these variables, made at the first call."""
        if self._made is None:
            self._made = self._class(list(variables), **self._settings)
        return self._made

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """Takes a step: `apply_gradients(zip(gradients, variables))`."""
        pairs = list(grads_and_vars)
        self(variable for _, variable in pairs).apply_gradients(pairs)

    @property
    def learning_rate(self) -> Any:
        """The learning rate, as it is now."""
        return self._settings["lr"] if self._made is None else self._made.lr

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._settings["lr"] = value
        if self._made is not None:
            self._made.lr = value

    lr = learning_rate


class SGD(Optimizer):
    """Gradient descent, with momentum where asked.

    Args:
        learning_rate: The learning rate.
        momentum: How much of the movement is kept.
        nesterov: Look ahead.
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, *, nesterov: bool = False
    ) -> None:
        super().__init__(df.optim.SGD, learning_rate, momentum=momentum, nesterov=nesterov)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015).

    Args:
        learning_rate: The learning rate.
        beta_1: How much of the mean of gradients is kept.
        beta_2: How much of the mean of their squares is kept.
        epsilon: Added to the denominator.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(df.optim.Adam, learning_rate, betas=(beta_1, beta_2), eps=epsilon)


class AdamW(Optimizer):
    """Adam whose weight decay acts on the weights alone.

    Args:
        learning_rate: The learning rate.
        weight_decay: Each step multiplies weights by `1 - learning_rate * weight_decay`.
    """

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004) -> None:
        super().__init__(df.optim.AdamW, learning_rate, weight_decay=weight_decay, eps=1e-7)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Args:
        learning_rate: The learning rate.
        rho: How much of the mean of squares is kept.
        momentum: How much of the movement is kept.
        epsilon: Added to the denominator.
        centered: Divide by the deviation rather than the root of the mean of squares.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        *,
        centered: bool = False,
    ) -> None:
        settings = {"alpha": rho, "momentum": momentum, "eps": epsilon, "centered": centered}
        super().__init__(df.optim.RMSprop, learning_rate, **settings)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011).

    Args:
        learning_rate: The learning rate.
        initial_accumulator_value: Where the sums of squares begin.
        epsilon: Added to the denominator.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
    ) -> None:
        settings = {"initial_accumulator_value": initial_accumulator_value, "eps": epsilon}
        super().__init__(df.optim.Adagrad, learning_rate, **settings)


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012).

    Args:
        learning_rate: The learning rate.
        rho: How much of the means is kept.
        epsilon: Added to both means.
    """

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7
    ) -> None:
        super().__init__(df.optim.Adadelta, learning_rate, rho=rho, eps=epsilon)


class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016).

    Args:
        learning_rate: The learning rate.
        beta_1: How much of the mean of gradients is kept.
        beta_2: How much of the mean of their squares is kept.
        epsilon: Added to the denominator.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(df.optim.NAdam, learning_rate, betas=(beta_1, beta_2), eps=epsilon)


KNOWN = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Nadam)
NAMES = {known.__name__.lower(): known for known in KNOWN}


def get(identifier: Any) -> Any:
    """An optimiser for a name; one that is given stays.

    Raises:
        ValueError: A name that is not known.
    """
    if not isinstance(identifier, str):
        return identifier
    if identifier.lower() not in NAMES:
        raise ValueError(f"optimizer {identifier!r}: {', '.join(NAMES)}")
    return NAMES[identifier.lower()]()


__getattr__ = hints("tensorflow.keras.optimizers")
