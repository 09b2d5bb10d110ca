"""`torch.utils`: holds `data`."""

from __future__ import annotations

from dualflow.compat.torch.utils import data
from dualflow.compat.translate import hints

__getattr__ = hints("torch.utils")
__all__ = ["data"]
