"""`torch.optim`: `dualflow.optim` follows PyTorch's names, so they stand here as they are."""

from __future__ import annotations

from dualflow.compat.torch.optim import lr_scheduler
from dualflow.compat.translate import mirror

__getattr__ = mirror("torch.optim", "optim")
__all__ = ["lr_scheduler"]
