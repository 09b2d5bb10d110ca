"""Nests of plain values and arrays, in one file: text for the nest, safetensors for the arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.files import FilePath, reading
from dualflow.core.tensor import Tensor
from dualflow.io.safetensors_format import load_safetensors, save_safetensors

NEST = "nest"  # the entry of the metadata that holds the text
DEEPEST = 100
ARRAY, TUPLE, KEYS = "array", "tuple", "dict"  # what JSON lacks, each in an object of one such key
PLAIN = (str, int, float, bool, type(None))


def save_nest(path: FilePath, nest: Any) -> None:
    """Writes lists, tuples, dicts, numbers, text, Tensors and NumPy arrays, at once.

    Args:
        path: The file.
        nest: What to save.

    Raises:
        TypeError: Something that is none of these.
    """
    arrays: dict[str, Any] = {}

    def told(value: Any, place: str) -> Any:
        if isinstance(value, Tensor | np.ndarray | np.generic):
            arrays[place] = value
            return {ARRAY: place}
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, list):
            return [told(item, f"{place}/{k}") for k, item in enumerate(value)]
        if isinstance(value, tuple):
            return {TUPLE: [told(item, f"{place}/{k}") for k, item in enumerate(value)]}
        if isinstance(value, dict):
            return {KEYS: [[told(k, ""), told(x, f"{place}/{k}")] for k, x in value.items()]}
        raise TypeError(
            f"{place or 'the state'}: a {type(value).__name__} cannot be saved; "
            "numbers, text, tensors, and lists and dicts of them can"
        )

    text = json.dumps(told(nest, ""))
    save_safetensors(path, arrays, {NEST: text})


def load_nest(path: FilePath) -> Any:
    """Reads what `save_nest` wrote; arrays are Tensors.

    Args:
        path: The file.

    Raises:
        FileError: It is no whole file of this kind.
    """
    tensors = load_safetensors(path)
    with reading(path, "checkpoint"):
        return remade(json.loads(metadata(path)[NEST]), tensors, 0)


def metadata(path: FilePath) -> dict[str, str]:
    """The text in the head of a safetensors file that was read well."""
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]


def remade(told: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    """The nest that a text tells."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(told, list):
        return [remade(item, tensors, depth + 1) for item in told]
    if not isinstance(told, dict):
        return told
    ((kind, content),) = told.items()
    if kind == ARRAY:
        return as_tensor(tensors[content])
    items = remade(content, tensors, depth + 1)
    return {TUPLE: tuple, KEYS: dict}[kind](items)
