"""Leaves: where each leaf of what a call gives comes from.

What Python returns as it is, an argument, a tensor or a gradient that somebody else has, or one
tensor in two places, is that very object after a call from a graph, too. All else is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dualflow.core import tree
from dualflow.core.number import KINDS, plain, value_of
from dualflow.core.record import Record
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.history import is_tracked, look
from dualflow.tracing.passed import is_repeated, nodes_of, shared
from jit.ir.graph import Value

if TYPE_CHECKING:
    from dualflow.tracing.trace import Trace

Spent = tuple[int, Record, bool]


class Constant:
    """A leaf that is no tensor of the recording, and has the same value at each call.

    Args:
        value: It.
        made: Whether it is a tensor that was not there before the call, which Python makes anew.
        anew: Whether each call gives one of its own, with the same array.
    """

    def __init__(self, value: Any, *, made: bool = False, anew: bool = False) -> None:
        self.value, self.made, self.anew = value, made, anew

    def found(self) -> Any:
        """What a call gives."""
        return self.value.alias(None, self.value.record) if self.anew else self.value


class Computed:
    """A leaf that is a Python number, computed by the prologue of each call."""

    def __init__(self, index: int) -> None:
        self.index = index


class Standing:
    """A list, dict or other node of trees that was there before the call, and is one leaf.

    Args:
        thing: It.
    """

    def __init__(self, thing: Any) -> None:
        self.thing = thing


class Given:
    """A leaf that is the caller's own tensor.

    Args:
        number: Which of the call's tensor arguments.
    """

    def __init__(self, number: int) -> None:
        self.number = number


class Handed:
    """A leaf that is a tensor which the call had already when a stretch of it began.

    Args:
        number: Which of those that the stretch is given.
    """

    def __init__(self, number: int) -> None:
        self.number = number


class Read:
    """A leaf that Python keeps somewhere, as it is before a call writes anything.

    Args:
        read: Gives it.
    """

    def __init__(self, read: Callable[[], Any]) -> None:
        self.read = read


class Grad:
    """A leaf that is the `.grad` of a Variable, as a call leaves it.

    Args:
        owner: The Variable.
    """

    def __init__(self, owner: Variable) -> None:
        self.owner = owner


class Again:
    """A leaf that is the same object as another one, which comes before.

    Args:
        index: Of the other leaf.
    """

    def __init__(self, index: int) -> None:
        self.index = index


Leaf: TypeAlias = int | Constant | Computed | Given | Handed | Read | Grad | Again
EARLY = (Given, Handed, Read)  # what is looked up before a call writes anything


class StandIns:
    """Tensors of one recording, and tuples of them, that stand for what Python has without it.

    It knows those that were made of numbers, too.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, Given | Read]] = {}
        self._made: dict[int, Tensor] = {}

    def made(self, tensor: Tensor) -> None:
        """A tensor was made of numbers, which the recording does not show."""
        self._made[id(tensor)] = tensor

    def is_made(self, x: Any) -> bool:
        """Whether it is such a tensor."""
        return id(x) in self._made

    def add(self, stand_in: Any, original: Any, leaf: Given | Read) -> None:
        """One more.

        Args:
            stand_in: It.
            original: For what it stands.
            leaf: Where a later call finds that.
        """
        self._known.setdefault(id(stand_in), (stand_in, original, leaf))

    def leaf(self, x: Any) -> Given | Read | None:
        """Where a later call finds what `x` stands for; None if it stands for nothing."""
        found = self._known.get(id(x))
        return found and found[2]

    def original(self, x: Any) -> Any:
        """What `x` is without the recording: what it stands for, a plain number, or itself."""
        found = self._known.get(id(x))
        return value_of(x) if found is None else found[1]

    def clear(self) -> None:
        """Forgets them all: the recording is over, and what they stood for is the program's."""
        self._known.clear()
        self._made.clear()


class Outputs:
    """The graph's outputs, each once."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._index: dict[Value, int] = {}

    def index(self, trace: Trace, tensor: Tensor) -> int:
        """Which output stands for `tensor`."""
        value = trace.value_of(tensor)
        if value not in self._index:
            self._index[value] = len(self.values)
            self.values.append(value)
        return self._index[value]


class Leaves:
    """Where some leaves come from.

    Args:
        trace: The finished recording.
        outputs: Gets those that the graph computes.
        things: The leaves, as they were in the recording.
        lasting: How many come first that outlive the call, and then for each other one whether it
            does; gradients flow through no others.

    Attributes:
        found: For each leaf where it comes from.
        tracked: Those from which gradients flow back.
        spent: Those from which they would, had the call not released a record on the way: which
            leaf, that record, and whether the leaf's own leads to a Variable.
    """

    def __init__(
        self, trace: Trace, outputs: Outputs, things: Sequence[Any], lasting: Sequence[bool]
    ) -> None:
        self._trace, self._outputs = trace, outputs
        self.found: list[Leaf] = []
        self._first: dict[int, int] = {}
        tracked: dict[int, None] = {}
        self.spent: list[Spent] = []
        for k, (x, lasts) in enumerate(zip(things, lasting, strict=True)):
            self.found.append(self._leaf(k, x))
            first = self._first.get(id(x), k)
            if isinstance(self.found[first], int):
                flows, released = look(x, trace.start)
                if flows and lasts:
                    tracked[first] = None
                if released is not None and first == k:
                    self.spent.append((k, released, x.record.rooted))
        self.tracked = sorted(tracked)

    def _leaf(self, k: int, x: Any) -> Leaf:
        leaf = leaf_of(self._trace, self._outputs, x)
        if not isinstance(leaf, int) and not (isinstance(leaf, Constant) and leaf.anew):
            return leaf
        first = self._first.setdefault(id(x), k)
        return leaf if first == k else Again(first)


def leaf_of(trace: Trace, outputs: Outputs, leaf: Any) -> Leaf:
    """Where a leaf comes from that is nothing but itself."""
    stands = isinstance(leaf, Standing)
    x: Any = leaf.thing if stands else leaf
    if (known := known_leaf(trace, x)) is not None:
        return known
    if is_computed(trace, x):
        return outputs.index(trace, x)
    if type(x) in KINDS:
        ours = x.number_owner is trace.scalars
        return Computed(trace.scalars.result(x)) if ours else Constant(x.number_value)
    value = x if stands else plain(x)
    made = value.__class__ is Tensor and not trace.existed(value)
    return Constant(value, made=made, anew=made and trace.stand_ins.is_made(value))


def standing(x: Any, existed: Callable[[Any], bool]) -> Any:
    """A tree with a leaf instead of each node that was there before the call.

    Args:
        x: The tree.
        existed: Whether a thing was.
    """

    def stands(y: Any) -> bool:
        return existed(y) and not tree.is_leaf(y)

    leaves, spec = tree.flatten(x, stands)
    found = [Standing(y) if stands(y) else y for y in leaves]
    if not any(isinstance(y, Standing) for y in found):
        return x
    made = tree.unflatten(spec, found)
    return shared(made, x, {}) if is_repeated(nodes_of(x)) else made


def known_leaf(trace: Trace, x: Any) -> Given | Read | Grad | None:
    """Where an object is found that is there without the call, or is the gradient of a Variable."""
    if x.__class__ is Tensor or isinstance(x, tuple):
        return trace.stand_ins.leaf(x)
    if not isinstance(x, Variable):
        return None
    for owner, before in trace.variables.grads.items():
        if owner._grad is x:
            return Grad(owner)
        if before is x:
            return Read(lambda owner=owner: owner._grad)
    return None


def is_computed(trace: Trace, x: Any) -> bool:
    """Whether a leaf is a tensor that the graph computes, or is given, and that has no place."""
    return x.__class__ is Tensor and trace.owns(x) and trace.stand_ins.leaf(x) is None


def flows_from(trace: Trace, x: Any) -> bool:
    """Whether gradients can flow back from a leaf into the call."""
    return is_computed(trace, x) and is_tracked(x, trace.start)
