"""`import dualflow.compat.tensorflow_v1 as tf`: TensorFlow 1's static graphs.

A program builds a graph of placeholders and variables, and runs it in a session. The graph is
`df.graph`'s; words for functions on tensors are those of `dualflow.compat.tensorflow`.
"""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat import tensorflow
from dualflow.compat.tensorflow import math, random
from dualflow.compat.tensorflow_v1 import losses, nn, train
from dualflow.compat.translate import hints
from jit.types import dtypes

SAME = """
abs add argmax argmin argsort cast ceil clip_by_value concat constant convert_to_tensor cos
divide equal exp expand_dims fill floor gather greater greater_equal less less_equal logical_and
logical_not logical_or matmul maximum minimum multiply negative not_equal one_hot ones ones_like
pow range reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
reduce_sum reshape round shape sigmoid sign sin sqrt square squeeze stack stop_gradient subtract
tanh tile transpose where zeros zeros_like
"""
GRAPH = """
Graph Session get_default_graph reset_default_graph gradients assign assign_add
assign_sub group global_variables global_variables_initializer
"""

globals().update({name: getattr(tensorflow, name) for name in SAME.split()})
globals().update({name: getattr(df.graph, name) for name in GRAPH.split()})
globals().update(dtypes)
Tensor, Operation = df.Tensor, df.graph.Operation
log, div = df.log, df.divide
random_normal, random_uniform = random.normal, random.uniform
set_random_seed = random.set_seed
initialize_all_variables = df.graph.global_variables_initializer


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Any:
    """An input of the default graph; the word "float" means float32, as in TensorFlow."""
    return df.graph.placeholder("float32" if dtype == "float" else dtype, shape, name)


def Variable(  # noqa: N802 - TensorFlow's
    initial_value: Any,
    trainable: bool = True,  # noqa: FBT001, FBT002
    name: str | None = None,
    dtype: Any = None,
) -> Any:
    """A variable of the default graph, which a session keeps."""
    return df.graph.GraphVariable(initial_value, dtype, name, trainable=trainable)


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = "float32",
    initializer: Any = None,
    *,
    trainable: bool = True,
) -> Any:
    """The variable of this name in the default graph, made where it is not there.

    Args:
        name: Its name.
        shape: Its extents, where the initial value does not say them.
        dtype: Its dtype.
        initializer: A value, or a function of a shape; uniform within Glorot's bounds by default.
        trainable: Whether optimisers change it.
    """
    for known in df.graph.global_variables():
        if known.name == name:
            return known
    value = initializer
    if initializer is None:
        bound = (6 / max(sum(shape), 1)) ** 0.5
        value = df.random.uniform(shape, -bound, bound, dtype=dtype)
    elif callable(initializer):
        value = initializer(shape)
    return df.graph.GraphVariable(value, dtype, name, trainable=trainable)


def trainable_variables() -> list[Any]:
    """The variables of the default graph that optimisers change."""
    return [variable for variable in df.graph.global_variables() if variable.trainable]


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0) -> Any:
    """Normal numbers within two standard deviations."""
    return df.random.truncated_normal(shape, mean, stddev)


def zeros_initializer() -> Any:
    """Zeros in a shape."""
    return lambda shape: df.zeros(shape)


def disable_eager_execution() -> None:
    """Changes nothing: what meets a placeholder is in a graph, and all else has values."""


disable_v2_behavior = disable_eager_execution

__getattr__ = hints("tensorflow_v1")
__all__ = ["losses", "math", "nn", "random", "train"]
