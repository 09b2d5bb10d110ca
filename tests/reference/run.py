"""A case run by dualflow, in either mode, under the names that torch.npz uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import dualflow as df
from tests.reference.cases import Case

FILE = Path(__file__).parent / "torch.npz"
Arrays = dict[str, np.ndarray[Any, Any]]


@cache
def reference() -> dict[str, Arrays]:
    """The arrays of torch.npz by case, such as `Conv2d/0`."""
    found: dict[str, Arrays] = {}
    with np.load(FILE) as file:
        for key in file.files:
            name, _, rest = key.partition("/")
            number, _, array = rest.partition("/")
            found.setdefault(f"{name}/{number}" if number else name, {})[array] = file[key]
    return found


def tensors(nest: Any) -> Any:
    """NumPy arrays of a nest as tensors."""
    if isinstance(nest, np.ndarray):
        return df.asarray(nest)
    return tuple(map(tensors, nest)) if isinstance(nest, tuple) else nest


def leaves(nest: Any) -> list[df.Tensor]:
    """The tensors of a nest, in order."""
    if isinstance(nest, tuple | list):
        return [leaf for item in nest for leaf in leaves(item)]
    return [nest] if isinstance(nest, df.Tensor) else []


def floating(x: df.Tensor) -> bool:
    """Whether gradients by it are asked for."""
    return x.dtype.kind == "f"


def call(module: df.nn.Module, case: Case, inputs: Any) -> Any:
    """The results, in the way that the case says."""
    kwargs = {k: tensors(v) for k, v in case.call.items()}
    if case.how == "lengths":
        rnn = df.nn.utils.rnn
        *given, lengths = inputs
        y, state = module(rnn.pack_padded_sequence(given[0], lengths), *given[1:], **kwargs)
        return rnn.pad_packed_sequence(y)[0], state
    if case.how == "log_softmax":
        inputs = (df.nn.functional.log_softmax(inputs[0]), *inputs[1:])
    return module(*inputs, **kwargs)


def total(results: Any) -> df.Tensor:
    """One number that depends on every result, as make_torch takes it."""
    return sum(
        (y * df.asarray(np.cos(np.arange(y.size, dtype="float32"))).reshape(y.shape)).sum()
        for y in leaves(results)
        if floating(y)
    )


def step_of(module: df.nn.Module, case: Case, keys: list[str]) -> Any:
    """A function of the inputs that returns results, and the gradients of these keys."""
    own = {f"grad/{n}": p for n, p in module.named_parameters()}

    def step(inputs):
        known = {f"grad/in/{k}": x for k, x in enumerate(leaves(inputs))} | own
        watched = [known[key] for key in keys]
        with df.GradientTape() as tape:
            tape.watch(watched)
            results = call(module, case, inputs)
            loss = total(results)
        return leaves(results), tape.gradient(loss, watched)

    return step


def build(name: str, case: Case, state: Mapping[str, Any]) -> df.nn.Module:
    """The module with PyTorch's parameters and buffers."""
    module = getattr(df.nn, name)(*case.args, **case.kwargs)
    restore(module, case, state)
    return module.train(case.training)


def restore(module: df.nn.Module, case: Case, state: Mapping[str, Any]) -> None:
    """PyTorch's parameters and buffers, but for weights of classes that the case has given."""
    module.load_state_dict({k: x for k, x in state.items() if k not in case.kwargs}, strict=False)


def run(name: str, case: Case, expected: Arrays) -> Arrays:
    """Results, gradients and changed buffers of an eager call."""
    state = state_of(expected)
    return called(build(name, case, state), case, keys_of(expected))


def run_twice(name: str, case: Case, expected: Arrays) -> tuple[Arrays, Arrays]:
    """The same of a call that is recorded, hence eager, and of one from its graph.

    Raises:
        AssertionError: The second did not run from the graph.
    """
    state, keys = state_of(expected), keys_of(expected)
    module = build(name, case, state)
    step = df.function(step_of(module, case, keys))
    first = called(module, case, keys, step)
    restore(module, case, state)
    second = called(module, case, keys, step)
    assert step.from_graph == 1, step.explain()
    return first, second


def state_of(expected: Arrays) -> Arrays:
    """Parameters and buffers before the call."""
    return {k.removeprefix("state/"): x for k, x in expected.items() if k.startswith("state/")}


def keys_of(expected: Arrays) -> list[str]:
    """The gradients that PyTorch has."""
    return [key for key in expected if key.startswith("grad/")]


def called(module: df.nn.Module, case: Case, keys: list[str], step: Any = None) -> Arrays:
    """The arrays of one call."""
    results, grads = (step or step_of(module, case, keys))(tensors(case.inputs))
    found = {f"out/{k}": y.numpy() for k, y in enumerate(results)}
    found |= {k: g.numpy() for k, g in zip(keys, grads, strict=True)}
    return found | {f"after/{n}": b.numpy() for n, b in module.named_buffers()}


def distance(found: Any, expected: Any) -> float:
    """The largest difference, relative to the larger of 1 and the largest value expected."""
    found, expected = np.asarray(found, "float64"), np.asarray(expected, "float64")
    if found.size == 0 or np.array_equal(found, expected, equal_nan=True):
        return 0.0
    gap = np.where(found == expected, 0, np.abs(found - expected))
    finite = expected[np.isfinite(expected)]
    return float(gap.max() / max(1.0, np.abs(finite).max(initial=0.0)))
