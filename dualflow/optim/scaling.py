"""Scaling of losses, so that small gradients are not lost in float16."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualflow.core import tree
from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import stack
from dualflow.ops.choice import where
from dualflow.ops.create import ones, zeros
from dualflow.ops.elementwise import astype, isfinite, logical_and, logical_not, logical_or
from dualflow.ops.reduce import all
from dualflow.optim.base import Optimizer, step_count
from jit.errors import TapeError
from jit.types import bool_, float32


class GradScaler:
    """Multiplies losses before `backward()` and divides gradients before the step.

    Numbers below 6e-8 are 0 in float16, and many gradients are. The factor is as large as it can
    be: it grows after `growth_interval` good steps, and where a gradient is infinite or NaN, the
    step is left out and the factor shrinks. bfloat16 needs none of this.

    All that changes is in Variables: one recording of a training step serves all factors; the first
    step that is left out is recorded once.

    Args:
        init_scale: The first factor.
        growth_factor: What it grows by.
        backoff_factor: What it shrinks by.
        growth_interval: How many good steps in a row make it grow.
        enabled: False: losses and gradients stay as they are, and every step is done.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0])
        >>> optimizer, scaler = df.optim.SGD([w], lr=0.5), df.optim.GradScaler()
        >>> with df.autocast("float16"):
        ...     loss = (w * 3.0).sum()
        >>> scaler.scale(loss).backward()
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> w.tolist(), scaler.get_scale()
        ([-0.5], 65536.0)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        enabled: bool = True,
    ) -> None:
        if not (growth_factor > 1.0 > backoff_factor > 0.0):
            raise ValueError(
                f"GradScaler: growth_factor={growth_factor} and backoff_factor={backoff_factor}; "
                "the first is above 1, the second between 0 and 1"
            )
        self.growth_factor, self.backoff_factor = growth_factor, backoff_factor
        self.growth_interval, self.enabled = growth_interval, enabled
        self.factor = Variable(init_scale, float32, trainable=False, name="loss scale")
        self.good_steps = step_count()
        # For each optimiser whether its gradients are divided, and whether one was not finite.
        self._marks: dict[Optimizer, tuple[Variable, Variable]] = {}

    def scale(self, losses: Any) -> Any:
        """A loss, or each in a nest of them, times the factor."""
        if not self.enabled:
            return losses
        return tree.tree_map(lambda x: x * astype(self.factor, x.dtype), losses)

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divides the gradients of an optimiser's parameters, to clip them before `step`.

        Args:
            optimizer: Whose; a second call before `update` changes nothing.
        """
        if not self.enabled:
            return
        grads = [g for p in optimizer.state if (g := p.grad) is not None]
        with no_grad():
            for g, new in zip(grads, self._divided(optimizer, grads), strict=True):
                g.assign(new)

    def step(self, optimizer: Optimizer) -> Any:
        """Divides the gradients, if `unscale_` did not, and steps if all of them are finite.

        Args:
            optimizer: What makes the step.

        Returns:
            What its `step` returns; None where there was none.
        """
        self.unscale_(optimizer)
        return optimizer.step() if self._is_good(optimizer) else None

    def apply_gradients(
        self, optimizer: Optimizer, grads_and_vars: Iterable[tuple[Any, Variable]]
    ) -> None:
        """The same for gradients of a scaled loss from a tape.

        Args:
            optimizer: What makes the step.
            grads_and_vars: Pairs, as for its `apply_gradients`.
        """
        pairs = list(grads_and_vars)
        if self.enabled:
            there = [(as_tensor(g), p) for g, p in pairs if g is not None]
            with no_grad():
                divided = self._divided(optimizer, [g for g, _ in there])
            pairs = [(g, p) for g, (_, p) in zip(divided, there, strict=True)]
        if self._is_good(optimizer):
            optimizer.apply_gradients(pairs)

    @no_grad()
    def update(self) -> None:
        """Makes the factor larger or smaller; once after the steps of all optimisers.

        Raises:
            TapeError: There was no step.
        """
        if not self.enabled:
            return
        if not self._marks:
            raise TapeError(
                "GradScaler.update: no optimiser was given to unscale_ or step",
                "scaler.step(optimizer) before scaler.update()",
                "",
            )
        good: Tensor = self.good_steps + 1
        bad = stack([found for _, found in self._marks.values()]).any()
        larger = self.factor * self.growth_factor
        grows = logical_and(good >= self.growth_interval, isfinite(larger))
        kept = where(grows, larger, self.factor)
        self.factor.assign(where(bad, self.factor * self.backoff_factor, kept))
        self.good_steps.assign(where(logical_or(bad, good >= self.growth_interval), 0, good))
        for divided, found in self._marks.values():
            divided.zero_()
            found.zero_()

    def get_scale(self) -> float:
        """The factor as it is now."""
        return float(self.factor) if self.enabled else 1.0

    # ----- gradients -----

    def _divided(self, optimizer: Optimizer, grads: list[Any]) -> list[Tensor]:
        """The gradients without the factor; notes whether all are finite."""
        divided, found = self._marks_of(optimizer)
        inverse = where(divided, 1.0, 1.0 / self.factor)
        new = [g * astype(inverse, g.dtype) for g in grads]
        if new:
            found.assign(logical_not(all(stack([all(isfinite(g)) for g in new]))))
        divided.assign(ones((), dtype=bool_))
        return new

    def _marks_of(self, optimizer: Optimizer) -> tuple[Variable, Variable]:
        if optimizer not in self._marks:
            self._marks[optimizer] = (_mark(), _mark())
        return self._marks[optimizer]

    def _is_good(self, optimizer: Optimizer) -> bool:
        """Whether to step."""
        return not (self.enabled and bool(self._marks_of(optimizer)[1]))

    # ----- saving -----

    def state_dict(self) -> dict[str, Any]:
        """The factor, how it changes, and how many good steps there were since; as in PyTorch."""
        return {
            "scale": self.factor.item(),
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": self.good_steps.item(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.factor.assign(state_dict["scale"])
        self.good_steps.assign(state_dict["_growth_tracker"])
        self.growth_factor = state_dict["growth_factor"]
        self.backoff_factor = state_dict["backoff_factor"]
        self.growth_interval = state_dict["growth_interval"]


def _mark() -> Variable:
    """A Variable that says yes or no; no at first."""
    return Variable(zeros((), dtype=bool_), trainable=False)
