"""Masks that a kernel's text tells, and the one lane that some have.

LLVM stores the one lane of such a mask as a scalar. Where the value was narrowed just before, it
takes the scalar from the wider value and writes all of its bytes, beside the element and beyond the
buffer: seen with LLVM 22 and AVX-512. A store of one lane is therefore written as one of a scalar.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.loops.ir import Let, Lit, Operand

FOLDED = {
    name: getattr(np, name)
    for name in (
        *"add subtract multiply minimum maximum less less_equal greater greater_equal".split(),
        *"equal not_equal logical_and logical_or logical_xor logical_not where".split(),
    )
}


class Masks:
    """What is known of vectors that are the same in every run."""

    def __init__(self) -> None:
        self._known: dict[Operand, Any] = {}

    def note(self, let: Let) -> None:
        """An instruction."""
        if let.op == "iota":
            self._known[let.var] = np.arange(let.var.type.lanes)
            return
        args = [self._value(x) for x in let.args]
        if let.op in FOLDED and args and all(x is not None for x in args):
            self._known[let.var] = FOLDED[let.op](*args)

    def _value(self, x: Operand) -> Any:
        return x.value if isinstance(x, Lit) else self._known.get(x)

    def lane(self, mask: Operand | None) -> int | None:
        """The one lane of a mask; None if it has more, or may have."""
        known = None if mask is None else self._value(mask)
        if known is None:
            return None
        lanes = np.flatnonzero(np.broadcast_to(known, mask.type.lanes))  # type: ignore[union-attr]
        return int(lanes[0]) if len(lanes) == 1 else None
