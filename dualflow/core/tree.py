"""Nested structures as flat lists of leaves and back: lists, tuples, dicts, named tuples."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import optree

NAMESPACE = "dualflow"
TreeSpec = optree.PyTreeSpec
TABLES, ROWS = frozenset((dict, OrderedDict, defaultdict)), frozenset((list, deque))
_registered: dict[type, Callable[[Any], Any]] = {}


class CircularError(RecursionError):
    """A tree has no end: a node is in itself, by way of others."""


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of `tree` from left to right, and its structure. None is a leaf.

    Args:
        tree: What to take apart.
        is_leaf: Is asked of every node whether to stop there.

    Raises:
        CircularError: A list, dict or other node is in itself.
    """
    try:
        leaves, spec = optree.tree_flatten(tree, is_leaf, none_is_leaf=True, namespace=NAMESPACE)
    except RecursionError as error:
        raise CircularError(*error.args) from None
    return leaves, spec


def is_leaf(x: Any) -> bool:
    """Whether trees end at `x`."""
    return optree.tree_is_leaf(x, none_is_leaf=True, namespace=NAMESPACE)


def unflatten(spec: TreeSpec, leaves: Any) -> Any:
    """The tree of structure `spec` with these leaves."""
    return optree.tree_unflatten(spec, leaves)


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`function` of corresponding leaves, in the structure of `tree`."""
    return optree.tree_map(function, tree, *rest, none_is_leaf=True, namespace=NAMESPACE)


class Orders(tuple[Any, ...]):
    """In which order the dicts of a tree have their keys, which its structure does not say."""


def orders(tree: Any) -> Orders:
    """The keys of each dict in `tree`, as they come; empty if there is none."""
    found: list[Any] = []
    _note_orders((tree,), found)
    return Orders(found)


def _note_orders(x: Any, found: list[Any]) -> None:
    kind = x.__class__
    if kind in TABLES:
        found.append((*x, *map(type, x)))  # True is 1
        children: Any = x.values()
    elif kind in _registered:
        children = _registered[kind](x)[0]
    else:
        children = x
    for child in children:
        kind = child.__class__
        if kind in ROWS or kind in TABLES or kind in _registered or issubclass(kind, tuple):
            _note_orders(child, found)


def leaf_paths(tree: Any) -> list[str]:
    """Where each leaf stands, as Python would write it: `[0]['w']`."""
    accessors = optree.tree_accessors(tree, none_is_leaf=True, namespace=NAMESPACE)
    return [accessor.codify("") for accessor in accessors]


def register(
    cls: type, flatten_function: Callable[[Any], Any], unflatten_function: Callable[[Any, Any], Any]
) -> None:
    """Makes instances of `cls` nodes of trees.

    Args:
        cls: The class.
        flatten_function: instance -> (children, hashable rest).
        unflatten_function: (rest, children) -> instance.

    Example:
        >>> import dualflow as df
        >>> class Pair:
        ...     def __init__(self, a, b):
        ...         self.a, self.b = a, b
        >>> df.tree.register(Pair, lambda p: ((p.a, p.b), None), lambda _, ab: Pair(*ab))
    """
    _registered[cls] = flatten_function
    optree.register_pytree_node(cls, flatten_function, unflatten_function, namespace=NAMESPACE)
