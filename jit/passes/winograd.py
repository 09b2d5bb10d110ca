"""Winograd: convolutions of 3 x 3 in fewer multiplications, where these are what takes the time.

    y = conv(x, w)   ->   u = tiled_filter(w)
                          p = tiled_image(x)
                          b = loop(p, u) {count, stacked}: tiled_products(p, u) {first=t * each}
                          y = untiled(b)

A turn of the loop is a block of rows of tiles, so that what it makes of images and what it adds up
stay in a cache. Larger tiles take fewer multiplications; but the form of filters, which is made
anew in each call, is larger, and more is computed beyond the edges of small images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from jit.dataclass import dataclass
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import counter, loop
from jit.ir.winograd import (
    TAPS,
    counts,
    tiled_filter,
    tiled_image,
    tiled_products,
    untiled,
)
from jit.passes.base import GraphPass, replaced
from jit.types import float32, product

TILES = (2, 4)  # results of a tile, along each axis
SIZE = float32.itemsize
LANES = 16  # numbers of a vector
TOGETHER = 4  # vectors of tiles of a block, at least: so many multiply-adds use a filter's number
NEAR = 1 << 24  # bytes that a cache holds
BYTE = 5.0  # multiply-adds in the time in which memory gives a byte, or takes it
NEAR_BYTE = 2.5  # likewise, of a cache
PRODUCTS = 1.2  # how much longer multiply-adds of short sums take
LEAST = 1 << 22  # multiply-adds of a convolution that launches are worth


@dataclass(frozen=True)
class Plan:
    """How a convolution is computed in tiles.

    Attributes:
        tile: Results of a tile, along each axis.
        rows: Rows of tiles of an image.
        each: Rows of tiles of a block.
        blocks: How many blocks there are.
        cost: In multiply-adds, roughly.
    """

    tile: int
    rows: int
    each: int
    blocks: int
    cost: float


@dataclass(frozen=True)
class Winograd(GraphPass):
    """Computes convolutions in tiles where that is faster, for a processor."""

    name = "winograd"

    def run(self, graph: Graph) -> Graph:
        """The graph with such convolutions; itself where there are none."""
        found = {node: plan for node in graph.nodes if (plan := plan_of(node)) is not None}
        if not found:
            return graph
        return replaced(graph, {node: partial(append, node, plan) for node, plan in found.items()})


def plan_of(node: Node) -> Plan | None:
    """How a node is computed in tiles, if that is faster than as it is."""
    if not node.op.convolves or any(
        x.type.dtype != float32 or x.type.ndim != 4 for x in node.inputs
    ):
        return None
    (x, w), (y,), attrs = node.inputs, node.outputs, node.attrs
    steps = [*attrs["stride"], *attrs["lhs_dilation"], *attrs["rhs_dilation"], attrs["groups"]]
    sizes = [*x.type.shape, *w.type.shape, *y.type.shape]
    known = all(isinstance(n, int) and n > 0 for n in sizes)
    if not known or any(step != 1 for step in steps) or w.type.shape[2:] != (TAPS, TAPS):
        return None
    directly = y.type.size * w.type.shape[1] * TAPS**2
    best = min(plans(node), key=lambda plan: plan.cost)
    return best if directly > max(LEAST, best.cost) else None


def plans(node: Node) -> Iterator[Plan]:
    """The ways to compute a convolution in tiles."""
    x, w = (value.type.shape for value in node.inputs)
    for tile in TILES:
        (_, rows), (_, columns) = counts(x, tile, node.attrs["padding"])
        total = x[0] * rows
        least = min(total, -(-TOGETHER * LANES // columns))
        # Blocks of equal size, and as many of them: others have less to do in the last one.
        for blocks in range(1, total // least + 1):
            each = -(-total // blocks)
            if -(-total // each) == blocks:
                cost = cost_of(x, w, tile, blocks, each * columns)
                yield Plan(tile, rows, each, blocks, cost)


def cost_of(x: Sequence[Any], w: Sequence[Any], tile: int, blocks: int, tiles: int) -> float:
    """What a convolution costs in so many blocks of so many tiles, in multiply-adds."""
    places, filters, channels = (tile + TAPS - 1) ** 2, w[0] * w[1], w[0] + w[1]
    vectors = -(-tiles // LANES) * LANES
    products = PRODUCTS * places * vectors * filters
    block, form = SIZE * places * tiles * channels, SIZE * places * filters
    moved = sum(size * (NEAR_BYTE if size <= NEAR else BYTE) for size in (2 * block, form))
    ends = product(x) * 3 + blocks * tiles * tile**2 * w[0] + filters * TAPS**2
    return blocks * (products + moved) + BYTE * (SIZE * ends + 2 * form)


def append(node: Node, plan: Plan, new: Graph, new_of: dict[Value, Value]) -> None:
    """Appends what a convolution is in tiles."""
    x, w = (new_of[value] for value in node.inputs)
    tile, each, shape = plan.tile, plan.each, node.outputs[0].type.shape
    images = -(-plan.blocks * each // plan.rows)
    (u,) = new.add(tiled_filter, (w,), {"tile": tile}, None, node.source)
    attrs = {"tile": tile, "padding": node.attrs["padding"], "images": images}
    (p,) = new.add(tiled_image, (x,), attrs, None, node.source)
    body = Graph(node.op.name)
    given = [body.input(value.type, name) for value, name in ((p, "x"), (u, "u"))]
    attrs = {"tile": tile, "first": counter(plan.blocks) * each, "each": each}
    body.outputs = [*body.add(tiled_products, given, attrs, None, node.source)]
    attrs = {"count": plan.blocks, "carried": (), "stacked": (True,), "body": body}
    (b,) = new.add(loop, (p, u), attrs, None, node.source)
    attrs = {"shape": shape, "rows": plan.rows * tile}
    (new_of[node.outputs[0]],) = new.add(untiled, (b,), attrs, None, node.source)
