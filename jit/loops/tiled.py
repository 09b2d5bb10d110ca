"""Which nest computes a product on a processor, and the naive kernel that it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jit.forms.expression import Extractor
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.loops.gapped import GappedNest, gapped
from jit.loops.nests import Naive
from jit.loops.packed import PackedNest, packs
from jit.loops.pair_tiles import paired
from jit.loops.pairs import PairNest
from jit.loops.products import ProductNest
from jit.loops.remainder import RemainderNest, has_remainder
from jit.loops.streams import StreamNest, streams
from jit.loops.tiles import Tiling
from jit.loops.turned import TurnedNest, turned
from jit.loops.wide import WideNest, is_wide
from jit.target import Target

Given: TypeAlias = (
    "tuple[Group, set[FormValue], Extractor, Callable[[FormValue], FormValue], Target]"
)
# Nests for what they suit; of several the first.
KINDS = (
    (StreamNest, streams),
    (PackedNest, packs),
    (WideNest, is_wide),
    (RemainderNest, has_remainder),
)


def tiled(given: Given, label: str, tiling: Tiling | None = None) -> Naive:
    """The kernel of a product.

    Args:
        given: As `ProductNest` takes it.
        label: For people.
        tiling: How it is cut; by default as the cost model says.
    """
    target, nest = given[-1], ProductNest(*given, tiling)
    if (found := turned(nest.c, target)) is not None:
        return TurnedNest(*given).adopt(found, target).build(label)
    if (gaps := gapped(nest.c, target, nest.tiling)) is not None:
        return GappedNest(*given).adopt(gaps).build(label)
    if (pairs := paired(nest.c, target)) is not None:
        return PairNest(*given).adopt(pairs).build(label)
    for kind, suits in KINDS:
        if suits(nest):
            nest = kind(*given, tiling)
            break
    return nest.build(label)
