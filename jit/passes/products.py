"""Products: what a loop adds up as products of matrices is one product of all runs behind the loop.

What a matrix that each run multiplies by owes to all of them is such a sum:

    carry = first;  each run: carry = carry + a @ b
    carry = first + a0 @ b0 + a1 @ b1 + ...

The factors of all runs are stacked where they are not rows of something anyway, and `row_products`
adds their products in the order of the runs: the bits are the same. It reads and writes the sum
once, where each run read and wrote all of it. `first` is nothing, zeros, or the product of a run
that stands before the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jit.dataclass import dataclass
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import ahead, loop, row, row_products
from jit.ir.verify import same_type
from jit.passes.base import GraphPass, replaced
from jit.passes.collect import line_of, with_outputs
from jit.passes.stretches import is_constant
from jit.types import product

FLOATS = ("float32", "float64")  # whose sums are of their own dtype


@dataclass(frozen=True)
class Products(GraphPass):
    """Takes sums of products out of loops.

    Attributes:
        fits: Whether a graph can be the body of a loop.
        is_chain: Whether each sum of a product is one chain: of its sizes (rows, columns, inner
            indices) and the name of its dtype.
    """

    fits: Callable[[Graph], bool] = lambda body: True
    is_chain: Callable[[Sequence[int], str], bool] = lambda sizes, dtype: True

    name = "products"

    def run(self, graph: Graph) -> Graph:
        """The graph with such products behind loops; itself where there are none."""
        found = dict[Node, Leaving]()
        for node in graph.nodes:
            if node.op is loop and (sums := [*self._sums(node)]):
                leaving = Leaving(node, sums)
                if (body := next(filter(self.fits, leaving.bodies()), None)) is not None:
                    leaving.body, found[node] = body, leaving
        if not found:
            return graph
        return replaced(graph, {node: leaving.append for node, leaving in found.items()})

    def _sums(self, node: Node) -> Iterator[Sum]:
        """The sums of products in a loop that runs at least twice, as often as its attr says."""
        body, count, carried = node.attrs["body"], node.attrs["count"], node.attrs["carried"]
        if not isinstance(count, int) or count < 2 or node.attrs.get("going") is not None:
            return
        read = Counter([*body.outputs, *[x for each in body.live_nodes() for x in each.inputs]])
        for carry, output in enumerate(carried):
            before, after = body.inputs[carry], body.outputs[output]
            alone = read[before] == read[after] == carried.count(output) == 1
            if not alone or node.attrs["stacked"][output] or after.node is None:
                continue
            term = term_of(added_to(before, after.node), read)
            if term is None or not self._is_chain(term.node):
                continue
            factors = [factor_of(x, node) for x in term.node.inputs]
            first = first_of(node.inputs[carry], node, term, factors)
            if first is not None and pays(node, factors, before):
                yield Sum(carry, output, term, factors, first)

    def _is_chain(self, node: Node) -> bool:
        (rows, inner), (_, columns) = [x.type.shape for x in node.inputs]
        sizes, dtype = (rows, columns, inner), node.outputs[0].type.dtype.name
        known = all(isinstance(size, int) and size > 0 for size in sizes)
        return known and dtype in FLOATS and self.is_chain(sizes, dtype)  # type: ignore[arg-type]


class Term(NamedTuple):
    """A product of matrices, and how its dimensions are moved.

    Attributes:
        node: What multiplies.
        moves: What moves the dimensions, the last one first.
    """

    node: Node
    moves: list[Node]


class Factor(NamedTuple):
    """What is multiplied.

    Attributes:
        value: In the body; its dimensions are swapped if it is `turned`.
        rows: What it is a row of, where the loop is given that: the number of the input, the first
            row, and how far each is from the one before.
    """

    value: Value
    turned: bool
    rows: tuple[int, int, int] | None


class Sum(NamedTuple):
    """A carry to which each run adds a product.

    Attributes:
        carry: Its number among the carries.
        output: Its number among the outputs.
        term: The product.
        factors: Both of its factors.
        first: Those of the product that the carry is at first; none if it is zeros.
    """

    carry: int
    output: int
    term: Term
    factors: list[Factor]
    first: list[Value]


def added_to(x: Value, node: Node) -> Value | None:
    """What a node adds to `x`, if all are of one type."""
    if not node.op.adds or x not in node.inputs:
        return None
    other = node.inputs[1 - node.inputs.index(x)]
    same = same_type(x.type, node.outputs[0].type) and same_type(other.type, x.type)
    return other if same else None


def term_of(x: Value | None, read: Counter[Value] | None = None) -> Term | None:
    """The product of two matrices that a value is, read by nobody else where `read` tells."""
    moves = list[Node]()
    while x is not None and x.node is not None and (read is None or read[x] == 1):
        if x.node.op.multiplies and all(y.type.ndim == 2 for y in x.node.inputs):
            return Term(x.node, moves)
        if not x.node.op.permutes:
            return None
        moves.append(x.node)
        (x,) = x.node.inputs
    return None


def upright(x: Value) -> tuple[Value, bool]:
    """A matrix without what swaps its dimensions, and whether that swaps them."""
    turned = False
    while x.node is not None and x.node.op.permutes:
        turned ^= tuple(x.node.attrs["axes"]) == (1, 0)
        (x,) = x.node.inputs
    return x, turned


def factor_of(x: Value, node: Node) -> Factor:
    """A factor in the body of a loop."""
    value, turned = upright(x)
    return Factor(value, turned, rows_of(value, node))


def rows_of(value: Value, node: Node) -> tuple[int, int, int] | None:
    """Where a row lies in what the loop is given."""
    body, handed = node.attrs["body"], len(node.attrs["carried"])
    if value.node is None or value.node.op is not row:
        return None
    (of,) = value.node.inputs
    line = line_of(value.node.attrs["at"], node.attrs["count"])
    if of not in body.inputs[handed:] or line is None or not isinstance(line[0], int):
        return None
    return body.inputs.index(of), line[0], line[1]


def first_of(first: Value, node: Node, term: Term, factors: Sequence[Factor]) -> list[Value] | None:
    """The factors of a product that stands before those of the runs; None if it is no such."""
    if is_constant(first) and first.node is not None:
        return None if np.any(first.node.attrs["value"]) else []
    alike = term_of(first)
    if alike is None or not same_op(alike.node, term.node):
        return None
    if len(alike.moves) != len(term.moves) or not all(map(same_op, alike.moves, term.moves)):
        return None
    found = list[Value]()
    for x, factor in zip(alike.node.inputs, factors, strict=True):
        value, turned = upright(x)
        if turned != factor.turned or not same_type(value.type, factor.value.type):
            return None
        if factor.rows is not None:
            number, start, step = factor.rows
            made = value.node
            if made is None or made.op is not row or made.inputs[0] is not node.inputs[number]:
                return None
            if made.attrs["at"] != start - step:
                return None
        found.append(value)
    return found


def same_op(a: Node, b: Node) -> bool:
    """Whether two nodes do the same with their inputs."""
    return a.op is b.op and a.attrs == b.attrs


def pays(node: Node, factors: Sequence[Factor], carry: Value) -> bool:
    """Whether what is to be stacked of each run is less than the carry that it writes."""
    new = {x.value for x in factors if x.rows is None}
    if any(x.node is None for x in new):  # what came in, not what a run makes
        return False
    size = sum(product(x.type.shape) for x in new if stacked_as(node, x) is None)
    return isinstance(size, int) and size < product(carry.type.shape)  # type: ignore[operator]


def stacked_as(node: Node, value: Value) -> int | None:
    """The number of the output that stacks a value, or what has its elements in another shape."""
    for number, x in enumerate(node.attrs["body"].outputs):
        alike = x is value or (
            x.node is not None and x.node.op.reshapes and x.node.inputs[0] is value
        )
        if alike and node.attrs["stacked"][number]:
            return number
    return None


class Leaving:
    """A loop whose sums of products leave it.

    Attributes:
        body: What is left of its body.
    """

    body: Graph

    def __init__(self, node: Node, sums: Sequence[Sum]) -> None:
        self.node, self.sums = node, sums
        outputs = node.attrs["body"].outputs
        gone = {each.output for each in sums}
        self._kept = [k for k in range(len(outputs)) if k not in gone]
        values = dict.fromkeys([x.value for s in sums for x in s.factors if x.rows is None])
        self._added = [x for x in values if stacked_as(node, x) is None]

    def bodies(self) -> Iterator[Graph]:
        """Bodies that give what is to be stacked: as it is, or copied."""
        body, carries = self.node.attrs["body"], {each.carry for each in self.sums}
        wanted = [*[body.outputs[k] for k in self._kept], *self._added]
        yield with_outputs(body, carries, wanted)
        yield with_outputs(body, carries, wanted, range(len(self._kept), len(wanted)))

    def append(self, new: Graph, new_of: dict[Value, Value]) -> None:
        """Appends the loop without sums, and behind it the products."""
        node, body = self.node, self.node.attrs["body"]
        gone = {each.carry for each in self.sums}
        number_of = {k: number for number, k in enumerate(self._kept)}
        carried = [k for at, k in enumerate(node.attrs["carried"]) if at not in gone]
        flags = [node.attrs["stacked"][k] for k in self._kept]
        attrs = {
            **node.attrs,
            "carried": tuple([number_of[k] for k in carried]),
            "stacked": (*flags, *[True] * len(self._added)),
            "body": self.body,
        }
        inputs = [new_of[x] for k, x in enumerate(node.inputs) if k not in gone]
        results = new.add(loop, inputs, attrs, None, node.source)
        for k, number in number_of.items():
            new_of[node.outputs[k]] = results[number]
        stacks = dict(zip(self._added, results[len(self._kept) :], strict=True))
        for each in self.sums:
            for x in each.factors:
                number = None if x.rows is not None else stacked_as(node, x.value)
                if number is not None and x.value not in stacks:
                    whole, made = results[number_of[number]], body.outputs[number]
                    stacks[x.value] = self._as(whole, made, x.value, new)
            new_of[node.outputs[each.output]] = self._product(each, stacks, new, new_of)

    def _as(self, whole: Value, made: Value, value: Value, new: Graph) -> Value:
        """What is stacked, each row in the shape of a value."""
        if made is value:
            return whole
        assert made.node is not None
        shape = (self.node.attrs["count"], *value.type.shape)
        types = (whole.type.with_shape(shape),)
        return new.add(made.node.op, (whole,), {"shape": shape}, types, made.node.source)[0]

    def _product(
        self, each: Sum, stacks: dict[Value, Value], new: Graph, new_of: dict[Value, Value]
    ) -> Value:
        """The sum of the products of all runs, and of that which stands before."""
        source, more = each.term.node.source, bool(each.first)
        inputs, places = list[Value](), list[Any]()
        for k, x in enumerate(each.factors):
            if x.rows is not None:
                number, start, step = x.rows
                inputs.append(new_of[self.node.inputs[number]])
                places.append((start - step * more, step, x.turned))
                continue
            whole = stacks[x.value]
            if more:
                (whole,) = new.add(ahead, (new_of[each.first[k]], whole), {}, None, source)
            inputs.append(whole)
            places.append((0, 1, x.turned))
        attrs = {"count": self.node.attrs["count"] + more, "places": tuple(places)}
        (made,) = new.add(row_products, inputs, attrs, None, source)
        for move in reversed(each.term.moves):
            (made,) = new.add(move.op, (made,), move.attrs, None, move.source)
        return made
