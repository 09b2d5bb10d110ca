"""The walk back over a tape by native code: what a sweep would meet, quickly made a key."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.results import use_native_code
from dualflow.core.tensor import Tensor
from jit.config import scoped
from jit.runtime.cupy_abi import array_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jit.runtime.walks import Walk


def walked(targets: Sequence[Tensor], span: tuple[int, int]) -> Walk | None:
    """What lies behind tensors, of records between two ticks.

    Returns:
        None where native code cannot say it, as of tensors that are symbolic, and of records that
        were released; and where nothing is compiled.
    """
    if scoped.get().target != "cpu":
        return None
    walk = walker(array_class())
    if walk is None:
        return None
    found = walk(targets, *span)
    if found is not None and (apart := tensors_in(found)):
        for x in apart:
            x.raw  # noqa: B018 - it waits for somebody, and is a tensor like any other then
        found = walk(targets, *span)
    return None if found is None or tensors_in(found) else found


def tensors_in(walk: Walk) -> list[Tensor]:
    """The tensors that native code did not know for tensors, as they are of a class of their own.

    Such are those that a recording has put off, and those that a running call of another thread
    writes.
    """
    return [x for x in walk.others if x.__class__ is Tensor]


@cache
def walker(there: type[Any] | None) -> Callable[[Sequence[Any], int, int], Walk | None] | None:
    """What walks over tensors and records; `there` is the class of arrays on a GPU."""
    from jit.runtime.walks import Slots, walker  # loaded when a gradient is asked for

    use_native_code()
    return walker(
        boxes=Slots(Tensor, ("raw", "record")),
        records=Slots(Record, ("op", "inputs", "attrs", "tick", "types")),
        parts=Slots(Pick, ("bundle", "index")),
        ends=Slots(Leaf, ("rooted",)),
        there=there,
    )
