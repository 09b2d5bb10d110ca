"""Passed: the lists and dicts that a call is given, and changes as Python does.

A recording works on copies, as stand-ins lie in the places of tensors and numbers. What it has put
into them goes into the caller's own when it is over. What later calls put there is part of what
their graph gives: a `Left`.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.number import value_of
from dualflow.core.tensor import Tensor
from dualflow.tracing.guards.kept import Kept
from dualflow.tracing.signature import LEAVES, Call
from jit.dataclass import dataclass

ROWS = (list, deque)
TABLES = (dict, OrderedDict, defaultdict)
Given = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Own:
    """Something that the caller has.

    Attributes:
        number: Of a list or dict among those that were passed; -1 - k for a leaf.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a list, a dict, or an object that is a node of trees.

    Attributes:
        names: Keys or attributes; None for a list.
        items: What is there.
    """

    names: tuple[Hashable, ...] | None
    items: list[Any]

    def is_same(self, other: Contents) -> bool:
        """Whether the same objects are in the same places."""
        alike = self.names == other.names and len(self.items) == len(other.items)
        return alike and all(map(operator.is_, self.items, other.items))

    def put_into(self, node: Any) -> None:
        """Makes this what a list, dict or object holds."""
        if self.names is None:
            node.clear()
            node.extend(self.items)
            return
        held = node if isinstance(node, dict) else vars(node)
        held.clear()
        held.update(zip(self.names, self.items, strict=True))


class Left:
    """What a call gives that leaves something in its arguments.

    Args:
        result: What it returns, with an `Own` for each list or dict of the caller's.
        contents: What is in some of these then, by their numbers; what the caller had is `Own`.
    """

    def __init__(self, result: Any, contents: dict[int, Contents]) -> None:
        self.result = result
        self.contents = contents

    def put(self, given: Given) -> Any:
        """Leaves it in the arguments of a call; what that returns."""
        nodes, leaves = nodes_of(given), tree.flatten(given)[0]

        def own(x: Any) -> Any:
            if x.__class__ is not Own:
                return x
            return nodes[x.number] if x.number >= 0 else leaves[-1 - x.number]

        found = [
            (nodes[k], x.names, [exchanged(item, own) for item in x.items])
            for k, x in self.contents.items()
        ]
        for node, names, items in found:
            Contents(names, items).put_into(node)
        return exchanged(self.result, own)


def _taken_apart(left: Left) -> tuple[Any, Hashable]:
    contents = left.contents
    names = tuple([(k, x.names) for k, x in contents.items()])
    return (left.result, *[x.items for x in contents.values()]), names


def _put_together(names: Any, parts: Any) -> Left:
    result, *items = parts
    pairs = zip(names, items, strict=True)
    return Left(result, {k: Contents(name, inner) for (k, name), inner in pairs})


tree.register(Left, _taken_apart, _put_together)


class Passed:
    """The arguments of one call, and what it works on.

    Args:
        given: As the caller gave them.
        working: The same, or copies with other leaves.
    """

    def __init__(self, given: Given, working: Given) -> None:
        self._leaves, self._given = (tree.flatten(x)[0] for x in (working, given))
        self._own = nodes_of(given)
        first: dict[int, Any] = {}
        self.working = shared(working, given, first) if is_repeated(self._own) else working
        self._nodes = [first.get(id(x), y) for x, y in zip(self._own, nodes_of(working))]
        self._numbers: dict[int, int] = {}
        for k, node in enumerate(self._nodes):
            self._numbers.setdefault(id(node), k)
        self._before = [contents_of(x) for x in self._nodes]
        self._own_before = [contents_of(x) for x in self._own]
        self._places = {
            id(x): -1 - k
            for k, x in reversed([*enumerate(self._leaves)])
            if isinstance(x, Tensor | np.ndarray)
        }

    @property
    def changed(self) -> list[int]:
        """The numbers of the lists and dicts that the call has changed so far."""
        pairs = zip(self._nodes, self._before)
        return [
            k
            for k, (node, before) in enumerate(pairs)
            if self._numbers[id(node)] == k and not contents_of(node).is_same(before)
        ]

    def parts(self) -> Iterator[tuple[int, Any]]:
        """What the call has changed so far, by number."""
        return ((k, self._nodes[k]) for k in self.changed)

    def is_known(self, existed: Callable[[Any], bool]) -> bool:
        """Whether code comes to what it changes in other ways too, and saw something else there.

        Args:
            existed: Whether code can come to a thing without its arguments.
        """
        if not self._is_copied:
            return False
        pairs = zip(self._own, self._own_before)
        if any(existed(x) and not contents_of(x).is_same(before) for x, before in pairs):
            return True
        return any(existed(self._own[k]) for k in self.changed)

    @property
    def own(self) -> list[Any]:
        """The caller's lists and dicts."""
        return self._own

    @property
    def _is_copied(self) -> bool:
        return any(x is not y for x, y in zip(self._own, self._nodes))

    @property
    def grows(self) -> bool:
        """Whether a list with something in it gets longer, which makes each call one of its own."""
        return any(
            0 < len(self._before[k].items) < len(self._nodes[k])
            for k in self.changed
            if isinstance(self._nodes[k], ROWS)
        )

    def is_fresh(self, result: Any, existed: Callable[[Any], bool]) -> bool:
        """Whether a later call can make all anew that this one has put into its arguments.

        Args:
            result: What the call returns.
            existed: Whether a thing was there before the call.
        """
        items = [contents_of(self._nodes[k]).items for k in self.changed]
        made = [x for x in nodes_of(items, self._numbers) if id(x) not in self._numbers]
        made = [x for x in made if not any(x is each for each in items)]
        ids = [id(x) for x in made]
        returned = {id(x) for x in nodes_of(result, self._numbers)}
        alone = len({*ids}) == len(ids) and returned.isdisjoint(ids)
        plain = all(isinstance(x, (*ROWS, *TABLES)) for x in made)
        return alone and plain and not any(map(existed, made))

    def left(self, result: Any) -> Any:
        """What the call gives: its result, or a `Left` if there is anything of the caller's."""
        changed = self.changed
        if not changed and not self._is_in(result):
            return result
        contents = {
            k: Contents(now.names, [self._named(x) for x in now.items])
            for k, now in ((k, contents_of(self._nodes[k])) for k in changed)
        }
        return Left(exchanged(result, self._number, self._numbers), contents)

    def returned(self, result: Any, original: Callable[[Any], Any] = value_of) -> Any:
        """A result with the caller's own lists and dicts in the places of their copies.

        Args:
            result: What the call has returned.
            original: Gives what a leaf stands for, which may be itself.
        """
        return exchanged(result, lambda x: self.own_of(original(x)), self._numbers)

    def write(self) -> None:
        """Puts what the call has left in copies into the caller's own."""
        if self._is_copied:
            new = [(k, contents_of(self._nodes[k])) for k in self.changed]
            found = [(k, x.names, [self._plain(item) for item in x.items]) for k, x in new]
            for k, names, items in found:
                Contents(names, items).put_into(self._own[k])

    # ----- one thing -----

    def _is_in(self, result: Any) -> bool:
        return any(id(x) in self._numbers for x in nodes_of(result, self._numbers))

    def _number(self, x: Any) -> Any:
        return Own(self._numbers[id(x)]) if id(x) in self._numbers else x

    def _named(self, x: Any) -> Any:
        def name(y: Any) -> Any:
            number = self._numbers.get(id(y), self._places.get(id(y)))
            return y if number is None else Own(number)

        return exchanged(x, name, self._numbers)

    def own_of(self, x: Any) -> Any:
        """The caller's list or dict where `x` is a copy of one; else `x`."""
        return self._own[self._numbers[id(x)]] if id(x) in self._numbers else x

    def _plain(self, x: Any) -> Any:
        """What the caller gets for an item: its own things, and numbers that are plain ones."""

        def plain(y: Any) -> Any:
            if id(y) in self._places:
                return self._given[-1 - self._places[id(y)]]
            return self.own_of(value_of(y))

        return exchanged(x, plain, self._numbers)


def exchanged(x: Any, what: Callable[[Any], Any], ends: Collection[int] = ()) -> Any:
    """A tree with others in the places of leaves; what holds none of these is what it was.

    Args:
        x: The tree.
        what: Gives the other for a leaf, or the leaf itself.
        ends: Ids of nodes that are leaves here.
    """

    def ended(y: Any) -> bool:
        return id(y) in ends

    def stays(y: Any) -> bool:
        return ended(y) or all(what(z) is z for z in tree.flatten(y, ended)[0])

    leaves, spec = tree.flatten(x, ended if ends else None)
    found = [*map(what, leaves)]
    if spec.is_leaf():
        return found[0]
    if all(map(operator.is_, found, leaves)):
        return x
    if spec.num_nodes == len(leaves) + 1:  # nothing in it holds anything
        return tree.unflatten(spec, found)
    leaves, spec = tree.flatten(x, stays)
    made = tree.unflatten(spec, map(what, leaves))
    return shared(made, x, {}) if is_repeated(nodes_of(x, ends)) else made


def contents_of(node: Any) -> Contents:
    """What is in a list, dict or object now."""
    if isinstance(node, ROWS):
        return Contents(None, [*node])
    held = node if isinstance(node, dict) else vars(node)
    return Contents((*held,), [*held.values()])


def nodes_of(x: Any, ends: Collection[int] = ()) -> list[Any]:
    """The lists, dicts and objects of which a tree is made, in its order.

    Args:
        x: The tree.
        ends: Ids of those into which nobody looks.
    """
    found: list[Any] = []

    def look(y: Any) -> bool:
        if type(y) in (*ROWS, *TABLES) or (hasattr(y, "__dict__") and not tree.is_leaf(y)):
            found.append(y)
        return id(y) in ends

    tree.flatten(x, look)
    return found


def is_repeated(nodes: list[Any]) -> bool:
    """Whether one of them comes twice."""
    return len({id(x) for x in nodes}) < len(nodes)


def shared(copy: Any, own: Any, first: dict[int, Any]) -> Any:
    """A copy in which is one thing what is one thing in the original.

    Args:
        copy: With a copy for each time that a thing comes.
        own: The original.
        first: Gets the copies, by id of what they are copies of.
    """
    if copy is own or type(copy) is not type(own):  # another leaf, or what has stayed
        return copy
    if type(copy) is tuple:
        return tuple([shared(x, y, first) for x, y in zip(copy, own, strict=True)])
    if type(copy) is Left:  # nothing of its contents is in two places
        return Left(shared(copy.result, own.result, first), copy.contents)
    if type(copy) not in (*ROWS, *TABLES):
        return copy
    if id(own) in first:
        return first[id(own)]
    first[id(own)] = copy
    now, there = contents_of(copy), contents_of(own)
    items = [shared(x, y, first) for x, y in zip(now.items, there.items, strict=True)]
    Contents(now.names, items).put_into(copy)
    return copy


def left_by(x: Any) -> list[str]:
    """What a call that gives this does to its arguments, in words."""
    return ["changes what is passed to it"] if isinstance(x, Left) and x.contents else []


def places_in(x: Any) -> list[str]:
    """What people call each leaf of what a call gives."""
    if not isinstance(x, Left):
        return [f"result{place}" for place in tree.leaf_paths(x)]
    found = places_in(x.result)
    for number, (_, now) in enumerate(x.contents.items()):
        for name, item in zip(now.names or range(len(now.items)), now.items):
            what = f"what is left in argument list or dict {number}"
            found += [f"{what}[{name!r}]{place}" for place in tree.leaf_paths(item)]
    return found


def is_kept(call: Call, kept: Kept) -> bool:
    """Whether a call passes something that its function can come to in other ways.

    Args:
        call: The call.
        kept: What it can come to.
    """
    args, named = call.given
    flat = all(x.__class__ in LEAVES for x in (*args, *named.values()))
    return kept.holds_one_of(call.tensors if flat else [*call.tensors, *nodes_of(call.given)])


def reaches(given: Given, known: Collection[int]) -> bool:
    """Whether a list or dict comes twice among arguments, or is known by its id."""
    ids = [id(x) for x in nodes_of(given)]
    return len({*ids}) < len(ids) or any(k in known for k in ids)


def passing(python: Callable[..., Any], given: Given, working: Given | None) -> Any:
    """Calls Python with the caller's arguments, or with others whose changes are put into these.

    Args:
        python: What is called.
        given: The arguments.
        working: The same where leaves are others; None: none is.
    """
    if working is None:
        return python(*given[0], **given[1])
    passed = Passed(given, working)
    try:
        result = python(*passed.working[0], **passed.working[1])
    finally:
        passed.write()
    return passed.returned(result)
