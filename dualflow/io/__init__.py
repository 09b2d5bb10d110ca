"""Files: weights in the usual formats, and whole runs that go on where they stopped.

No reader runs code that a file brings, writes outside its target, or takes much more memory than
the file's size: a damaged or hostile file ends in a `df.errors.FileError`.
"""

from __future__ import annotations

from dualflow.io.boards import EventWriter
from dualflow.io.checkpoints import Checkpoints
from dualflow.io.formats import load, save
from dualflow.io.keras_format import load_keras, set_keras_weights
from dualflow.io.numpy_format import load_npz, save_npz
from dualflow.io.safetensors_format import load_safetensors, save_safetensors
from dualflow.io.torch_format import load_torch

__all__ = [
    "Checkpoints",
    "EventWriter",
    "load",
    "load_keras",
    "load_npz",
    "load_safetensors",
    "load_torch",
    "save",
    "save_npz",
    "save_safetensors",
    "set_keras_weights",
]
