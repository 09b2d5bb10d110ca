"""Schedules that go up and down: half cosines, one cycle, triangles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.ops.choice import minimum, where
from dualflow.ops.elementwise import floor
from dualflow.ops.power import pow
from dualflow.ops.special import cos, log
from dualflow.optim.base import Optimizer
from dualflow.optim.schedules import Schedule, real


def cosine(start: Any, end: Any, share: Any) -> Any:
    """Half a cosine from `start` to `end`."""
    return end + (start - end) * (1.0 + cos(math.pi * share)) / 2.0


def straight(start: Any, end: Any, share: Any) -> Any:
    """A straight line from `start` to `end`."""
    return start + (end - start) * share


class CosineAnnealingLR(Schedule):
    """Follows half a cosine from the first learning rate to `eta_min`.

    Loshchilov and Hutter, 2017, without restarts.

    Args:
        optimizer: Whose learning rates are set.
        T_max: Steps to the minimum.
        eta_min: The minimum.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803 - PyTorch's
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`eta_min + (base - eta_min) * (1 + cos(pi * count / T_max)) / 2`."""
        return cosine(base, self.eta_min, real(count) / self.T_max)


class CosineAnnealingWarmRestarts(Schedule):
    """Half cosines from the first learning rate to `eta_min`, one after the other.

    Loshchilov and Hutter, 2017.

    Args:
        optimizer: Whose learning rates are set.
        T_0: Steps of the first.
        T_mult: How many times longer each is than the one before.
        eta_min: The minimum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803 - PyTorch's
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
    ) -> None:
        if T_0 <= 0 or T_mult < 1:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0={T_0}, T_mult={T_mult}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """Half a cosine over the steps since the last restart."""
        if self.T_mult == 1:
            return cosine(base, self.eta_min, real(count % self.T_0) / self.T_0)
        m = float(self.T_mult)
        grown = real(count) / self.T_0 * (m - 1.0) + 1.0
        restarts = floor(log(grown) / math.log(m) + 1e-9)  # a power of m must not fall short
        length = pow(m, restarts)
        since = real(count) / self.T_0 - (length - 1.0) / (m - 1.0)
        return cosine(base, self.eta_min, since / length)


class OneCycleLR(Schedule):
    """Up to a largest learning rate and down to almost nothing (Smith and Topin, 2018).

    The momentum stays as it is.

    Args:
        optimizer: Whose learning rates are set.
        max_lr: The largest one, or one for each group.
        total_steps: Steps of the cycle, or
        epochs: so many times
        steps_per_epoch: so many steps.
        pct_start: Share of the cycle that goes up.
        anneal_strategy: "cos" or "linear".
        div_factor: The largest divided by the first one.
        final_div_factor: The first divided by the last one.
        three_phase: Go down to the first in the same time as up, then to the last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        *,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None and None in (epochs, steps_per_epoch):
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy={anneal_strategy!r}: cos or linear")
        self.total_steps = total_steps or (epochs or 0) * (steps_per_epoch or 0)
        groups = len(optimizer.param_groups)
        self.max_lrs = list(max_lr) if isinstance(max_lr, list | tuple) else [max_lr] * groups
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.bend: Callable[..., Any] = cosine if anneal_strategy == "cos" else straight
        self.ends = [pct_start * self.total_steps - 1, self.total_steps - 1.0]
        if three_phase:
            self.ends.insert(1, 2 * self.ends[0])
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """The place on the cycle; its height does not depend on the first learning rate."""
        top = self.max_lrs[index]
        first = top / self.div_factor
        levels = [*[first, top, first][: len(self.ends)], first / self.final_div_factor]
        starts = [0.0, *self.ends[:-1]]
        found: Any = None
        for k in reversed(range(len(self.ends))):
            share = minimum((real(count) - starts[k]) / (self.ends[k] - starts[k]), 1.0)
            value = self.bend(levels[k], levels[k + 1], share)
            found = value if found is None else where(real(count) <= self.ends[k], value, found)
        return found


class CyclicLR(Schedule):
    """Up and down between two learning rates along straight lines (Smith, 2017).

    The momentum stays as it is.

    Args:
        optimizer: Whose learning rates are set.
        base_lr: The smallest one.
        max_lr: The largest one.
        step_size_up: Steps of the way up.
        step_size_down: Steps of the way down; as many when None.
        mode: "triangular", "triangular2" (half as high each time) or "exp_range" (`gamma` as high
            at each step).
        gamma: Factor of "exp_range".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float,
        max_lr: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f"CyclicLR: mode={mode!r}: triangular, triangular2 or exp_range")
        self.base_lr, self.max_lr, self.mode, self.gamma = base_lr, max_lr, mode, gamma
        self.up = step_size_up
        self.length = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """The place on the triangle; it does not depend on the first learning rate."""
        at = real(count % self.length)
        height = where(at <= self.up, at / self.up, (self.length - at) / (self.length - self.up))
        if self.mode == "triangular2":
            height = height * pow(0.5, real(count // self.length))
        elif self.mode == "exp_range":
            height = height * pow(self.gamma, real(count))
        return self.base_lr + (self.max_lr - self.base_lr) * height
