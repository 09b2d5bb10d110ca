"""Folds across memory on a GPU: a thread takes a row, and its neighbours those that lie beside it.

Where lanes go along a row whose elements are far apart, each thread of a warp fetches a piece of
memory of which it needs one element. Here the lanes of a row are accumulators of one thread, and
neighbouring threads read neighbouring elements. The order of a fold is the canonical one all the
same. Long rows are cut into blocks before, so that there are enough threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jit.forms.across import lie_across
from jit.forms.expression import Domain
from jit.forms.fuse import Group
from jit.forms.order import BLOCK
from jit.forms.tasks import BlockTask
from jit.loops.elements import decoded
from jit.loops.folds import Folding, RowNest
from jit.loops.gpu_rows import GpuBlockNest, GpuRowNest
from jit.loops.ir import Buffer, Operand, index
from jit.loops.nests import Naive
from jit.loops.parts import BlockNest
from jit.types import product


class AcrossNest(RowNest):
    """Rows, of a thread each; arguments as for `RowNest`."""

    def room(self, task: Folding, size: int, name: str, scope: str = "") -> list[Buffer]:
        """Accumulators of one thread."""
        return super().room(task, size, name, scope or "register")

    @contextmanager
    def lanes_of(self, size: int) -> Iterator[Operand]:
        """Independent iterations 0 to size - 1, of one thread."""
        if size == 1:
            yield index(0)
            return
        with self.w.loop(index(0), index(size), hint=f"own{self.count()}") as t:
            yield t

    def _lane(self) -> str:
        return f"along{self.count()}"


class AcrossBlockNest(AcrossNest, BlockNest):
    """Blocks of long rows, of a thread each."""

    def build(self, name: str) -> Naive:
        """The kernel: rows that lie side by side follow each other."""
        w, order = self.w, self.group.order
        self.kept, self.inner = self.members(order.kept), self.members(order.inner)
        self.length = product([self.group.extents[k] for k in order.inner])
        self.inner_at = [self.domain.indices[k] for k in order.inner]
        count = -(-self.length // BLOCK)
        parts = [task for task in self.group.tasks if isinstance(task, BlockTask)]
        maps = [task for task in self.group.tasks if task not in parts]
        *outer, last = [loop.extent for loop in self.kept]
        self.grid = product([*outer, count, last])
        *row, number, beside = decoded(w, self.item, [*outer, count, last])
        at: Any = index(0)
        for value, extent in zip((*row, beside, number), (*outer, last, count), strict=True):
            at = w.let("add", w.let("multiply", at, w.at(extent)), value)
        with self.at(self.kept, [*row, beside]):
            self._part(parts, maps, number, at)
        return self.finish(name)


def gpu_kinds(group: Group) -> Sequence[type[RowNest]]:
    """The nests of blocks, and of whole rows, of a group."""
    domain, axes = Domain.of(group.extents), group.folded or frozenset()
    if lie_across(group.tasks, domain, axes):
        return AcrossBlockNest, AcrossNest
    return GpuBlockNest, GpuRowNest
