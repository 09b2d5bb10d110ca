"""Chains on a GPU: the sums of a product in parts, which threads compute side by side.

An item is a tile of one chain, as `jit.forms.sums` cuts them: their totals are another kernel's.
"""

from __future__ import annotations

from jit.dims import Symbol
from jit.forms.expression import linear
from jit.forms.nodes import FormValue
from jit.forms.sums import chain_count
from jit.loops.gpu_products import GpuProductNest
from jit.loops.ir import Operand
from jit.loops.nests import Naive


class GpuChainsNest(GpuProductNest):
    """The kernel of the chains of a contraction."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        self.apart = [chain_count(self.c)]
        self.at = Symbol("chain", None, 0, self.apart[0] - 1).as_dim()
        return super().build(name)

    def _sums(self) -> None:
        acc = self._rooms()
        self._make_places()
        self._one_chain(acc, *self.number)
        with self.w.bound({"chain": self.number[0]}):
            self._epilogue_of(acc)

    def finish(self, total: Operand) -> dict[FormValue, Operand]:
        w, (value,) = self.w, self.group.tasks[0].outputs
        at = linear(value.shape, (self.at, *self.c.result.indices))
        w.store(w.buffer(value, "out"), w.at(at), total)
        return {value: total}
