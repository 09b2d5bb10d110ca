"""Writes tests/io/torch/: files of torch.save in both formats, and what they hold as npz.

Run it with an environment that has PyTorch; the tests read the files without it:

    python tests/io/make_torch_files.py
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent / "torch"


def checkpoint() -> dict:
    """Every dtype, shared and transposed memory, parts of a storage, and plain values."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    base = torch.arange(12, dtype=torch.float32)
    dtypes = (
        "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128"
    )
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "views": OrderedDict(
            base=base,
            matrix=base.reshape(3, 4),
            turned=base.reshape(3, 4).T,
            part=base[5:9],
            steps=base[::3],
            empty=torch.zeros(0, 3),
            number=torch.tensor(7.5),
        ),
        "dtypes": {d: torch.tensor([0, 1, 2]).to(getattr(torch, d)) for d in dtypes.split()},
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "size": torch.Size([1, 2]),
        "epoch": 3,
        "name": "größe",
        "rates": (0.5, 1e-3, None, True, -(2**40)),
    }


def flat(nest: object, place: str = "") -> dict[str, np.ndarray]:
    """Tensors by where they stand."""
    if isinstance(nest, torch.Tensor):
        value = nest.detach()
        return {place: (value.float() if value.dtype == torch.bfloat16 else value).numpy()}
    items = nest.items() if isinstance(nest, dict) else enumerate(nest)
    found = {}
    for key, item in items:
        if isinstance(item, dict | list | tuple | torch.Tensor):
            found |= flat(item, f"{place}/{key}")
    return found


def main() -> None:
    """Writes the files."""
    HERE.mkdir(exist_ok=True)
    data = checkpoint()
    torch.save(data, HERE / "new.pt")
    torch.save(data, HERE / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 1), HERE / "whole_model.pt")
    np.savez(HERE / "expected.npz", **{k.lstrip("/"): v for k, v in flat(data).items()})


if __name__ == "__main__":
    main()
