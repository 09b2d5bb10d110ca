"""Forms through all of `jit.compile`, and their kernels through the interpreter, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jit
from jit.dims import evaluate
from jit.forms.forms import FormBuilder
from jit.forms.reference import Reference
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.loops.interpret import interpret
from jit.native import NativeCode
from jit.runtime.program import Launch
from jit.types import TensorType

Array = np.ndarray[Any, Any]
Build = Callable[..., Any]


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def type_of(array: Array) -> TensorType:
    return TensorType(array.shape, array.dtype)


def graph_of(build: Build, types: Sequence[TensorType]) -> Graph:
    """A graph of one node: an op that lowers to what `build(form, *values)` makes."""

    def infer(*types: TensorType) -> tuple[TensorType, ...]:
        form = FormBuilder()
        return tuple([x.type for x in as_tuple(build(form, *map(form.source, types)))])

    def evaluate(xp: Any, *arrays: Array) -> Any:
        found = reference(build, arrays)
        return tuple(found) if len(found) > 1 else found[0]

    op = OpDef(name="whole", evaluate=evaluate, infer=infer, lower=build)
    graph = Graph("whole")
    inputs = [graph.input(type_, f"x{k}") for k, type_ in enumerate(types)]
    graph.outputs = list(graph.add(op, inputs, {}))
    return graph


def reference(build: Build, arrays: Sequence[Array]) -> list[Array]:
    """What the forms mean."""
    form = Reference()
    return [form.arrays[x] for x in as_tuple(build(form, *map(form.put, arrays)))]


def compiled(build: Build, types: Sequence[TensorType]) -> NativeCode:
    """The forms as machine code; no step of it is left to Python."""
    executable = jit.compile(graph_of(build, types))
    assert executable.mode == "compiled"
    code = executable.run
    assert isinstance(code, NativeCode)
    assert all(isinstance(step, Launch) for step in code.plan.program.steps)
    return code


def interpreted(code: NativeCode, arrays: Sequence[Array]) -> list[Array]:
    """What the naive kernels give, the last item first; shapes must be known."""
    plan = code.plan
    memory = [
        np.zeros(slot.type.size, slot.type.dtype) if slot.value is None else slot.value.reshape(-1)
        for slot in plan.program.slots
    ]
    for slot, array in zip(plan.program.inputs, arrays, strict=True):
        memory[slot] = np.ascontiguousarray(array).reshape(-1)
    for step in plan.program.steps:
        assert isinstance(step, Launch)
        assert isinstance(step.kernel.grid, int)
        items = reversed(range(step.kernel.grid))
        buffers, sizes = (
            [memory[slot] for slot in step.buffers],
            [evaluate(x, {}) for x in step.sizes],
        )
        assert interpret(step.kernel, buffers, sizes, items=items)
    return [
        memory[slot].reshape(plan.program.slots[slot].type.shape) for slot in plan.program.outputs
    ]


def bits(array: Array) -> tuple[Any, ...]:
    """What an array is, but for the sign and payload of NaN."""
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.dtype, array.shape, array.tobytes()
    nan = np.isnan(array.astype(np.float64))
    same = np.where(nan, np.array(np.nan, array.dtype), array)
    return array.dtype, array.shape, same.tobytes()


def numbers(dtype: np.dtype[Any], shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Random elements, a few special ones among them."""
    if dtype == np.bool_:
        return rng.random(shape) < 0.3
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    special = np.array([0.0, -0.0, np.inf, np.nan, 1e-5], dtype)
    plain = rng.normal(size=shape).astype(dtype)
    return np.where(rng.random(shape) < 0.05, rng.choice(special, shape), plain).astype(dtype)
