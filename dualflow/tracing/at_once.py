"""At once: calls like the last one, if nothing but tensors goes in and comes out.

A look at what is in force, the guards, and one foreign call that takes the arrays out of the
tensors, computes, and puts the results into new ones. It refuses, before it has done anything, all
that the path was not made for; the call is then served in the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from dualflow.core.context import context
from dualflow.core.tensor import Tensor
from dualflow.tracing import bulk, modes
from jit.config import scoped

if TYPE_CHECKING:
    from dualflow.tracing.entries import Entry
    from dualflow.tracing.path import Path

MOST = 32  # arguments, each of which is compared with all others
in_force = itemgetter("trace", "recording", "tapes", "autocast", "device")


def at_once(
    entry: Entry, path: Path, tensors: Sequence[Tensor]
) -> Callable[[tuple[Any, ...]], Any] | None:
    """What serves calls of a path, and gives None for those that it does not know.

    Args:
        entry: That of the path, which has a shortcut.
        path: What the shortcut has led to.
        tensors: The arguments of a call that took it.
    """
    shortcut, holders = entry.shortcut, path.holders
    if shortcut is None or not (shortcut.is_bare and path.is_plain) or context.tapes:
        return None
    arrays = [x.raw for x in (*tensors, *[holder.tensor for holder in holders])]
    if len(tensors) > MOST or any(x.__class__ is not ndarray for x in arrays):
        return None
    boxes, count = bulk.tensors(), len(tensors)
    if (within := path.executable.direct(arrays, within=(boxes, count))) is None:
        return None
    state, precision = in_force(context.__dict__), scoped.get().precision
    missed, build, info = path.check.missed, path.build, entry.info

    def serve(args: tuple[Any, ...]) -> Any:
        if in_force(context.__dict__) != state or scoped.get().precision != precision:
            return None
        if modes.mode() != "compiled" or entry.segments is not None or missed() >= 0:
            return None
        made = within(*args, *[x.tensor for x in holders]) if holders else within(*args)
        if made is None:
            return None
        path.hits += 1
        info.hits += 1
        return build(made)

    return serve
