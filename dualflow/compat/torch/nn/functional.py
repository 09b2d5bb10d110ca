"""`torch.nn.functional`: the functions of `dualflow.nn.functional`, which also take `dim=`."""

from __future__ import annotations

from dualflow.compat.translate import mirror

__getattr__ = mirror("torch.nn.functional", "nn.functional", "PyTorch")
