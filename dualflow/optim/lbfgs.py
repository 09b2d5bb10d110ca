"""L-BFGS: steps by the curvature that the last gradients show."""

from __future__ import annotations

from builtins import sum as sum_of
from collections.abc import Callable, Iterable
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import concat
from dualflow.ops.choice import minimum, where
from dualflow.ops.create import zeros
from dualflow.ops.elementwise import abs, astype
from dualflow.ops.linalg import vecdot
from dualflow.ops.reduce import max, sum
from dualflow.ops.shape import expand_dims, reshape
from dualflow.optim.base import Optimizer, ParamGroup, non_negative
from jit.types import int64


class LBFGS(Optimizer):
    """Limited-memory BFGS with steps of a fixed share (Liu and Nocedal, 1989).

    Needs a closure: `optimizer.step(closure)` evaluates it several times. All parameters count as
    one vector, in one group. The history has its full size from the start, so that a compiled step
    stays the same while it fills.

    Args:
        params: Variables.
        lr: Share of the step to the minimum that the curvature promises.
        max_iter: Iterations of one `step`.
        max_eval: Evaluations of the closure in one `step`; 1.25 `max_iter` when None.
        tolerance_grad: Stop when no element of the gradient is larger.
        tolerance_change: Stop when neither parameters nor loss change by more.
        history_size: How many pairs of steps and changes of the gradient are kept.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([3.0, -2.0])
        >>> optimizer = df.optim.LBFGS([w], history_size=5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = ((w - 1.0) ** 2).sum()
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)
        >>> w.numpy().round(3).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
    ) -> None:
        tolerances = {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        non_negative("LBFGS", lr=lr, **tolerances)
        settings = {
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "history_size": history_size,
        }
        super().__init__(params, {"lr": lr, **tolerances, **settings})
        if self.meets or len(self.param_groups) != 1:
            raise ValueError("LBFGS takes one group of parameters")

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The first parameter holds what is remembered of all."""
        if parameter is not group["params"][0]:
            return {}
        count, size = group["history_size"], sum_of(int(p.size) for p in group["params"])
        shapes: dict[str, tuple[int, ...]] = {"old_dirs": (count, size), "old_stps": (count, size)}
        shapes |= {"ro": (count,), "d": (size,), "prev_flat_grad": (size,), "t": (), "H_diag": ()}
        state = {
            name: Variable(zeros(shape, dtype=parameter.dtype), trainable=False)
            for name, shape in shapes.items()
        }
        return {"n_iter": Variable(0, int64, trainable=False), **state}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluates the closure and moves the parameters, up to `max_iter` times.

        Args:
            closure: Clears gradients, computes the loss, calls `backward()`, returns the loss.

        Returns:
            The loss of its first call.
        """
        if closure is None:
            raise TypeError("LBFGS.step needs a closure, which it calls several times")
        group = self.param_groups[0]
        first = loss = closure()
        g = self._gradient()
        if bool(max(abs(g)) <= group["tolerance_grad"]):
            return first
        for done in range(1, group["max_iter"] + 1):
            step, downhill = self._direction(g, group)
            if not bool(downhill):
                break
            self._move(step)
            if done in (group["max_iter"], group["max_eval"] - 1):
                break
            before, loss = loss, closure()
            g = self._gradient()
            if bool(self._is_done(g, step, loss, before, group)):
                break
        return first

    @no_grad()
    def _gradient(self) -> Tensor:
        """The gradient of all parameters as one vector; 0 where there is none."""
        params = self.param_groups[0]["params"]
        flat = [
            zeros(p.size, dtype=p.dtype) if p.grad is None else reshape(p.grad, (-1,))
            for p in params
        ]
        return concat(flat, axis=0)

    @no_grad()
    def _direction(self, g: Tensor, group: ParamGroup) -> tuple[Tensor, Tensor]:
        """The next step, and whether it leads downhill."""
        state = self.state[group["params"][0]]
        self._remember(g, state)
        dirs, stps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        rows = range(int(dirs.shape[0]))
        q, shares = -g, {}
        for k in reversed(rows):
            shares[k] = vecdot(stps[k], q) * ro[k]
            q = q - shares[k] * dirs[k]
        d = q * state["H_diag"]
        for k in rows:
            d = d + stps[k] * (shares[k] - vecdot(dirs[k], d) * ro[k])
        rate = astype(group["lr"], d.dtype)
        start = minimum(1.0 / sum(abs(g)), 1.0) * rate
        t = where(state["n_iter"] == 1, start, rate)
        state["d"].assign(d)
        state["t"].assign(t)
        state["prev_flat_grad"].assign(g)
        return d * t, vecdot(g, d) <= -group["tolerance_change"]

    @staticmethod
    def _remember(g: Tensor, state: dict[str, Variable]) -> None:
        """Puts the last step and what it did to the gradient into the history, where it curves."""
        first = state["n_iter"].assign_add(1) == 1
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = vecdot(y, s)
        curved = (curvature > 1e-10) & ~first
        safe = where(curved, curvature, 1.0)
        fresh = {"old_dirs": y, "old_stps": s, "ro": 1.0 / safe}
        for name, x in fresh.items():
            old = state[name]
            old.assign(where(curved, concat([old[1:], expand_dims(x, 0)], axis=0), old))
        scale = safe / where(curved, vecdot(y, y), 1.0)
        kept = where(first, 1.0, state["H_diag"])
        state["H_diag"].assign(where(curved, scale, kept))

    @no_grad()
    def _move(self, step: Tensor) -> None:
        """Adds one vector to all parameters."""
        start = 0
        for p in self.param_groups[0]["params"]:
            stop = start + int(p.size)
            p.assign(p + reshape(step[start:stop], p.shape))
            start = stop

    @staticmethod
    @no_grad()
    def _is_done(g: Tensor, step: Tensor, loss: Any, before: Any, group: ParamGroup) -> Tensor:
        """Whether the gradient is small, or nothing moves any more."""
        small = max(abs(g)) <= group["tolerance_grad"]
        still = max(abs(step)) <= group["tolerance_change"]
        return small | still | (abs(loss - before) < group["tolerance_change"])
