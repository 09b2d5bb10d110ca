"""`torch.utils.data`: the data sets and the loader of `dualflow.data`."""

from __future__ import annotations

from dualflow.compat.translate import mirror

__getattr__ = mirror("torch.utils.data", "data")
