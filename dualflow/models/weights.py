"""Weights for ready nets: from a file that the user has, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.files import FilePath
from dualflow.io import load
from dualflow.nn.module import Module
from jit.types import int64

Net = TypeVar("Net", bound=Module)
COUNTER = "num_batches_tracked"


def filled(
    net: Net,
    weights: Any,
    source: str,
    rename: Callable[[str], str | None] = str,
    tied: Mapping[str, str] = MappingProxyType({}),
) -> Net:
    """A net with weights from a file or a dict; with its initial ones where `weights` is None.

    Args:
        net: The net.
        weights: The path of a file, or names and arrays; None leaves the net as it is.
        source: Where such files come from, for the error about one that is not there.
        rename: A name in the file -> the net's name; None passes it over.
        tied: Names that a file may leave out -> the names of the same weights.

    Raises:
        TypeError: `weights` is no path, such as True.
        FileNotFoundError: There is no such file.
        ShapeError: The names or shapes are others than the net's.
    """
    if weights is None:
        return net
    if not isinstance(weights, Mapping):
        weights = read(weights, source)
    found = {}
    for name, value in weights.items():
        new = rename(name)
        if new is not None:
            found[new] = value
    for name, same in tied.items():
        if same in found:
            found.setdefault(name, found[same])
    for name in net.state_dict():  # files of before 2018 have no counters
        if name.endswith(COUNTER):
            found.setdefault(name, as_tensor(np.zeros((), int64)))
    net.load_state_dict(found)
    return net


def read(path: FilePath, source: str) -> Mapping[str, Any]:
    """Names and tensors of a file."""
    none_here = f"dualflow ships no weights and downloads none: {source}"
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"weights={path!r} is no path of a file. {none_here}")
    try:
        found = load(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file. {none_here}") from None
    for key in ("state_dict", "model", "module"):  # a whole run's checkpoint
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    return found


TORCHVISION = (
    "torchvision's `{0}(weights=...)` keeps its file in ~/.cache/torch/hub/checkpoints, and "
    "torch.save(model.state_dict(), path) writes one"
)
HUGGING_FACE = (
    "a model's page on the Hugging Face hub has `model.safetensors`, which "
    "`huggingface_hub.hf_hub_download` fetches"
)
