"""`torch.utils`: holds `data` and `tensorboard`."""

from __future__ import annotations

from dualflow.compat.torch.utils import data, tensorboard
from dualflow.compat.translate import hints

__getattr__ = hints("torch.utils")
__all__ = ["data", "tensorboard"]
