"""Weights of Keras: `.weights.h5` and `.keras` files, and its order and layouts of arrays."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.files import SLACK, FilePath, extra, members, reading
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.elementwise import astype
from dualflow.ops.shape import permute_dims
from jit.errors import ShapeError
from jit.types import dtypes, format_shape


def load_keras(path: FilePath) -> dict[str, Tensor]:
    """Reads the weights in a `.weights.h5` or `.keras` file; the package h5py does the reading.

    Args:
        path: The file.

    Returns:
        Names within the file, such as "layers/dense/vars/0", and Tensors in Keras's layouts.

    Raises:
        FileError: It is no whole file of this kind.
    """
    h5py = extra("h5py", "io")
    with reading(path, "Keras"):
        source: Any = path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                files = dict(members(path, "Keras", archive, None))
            source = io.BytesIO(files["model.weights.h5"])
        found: dict[str, Tensor] = {}
        left = 2 * os.path.getsize(path) + SLACK

        def visit(name: str, item: Any) -> None:
            nonlocal left
            if isinstance(item, h5py.Dataset) and item.dtype.name in dtypes:
                left -= item.nbytes
                if left < 0:
                    raise ValueError("its arrays are larger than the file")
                found[name] = Tensor(np.asarray(item[()]))

        with h5py.File(source, "r") as file:
            file.visititems(visit)
        return found


def set_keras_weights(module: Any, weights: Sequence[Any]) -> None:
    """Sets the weights of a module from those of a Keras model with the same layers in order.

    Kernels are turned from Keras's layout (inputs before outputs, channels last) into dualflow's.

    Args:
        module: A `nn.Module`.
        weights: What Keras's `model.get_weights()` gives.

    Raises:
        ShapeError: They are more or fewer than the module's, or a shape does not fit; nothing is
            changed.

    Example:
        >>> import dualflow as df
        >>> import numpy as np
        >>> layer = df.nn.Linear(2, 3)
        >>> df.io.set_keras_weights(layer, [np.ones((2, 3), "float32"), np.zeros(3, "float32")])
        >>> layer.weight.shape
        (3, 2)
    """
    places = list(variables_of(module))
    if len(places) != len(weights):
        raise ShapeError(
            f"set_keras_weights: {len(weights)} arrays for {len(places)} Variables",
            "as many as the module has, in the order of its layers",
            "compare with [v.shape for v in module.parameters()]",
        )
    writes = []
    for (variable, is_kernel), weight in zip(places, weights, strict=True):
        value = as_tensor(weight)
        if is_kernel and value.ndim == variable.ndim:
            value = permute_dims(value, (value.ndim - 1, value.ndim - 2, *range(value.ndim - 2)))
        if value.shape != variable.shape:
            raise ShapeError(
                f"set_keras_weights: {variable.label()} is {format_shape(variable.shape)}, "
                f"the array {format_shape(as_tensor(weight).shape)}",
                "the same layers in the same order",
            )
        writes.append((variable, astype(value, variable.dtype)))
    for variable, value in writes:
        variable.assign(value)


def variables_of(module: Any) -> Iterator[tuple[Variable, bool]]:
    """The Variables of each layer in Keras's order, and whether each is a kernel."""
    for layer in module.modules():
        turned = hasattr(layer, "in_features") or hasattr(layer, "kernel_size")
        for name, value in vars(layer).items():
            if isinstance(value, Variable) and name != "num_batches_tracked":
                yield value, turned and name == "weight"
