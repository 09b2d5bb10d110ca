"""Ranks: scatters that put each update where the marks before it say how many there are.

    rank = scan("sum", astype(marks), exclusive);  scatter("set", into, y, rank[i], dropped)

The last update of a rank stays: so the marked ones are brought together, in their order. Ranks
never fall, so blocks of the updates write to ranges of the result that follow each other: where
each begins the marks of the blocks before say. So no rank need lie in memory, and blocks are
shared out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jit.dataclass import dataclass
from jit.dims import Extent, decide, same
from jit.forms import nodes
from jit.forms.combine import combiners
from jit.forms.index import Load, loop
from jit.forms.nodes import Form, FormValue
from jit.forms.scalar import scalars
from jit.types import int64, kind

BLOCK = 4096  # updates that are done one after the other


@dataclass(frozen=True)
class Ranks:
    """The ranks that a scatter writes to.

    Attributes:
        scan: What sums up the marks.
        marks: What is summed up, 0 or 1 each.
        extent: How many there are.
        block: How many of them make up a block.
    """

    scan: nodes.Scan
    marks: FormValue
    extent: Extent
    block: int

    @property
    def blocks(self) -> Extent:
        """How many blocks there are."""
        return -(-self.extent // self.block)


def ranks_of(form: Form) -> Ranks | None:
    """The ranks that a form writes to; None if it is no such scatter."""
    if not isinstance(form, nodes.Scatter) or form.combine != "set" or not form.dropped:
        return None
    into, y, *tables = form.inputs
    if form.map.where or into.ndim != 1 or y.ndim != 1 or len(tables) != 1:
        return None
    (rank,), (extent,) = tables, y.shape
    if decide(0, "<", extent) is not True:  # without a block nobody would say what is there
        return None
    scan = rank.form
    if not isinstance(scan, nodes.Scan) or not same(rank.shape[0], extent):
        return None
    if not same(form.map.at[0], Load(rank, (loop(0, extent),)).as_dim()):
        return None
    if scan.combiner is not combiners["sum"] or scan.reverse or not scan.exclusive:
        return None
    marks = scan.inputs[0]
    return Ranks(scan, marks, extent, BLOCK) if holds(rank) and is_mark(marks.form) else None


def is_mark(form: Form) -> bool:
    """Whether a form gives 0 or 1."""
    if not isinstance(form, nodes.Pointwise) or form.scalar is not scalars["astype"]:
        return False
    return kind(form.inputs[0].dtype) == "bool"


def holds(rank: FormValue) -> bool:
    """Whether the dtype of a count of everything is wide enough for it."""
    (extent,) = rank.shape
    known = isinstance(extent, int) and extent < 2**31
    return rank.dtype == int64 or (known and rank.dtype.kind == "i" and rank.dtype.itemsize == 4)


def ranked(
    live: Collection[Form],
    readers: Mapping[FormValue, Collection[Form]],
    outputs: Collection[FormValue],
) -> dict[Form, Ranks]:
    """The scatters to ranks that nobody else reads.

    Args:
        live: Forms, in order.
        readers: Who reads each value.
        outputs: What the caller gets.
    """
    found: dict[Form, Ranks] = {}
    for form in live:
        ranks = ranks_of(form)
        if ranks is not None:
            (rank,) = ranks.scan.outputs
            if rank not in outputs and readers[rank] == {form}:
                found[form] = ranks
    return found
