"""Collections of a graph: lists by name, of which those of its variables fill by themselves."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

import dualflow as df

_kept: WeakKeyDictionary[Any, dict[str, list[Any]]] = WeakKeyDictionary()


class GraphKeys:
    """Names of collections."""

    GLOBAL_VARIABLES = "variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    UPDATE_OPS = "update_ops"
    LOSSES = "losses"
    REGULARIZATION_LOSSES = "regularization_losses"
    SUMMARIES = "summaries"


def add_to_collection(name: str, value: Any) -> None:
    """Appends to a collection of the default graph."""
    _kept.setdefault(df.graph.get_default_graph(), {}).setdefault(name, []).append(value)


def get_collection(key: str, scope: str | None = None) -> list[Any]:
    """What a collection of the default graph holds.

    Args:
        key: Its name: one of `GraphKeys`, or any other.
        scope: A pattern that names begin with, of what has a name.
    """
    graph = df.graph.get_default_graph()
    found = list(_kept.get(graph, {}).get(key, ()))
    if key == GraphKeys.GLOBAL_VARIABLES:
        found = [*graph.variables, *found]
    elif key == GraphKeys.TRAINABLE_VARIABLES:
        found = [*[v for v in graph.variables if v.trainable], *found]
    if scope is None:
        return found
    return [x for x in found if re.match(scope, getattr(x, "name", None) or "")]
