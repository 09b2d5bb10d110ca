"""`import dualflow.compat.tensorflow as tf`: TensorFlow 2's names for dualflow.

Tensors, the tape and `tf.function` are dualflow's own, which keep TensorFlow's contract. Keras is
`tf.keras`; the static graphs of TensorFlow 1 are `dualflow.compat.tensorflow_v1`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow import arrays, math, nn, random
from dualflow.compat.translate import hints, namespace
from jit.types import dtypes

SAME = """
abs add argsort atan atan2 ceil cos cosh custom_gradient divide einsum equal erf exp expm1 eye
floor greater greater_equal less less_equal linspace logical_and logical_not logical_or maximum
meshgrid minimum multiply negative not_equal ones_like pow repeat reshape roll round sign sin sinh
sqrt square squeeze stop_gradient subtract tan tanh tensordot tile where zeros_like
"""
RENAMED = """
cast clip_by_value fill range reduce_sum reduce_mean reduce_prod reduce_max reduce_min
reduce_any reduce_all reduce_logsumexp sigmoid
"""
OURS = """
add_n clip_by_global_norm clip_by_norm cumsum global_norm identity map_fn norm pad rank reverse
rsqrt size slice split squared_difference unstack
"""
GRAPHS = (
    "it belongs to TensorFlow 1's graphs: import dualflow.compat.tensorflow_v1 as tf, "
    "or write it eagerly, under tf.function"
)
LATER: dict[str, str] = dict.fromkeys(
    ("placeholder", "Session", "gradients", "global_variables_initializer"), GRAPHS
)
LATER |= dict.fromkeys(("compat", "Graph", "get_default_graph", "InteractiveSession"), GRAPHS)
OF_KERAS = ("initializers", "losses", "metrics", "optimizers")  # TensorFlow has them twice

globals().update(namespace("TensorFlow", SAME, RENAMED))
globals().update({name: getattr(arrays, name) for name in OURS.split()})
globals().update(dtypes)
newaxis, truediv, floordiv, mod = None, df.divide, df.floor_divide, df.remainder
Tensor, Variable = df.Tensor, df.Variable
GradientTape, TensorSpec = df.GradientTape, df.TensorSpec


def convert_to_tensor(value: Any, dtype: Any = None) -> Any:
    """A tensor of `value`; NumPy arrays keep their dtype unless one is given."""
    return df.asarray(value, dtype=dtype)


def constant(value: Any, dtype: Any = None, shape: Any = None) -> Any:
    """A tensor of `value`, in a shape of its own where one is given."""
    tensor = df.asarray(value, dtype=dtype)
    if shape is None:
        return tensor
    return df.broadcast_to(tensor, shape) if tensor.size == 1 else df.reshape(tensor, shape)


def zeros(shape: Any, dtype: Any = df.float32) -> Any:
    """Zeros."""
    return df.zeros(shape, dtype=dtype)


def ones(shape: Any, dtype: Any = df.float32) -> Any:
    """Ones."""
    return df.ones(shape, dtype=dtype)


def matmul(a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """Matrix product, of transposed matrices where asked."""
    left = df.matrix_transpose(a) if transpose_a else a
    return df.matmul(left, df.matrix_transpose(b) if transpose_b else b)


def transpose(a: Any, perm: Any = None) -> Any:
    """Dimensions in the order `perm`, reversed when it is None."""
    tensor = df.asarray(a)
    return df.permute_dims(tensor, tuple(range(tensor.ndim))[::-1] if perm is None else perm)


def concat(values: Any, axis: int) -> Any:
    """Tensors joined along a dimension that exists."""
    return df.concat(list(values), axis=axis)


def stack(values: Any, axis: int = 0) -> Any:
    """Tensors joined along a new dimension."""
    return df.stack(list(values), axis=axis)


def expand_dims(input: Any, axis: int) -> Any:
    """`input` with a dimension of extent 1 at `axis`."""
    return df.expand_dims(input, axis=axis)


def gather(params: Any, indices: Any, axis: int = 0) -> Any:
    """The slices of `params` at `indices` along `axis`."""
    return df.take(params, indices, axis=axis)


def one_hot(indices: Any, depth: int, *, dtype: Any = df.float32) -> Any:
    """A row per index, 1 at the index and 0 elsewhere."""
    return df.astype(df.one_hot(indices, depth), dtype)


def argmax(input: Any, axis: int = 0) -> Any:
    """Index of the first largest element along `axis`, the first one by default."""
    return df.argmax(input, axis=axis)


def argmin(input: Any, axis: int = 0) -> Any:
    """Index of the first smallest element along `axis`, the first one by default."""
    return df.argmin(input, axis=axis)


def shape(input: Any) -> tuple[Any, ...]:
    """The extents of a tensor."""
    return df.asarray(input).shape


def cond(pred: Any, true_fn: Any = None, false_fn: Any = None) -> Any:
    """One of two results."""
    return df.cond(pred, true_fn, false_fn)


def while_loop(
    cond: Any, body: Any, loop_vars: Any, *, maximum_iterations: int | None = None, **_: Any
) -> Any:
    """What is left of `loop_vars` when `body` was applied as long as `cond` holds."""
    kind = type(loop_vars)
    left = df.while_loop(
        lambda state: cond(*state),
        lambda state: tuple(body(*state)),
        tuple(loop_vars),
        maximum_iterations,
    )
    return kind(left)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a tensor."""
    return isinstance(x, Tensor)


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Any = None,
    *,
    autograph: bool = True,
    jit_compile: bool | None = None,
    reduce_retracing: bool = False,
) -> Any:
    """`df.function`; the other options of TensorFlow's are accepted, and change nothing.

    Args:
        func: The Python function.
        input_signature: A `TensorSpec` per tensor argument.
        autograph: Plain Python works without source rewriting.
        jit_compile: Every function is compiled.
        reduce_retracing: Varying extents become symbolic by themselves.
    """
    del autograph, jit_compile, reduce_retracing
    decorate = df.function(input_signature=input_signature)
    return decorate if func is None else decorate(func)


missing = hints("tensorflow", LATER)


def __getattr__(name: str) -> Any:
    """Keras and its parts, loaded when first asked for; hints for what is not here."""
    if name != "keras" and name not in OF_KERAS:
        return missing(name)
    keras = import_module("dualflow.compat.tensorflow.keras")
    return keras if name == "keras" else getattr(keras, name)


__all__ = ["math", "nn", "random"]
