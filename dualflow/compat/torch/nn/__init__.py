"""`torch.nn`: `dualflow.nn` follows PyTorch's names, so its classes stand here as they are."""

from __future__ import annotations

from dualflow.compat.torch.nn import functional
from dualflow.compat.translate import mirror

__getattr__ = mirror("torch.nn", "nn")
__all__ = ["functional"]
