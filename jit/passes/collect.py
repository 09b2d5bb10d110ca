"""Collecting: what a loop adds up row by row is stacked, and added once behind the loop.

The cotangents of `x[t]` are zero but for row `t` of `x`; their sum is a carry of the size of `x`,
of which each run changes one row and writes all. Where no element is in the rows of two runs, it
gets one number that is not one of the zeros around the rows:

    carry = first;  each run: carry = carry + pad(row, starts=(t, 0))
    carry = (first + laid_out(all rows)) + 0

The bits are the same. A number (infinity, NaN) stays as it is when 0.0 is added, so one rounding is
left of all those of an element, that of `first + row`; -0.0 becomes 0.0, wherever it stands in the
order, as there are other runs than that of the row: so does the last `+ 0`. Integers wrap around in
any order. A loop that may run only once is left alone: it adds no zeros to its row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, free_symbols, same, substitute
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER, copied, counter, laid_out, loop
from jit.ir.verify import same_type
from jit.passes.base import GraphPass, replaced
from jit.types import kind


@dataclass(frozen=True)
class Collect(GraphPass):
    """Takes sums of rows out of loops.

    Attributes:
        fits: Whether a graph can be the body of a loop.
    """

    fits: Callable[[Graph], bool] = lambda body: True

    name = "collect"

    def run(self, graph: Graph) -> Graph:
        """The graph with such rows stacked; itself where there are none."""
        found = {node: sums for node in graph.nodes if node.op is loop and (sums := sums_in(node))}
        bodies = {node: self._body(node, sums) for node, sums in found.items()}
        if not any(bodies.values()):
            return graph
        stacked = [(node, body) for node, body in bodies.items() if body is not None]
        return replaced(graph, {x: partial(append, x, found[x], body) for x, body in stacked})

    def _body(self, node: Node, sums: Sequence[Sum]) -> Graph | None:
        """The body that gives rows in the place of sums, if there is one that fits."""
        made = (body_with_rows(node.attrs["body"], sums, apart=apart) for apart in (False, True))
        return next((body for body in made if self.fits(body)), None)


class Sum(NamedTuple):
    """A carry to which each run adds a row of its own.

    Attributes:
        carry: Its number among the carries.
        output: Its number among the outputs.
        node: What adds.
        row: What is added, without the zeros.
        places: Where all rows lie: attrs of `laid_out`.
    """

    carry: int
    output: int
    node: Node
    row: Value
    places: dict[str, Any]


def sums_in(node: Node) -> list[Sum]:
    """The sums of rows in a loop that runs at least twice, as often as its attr says."""
    body, count, carried = node.attrs["body"], node.attrs["count"], node.attrs["carried"]
    if not isinstance(count, int) or count < 2 or node.attrs.get("going") is not None:
        return []
    read = Counter([*body.outputs, *[x for each in body.live_nodes() for x in each.inputs]])
    found = list[Sum]()
    for carry, output in enumerate(carried):
        before, after = body.inputs[carry], body.outputs[output]
        alone = read[before] == read[after] == carried.count(output) == 1
        if not alone or node.attrs["stacked"][output] or after.node is None:
            continue
        padded = added_to(before, after.node)
        places = None if padded is None else places_of(padded, count)
        if padded is not None and places is not None:
            found.append(Sum(carry, output, after.node, padded.inputs[0], places))
    return found


def added_to(x: Value, node: Node) -> Node | None:
    """The node that pads what another one adds to `x`, if all are of one type."""
    if not node.op.adds or x not in node.inputs:
        return None
    other = node.inputs[1 - node.inputs.index(x)]
    types = (x.type, node.outputs[0].type)
    if other.node is None or not other.node.op.pads:
        return None
    return other.node if all(same_type(other.type, type_) for type_ in types) else None


def places_of(padded: Node, count: int) -> dict[str, Any] | None:
    """Where the rows of all runs lie, if each lies beside all others, in zeros."""
    shape, starts, steps, value = (padded.attrs[x] for x in ("shape", "starts", "steps", "value"))
    if not isinstance(value, int | float) or value != 0 or math.copysign(1, value) < 0:
        return None  # what is added elsewhere is 0.0
    lines = [line_of(start, count) for start in starts]
    known = [line for line in lines if line is not None]
    axes = [k for k, (_, apart) in enumerate(known) if apart]
    if len(known) < len(lines) or len(axes) != 1 or min(steps) < 1:
        return None
    (axis,) = axes
    (first, apart), extent = known[axis], padded.inputs[0].type.shape[axis]
    if not isinstance(first, int) or not isinstance(extent, int):
        return None
    if not 0 <= (extent - 1) * steps[axis] < abs(apart):
        return None
    starts = tuple([start for start, _ in known])
    return {"shape": shape, "starts": starts, "steps": steps, "axis": axis, "apart": apart}


def line_of(x: Extent, count: int) -> tuple[Extent, int] | None:
    """What a number is in the first run, and how far it moves with each, always as far."""
    if not isinstance(x, Dim) or COUNTER not in map(str, free_symbols(x)):
        return x, 0
    first, second = (substitute(x, {COUNTER: at}) for at in (0, 1))
    apart = second - first
    if not isinstance(apart, int) or not same(first + apart * counter(count), x):
        return None
    return first, apart


def body_with_rows(body: Graph, sums: Sequence[Sum], *, apart: bool) -> Graph:
    """A body that gives the rows in the place of sums.

    Args:
        body: Stays as it is.
        sums: Of rows, in it.
        apart: Whether each row is copied to memory of its own, whatever it is.
    """
    wanted = list(body.outputs)
    for each in sums:
        wanted[each.output] = each.row
    numbers = [each.output for each in sums] if apart else ()
    return with_outputs(body, {each.carry for each in sums}, wanted, numbers)


def with_outputs(
    body: Graph, gone: Collection[int], wanted: Sequence[Value], apart: Iterable[int] = ()
) -> Graph:
    """A body with other outputs.

    Args:
        body: Stays as it is.
        gone: The numbers of carries that nothing needs any more.
        wanted: The outputs.
        apart: The numbers of those that are copied to memory of their own.
    """
    made, new_of = Graph(body.name), dict[Value, Value]()
    asked = Graph(body.name)
    asked.nodes, asked.outputs = body.nodes, list(wanted)
    for k, value in enumerate(body.inputs):
        if k not in gone:
            new_of[value] = made.input(value.type, value.name)
    for node in asked.live_nodes():
        made.append_copy(node, new_of)
    made.outputs = [new_of[value] for value in wanted]
    for number in apart:
        (made.outputs[number],) = made.add(copied, (made.outputs[number],), {})
    return made


def append(
    node: Node, sums: Sequence[Sum], body: Graph, new: Graph, new_of: dict[Value, Value]
) -> None:
    """Appends a loop that stacks rows, and behind it their sums."""
    gone, rows = {each.carry for each in sums}, {each.output for each in sums}
    given, stacked = [new_of[x] for x in node.inputs], node.attrs["stacked"]
    attrs = {
        **node.attrs,
        "carried": tuple([x for k, x in enumerate(node.attrs["carried"]) if k not in gone]),
        "stacked": tuple([flag or k in rows for k, flag in enumerate(stacked)]),
        "body": body,
    }
    inputs = [x for k, x in enumerate(given) if k not in gone]
    results = new.add(loop, inputs, attrs, None, node.source)
    new_of.update(zip(node.outputs, results, strict=True))
    for each in sums:
        source = each.node.source
        (whole,) = new.add(laid_out, (results[each.output],), each.places, None, source)
        first, was = given[each.carry], node.attrs["body"].inputs[each.carry]
        pair = [first if x is was else whole for x in each.node.inputs]
        (total,) = new.add(each.node.op, pair, each.node.attrs, (first.type,), source)
        if kind(first.type.dtype) in ("floating", "complex"):
            zero = new.constant(np.zeros((), first.type.dtype), source)
            (total,) = new.add(each.node.op, (total, zero), each.node.attrs, (first.type,), source)
        new_of[node.outputs[each.output]] = total
