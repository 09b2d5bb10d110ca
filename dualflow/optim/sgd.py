"""SGD: gradient descent, with momentum, Nesterov's rule and weight decay."""

from __future__ import annotations

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.updates import momentum_update, sgd_update
from dualflow.optim.base import Optimizer, ParamGroup, Params, non_negative, step_count, zeros_for


class SGD(Optimizer):
    """Stochastic gradient descent.

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        momentum: Share of the last steps that is kept.
        dampening: Share of a gradient that does not enter the momentum.
        weight_decay: Factor of the parameters that is added to their gradients.
        nesterov: Use Nesterov's momentum.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0, 2.0])
        >>> optimizer = df.optim.SGD([w], lr=0.25)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.5, 1.0]
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
    ) -> None:
        non_negative("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening=0")
        settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "nesterov": nesterov})

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The momentum and the number of steps, or nothing without momentum."""
        return (
            {"step": step_count(), "momentum_buffer": zeros_for(parameter)}
            if group["momentum"]
            else {}
        )

    def update(
        self, parameter: Variable, gradient: Tensor, state: dict[str, Variable], group: ParamGroup
    ) -> None:
        """One step; see `sgd_update` and `momentum_update`."""
        if not state:
            new = sgd_update(parameter, gradient, group["lr"], weight_decay=group["weight_decay"])
            parameter.assign(new)
            return
        settings = {k: group[k] for k in ("momentum", "dampening", "nesterov", "weight_decay")}
        buffer, step = state["momentum_buffer"], state["step"].assign_add(1)
        new, moved = momentum_update(parameter, gradient, buffer, step, group["lr"], **settings)
        parameter.assign(new)
        buffer.assign(moved)
