"""Callbacks: what happens around epochs and batches of `fit`, beside training."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import IO, Any

from dualflow.core.source import warn_user
from dualflow.io import Checkpoints, EventWriter, save_safetensors
from dualflow.train.moments import Callback, Logs, say

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]


class Monitor:
    """Watches one entry of the logs for its best value.

    Args:
        monitor: Its name.
        mode: "min", "max", or "auto": "max" for accuracies and the like, else "min".
        min_delta: A change that is smaller is none.
    """

    def __init__(self, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode={mode!r}: auto, min or max")
        grows = any(word in monitor for word in ("acc", "precision", "recall"))
        self.sign = 1.0 if mode == "max" or (mode == "auto" and grows) else -1.0
        self.monitor, self.min_delta = monitor, abs(min_delta)
        self.best = -math.inf

    def begin(self, baseline: float | None = None) -> None:
        """Forgets the values so far; a baseline counts as one."""
        self.best = -math.inf if baseline is None else self.sign * baseline

    def __str__(self) -> str:
        return f"the best {self.monitor} is {self.sign * self.best:.4g}"

    def improved(self, logs: Logs) -> bool | None:
        """Whether the value is better than all before; None if there is none, with a warning."""
        if self.monitor not in logs:
            warn_user(
                f"{self.monitor!r} is not among the logs {', '.join(logs)}: "
                "validation_data=... gives those that begin with val_",
                UserWarning,
            )
            return None
        value = self.sign * logs[self.monitor]
        if value > self.best + self.min_delta or (self.best == -math.inf and value == value):
            self.best = value
            return True
        return False


class EarlyStopping(Callback):
    """Ends training when a value does not get better any more.

    Args:
        monitor: The entry of the logs.
        min_delta: A change that is smaller is none.
        patience: Epochs without a better value before it ends.
        mode: "min", "max" or "auto".
        restore_best_weights: Go back to the weights of the best epoch at the end.
        baseline: A value that must be bettered, from the first epoch on.
        start_from_epoch: Epochs before this one are not looked at.
        verbose: 1: say when it ends training.

    Attributes:
        stopped_epoch: Where it ended training; None if it did not.
        best_epoch: The epoch of the best value.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        *,
        restore_best_weights: bool = False,
        baseline: float | None = None,
        start_from_epoch: int = 0,
        verbose: int = 0,
    ) -> None:
        self.monitor = Monitor(monitor, mode, min_delta)
        self.patience, self.verbose = patience, verbose
        self.baseline, self.start_from_epoch = baseline, start_from_epoch
        self.restore_best_weights = restore_best_weights
        self.stopped_epoch: int | None = None
        self.best_epoch = 0
        self._waited = 0
        self._weights: dict[str, Any] | None = None

    def on_train_begin(self) -> None:
        self.monitor.begin(self.baseline)
        self.stopped_epoch, self._weights, self._waited = None, None, 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if epoch < self.start_from_epoch:
            return
        better = self.monitor.improved(logs)
        self._waited += better is False
        if better:
            self.best_epoch, self._waited = epoch, 0
            if self.restore_best_weights:
                self._weights = self.model.net.state_dict()
        elif epoch > 0 and self._waited >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True
            say(self.verbose, f"epoch {epoch + 1}: training ends, {self.monitor}")

    def on_train_end(self) -> None:
        if self._weights is not None:
            self.model.net.load_state_dict(self._weights)


class ModelCheckpoint(Callback):
    """Saves the weights after each epoch, or after those that are the best so far.

    Args:
        filepath: A safetensors file; `{epoch}` and the names of logs stand for their values.
        monitor: The entry of the logs that says what is best.
        save_best_only: Save only then.
        mode: "min", "max" or "auto".
        save_weights_only: True; `BackupAndRestore` saves the whole run.
        verbose: 1: say what is saved.

    Raises:
        ValueError: `save_weights_only` is False.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: str = "auto",
        *,
        save_best_only: bool = False,
        save_weights_only: bool = True,
        verbose: int = 0,
    ) -> None:
        if not save_weights_only:
            raise ValueError("ModelCheckpoint saves weights; BackupAndRestore saves the whole run")
        self.filepath, self.save_best_only = os.fspath(filepath), save_best_only
        self.verbose = verbose
        self.monitor = Monitor(monitor, mode)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if not self.save_best_only or self.monitor.improved(logs):
            path = Path(self.filepath.format(epoch=epoch + 1, **logs))
            path.parent.mkdir(parents=True, exist_ok=True)
            save_safetensors(path, self.model.net.state_dict())
            say(self.verbose, f"epoch {epoch + 1}: saved {path}")


class BackupAndRestore(Callback):
    """Saves the whole run as it goes, and puts it back when `fit` is called after a stop.

    Weights, optimiser, metrics, random state and the place in the data: what follows is what would
    have followed without the stop.

    Args:
        backup_dir: A folder for this run.
        save_freq: "epoch", or every so many batches.
        keep: How many checkpoints stay.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        keep: int = 2,
    ) -> None:
        self.backup_dir, self.save_freq, self.keep = backup_dir, save_freq, keep
        self._run: Checkpoints | None = None
        self._step = self._epoch = 0

    def on_train_begin(self) -> None:
        training = self.model.training_state
        parts = {"net": self.model.net, **training.parts()}
        self._run = Checkpoints(self.backup_dir, keep=self.keep, **parts)
        self._step = self._run.restore() or 0
        if self._step:
            extra = self._run.load(self._step)["extra"]
            training.first_epoch, training.resumed = extra["epoch"], extra["within"]
            training.history.load(extra["history"])

    def _save(self, epoch: int, *, within: bool) -> None:
        if self._run is not None:
            history = self.model.training_state.history.state()
            self._run.save(self._step, epoch=epoch, within=within, history=history)

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._step += 1
        if isinstance(self.save_freq, int) and self._step % self.save_freq == 0:
            self._save(self._epoch, within=True)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._save(epoch + 1, within=False)


def places(function: Callable[..., Any]) -> int:
    """How many arguments a function takes by their place."""
    kinds = [p.kind for p in signature(function).parameters.values()]
    by_place = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return 2 if Parameter.VAR_POSITIONAL in kinds else sum(kind in by_place for kind in kinds)


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Args:
        schedule: `(epoch, rate) -> rate` or `epoch -> rate`, or a schedule of `df.optim`, which
            then steps after each epoch.
        verbose: 1: say each rate.
    """

    def __init__(self, schedule: Any, verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int) -> None:
        if not hasattr(self.schedule, "step"):
            optimizer = self.model.optimizer
            given = (epoch, float(optimizer.lr))[: places(self.schedule)]
            optimizer.lr = self.schedule(*given)
            say(self.verbose, f"epoch {epoch + 1}: the learning rate is {float(optimizer.lr):.4g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if hasattr(self.schedule, "step"):
            self.schedule.step()


class ReduceLROnPlateau(Callback):
    """Makes the learning rate smaller when a value does not get better any more.

    Args:
        monitor: The entry of the logs.
        factor: What the rate is multiplied by.
        patience: Epochs without a better value before it is.
        mode: "min", "max" or "auto".
        min_delta: A change that is smaller is none.
        min_lr: The rate does not get smaller than this.
        cooldown: Epochs after that in which nothing is counted.
        verbose: 1: say when the rate changes.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        min_lr: float = 0.0,
        cooldown: int = 0,
        verbose: int = 0,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor} is not between 0 and 1")
        self.monitor = Monitor(monitor, mode, min_delta)
        self.factor, self.patience, self.min_lr = factor, patience, min_lr
        self.cooldown, self.verbose = cooldown, verbose
        self._waited = self._cooling = 0

    def on_train_begin(self) -> None:
        self.monitor.begin()
        self._waited = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        better = self.monitor.improved(logs)
        if better is None:
            return
        self._cooling = max(self._cooling - 1, 0)
        self._waited = 0 if better or self._cooling else self._waited + 1
        if self._waited >= max(self.patience, 1):
            self._waited, self._cooling = 0, self.cooldown and self.cooldown + 1
            for group in self.model.optimizer.param_groups:
                group["lr"] = max(float(group["lr"]) * self.factor, self.min_lr)
                say(self.verbose, f"epoch {epoch + 1}: the learning rate is {group['lr']:.4g}")


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file.

    Args:
        filename: The file.
        append: Go on with a file that is there.
    """

    def __init__(self, filename: str | os.PathLike[str], *, append: bool = False) -> None:
        self.filename, self.append = filename, append
        self._file: IO[str] | None = None
        self._names: list[str] = []

    def on_train_begin(self) -> None:
        path = Path(self.filename)
        goes_on = self.append and path.exists() and path.stat().st_size > 0
        if goes_on:
            with path.open(newline="") as file:
                self._names = next(csv.reader(file))
        self._file = path.open("a" if goes_on else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        assert self._file is not None
        writer = csv.writer(self._file)
        if not self._names:
            self._names = ["epoch", *logs]
            writer.writerow(self._names)
        row = {"epoch": epoch, **logs}
        writer.writerow([row.get(name, "") for name in self._names])
        self._file.flush()

    def on_train_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TerminateOnNaN(Callback):
    """Ends training when the loss is no finite number any more.

    Attributes:
        stopped_batch: Where; None if it did not.
    """

    def __init__(self) -> None:
        self.stopped_batch: int | None = None

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs["loss"]):
            self.stopped_batch = batch
            self.model.stop_training = True
            warn_user(
                f"the loss is {logs['loss']} at batch {batch}: training ends. "
                "df.check_numerics() finds the operation that it comes from",
                UserWarning,
            )


class TensorBoard(Callback):
    """Writes logs, the learning rate and the spread of weights for TensorBoard.

    Args:
        log_dir: A folder for this run.
        histogram_freq: Epochs between histograms of all weights; 0: none.
        write_graph: Write the graph of the compiled training step.
        update_freq: "epoch", "batch", or every so many batches.

    Raises:
        ValueError: Another word.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        update_freq: str | int = "epoch",
        *,
        write_graph: bool = False,
    ) -> None:
        self.log_dir, self.histogram_freq = log_dir, histogram_freq
        if isinstance(update_freq, str) and update_freq not in ("epoch", "batch"):
            raise ValueError(f"TensorBoard: update_freq={update_freq!r}: epoch, batch, or a number")
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_graph = write_graph
        self._writer: EventWriter | None = None
        self._batches = 0

    @property
    def wants_batches(self) -> bool:
        """Batches are told of when they are written."""
        return isinstance(self.update_freq, int)

    def on_train_begin(self) -> None:
        self._writer = EventWriter(self.log_dir)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        assert self._writer is not None
        self._batches += 1
        if isinstance(self.update_freq, int) and self._batches % self.update_freq == 0:
            self._writer.scalars({f"batch/{k}": v for k, v in logs.items()}, self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        assert self._writer is not None
        self._writer.scalars({f"epoch/{name}": value for name, value in logs.items()}, epoch)
        self._writer.scalar("epoch/learning_rate", self.model.optimizer.lr, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in self.model.net.state_dict().items():
                self._writer.histogram(name, weight, epoch)
        graphs = getattr(self.model.training_state.steps["train"], "graphs", None)
        if self.write_graph and graphs:
            self._writer.graph(graphs[0])
            self.write_graph = False
        self._writer.flush()

    def on_train_end(self) -> None:
        if self._writer is not None:
            self._writer.close()


class LambdaCallback(Callback):
    """Calls functions at the moments that they are named after.

    Args:
        **moments: For instance `on_epoch_end=lambda epoch, logs: ...`.
    """

    def __init__(self, **moments: Callable[..., Any]) -> None:
        for name, function in moments.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                raise TypeError(f"LambdaCallback: there is no moment {name!r}")
            setattr(self, name, function)

    @property
    def wants_batches(self) -> bool:
        return "on_train_batch_end" in vars(self)
