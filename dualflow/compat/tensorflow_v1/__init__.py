"""`import dualflow.compat.tensorflow_v1 as tf`: TensorFlow 1's static graphs.

A program builds a graph of placeholders and variables, and runs it in a session. The graph is
`df.graph`'s; words for functions on tensors are those of `dualflow.compat.tensorflow`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dualflow as df
from dualflow.compat import tensorflow
from dualflow.compat.tensorflow import math
from dualflow.compat.tensorflow_v1 import layers, losses, nn, random, summary, train
from dualflow.compat.tensorflow_v1.collected import GraphKeys, add_to_collection, get_collection
from dualflow.compat.tensorflow_v1.variables import (
    AUTO_REUSE,
    constant_initializer,
    get_variable,
    glorot_uniform_initializer,
    ones_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    truncated_normal_initializer,
    variable_scope,
    zeros_initializer,
)
from dualflow.compat.translate import hints
from jit.types import dtypes

SAME = """
abs add add_n argmax argmin argsort cast ceil clip_by_global_norm clip_by_norm clip_by_value concat
constant convert_to_tensor cos cumsum divide einsum equal exp expand_dims fill floor floordiv gather
global_norm greater greater_equal identity less less_equal linspace logical_and logical_not
logical_or map_fn matmul maximum minimum mod multiply negative newaxis norm not_equal one_hot ones
ones_like pad pow range rank reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean
reduce_min reduce_prod reduce_sum reshape reverse round rsqrt shape sigmoid sign sin size slice
split sqrt square squared_difference squeeze stack stop_gradient subtract tanh tensordot tile
transpose truediv unstack where zeros zeros_like
"""
GRAPH = """
Graph get_default_graph get_default_session reset_default_graph gradients
assign assign_add assign_sub control_dependencies group global_variables
global_variables_initializer name_scope placeholder_with_default
"""

globals().update({name: getattr(tensorflow, name) for name in SAME.split()})
globals().update({name: getattr(df.graph, name) for name in GRAPH.split()})
globals().update(dtypes)
Tensor, Operation = df.Tensor, df.graph.Operation
log, div = df.log, df.divide
random_normal, random_uniform = random.normal, random.uniform
truncated_normal, random_shuffle = random.truncated_normal, random.shuffle
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


class ConfigProto(SimpleNamespace):
    """Settings of a session, of which none changes anything.

    Args:
        **options: Any.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(gpu_options=SimpleNamespace(), **options)


class Session(df.graph.Session):
    """`df.graph.Session`, with TensorFlow's arguments.

    Args:
        target: Has no effect.
        graph: The default graph when None.
        config: Has no effect.
    """

    def __init__(self, target: str = "", graph: Any = None, config: Any = None) -> None:
        del target, config
        super().__init__(graph)


class InteractiveSession(df.graph.InteractiveSession):
    """`df.graph.InteractiveSession`, with TensorFlow's arguments, as `Session` has them."""

    def __init__(self, target: str = "", graph: Any = None, config: Any = None) -> None:
        del target, config
        super().__init__(graph)


def no_op(name: str = "no_op") -> Any:
    """An operation that does nothing but to wait, as `control_dependencies` says."""
    return df.graph.group(name=name)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables of the default graph that optimisers change."""
    return get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def cond(pred: Any, true_fn: Any = None, false_fn: Any = None, **old: Any) -> Any:
    """One of two results; the words of old programs, `fn1=` and `fn2=`, are known."""
    return df.graph.cond(pred, true_fn or old["fn1"], false_fn or old["fn2"])


def while_loop(
    cond: Any,
    body: Any,
    loop_vars: Any,
    *,
    maximum_iterations: int | None = None,
    **_: Any,
) -> Any:
    """What is left of `loop_vars` when `body` was applied as long as `cond` holds."""
    return df.graph.while_loop(cond, body, loop_vars, maximum_iterations)


def disable_eager_execution() -> None:
    """Changes nothing: what meets a placeholder is in a graph, and all else has values."""


disable_v2_behavior = disable_eager_execution

__getattr__ = hints("tensorflow_v1")
__all__ = [
    "AUTO_REUSE",
    "ConfigProto",
    "GraphKeys",
    "InteractiveSession",
    "Session",
    "add_to_collection",
    "constant_initializer",
    "get_collection",
    "get_variable",
    "glorot_uniform_initializer",
    "layers",
    "losses",
    "math",
    "nn",
    "ones_initializer",
    "random",
    "random_normal_initializer",
    "random_uniform_initializer",
    "summary",
    "train",
    "truncated_normal_initializer",
    "variable_scope",
    "zeros_initializer",
]
