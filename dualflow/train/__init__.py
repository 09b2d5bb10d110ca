"""Training under Keras's names: `Model` with `compile` and `fit`, callbacks, streaming metrics."""

from __future__ import annotations

from dualflow.train import callbacks, losses, metrics
from dualflow.train.history import History
from dualflow.train.model import Model

__all__ = ["History", "Model", "callbacks", "losses", "metrics"]
