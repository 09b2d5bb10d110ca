"""Convolution: what a library is told of one, with channels last.

images [N, H.., C]  *  filters [K, R.., C / groups]  gives  results [N, P.., K]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jit.dataclass import dataclass
from jit.dims import Extent, evaluate
from jit.types import product

FORWARD, IMAGES, FILTERS = "forward", "images", "filters"

Extents = tuple[Extent, ...]


@dataclass(frozen=True)
class Convolution:
    """What a library computes.

    Attributes:
        kind: "forward": the results; "images", "filters": what flows back to these.
        images: Their extents: batch, places, channels.
        filters: Likewise: channels of results, places, channels of images in a group.
        results: Likewise: batch, places, channels.
        stride: Steps between windows, for each dimension of places.
        dilation: Steps within a window.
        low: Zeros before the first place.
    """

    kind: str
    images: Extents
    filters: Extents
    results: Extents
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]

    @property
    def operands(self) -> tuple[Extents, Extents]:
        """The extents of what is read."""
        first = self.results if self.kind == IMAGES else self.images
        return first, self.results if self.kind == FILTERS else self.filters

    @property
    def made(self) -> Extents:
        """The extents of what is computed."""
        return {FORWARD: self.results, IMAGES: self.images, FILTERS: self.filters}[self.kind]

    @property
    def groups(self) -> Extent:
        """How many parts the channels have that do not meet."""
        return self.images[-1] // self.filters[-1]

    @property
    def multiplications(self) -> Extent:
        """How many there are."""
        return product(self.results) * product(self.filters[1:])

    @property
    def high(self) -> tuple[int, ...] | None:
        """Zeros behind the last place, of numbers; None where some places would be left out."""
        found = []
        sizes = zip(self.images[1:-1], self.filters[1:-1], self.results[1:-1], strict=True)
        for (n, r, p), s, d, low in zip(sizes, self.stride, self.dilation, self.low, strict=True):
            last = n + low - d * (r - 1) - 1  # where a window may begin without more zeros
            needed = (p - 1) * s - last
            if needed < 0 and last // s + 1 != p:
                return None
            found.append(max(0, needed))
        return tuple(found)

    def at(self, sizes: Mapping[str, int]) -> Convolution:
        """The same in numbers."""

        def known(extents: Extents) -> Extents:
            return tuple([int(evaluate(extent, sizes)) for extent in extents])

        given = known(self.images), known(self.filters), known(self.results)
        images, filters, results = given
        return replace(self, images=images, filters=filters, results=results)
