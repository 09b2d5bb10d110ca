"""The walk back over a tape by native code: what a sweep would meet, quickly made a key."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.results import use_native_code
from dualflow.core.tensor import Tensor
from jit.config import scoped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jit.runtime.walks import Walk


def walked(targets: Sequence[Tensor], span: tuple[int, int]) -> Walk | None:
    """What lies behind tensors, of records between two ticks.

    Returns:
        None where native code cannot say it, as of tensors that are symbolic or on other devices,
        and of records that were released; and where nothing is compiled.
    """
    if scoped.get().target != "cpu":
        return None
    walk = walker()
    return None if walk is None else walk(targets, *span)


@cache
def walker() -> Callable[[Sequence[Any], int, int], Walk | None] | None:
    """What walks over tensors and records."""
    from jit.runtime.walks import Slots, walker  # loaded when a gradient is asked for

    use_native_code()
    return walker(
        boxes=Slots(Tensor, ("raw", "record")),
        records=Slots(Record, ("op", "inputs", "attrs", "tick", "types")),
        parts=Slots(Pick, ("bundle", "index")),
        ends=Slots(Leaf, ("rooted",)),
    )
