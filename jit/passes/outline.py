"""Outlining: parts of a large program that come again become calls of one body.

Recursion over data leaves programs in which a few parts come again and again, in an order that no
loop has. A part ends before a product that reads memory anyway, so little is fused across its ends.
What is found out about a body (its passes, forms, launches) holds for all its calls, and for those
in the next program that holds it.

Views, and what costs nothing else, belong to every part that reads them: no memory holds them. So
do sums with a bias, casts to wider dtypes and the like, of as few bytes, if what reads them takes
element by element: parts hand on what these are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from itertools import count
from typing import Any, NamedTuple

from jit.dataclass import dataclass
from jit.dims import Dim
from jit.ir.call import Body, call
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import is_graph
from jit.passes.base import GraphPass
from jit.passes.cleanup import attr_key

LARGE = 512  # nodes of programs that are worth it
FEWEST = 12  # nodes of a part
DEEPEST = 4  # light nodes, one after the other, that each part computes
KEPT = 512  # bodies that are remembered
KINDS = 8192  # and kinds of nodes


class Kind(NamedTuple):
    """What is asked of nodes that differ in their inputs only.

    Attributes:
        number: Its own.
        begins: Whether a part may begin here.
        costs: Whether computing it again costs something.
        maps: Whether it takes its inputs element by element.
        light: Whether it is as cheap to compute an element as to read it.
    """

    number: int
    begins: bool
    costs: bool
    maps: bool
    light: bool


@dataclass(frozen=True)
class Outline(GraphPass):
    """Makes calls of parts, if half of the program is saved that way.

    Attributes:
        passes: What bodies go through.
        begins: Whether a part may begin at a node.
        costs: Whether to compute a node once more costs something.
        maps: Whether a node takes its inputs element by element.
        light: Whether that is as cheap as to read its result.
        fits: Whether a graph can be a body.
    """

    passes: tuple[GraphPass, ...] = ()
    begins: Callable[[Node], bool] = lambda node: False
    costs: Callable[[Node], bool] = lambda node: True
    maps: Callable[[Node], bool] = lambda node: False
    light: Callable[[Node], bool] = lambda node: False
    fits: Callable[[Graph], bool] = lambda body: True

    name = "outline"

    def run(self, graph: Graph) -> Graph:
        """The graph with calls; itself where too little comes again."""
        extents = [extent for value in graph.inputs for extent in value.type.shape]
        if len(graph.nodes) < LARGE or any(isinstance(extent, Dim) for extent in extents):
            return graph
        parts = Cut(graph, self).parts
        keys = {part.key: len(part.nodes) for part in parts if part.key is not None}
        alone = sum(len(part.nodes) for part in parts if part.key is None)
        if 2 * (sum(keys.values()) + alone) > len(graph.nodes):
            return graph
        return self._with_calls(graph, parts)

    def _with_calls(self, graph: Graph, parts: Iterable[Part]) -> Graph:
        new = Graph(graph.name)
        new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
        for part in parts:
            body = None if part.key is None else self._body(part)
            if body is None:
                for node in part.nodes:
                    new.append_copy(node, new_of)
                continue
            inputs, source = [new_of[value] for value in part.inputs], part.nodes[0].source
            results = new.add(call, inputs, {"body": body.graph}, None, source)
            new_of.update((x, results[k]) for x, k in zip(part.outputs, body.places, strict=True))
        new.outputs = [new_of[value] for value in graph.outputs]
        return new

    def _body(self, part: Part) -> Shared | None:
        """The body of a part, which others may have made; None where it cannot be one."""
        key = *[id(option) for each in self.passes for option in vars(each).values()], part.key
        if (known := _bodies.get(key)) is not None:
            return known[0]
        made = part.graph()
        for each in self.passes:
            made = each.run(made)
        outputs = list(dict.fromkeys(made.outputs))  # passes may have found two to be equal
        places = tuple([outputs.index(x) for x in made.outputs])
        made.outputs = outputs
        body = Body.of(made)
        shared = Shared(body, places) if self.fits(body) else None
        if len(_bodies) >= KEPT:
            _bodies.clear()
        _bodies[key] = shared, self  # whose options the key tells by where they are
        return shared


class Shared(NamedTuple):
    """A body, and which of its outputs the outputs of a part are."""

    graph: Body
    places: tuple[int, ...]


@dataclass(eq=False)
class Part:
    """Nodes that follow each other, with the views that they read.

    Attributes:
        nodes: In program order.
        inputs: The values that they read of others.
        outputs: The values that others read of them.
        key: Equal for parts that compute the same; None for one that is no body.
    """

    nodes: list[Node]
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    key: Any = None

    def graph(self) -> Graph:
        """The part alone."""
        made = Graph("part")
        new_of = {value: made.input(value.type) for value in self.inputs}
        for node in self.nodes:
            made.append_copy(node, new_of)
        made.outputs = [new_of[value] for value in self.outputs]
        return made


class Cut:
    """A program in parts.

    Attributes:
        parts: In an order in which they can run. The last one holds views that are results.
    """

    def __init__(self, graph: Graph, options: Outline) -> None:
        self._options = options
        nodes = graph.live_nodes()
        self._at = {node: number for number, node in enumerate(nodes)}
        self._kinds = [self._kind(node) for node in nodes]
        self._part_of: dict[Node, int] = {}
        pieces, together = self._pieces(nodes)
        for number, piece in enumerate(pieces):
            self._part_of.update(dict.fromkeys(piece, number))
        self._free: set[Node] = set()  # what belongs to every part that reads it
        self._place_light_ones(nodes, pieces, together, self._seen(graph.outputs))
        self.parts = [
            self._gathered([node for node in piece if self._costs(node)], number)
            for number, piece in enumerate(pieces)
        ]
        results = [value.node for value in graph.outputs if value.node is not None]
        last = self._gathered([node for node in results if not self._costs(node)], -1)
        asked = {*graph.outputs}.union(*(part.inputs for part in (*self.parts, last)))
        for number, part in enumerate(self.parts):
            own = [node for node in part.nodes if self._costs(node)]
            part.outputs = [value for node in own for value in node.outputs if value in asked]
            if together[number] and part.outputs:
                part.key = self._key(part)
        self.parts.append(last)

    def _costs(self, node: Node) -> bool:
        kind = self._kinds[self._at[node]]
        return kind is None or (kind.costs and node not in self._free)

    def _seen(self, values: Iterable[Value]) -> set[Value]:
        """Values, and what they show if they cost nothing."""
        found, stack = set[Value](), [*values]
        while stack:
            value = stack.pop()
            found.add(value)
            if value.node is not None and not self._costs(value.node):
                stack += [x for x in value.node.inputs if x not in found]
        return found

    def _place_light_ones(
        self,
        nodes: Sequence[Node],
        pieces: list[list[Node]],
        together: Sequence[bool],
        results: set[Value],
    ) -> None:
        """Gives light nodes to the parts that read them; a result to the first of these."""
        readers: dict[Node, dict[Node, None]] = {}  # that cost something, through those that do not
        deepest: dict[Node, int] = {}  # of those that read it, how many follow that cost nothing
        for node in reversed(nodes):
            read = readers.get(node, {})
            kind, here = self._kinds[self._at[node]], self._part_of[node]
            if kind is not None and kind.costs and kind.light and read and self._map(read):
                numbers = {self._part_of[reader] for reader in read}
                deep = 1 + deepest.get(node, 0)
                if results.isdisjoint(node.outputs) and numbers != {here} and deep <= DEEPEST:
                    self._free.add(node)
                    for x in node.inputs:
                        if x.node is not None:
                            deepest[x.node] = max(deep, deepest.get(x.node, 0))
                elif here not in numbers and together[first := min(numbers)]:
                    pieces[here].remove(node)
                    pieces[first].append(node)
                    self._part_of[node] = first
            more = [node] if self._costs(node) else read
            for value in node.inputs:
                if value.node is not None:
                    readers.setdefault(value.node, {}).update(dict.fromkeys(more))

    def _map(self, nodes: Iterable[Node]) -> bool:
        """Whether all of some nodes take their inputs element by element."""
        kinds = [self._kinds[self._at[node]] for node in nodes]
        return all(kind is not None and kind.maps for kind in kinds)

    def _kind(self, node: Node) -> Kind | None:
        """What kind of node it is; None for one that stays outside of parts."""
        if not node.op.pure or any(map(is_graph, node.attrs.values())):
            return None
        options = self._options
        asked = options.begins, options.costs, options.maps, options.light
        word = (
            *asked,
            node.op,
            tuple([(x.type.shape, x.type.dtype) for x in node.inputs]),
            tuple([(name, attr_key(attr)) for name, attr in node.attrs.items()]),
            node.source,
        )
        kind = _kinds.get(word)
        if kind is None:
            if len(_kinds) >= KINDS:
                _kinds.clear()
            kind = _kinds[word] = Kind(next(_numbers), *[ask(node) for ask in asked])
        return kind

    def _pieces(self, nodes: Sequence[Node]) -> tuple[list[list[Node]], list[bool]]:
        """The nodes of each part, and whether it may become a body."""
        pieces, together = list[list[Node]](), list[bool]()
        for node, kind in zip(nodes, self._kinds, strict=True):
            full = bool(pieces) and len(pieces[-1]) >= FEWEST
            if not pieces or not together[-1] or kind is None or (full and kind.begins):
                pieces.append([])
                together.append(kind is not None)
            pieces[-1].append(node)
        return pieces, together

    def _gathered(self, own: Sequence[Node], number: int) -> Part:
        """A part of nodes that cost something, and what it reads that does not."""
        found, stack, read = set(own), list(own), dict[Value, None]()
        while stack:
            for value in stack.pop().inputs:
                node = value.node
                if node is None or (self._part_of[node] != number and self._costs(node)):
                    read[value] = None
                elif node not in found:
                    found.add(node)
                    stack.append(node)
        nodes = sorted(found, key=self._at.__getitem__)
        inputs = dict.fromkeys([value for node in nodes for value in node.inputs if value in read])
        return Part(nodes, list(inputs))

    def _key(self, part: Part) -> Any:
        numbers = {value: -1 - k for k, value in enumerate(part.inputs)}
        words = list[Any]()
        for node in part.nodes:
            kind = self._kinds[self._at[node]]
            assert kind is not None
            words.append((kind.number, *[numbers[value] for value in node.inputs]))
            for value in node.outputs:
                numbers[value] = len(numbers)
        return tuple(words), tuple([numbers[value] for value in part.outputs])


# Bodies by what they compute, and kinds of nodes by their words, for all programs of the process.
_bodies: dict[Any, tuple[Shared | None, Outline]] = {}
_kinds: dict[Any, Kind] = {}
_numbers = count()
