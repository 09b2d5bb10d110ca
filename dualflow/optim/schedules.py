"""Learning rates that change with the number of steps or epochs.

A schedule counts in a Variable and writes the learning rates of an optimiser, which are Variables
too: its `step()` works inside a compiled function as well as between calls of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.elementwise import astype
from dualflow.ops.special import cos
from dualflow.optim.base import Optimizer
from jit.types import float64, int64


class Schedule:
    """Base of schedules; a subclass says what the learning rate is after some number of steps.

    Args:
        optimizer: Whose learning rates are set.

    Attributes:
        count: How often `step` was called.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        with beside(optimizer.lr):
            self.count = Variable(0, int64, trainable=False, name="count")
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self._set()

    def rate(self, base: float, index: int) -> Any:
        """The learning rate of the group `index`, whose first one was `base`."""
        raise NotImplementedError(f"{type(self).__name__} defines no rate")

    def step(self) -> None:
        """Counts on, and sets the learning rates; called after each epoch, or each step."""
        self.count.assign_add(1)
        self._set()

    def _set(self) -> None:
        with no_grad():
            for k, (group, base) in enumerate(
                zip(self.optimizer.param_groups, self.base_lrs, strict=True)
            ):
                group["lr"] = self.rate(base, k)

    def get_last_lr(self) -> list[Tensor]:
        """The learning rates in force, one for each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"count": self.count.item(), "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.base_lrs = list(state_dict["base_lrs"])
        self.count.assign(state_dict["count"])
        self._set()


class StepLR(Schedule):
    """Multiplies the learning rate by `gamma` every `step_size` steps.

    Args:
        optimizer: Whose learning rates are set.
        step_size: Steps between changes.
        gamma: The factor.

    Example:
        >>> import dualflow as df
        >>> optimizer = df.optim.SGD([df.Variable([1.0])], lr=0.5)
        >>> schedule = df.optim.StepLR(optimizer, step_size=2, gamma=0.5)
        >>> schedule.step()
        >>> schedule.step()
        >>> optimizer.lr.item()
        0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> Tensor:
        """`base * gamma ** (count // step_size)`."""
        return base * self.gamma ** astype(self.count // self.step_size, float64)


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

    def rate(self, base: float, index: int) -> Tensor:
        """`eta_min + (base - eta_min) * (1 + cos(pi * count / T_max)) / 2`."""
        angle = math.pi * astype(self.count, float64) / self.T_max
        return self.eta_min + (base - self.eta_min) * (1.0 + cos(angle)) / 2.0


class LambdaLR(Schedule):
    """Multiplies the first learning rate by a function of the number of steps.

    Args:
        optimizer: Whose learning rates are set.
        lr_lambda: count -> factor, or a list of such functions, one for each group. The count is a
            Python int: inside a compiled function each is another path, so step between the calls.
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]]
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = (
            list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        )
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR: {len(self.lr_lambdas)} functions for {groups} parameter groups"
            )
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> float:
        """`base * lr_lambda(count)`."""
        return base * self.lr_lambdas[index](int(self.count))
