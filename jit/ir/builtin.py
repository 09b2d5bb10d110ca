"""The two ops that every graph may hold.

`constant` is a value known while the graph is built; `guard` is an answer that the rest relies on.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from jit.errors import GuardMiss, ShapeError
from jit.ir.op import JIT, OpDef
from jit.types import TensorType, format_shape


def _guard_infer(condition: TensorType, *, expected: bool | int) -> tuple[TensorType, ...]:
    if condition.shape:
        raise ShapeError(
            f"guard: a value of shape {format_shape(condition.shape)} has no single answer",
            "a scalar: shape ()",
            f"reduce it before comparing it with {expected}",
        )
    return ()


def _guard_evaluate(xp: ModuleType, condition: Any, *, expected: bool | int) -> tuple[Any, ...]:
    """Python's own conversion decides (`bool(x)`, `int(x)`), as it did when this was recorded."""
    actual = type(expected)(condition.item())
    if actual != expected:
        raise GuardMiss(-1, actual)
    return ()


constant = OpDef(
    name="constant",
    package=JIT,
    evaluate=lambda xp, *, value: xp.asarray(value),
    infer=lambda *, value: TensorType(value.shape, value.dtype),
    lower=lambda form, *, value: form.constant(value, value.dtype, value.shape),
)

guard = OpDef(
    name="guard",
    package=JIT,
    evaluate=_guard_evaluate,
    infer=_guard_infer,
    lower=lambda form, x, *, expected: form.extern(
        "guard", (x,), (), lambda condition: _guard_evaluate(np, condition, expected=expected)
    ),
    pure=False,
)

builtin_ops = {op.name: op for op in (constant, guard)}
