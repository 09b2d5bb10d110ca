"""How much of its buffers a kernel touches, as its loops tell: a gather reads few of many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jit.forms.placement import extent_hint
from jit.loops.affine import Forms
from jit.loops.ir import Buffer, For, If, Kernel, Load, Statement, Store


def touched(kernel: Kernel) -> Mapping[Buffer, float]:
    """How many elements of each parameter are read or written, at most; infinite: not known."""
    counting = _Counting(kernel)
    counting.block(kernel.body, extent_hint(kernel.grid) * kernel.threads)
    return counting.found


class _Counting:
    """One walk over a kernel.

    Attributes:
        found: Elements of each parameter so far.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.found: dict[Buffer, float] = dict.fromkeys(kernel.buffers, 0)
        self.forms = Forms(kernel)

    def block(self, body: Sequence[Statement], times: float) -> None:
        """A block that runs so many times."""
        for s in body:
            if isinstance(s, For):
                trip = self.forms.trip(s)
                self.block(s.body, math.inf if trip is None else times * trip)
            elif isinstance(s, If):
                self.block(s.body, times)
            elif isinstance(s, Load | Store) and s.buffer in self.found:
                lanes = s.var.type.lanes if isinstance(s, Load) else s.value.type.lanes
                self.found[s.buffer] += times * lanes
