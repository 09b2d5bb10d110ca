"""Tensors in bulk: the arrays of a call are taken out of them, its results put into new ones."""

from __future__ import annotations

from functools import cache

from dualflow.core.tensor import Tensor
from jit.runtime.boxes import Boxes, boxes_of


@cache
def tensors() -> Boxes:
    """What does it in native code; `unmarked` opens those that have no record."""
    return boxes_of(Tensor, "raw", "record", ["symbol"])
