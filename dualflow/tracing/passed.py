"""Passed: the lists and dicts that a call is given, and changes as Python does.

A recording works on copies, as stand-ins lie in the places of tensors and numbers. What it has put
into them goes into the caller's own when it is over. What later calls put there is part of what
their graph gives: a `Left`.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
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
        number: Of a list, dict or tuple among those that were passed; -1 - k for a leaf.
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

    def exchanged(self, what: Callable[[Any], Any], ends: Collection[int] = ()) -> Contents:
        """The same with others in the places of leaves, as `exchanged` does it."""
        return Contents(self.names, [exchanged(item, what, ends) for item in self.items])

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
        result: What it returns, with an `Own` for each list, dict or tuple of the caller's.
        contents: What is in some of these then, by their numbers; what the caller had is `Own`.
        repeated: Whether a tuple is in several places.
    """

    def __init__(
        self, result: Any, contents: dict[int, Contents], *, repeated: bool = False
    ) -> None:
        self.result = result
        self.contents = contents
        self.repeated = repeated

    def put(self, given: Given) -> Any:
        """Leaves it in the arguments of a call; what that returns."""
        nodes, leaves = nodes_of(given), tree.flatten(given)[0]

        def own(x: Any) -> Any:
            if x.__class__ is not Own:
                return x
            return nodes[x.number] if x.number >= 0 else leaves[-1 - x.number]

        found = {k: x.exchanged(own) for k, x in self.contents.items()}
        made = Left(exchanged(self.result, own), found)
        if self.repeated:
            made = shared(made, self, {})
        for k, x in made.contents.items():
            x.put_into(nodes[k])
        return made.result


def _taken_apart(left: Left) -> tuple[Any, Hashable]:
    contents = left.contents
    names = tuple([(k, x.names) for k, x in contents.items()])
    return (left.result, *[x.items for x in contents.values()]), (left.repeated, names)


def _put_together(rest: Any, parts: Any) -> Left:
    result, *items = parts
    pairs = zip(rest[1], items, strict=True)
    contents = {k: Contents(name, inner) for (k, name), inner in pairs}
    return Left(result, contents, repeated=rest[0])


tree.register(Left, _taken_apart, _put_together)


class Passed:
    """The arguments of one call, and what it works on.

    Args:
        given: As the caller gave them.
        working: The same, or copies with other leaves.
        tensors: The leaves where arrays have become tensors.
    """

    def __init__(self, given: Given, working: Given, tensors: Sequence[Any] = ()) -> None:
        self._leaves, self._given = (tree.flatten(x)[0] for x in (working, given))
        self._own = nodes_of(given)
        # A tuple that comes twice stays two: its numbers may be others at the next call.
        repeated = is_repeated([x for x in self._own if not isinstance(x, tuple)])
        self.working = shared(working, given, {}, tuples=False) if repeated else working
        self._nodes = nodes_of(self.working)
        self._numbers: dict[int, int] = {}
        for k, node in enumerate(self._nodes):
            self._numbers.setdefault(id(node), k)
        self._before = [contents_of(x) for x in self._nodes]
        self._own_before = [contents_of(x) for x in self._own]
        self._places = {
            id(x): -1 - k
            for k, x in reversed([*enumerate(tensors), *enumerate(self._leaves)])
            if isinstance(x, Tensor | np.ndarray)
        }

    @property
    def changed(self) -> list[int]:
        """The numbers of the lists and dicts that the call has changed so far."""
        pairs = zip(self._nodes, self._before)
        return [
            k
            for k, (node, before) in enumerate(pairs)
            if not isinstance(node, tuple)
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

    def are_one(self, a: Own, b: Own) -> bool:
        """Whether two stand for one thing that the caller has: a tuple may come twice."""
        if min(a.number, b.number) < 0:
            return a == b
        return self._own[a.number] is self._own[b.number]

    @property
    def own(self) -> list[Any]:
        """The caller's lists, dicts and tuples."""
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
        made = [x for x in made if not isinstance(x, tuple)]
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
        now = {k: contents_of(self._nodes[k]) for k in changed}
        contents = {k: x.exchanged(self._named, self._numbers) for k, x in now.items()}
        left = Left(exchanged(result, self._number, self._numbers), contents)
        there = Left(result, now)
        nodes = nodes_of(there, self._numbers)
        left.repeated = is_repeated([x for x in nodes if id(x) not in self._numbers])
        return shared(left, there, {}) if left.repeated else left

    def returned(self, result: Any, original: Callable[[Any], Any] = value_of) -> Any:
        """A result with the caller's own lists, dicts and tuples in the places of their copies.

        Args:
            result: What the call has returned.
            original: Gives what a leaf stands for, which may be itself.
        """
        return exchanged(result, lambda x: self.own_of(original(x)), self._numbers)

    def write(self, of: Callable[[Any], Any] = value_of) -> None:
        """Puts what the call has left in copies into the caller's own.

        Args:
            of: Gives what the caller is to have for an item, as far as others know.
        """
        if self._is_copied:
            new = {k: contents_of(self._nodes[k]) for k in self.changed}
            found = {k: Contents(x.names, [*map(of, x.items)]) for k, x in new.items()}
            for k, x in found.items():
                x.exchanged(self._plain, self._numbers).put_into(self._own[k])

    # ----- one thing -----

    def _is_in(self, result: Any) -> bool:
        return any(id(x) in self._numbers for x in nodes_of(result, self._numbers))

    def _number(self, x: Any) -> Any:
        return Own(self._numbers[id(x)]) if id(x) in self._numbers else x

    def _named(self, x: Any) -> Any:
        number = self._numbers.get(id(x), self._places.get(id(x)))
        return x if number is None else Own(number)

    def own_of(self, x: Any) -> Any:
        """The caller's list, dict or tuple where `x` is a copy of one; else `x`."""
        return self._own[self._numbers[id(x)]] if id(x) in self._numbers else x

    def _plain(self, x: Any) -> Any:
        """What the caller gets for a leaf or copy: its own things, and plain numbers."""
        if id(x) in self._places:
            return self._given[-1 - self._places[id(x)]]
        return self.own_of(value_of(x))


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
    """What is in a list, tuple, dict or object now."""
    if isinstance(node, (*ROWS, tuple)):
        return Contents(None, [*node])
    held = node if isinstance(node, dict) else vars(node)
    return Contents((*held,), [*held.values()])


def nodes_of(x: Any, ends: Collection[int] = ()) -> list[Any]:
    """The lists, dicts, objects, and tuples with something in them that make a tree, in its order.

    Args:
        x: The tree.
        ends: Ids of those into which nobody looks.
    """
    found: list[Any] = []

    def look(y: Any) -> bool:
        known = type(y) in (*ROWS, *TABLES) or (isinstance(y, tuple) and y)
        if known or (hasattr(y, "__dict__") and not tree.is_leaf(y)):
            found.append(y)
        return id(y) in ends

    tree.flatten(x, look)
    return found


def is_repeated(nodes: list[Any]) -> bool:
    """Whether one of them comes twice."""
    return len({id(x) for x in nodes}) < len(nodes)


def shared(copy: Any, own: Any, first: dict[int, Any], *, tuples: bool = True) -> Any:
    """A copy in which is one thing what is one thing in the original.

    Args:
        copy: With a copy for each time that a thing comes.
        own: The original.
        first: Gets the copies, by id of what they are copies of.
        tuples: Whether that goes for tuples, too.
    """

    def of(x: Any, y: Any) -> Any:
        return shared(x, y, first, tuples=tuples)

    if copy is own:  # it has stayed, and all that is in it
        first.update({id(x): x for x in nodes_of(own)})
        return copy
    if type(copy) is not type(own):  # another leaf
        return copy
    if type(copy) is Left:  # only tuples of its contents are in two places
        result = of(copy.result, own.result)
        pairs = [(k, x, own.contents[k].items) for k, x in copy.contents.items()]
        contents = {k: Contents(x.names, [*map(of, x.items, items)]) for k, x, items in pairs}
        return Left(result, contents, repeated=copy.repeated)
    fixed = isinstance(copy, tuple)
    if not fixed and type(copy) not in (*ROWS, *TABLES):
        return copy
    if id(own) in first and (tuples or not fixed):
        return first[id(own)]
    first.setdefault(id(own), copy)
    now, there = contents_of(copy), contents_of(own)
    if fixed:
        items = [*map(of, now.items, there.items)]
        if not all(map(operator.is_, items, now.items)):
            copy = tuple.__new__(type(copy), items)
        first[id(own)] = copy
        return copy
    Contents(now.names, [*map(of, now.items, there.items)]).put_into(copy)
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
    """Whether a call passes, or finds, something that its function can come to in several ways.

    Args:
        call: The call.
        kept: What it can come to.
    """
    args, named = call.given
    flat = all(x.__class__ in LEAVES for x in (*args, *named.values()))
    things = call.tensors if flat else [*call.tensors, *nodes_of(call.given)]
    return kept.is_mixed() or kept.holds_one_of(things)


def reaches(given: Given, known: Collection[int]) -> bool:
    """Whether a list or dict comes twice among arguments, or is known by its id."""
    ids = [id(x) for x in nodes_of(given) if not isinstance(x, tuple)]
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
