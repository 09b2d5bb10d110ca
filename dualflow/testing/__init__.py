"""Help for users' own tests: `df.testing`."""

from __future__ import annotations

from dualflow.autodiff.check import check_gradients
from dualflow.comparison.parity import parity

__all__ = ["check_gradients", "parity"]
