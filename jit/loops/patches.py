"""Maps on a GPU: neighbouring threads take a patch where one value lies along another loop.

A transpose reads columns. Threads that go along a row of the result would each fetch a piece of
memory of which they need one element; those of a patch use all of it between them.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit.dims import same
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import index
from jit.loops.nests import MapNest
from jit.loops.walk import Loop
from jit.types import product

DOWN, ACROSS = 8, 16  # threads of a patch: along the other loop, along the last one


class PatchNest(MapNest):
    """A group without folds; arguments as for `MapNest`."""

    def blocks(self, outer: Sequence[Loop], last: Loop, grain: int) -> None:
        """The last loop is long: an item is a block of it."""
        turned = self._turned(outer, last)
        if turned is None:
            return super().blocks(outer, last, grain)
        w = self.w
        others = [loop for loop in outer if loop is not turned]
        count = -(-last.extent // grain)
        patches = [-(-turned.extent // DOWN), -(-count // ACROSS)]
        counts = [*(loop.extent for loop in others), *patches, DOWN, ACROSS]
        self.grid = product(counts)
        *rest, down, across, i, j = decoded(w, self.item, counts)
        row = w.let("add", w.let("multiply", down, index(DOWN)), i)
        block = w.let("add", w.let("multiply", across, index(ACROSS)), j)
        inside = w.let(
            "logical_and",
            w.let("less", row, w.at(turned.extent)),
            w.let("less", block, w.at(count)),
        )
        with w.when(inside), self.at([*others, turned], [*rest, row]):
            self.block(block, last, grain)
        return None

    def _turned(self, outer: Sequence[Loop], last: Loop) -> Loop | None:
        """A loop along which a value lies that does not lie along the last one."""
        for access in [x for task in self.group.tasks for x in task.accesses()]:
            along = self.step_along(access, last)
            if along is not None and (same(along, 0) or same(along, 1)):
                continue
            for loop in outer:
                step = self.step_along(access, loop)
                if step is not None and same(step, 1) and extent_hint(loop.extent) >= DOWN:
                    return loop
        return None
