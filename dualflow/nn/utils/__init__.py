"""What goes with modules: sequences of different lengths, clipped gradients, vectors of weights."""

from __future__ import annotations

from dualflow.nn.utils import rnn
from dualflow.nn.utils.clip import clip_grad_norm_, clip_grad_value_, get_total_norm
from dualflow.nn.utils.vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]
