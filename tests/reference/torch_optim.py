"""PyTorch's optimisers and schedules on the problems of the tables; part of make_torch.

Lion and LAMB are not PyTorch's: they are written here after their papers. Muon computes in bfloat16
in PyTorch; here that conversion is left out, so that numbers can be compared.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.reference.cases.optimizers import (
    BASES,
    LOSSES,
    OPTIMIZERS,
    RATES,
    SCHEDULES,
    STEPS,
    starts,
)


class Lion(torch.optim.Optimizer):
    """Chen et al., 2023, algorithm 2."""

    def __init__(self, params: Any, lr: float, betas: Any = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * torch.sign(beta1 * m + (1 - beta1) * p.grad))
                m.mul_(beta2).add_(p.grad, alpha=1 - beta2)


class LAMB(torch.optim.Optimizer):
    """You et al., 2020, algorithm 2, with Adam's corrections of the means."""

    def __init__(
        self, params: Any, lr: float, betas: Any = (0.9, 0.999), eps: float = 1e-6, weight_decay=0.0
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                t = state["t"] = state.get("t", 0) + 1
                m = state.setdefault("m", torch.zeros_like(p))
                v = state.setdefault("v", torch.zeros_like(p))
                m.mul_(beta1).add_(p.grad, alpha=1 - beta1)
                v.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                r = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
                r = r + group["weight_decay"] * p
                p.sub_(group["lr"] * p.norm() / r.norm() * r)


def trained(name: str, settings: dict[str, Any]) -> list[torch.Tensor]:
    """The parameters after the last step."""
    params = [torch.tensor(x, requires_grad=True) for x in starts(name)]
    make = {"Lion": Lion, "LAMB": LAMB}.get(name) or getattr(torch.optim, name)
    optimizer = make(params, **settings)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((p**4 / 4 + torch.sin(p)).sum() for p in params)
        loss.backward()
        return loss

    with mock.patch.object(torch.Tensor, "bfloat16", lambda x: x.clone()):
        for _ in range(STEPS):
            optimizer.step(closure)
    return params


def optimizers() -> dict[str, Any]:
    """The arrays of every optimiser: `SGD/0/in/0`, a parameter before, and `SGD/0/out/0`, after."""
    found: dict[str, Any] = {}
    for name, cases in OPTIMIZERS.items():
        for number, settings in enumerate(cases):
            after = trained(name, settings)
            found |= {f"{name}/{number}/in/{k}": x for k, x in enumerate(starts(name))}
            found |= {f"{name}/{number}/out/{k}": p.detach().numpy() for k, p in enumerate(after)}
    return found


def schedule(name: str, settings: dict[str, Any], optimizer: torch.optim.Optimizer) -> Any:
    """PyTorch's schedule, and those that it is made of."""
    make = getattr(torch.optim.lr_scheduler, name)
    parts = [schedule(*part, optimizer) for part in settings.get("schedulers", ())]
    if name == "ChainedScheduler":
        return make(parts)
    others = {k: v for k, v in settings.items() if k != "schedulers"}
    if name in ("OneCycleLR", "CyclicLR"):
        others["cycle_momentum"] = False
    return make(optimizer, *([parts] if parts else []), **others)


def rates(name: str, settings: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The learning rates of both groups, before each step and after the last one."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in BASES]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    plan = schedule(name, settings, optimizer)
    found = [[group["lr"] for group in optimizer.param_groups]]
    for k in range(RATES):
        optimizer.step()
        plan.step(*([LOSSES[k]] if name == "ReduceLROnPlateau" else []))
        found.append([group["lr"] for group in optimizer.param_groups])
    return np.array(found)


def schedules() -> dict[str, Any]:
    """The arrays of every schedule: `StepLR/0/rates`."""
    return {
        f"{name}/{number}/rates": rates(name, settings)
        for name, cases in SCHEDULES.items()
        for number, settings in enumerate(cases)
    }
