"""Schedules made of schedules, and the one that waits for a loss to fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import clip, maximum, where
from dualflow.ops.elementwise import astype
from dualflow.optim.base import Optimizer
from dualflow.optim.schedules import Schedule
from jit.types import float64, int64


class ChainedScheduler(Schedule):
    """Several schedules at once: each changes what those before it say.

    Args:
        schedulers: Schedules of one optimiser.
        optimizer: That optimiser; the first one's when None.
    """

    def __init__(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None = None) -> None:
        self.schedulers = list(schedulers)
        if not self.schedulers:
            raise ValueError("ChainedScheduler: no schedules")
        super().__init__(optimizer or self.schedulers[0].optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """The last of the schedules applied to the one before, and so on."""
        for schedule in self.schedulers:
            base = schedule.rate(base, count, index)
        return base


class SequentialLR(Schedule):
    """Several schedules, one after the other; each begins to count when its turn comes.

    Args:
        optimizer: Whose learning rates are set.
        schedulers: Schedules of this optimiser.
        milestones: The steps at which the second, the third and so on begin.

    Example:
        >>> import dualflow as df
        >>> optimizer = df.optim.SGD([df.Variable([1.0])], lr=1.0)
        >>> warm_up = df.optim.LinearLR(optimizer, 0.5, total_iters=2)
        >>> cosine = df.optim.CosineAnnealingLR(optimizer, T_max=10)
        >>> schedule = df.optim.SequentialLR(optimizer, [warm_up, cosine], [2])
        >>> schedule.step()
        >>> optimizer.lr.item()
        0.75
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedules and {len(milestones)} milestones; "
                "expected one milestone between each two"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """The rate of the schedule whose turn it is."""
        starts = [0, *self.milestones]
        found = self.schedulers[0].rate(base, clip(count, 0, starts[-1]), index)
        for schedule, start in zip(self.schedulers[1:], starts[1:], strict=True):
            value = schedule.rate(base, maximum(count - start, 0), index)
            found = where(count >= start, value, found)
        return found


class ReduceLROnPlateau:
    """Multiplies the learning rates by `factor` when a loss has not got better for some time.

    `step(loss)` works inside a compiled function too: what it remembers are Variables.

    Args:
        optimizer: Whose learning rates are set.
        mode: "min": smaller is better; "max": larger.
        factor: The factor.
        patience: How many steps without improvement are let pass.
        threshold: How much better counts as better.
        threshold_mode: "rel": relative to the best; "abs".
        cooldown: Steps after a reduction that do not count.
        min_lr: The smallest learning rate, or one for each group.
        eps: A smaller change of the learning rate is not made.

    Example:
        >>> import dualflow as df
        >>> optimizer = df.optim.SGD([df.Variable([1.0])], lr=1.0)
        >>> schedule = df.optim.ReduceLROnPlateau(optimizer, patience=1)
        >>> for loss in [3.0, 2.0, 2.0, 2.0]:
        ...     schedule.step(loss)
        >>> optimizer.lr.item()
        0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: mode={mode!r}, threshold_mode={threshold_mode!r}")
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor} is not below 1")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * groups
        worst = math.inf if mode == "min" else -math.inf
        with beside(optimizer.lr):
            self.best = Variable(worst, float64, trainable=False, name="best")
            self.num_bad_epochs = Variable(0, int64, trainable=False, name="num_bad_epochs")
            self.cooldown_counter = Variable(0, int64, trainable=False, name="cooldown_counter")

    @no_grad()
    def step(self, metrics: Any) -> None:
        """Takes note of a loss, and reduces the learning rates when it is time.

        Args:
            metrics: The loss, or what is watched: a number or a Tensor of one.
        """
        value = astype(as_tensor(metrics), float64)
        better = self._is_better(value)
        bad = where(better, 0, self.num_bad_epochs + 1)
        resting = self.cooldown_counter > 0
        rest = where(resting, self.cooldown_counter - 1, self.cooldown_counter)
        bad = where(resting, 0, bad)
        due = bad > self.patience
        self.best.assign(where(better, value, self.best))
        self.num_bad_epochs.assign(where(due, 0, bad))
        self.cooldown_counter.assign(where(due, self.cooldown, rest))
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = group["lr"]
            new = maximum(old * self.factor, least)
            group["lr"] = where(due & (old - new > self.eps), new, old)

    def _is_better(self, value: Tensor) -> Tensor:
        """Whether a value beats the best by the threshold."""
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "abs":
            bound = self.best + sign * self.threshold
        else:
            bound = self.best * (1.0 + sign * self.threshold)
        return value < bound if self.mode == "min" else value > bound

    def get_last_lr(self) -> list[Tensor]:
        """The learning rates in force, one for each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {name: getattr(self, name).item() for name in self._remembered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        for name in self._remembered:
            getattr(self, name).assign(state_dict[name])

    _remembered = ("best", "num_bad_epochs", "cooldown_counter")
