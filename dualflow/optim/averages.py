"""Running averages of parameters, and gradients added up over several batches.

All are made of Variables: they work inside a compiled step as between calls of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype
from dualflow.optim.base import Optimizer, shares, some, step_count, zeros_for
from jit.types import float64


class _Average:
    """An average for each parameter."""

    def __init__(self, params: Iterable[Variable]) -> None:
        self.params: list[Variable] = some(params, type(self).__name__)
        with no_grad():
            self.averages = [Variable(stop_gradient(p), trainable=False) for p in self.params]
        self.count = step_count()

    def share(self, count: Tensor) -> Any:
        """The weight of the new values, after so many updates with this one, in float64."""
        raise NotImplementedError(f"{type(self).__name__} defines no share")

    @no_grad()
    def update(self) -> None:
        """Takes the parameters into the averages; called after a step."""
        share = self.share(astype(self.count.assign_add(1), float64))
        for p, average in zip(self.params, self.averages, strict=True):
            average.assign(average + astype(share, p.dtype) * (p - average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A `with` block inside which the parameters have the average values: for evaluation."""
        with no_grad():
            before = [stop_gradient(p) for p in self.params]
            self.copy_to_params()
        try:
            yield
        finally:
            for p, value in zip(self.params, before, strict=True):
                p.assign(value)

    @no_grad()
    def copy_to_params(self) -> None:
        """Sets the parameters to the averages, for good."""
        for p, average in zip(self.params, self.averages, strict=True):
            p.assign(average)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"count": self.count.item(), "averages": [stop_gradient(a) for a in self.averages]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.count.assign(state_dict["count"])
        for average, value in zip(self.averages, state_dict["averages"], strict=True):
            average.assign(as_tensor(value))


class EMA(_Average):
    """The exponential moving average of parameters.

    Args:
        params: Variables.
        decay: How much of the average is kept at each update; the first one takes the values.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0])
        >>> average = df.optim.EMA([w], decay=0.75)
        >>> for _ in range(2):
        ...     average.update()
        ...     w = w.assign_add([4.0])
        >>> average.update()
        >>> with average.applied():
        ...     w.item()
        3.75
        >>> w.item()
        9.0
    """

    def __init__(self, params: Iterable[Variable], decay: float = 0.999) -> None:
        shares("EMA", decay=decay)
        self.decay = decay
        super().__init__(params)

    def share(self, count: Tensor) -> Tensor:
        """`1 - decay`, after the first update."""
        return where(count == 1, as_tensor(1.0, float64), 1.0 - self.decay)


class SWA(_Average):
    """The mean of the parameters at all updates: stochastic weight averaging (Izmailov, 2018).

    Args:
        params: Variables.
    """

    def share(self, count: Tensor) -> Tensor:
        """`1 / count`."""
        return 1.0 / count


class GradientAccumulation:
    """Gives an optimiser the mean of several batches' gradients: a batch too large for memory.

    For gradients of a tape. With `backward()`, call it several times before `step()`: `.grad` adds
    up by itself.

    Args:
        optimizer: What takes the steps.
        steps: How many batches make one.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0])
        >>> optimizer = df.optim.SGD([w], lr=1.0)
        >>> accumulation = df.optim.GradientAccumulation(optimizer, steps=2)
        >>> accumulation.apply_gradients([(df.asarray([1.0]), w)])
        False
        >>> accumulation.apply_gradients([(df.asarray([3.0]), w)])
        True
        >>> w.item()
        -1.0
    """

    def __init__(self, optimizer: Optimizer, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"GradientAccumulation: steps={steps} is not positive")
        self.optimizer, self.steps = optimizer, steps
        self.count = step_count()
        self.sums = {p: zeros_for(p) for p in optimizer.state}

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> bool:
        """Adds gradients up, and steps when there are enough of them.

        Args:
            grads_and_vars: Pairs, as for the optimiser; None adds nothing.

        Returns:
            Whether the optimiser took a step.
        """
        pairs = list(grads_and_vars)
        with no_grad():
            for g, p in pairs:
                if g is not None:
                    self.sums[p].assign_add(as_tensor(g))
            done = self.count.assign_add(1) % self.steps == 0
        if not bool(done):
            return False
        with no_grad():
            means = [(self.sums[p] / self.steps, p) for _, p in pairs]
        self.optimizer.apply_gradients(means)
        for _, p in pairs:
            self.sums[p].zero_()
        return True
