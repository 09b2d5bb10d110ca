"""Writes torch.npz: what PyTorch computes for every case. `python -m tests.reference.make_torch`

It needs PyTorch (CPU) and NumPy, nothing of dualflow. The arrays of a case `Conv2d/0`:

    in/0, in/1 ...      its inputs
    state/weight ...    parameters and buffers before the call, drawn here
    out/0, out/1 ...    results
    grad/in/0 ...       gradients of the sum of all results times cos(0), cos(1), ...
    grad/weight ...     by inputs and by parameters
    after/...           buffers after the call, where it changed them
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.reference.cases import MODULES, Case, settings_of, translated
from tests.reference.torch_optim import optimizers, schedules

FILE = Path(__file__).parent / "torch.npz"


def tensors(nest: Any) -> Any:
    """NumPy arrays of a nest as tensors."""
    if isinstance(nest, np.ndarray):
        return torch.from_numpy(nest.copy())
    if isinstance(nest, tuple):
        return tuple(map(tensors, nest))
    return nest


def leaves(nest: Any) -> list[torch.Tensor]:
    """The tensors of a nest, in order."""
    if isinstance(nest, tuple | list):
        return [leaf for item in nest for leaf in leaves(item)]
    return [nest] if isinstance(nest, torch.Tensor) else []


def build(name: str, case: Case) -> torch.nn.Module:
    """The module, with parameters and buffers that are not 0 or 1."""
    kwargs = {k: tensors(v) for k, v in translated(case.kwargs).items()}
    module = getattr(torch.nn, name)(*case.args, **kwargs)
    with torch.no_grad():
        for key, x in module.state_dict().items():
            if key in ("weight", "pos_weight", "_random_samples") and key in case.kwargs:
                continue
            if x.is_floating_point():
                x += 0.2 * torch.randn(x.shape)
                if key.endswith("running_var"):
                    x.abs_()
    return module.train(case.training)


def call(module: torch.nn.Module, case: Case, inputs: Any) -> Any:
    """The results, in the way that the case says."""
    kwargs = {k: tensors(v) for k, v in case.call.items()}
    if case.how == "lengths":
        *given, lengths = inputs
        packed = pack_padded_sequence(given[0], lengths, enforce_sorted=False)
        y, state = module(packed, *given[1:], **kwargs)
        return pad_packed_sequence(y)[0], state
    if case.how == "log_softmax":
        return module(torch.log_softmax(inputs[0], -1), *inputs[1:], **kwargs)
    return module(*inputs, **kwargs)


def total(results: Any) -> torch.Tensor:
    """One number that depends on every result."""
    found = [y for y in leaves(results) if y.is_floating_point() and y.requires_grad]
    return sum((y * torch.cos(torch.arange(y.numel())).reshape(y.shape)).sum() for y in found)


def called(module: torch.nn.Module, case: Case, watched: int | None) -> tuple[Any, Any]:
    """The inputs, of which the first few (None: all) have gradients, and the results."""
    inputs = tensors(case.inputs)
    given = leaves(inputs)
    for x in given[:watched]:
        x.requires_grad_(x.is_floating_point())
    return given, call(module, case, inputs)


def record(name: str, number: int, case: Case) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of one case."""
    torch.manual_seed(number)
    module = build(name, case)
    found = {f"state/{k}": x.numpy().copy() for k, x in module.state_dict().items()}
    try:
        given, results = called(module, case, watched=None)
    except RuntimeError as error:  # PyTorch has no gradient of some losses by their targets
        if "not differentiable" not in str(error) and "not implemented" not in str(error):
            raise
        given, results = called(module, case, watched=1)
    total(results).backward()
    found |= {f"in/{k}": x.detach().numpy() for k, x in enumerate(given)}
    found |= {f"out/{k}": y.detach().numpy() for k, y in enumerate(leaves(results))}
    found |= {f"grad/in/{k}": x.grad.numpy() for k, x in enumerate(given) if x.grad is not None}
    for key, p in module.named_parameters():
        if p.grad is not None:
            found[f"grad/{key}"] = p.grad.numpy()
    for key, x in module.state_dict().items():
        if not np.array_equal(found[f"state/{key}"], x.detach().numpy()):
            found[f"after/{key}"] = x.detach().numpy()
    return {f"{name}/{number}/{k}": x for k, x in found.items()}


def about() -> dict[str, Any]:
    """What was compared, of which versions, and what else PyTorch has: for docs/torch.md."""
    bases = torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler
    spaces = torch.nn, torch.optim, torch.optim.lr_scheduler
    names = [
        sorted(n for n, x in vars(space).items() if isinstance(x, type) and issubclass(x, base))
        for space, base in zip(spaces, bases, strict=True)
    ]
    return {
        "versions": {"PyTorch": torch.__version__, "NumPy": np.__version__},
        "compared": settings_of(),
        "theirs": dict(zip(("nn", "optim", "schedules"), names, strict=True)),
    }


def main() -> None:
    """Writes the file and tells its size."""
    torch.set_num_threads(1)
    arrays: dict[str, Any] = {}
    for name, cases in MODULES.items():
        for number, case in enumerate(cases):
            arrays |= record(name, number, case)
    arrays |= optimizers()
    arrays |= schedules()
    arrays["about"] = np.array(json.dumps(about()))
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE.name}: {len(arrays)} arrays, {FILE.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
