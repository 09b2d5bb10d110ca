"""`torch.save` and `torch.load`: nests of tensors, numbers and text; no code is loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import dualflow as df
from dualflow.core.files import FilePath


def save(obj: Any, f: FilePath) -> None:
    """Writes a state dict, or any nest of tensors, numbers and text, as a file of safetensors.

    Args:
        obj: What to save: no modules, but what their `state_dict()` gives.
        f: The path, whatever its ending.
    """
    nests().save_nest(f, obj)


def load(f: FilePath, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Reads what `save` wrote; or a file of PyTorch's own, or of any format of `df.io.load`.

    Args:
        f: The path.
        map_location: Has no effect: tensors come to the default device.
        weights_only: Nothing else is read in any case.
    """
    del map_location, weights_only
    try:
        return nests().load_nest(f)
    except df.errors.FileError:
        return df.io.load(f)


def nests() -> Any:
    """What writes and reads nests, loaded when it is asked for."""
    return import_module("dualflow.io.nests")
