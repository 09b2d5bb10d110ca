"""Example: the arguments of a call, for as long as somebody else holds them."""

from __future__ import annotations

import weakref
from typing import Any

from dualflow.core import tree
from dualflow.tracing.parts import VALUES
from dualflow.tracing.signature import Call


class Example:
    """The arguments of a recorded call; it keeps none of them alive.

    Args:
        call: The call.
    """

    def __init__(self, call: Call) -> None:
        leaves, self._spec = tree.flatten(call.given)
        self._leaves = list(map(reference, leaves))

    def given(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments by position and by keyword; None if some are gone."""
        leaves = [leaf() for leaf in self._leaves]
        if any(leaf is GONE for leaf in leaves):
            return None
        return tree.unflatten(self._spec, leaves)


GONE = object()


def reference(x: Any) -> Any:
    """What gives an object, or GONE, when it is called."""
    if isinstance(x, VALUES):
        return lambda: x
    try:
        found = weakref.ref(x)
    except TypeError:  # it might be large, so it is not kept
        return lambda: GONE
    return lambda: GONE if (held := found()) is None else held
