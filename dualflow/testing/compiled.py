"""Public functions that run from graphs: what `compiled_namespace` is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from inspect import isfunction
from types import ModuleType
from typing import Any

import dualflow as df
from dualflow.core import tree
from dualflow.core.registry import functions

KEPT = 4096  # graphs that are remembered
known: OrderedDict[Hashable, Any] = OrderedDict()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, run from a graph of its own for each kind of arguments.

    A call that records is made again: what the graph gives counts.

    Raises:
        AssertionError: The second call did not come from the graph either.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        graph = graph_of(function, key_of(function, args, kwargs))
        for _ in range(2):
            before = graph.from_graph
            result = graph(*args, **kwargs)
            if graph.from_graph > before:
                return result
        raise AssertionError(f"{function.__name__} did not run from its graph")

    return call


def key_of(function: Callable[..., Any], args: Any, kwargs: Any) -> Hashable | None:
    """What calls have in common that the same graph serves; None where that is unknown."""
    leaves, spec = tree.flatten((args, kwargs))
    words = tuple(
        (x.dtype, x.shape) if isinstance(x, df.Tensor) else (type(x), repr(x)) for x in leaves
    )
    plain = all(isinstance(x, df.Tensor | bool | int | float | complex | str) for x in leaves)
    return (function, spec, words) if plain else None


def graph_of(function: Callable[..., Any], key: Hashable | None) -> Any:
    """The decorated function for calls of a kind; the oldest one is forgotten."""
    graph = known.get(key) or df.function(strict=True)(function)
    if key is not None:
        known[key] = graph
        if len(known) > KEPT:
            known.popitem(last=False)
    return graph


def offered(place: Any) -> dict[str, Any]:
    """What a module offers, ops compiled; of modules only those of the array API."""
    found = {name: getattr(place, name) for name in place.__all__}
    return {
        name: compiled(x) if isfunction(x) and functions.get(x.__name__) is x else x
        for name, x in found.items()
        if not isinstance(x, ModuleType)
    }


def submodule(name: str) -> ModuleType:
    """`df.linalg` or `df.fft`, compiled."""
    module = ModuleType(f"dualflow.testing.compiled_namespace.{name}", getattr(df, name).__doc__)
    module.__dict__.update(offered(getattr(df, name)))
    return module
