"""What goes with modules: sequences of different lengths, clipping of gradients."""

from __future__ import annotations

from dualflow.nn.utils import rnn
from dualflow.nn.utils.clip import clip_grad_norm_, clip_grad_value_, get_total_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "rnn"]
