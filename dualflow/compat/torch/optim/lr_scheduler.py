"""`torch.optim.lr_scheduler`: the schedules of `dualflow.optim`."""

from __future__ import annotations

from dualflow.compat.translate import mirror

__getattr__ = mirror("torch.optim.lr_scheduler", "optim")
