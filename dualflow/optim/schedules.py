"""Learning rates that change with the number of steps or epochs.

A schedule counts in a Variable and writes the learning rates of an optimiser, which are Variables
too: its `step()` works inside a compiled function as well as between calls of one. Each says what
the rate is after so many steps, given the first one; so schedules can be chained and put in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import minimum, where
from dualflow.ops.elementwise import astype
from dualflow.ops.power import pow
from dualflow.optim.base import Optimizer
from jit.types import float64, int64


class Schedule:
    """Base of schedules; a subclass says what the learning rate is after some number of steps.

    Args:
        optimizer: Whose learning rates are set.

    Attributes:
        count: How often `step` was called.
        base_lrs: The first learning rate of each group: what it had before any schedule.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        with beside(optimizer.lr):
            self.count = Variable(0, int64, trainable=False, name="count")
        for group in optimizer.param_groups:
            if "initial_lr" not in group:
                group["initial_lr"] = float(group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._set()

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """The learning rate after `count` steps.

        Args:
            base: What it would be without this schedule.
            count: An integer, as a Tensor.
            index: The number of the group.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rate")

    def step(self) -> None:
        """Counts on, and sets the learning rates; called after each epoch, or each step."""
        self.count.assign_add(1)
        self._set()

    def _set(self) -> None:
        with no_grad(), beside(self.count):
            for k, (group, base) in enumerate(
                zip(self.optimizer.param_groups, self.base_lrs, strict=True)
            ):
                group["lr"] = self.rate(as_tensor(base, float64), self.count, k)

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


def real(count: Any) -> Tensor:
    """The count as a float64 number."""
    return astype(count, float64)


# ----- factors -----


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

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`base * gamma ** (count // step_size)`."""
        return base * pow(self.gamma, real(count // self.step_size))


class MultiStepLR(Schedule):
    """Multiplies the learning rate by `gamma` at each of some steps.

    Args:
        optimizer: Whose learning rates are set.
        milestones: The steps.
        gamma: The factor.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """`base * gamma ** (milestones reached)`."""
        for milestone in self.milestones:
            base = where(count >= milestone, base * self.gamma, base)
        return base


class ExponentialLR(Schedule):
    """Multiplies the learning rate by `gamma` every step.

    Args:
        optimizer: Whose learning rates are set.
        gamma: The factor.
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`base * gamma ** count`."""
        return base * pow(self.gamma, real(count))


class ConstantLR(Schedule):
    """Multiplies the learning rate by a factor for the first steps.

    Args:
        optimizer: Whose learning rates are set.
        factor: The factor.
        total_iters: How many steps.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`base * factor` up to `total_iters`, then `base`."""
        return where(count < self.total_iters, base * self.factor, base)


class LinearLR(Schedule):
    """Changes a factor of the learning rate along a straight line: a warm-up.

    Args:
        optimizer: Whose learning rates are set.
        start_factor: The factor at first.
        end_factor: The factor after `total_iters` steps.
        total_iters: How many steps.

    Example:
        >>> import dualflow as df
        >>> optimizer = df.optim.SGD([df.Variable([1.0])], lr=1.0)
        >>> warm_up = df.optim.LinearLR(optimizer, start_factor=0.25, total_iters=3)
        >>> warm_up.step()
        >>> optimizer.lr.item()
        0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`base` times a factor on the line."""
        share = minimum(real(count) / self.total_iters, 1.0)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class PolynomialLR(Schedule):
    """Lets the learning rate fall to 0 along a power of the steps that are left.

    Args:
        optimizer: Whose learning rates are set.
        total_iters: Steps to 0.
        power: The exponent.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Tensor:
        """`base * (1 - count / total_iters) ** power`."""
        return base * pow(1.0 - minimum(real(count) / self.total_iters, 1.0), self.power)


# ----- functions -----


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
                f"{type(self).__name__}: {len(self.lr_lambdas)} functions for "
                f"{groups} parameter groups"
            )
        super().__init__(optimizer)

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """`base * lr_lambda(count)`."""
        return base * self.lr_lambdas[index](int(count))


class MultiplicativeLR(LambdaLR):
    """Multiplies the learning rate at each step by a function of the number of steps.

    Args:
        optimizer: Whose learning rates are set.
        lr_lambda: count -> factor, or a list of such functions, one for each group; the count is
            a Python int, as in `LambdaLR`.
    """

    def rate(self, base: Any, count: Any, index: int) -> Any:
        """`base` times the product of `lr_lambda(k)` for k from 1 to `count`."""
        for k in range(1, int(count) + 1):
            base = base * self.lr_lambdas[index](k)
        return base
