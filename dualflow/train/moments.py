"""The moments of `fit` at which callbacks are called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dualflow.core.source import warn_user

if TYPE_CHECKING:
    from dualflow.train.model import Model

Logs = dict[str, float]


def say(verbose: int, line: str) -> None:
    """Writes a line, if callbacks were asked to talk."""
    if verbose:
        sys.stdout.write(line + "\n")


class Callback:
    """Base of callbacks; a subclass overrides the moments that it is about.

    Attributes:
        model: The model in training.
        params: "epochs" and "steps" (batches of an epoch, None if unknown).
    """

    model: Model
    params: dict[str, Any]

    def on_train_begin(self) -> None:
        """Before the first epoch."""

    def on_train_end(self) -> None:
        """After the last one, or when training was stopped, or failed."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before an epoch; the first one is 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch, and after its validation."""

    def on_train_batch_begin(self, batch: int) -> None:
        """Before a step."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a step; `logs` are means over the epoch so far."""

    def on_test_begin(self) -> None:
        """Before the validation of an epoch."""

    def on_test_end(self, logs: Logs) -> None:
        """After the validation of an epoch, with its loss and metrics."""

    @property
    def wants_batches(self) -> bool:
        """Whether `on_train_batch_end` does something: logs cost time."""
        return type(self).on_train_batch_end is not Callback.on_train_batch_end


class Callbacks:
    """Callbacks in a row.

    Args:
        callbacks: They.
        model: The model in training.
        params: See `Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]) -> None:
        self.list = list(callbacks)
        self.batchwise = [callback for callback in self.list if callback.wants_batches]
        for callback in self.list:
            callback.model, callback.params = model, params
            self._look_for_others(callback)
        self.before = [callback for callback in self.list if begins_batches(callback)]

    @staticmethod
    def _look_for_others(callback: Callback) -> None:
        """Warns of methods that are called as moments are, and will not be called."""
        for name in sorted({name for name in dir(callback) if name.startswith("on_")}):
            if not hasattr(Callback, name):
                known = ", ".join(name for name in dir(Callback) if name.startswith("on_"))
                warn_user(
                    f"{type(callback).__name__}.{name} is never called: moments are {known}",
                    UserWarning,
                )

    def tell(self, moment: str, *args: Any) -> None:
        """Calls the method of each that a moment has."""
        for callback in self.list:
            getattr(callback, moment)(*args)

    def batch_begin(self, batch: int) -> None:
        """Calls those that have something to do before a step."""
        for callback in self.before:
            callback.on_train_batch_begin(batch)

    def batch_end(self, batch: int, logs: Callable[[], Logs]) -> None:
        """Calls those that want to know of batches."""
        if self.batchwise:
            known = logs()
            for callback in self.batchwise:
                callback.on_train_batch_end(batch, known)


def begins_batches(callback: Callback) -> bool:
    """Whether a callback has something to do before a step."""
    own = type(callback).on_train_batch_begin is not Callback.on_train_batch_begin
    return own or "on_train_batch_begin" in vars(callback)
