"""Nets of several inputs or outputs: data in tuples and dicts, and how it reaches the net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Signature, signature
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.data import TensorDataset
from dualflow.ops.elementwise import astype
from dualflow.tracing.spec import TensorSpec
from jit.types import kind

Dtype = np.dtype[Any]


def are_several(data: Any) -> bool:
    """Whether data is several arrays: a dict, or a list or tuple of them rather than of numbers."""
    if isinstance(data, Mapping):
        return True
    listed = isinstance(data, list | tuple) and len(data) > 0
    return listed and all(is_array(part) or isinstance(part, Mapping) for part in data)


def is_array(x: Any) -> bool:
    """Whether `x` has rows, and is not made of Python's lists."""
    return (isinstance(x, Tensor) or hasattr(x, "__array__")) and len(x.shape) > 0


def numbers_of(data: Any, dtype: Dtype) -> Any:
    """Data as a tensor, or several as a tuple or dict of tensors.

    Args:
        data: Tensors, arrays, nested lists of numbers; several of them in a list, tuple or dict.
        dtype: What floats of arrays and lists become: the one that a net computes in.
    """
    if isinstance(data, Mapping):
        return {name: numbers_of(part, dtype) for name, part in data.items()}
    if are_several(data):
        return tuple(numbers_of(part, dtype) for part in data)
    tensor = as_tensor(data)
    foreign = not isinstance(data, Tensor) and kind(tensor.dtype) == "floating"
    return astype(tensor, dtype) if foreign else tensor


def specs_of(data: Any) -> Any:
    """What the tensors and arrays of an input are like, in the same nest."""
    return tree.tree_map(lambda x: TensorSpec(x.shape, x.dtype) if is_array(x) else x, data)


class NestDataset(TensorDataset):
    """A `TensorDataset` whose examples are nests: tuples and dicts.

    Args:
        nest: Tensors in any nest; row `k` of each is of example `k`.
    """

    def __init__(self, nest: Any) -> None:
        leaves, self.structure = tree.flatten(nest)
        super().__init__(*leaves)

    def __getitem__(self, index: Any) -> Any:
        return tree.unflatten(self.structure, super().__getitem__(index))

    def rows(self, indices: Any) -> Any:
        """Many examples at once."""
        if isinstance(indices, slice):
            return self[indices]
        return tree.unflatten(self.structure, super().rows(indices))


def arguments_of(function: Callable[..., Any], x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a net's function is called with for inputs `x`.

    Args:
        function: It; where it takes as many arguments, or arguments of these names, several inputs
            are its arguments. Otherwise they are one argument, as in Keras.
        x: An input; or several in a tuple, a list or a dict.
    """
    if isinstance(x, Mapping):
        return ((), dict(x)) if takes(function, **x) else ((x,), {})
    if isinstance(x, list | tuple) and takes(function, *x):
        return tuple(x), {}
    return (x,), {}


def takes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether a function can be called with these arguments."""
    try:
        declared: Signature = signature(function)
        declared.bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def size_of(batch: Any) -> Any:
    """How many examples a batch has: a symbol, where a step is recorded for batches of any size."""
    first = as_tensor(tree.flatten(batch)[0][0])
    return first.shape[0] if first.ndim else 1
