"""What `compile` makes of its words, and what changes while a model trains.

It stands beside the module, not in its attributes: those are settings, and a recorded step looks at
them again whenever one has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.precision import autocast
from dualflow.data.epoch import EpochTimes
from dualflow.nn.module import Module
from dualflow.optim import GradScaler, Optimizer
from dualflow.train import words
from dualflow.train.history import History
from dualflow.train.inputs import size_of
from dualflow.train.metrics import Mean, Metric
from dualflow.train.modes import in_mode
from dualflow.train.outputs import Losses, losses_for, metrics_for, summed


class TrainingState:
    """Optimiser, loss, metrics, steps and history of a model.

    Args:
        optimizer: Over the parameters.
        loss: `(y_pred, y_true) -> number`; None when steps are overridden.
        metrics: What is measured beside the loss.

    Attributes:
        for_each: Whether the loss is meant for each output of a net that has several.
        low: The dtype that products are computed in, or None for that of their arguments.
        scaler: Of losses, where `low` is float16; otherwise None.
        steps: How the steps run, by "train", "test" and "predict".
        history: The logs of the last `fit`.
        stop: Whether training ends after this batch.
        first_epoch: Where `fit` begins.
        resumed: Whether the first epoch goes on in its middle.
        times: What the loader told of the last epoch.
        loader: Where `fit` takes its batches.
        seen: What the inputs of the first batch of an epoch were like.
    """

    def __init__(
        self, optimizer: Optimizer, loss: words.Loss | Losses | None, metrics: list[Metric]
    ) -> None:
        self.optimizer, self.loss, self.metrics = optimizer, loss, metrics
        self.for_each = False
        self.low: str | None = None
        self.scaler: GradScaler | None = None
        self.mean = Mean("loss")
        self.steps: dict[str, Callable[..., Any]] = {}
        self.history = History()
        self.stop = self.resumed = False
        self.first_epoch = 0
        self.times: EpochTimes | None = None
        self.loader: Any = None
        self.seen: Any = None

    @classmethod
    def made(
        cls, net: Module, optimizer: Any, loss: Any, metrics: Any, loss_weights: Any = None
    ) -> TrainingState:
        """Of the arguments of `compile`."""
        found = losses_for(loss, loss_weights)
        measured = metrics_for(metrics, found)
        made = cls(words.optimizer_for(optimizer, net.parameters()), found, measured)
        made.for_each = isinstance(loss, str)
        return made

    def run(
        self,
        mode: str,
        train: Callable[..., Any],
        test: Callable[..., Any],
        predict: Callable[..., Any],
    ) -> None:
        """Says how the steps run."""
        self.steps = {
            "train": in_mode(mode, self.noting(train)),
            "test": in_mode(mode, self.noting(test)),
            "predict": in_mode(mode, predict),
        }

    def compute_in(self, low: str | None) -> None:
        """Says which dtype products are computed in; None: that of their arguments."""
        if low is not None:
            autocast(low)  # a wrong word is found here
        self.low = low
        self.scaler = GradScaler() if low == "float16" else None

    def begin(self, loader: Any, first_epoch: int) -> None:
        """`fit` begins."""
        self.history, self.loader, self.first_epoch = History(), loader, first_epoch
        self.stop = self.resumed = False

    # ----- inside of steps -----

    def loss_of(self, y_pred: Any, y_true: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch: the mean over its examples, each times its weight.

        Raises:
            ValueError: `compile` was given none, or one that has no losses of single examples.
        """
        if self.loss is None:
            raise ValueError("no loss: model.compile(optimizer, loss), or override train_step")
        if isinstance(self.loss, Losses):
            return self.loss(y_pred, y_true, sample_weight)
        each = self.for_each and isinstance(y_pred, Mapping | list | tuple)
        return (summed if each else words.weighted)(self.loss, y_pred, y_true, sample_weight)

    def autocast(self) -> AbstractContextManager[None]:
        """A `with` block for what the net and the loss compute."""
        return nullcontext() if self.low is None else autocast(self.low)

    def learn(self, loss: Any) -> None:
        """Gradients of a loss, and the optimiser's step."""
        if self.scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad()

    def track(self, y_pred: Any, y_true: Any) -> None:
        """Adds a batch to all metrics."""
        with no_grad():
            for metric in self.metrics:
                metric.update_state(y_true, y_pred)

    def noting(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """`step`, whose loss is added to the mean loss, also where a subclass overrides it.

        Raises:
            TypeError: It gives no loss.
        """

        @wraps(step)
        def noted(*batch: Any) -> Any:
            result = step(*batch)
            loss = result.get("loss") if isinstance(result, Mapping) else result
            if loss is None:
                raise TypeError(f"{step.__qualname__} gives {result!r:.60}: return the loss")
            self.mean.add(loss, size_of(batch))
            return loss

        return noted

    # ----- between steps -----

    def all_metrics(self) -> list[Metric]:
        """The mean loss, that of each output where these have losses of their own, the metrics."""
        means = self.loss.means if isinstance(self.loss, Losses) else []
        return [self.mean, *means, *self.metrics]

    def logs(self) -> dict[str, float]:
        """Loss and metrics so far."""
        return {metric.name: float(metric.result()) for metric in self.all_metrics()}

    def reset(self) -> None:
        """An epoch begins."""
        for metric in self.all_metrics():
            metric.reset_state()

    # ----- checkpoints -----

    def parts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the net."""
        loader = {"loader": self.loader} if hasattr(self.loader, "load_state_dict") else {}
        scaler = {} if self.scaler is None else {"scaler": self.scaler}
        return {"optimizer": self.optimizer, "metrics": self, **loader, **scaler}

    def state_dict(self) -> dict[str, Any]:
        """What the metrics have summed up."""
        return {metric.name: metric.state_dict() for metric in self.all_metrics()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from sums that were saved."""
        for metric in self.all_metrics():
            metric.load_state_dict(state[metric.name])
