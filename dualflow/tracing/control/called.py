"""Calls as nodes: what a function computes, as ops of a graph that all of its calls share.

A call keeps what its gradient needs as further results, and going back is one more call, of a
graph that is made once. Where somebody watches the gradient itself the ops are run again instead.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dualflow.core.context import context
from dualflow.core.op import bind
from dualflow.core.record import Record
from dualflow.core.tensor import Tensor
from dualflow.tracing.compiling import DEFAULT, CompileOptions
from dualflow.tracing.control import checkpoint
from dualflow.tracing.control.looped import BodyOp, for_sizes
from dualflow.tracing.gradient import sources_of
from dualflow.tracing.pair import Asked, body_without, differentiate, is_inexact
from dualflow.tracing.replay import replay
from dualflow.tracing.residuals import split
from jit.dataclass import dataclass
from jit.dims import recording_guesses
from jit.ir.call import Body, call
from jit.ir.graph import Graph, Node
from jit.passes.cleanup import attr_key

if TYPE_CHECKING:
    from jit.compiler import Device

Sums = dict[Any, Tensor]
KEPT = 512  # functions that are remembered


@dataclass(eq=False)
class Callee:
    """What a function computes, for all of its calls, in this recording and in others.

    Attributes:
        graph: Of its arguments, and of what it reads besides. No result is an input, or another.
        tracked: The results that gradients can flow back from.
        unrecorded: None: the graph itself says where nothing flows.
        target: What it is compiled for is the caller's business.
        compiling: Likewise.
    """

    graph: Graph
    tracked: list[int]
    unrecorded: set[Node] = field(default_factory=set)
    target: Device | None = None
    compiling: CompileOptions = DEFAULT

    def __post_init__(self) -> None:
        self.body = Body.of(self.graph)
        self._halves: dict[Asked, Halves] = {}

    def halves(self, asked: Asked) -> Halves:
        """Both halves for some gradients."""
        if asked not in self._halves:
            with context.aside(), recording_guesses([]):
                made = self._halves[asked] = Halves(self, asked)
            _halves[made.forward] = made
        return self._halves[asked]

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor] | None:
        """The results, of a node; None where ops are needed, as results have other histories."""
        sources, count = sources_of(inputs), len(self.graph.outputs)
        if not context.recording or not any(x is not None for x in sources):
            return results_of(self.body, inputs)
        halves = self.halves(Asked(sources, tuple(range(len(self.tracked)))))
        rooted = [x.record is not None and x.record.rooted for x in inputs]
        reaching = [[k for k, of in enumerate(halves.reach) if n in of] for n in self._numbers]
        if any(any(rooted[k] for k in ks) != any(rooted) or not ks for ks in reaching):
            return None
        return results_of(halves.forward, inputs)[:count]

    @property
    def _numbers(self) -> range:
        return range(len(self.tracked))


class Halves:
    """The graphs of a call that is differentiated.

    Args:
        callee: What is called.
        asked: Which gradients are asked for.

    Attributes:
        forward: Computes the results, and then what the other half needs besides.
        reach: For each input the tracked results that it reaches.
        reached: The inputs that reach some.
        kept: Where each residual is found: among the inputs, or the results of `forward`.
    """

    def __init__(self, callee: Callee, asked: Asked) -> None:
        self.callee, self.asked = callee, asked
        joint = differentiate(callee, asked)
        self.reach = joint.reach
        self.reached = [k for k, results in enumerate(joint.reach) if results]
        forward, back = split(joint)
        count = len(callee.graph.outputs)
        places = {value: (0, k) for k, value in enumerate(forward.inputs)}
        results = dict.fromkeys(forward.outputs[:count])
        for value in forward.outputs[count:]:
            if value not in places:
                results[value] = None
        places.update({value: (1, k) for k, value in enumerate(results)})
        self.kept = [places[value] for value in forward.outputs[count:]]
        forward.outputs = [*results]
        self.forward, self._back = Body.of(forward), Body.of(back)

    def backward(self, summed: Collection[int]) -> Body:
        """Computes gradients, of residuals, cotangents, and what has arrived at some inputs."""
        first = len(self._back.inputs) - len(self.reached)
        absent = [first + n for n, k in enumerate(self.reached) if k not in summed]
        return body_without(self._back, frozenset(absent)) if absent else self._back


_halves: WeakKeyDictionary[Body, Halves] = WeakKeyDictionary()
_callees: dict[Hashable, Callee] = {}


def callee_of(graph: Graph) -> Callee | None:
    """What stands for a graph and for all that compute the same; None where no node can."""
    results = [*graph.outputs]
    if not results or len({*results, *graph.inputs}) < len(results) + len(graph.inputs):
        return None
    key = words_of(graph)
    if key not in _callees:
        if len(_callees) >= KEPT:
            _callees.clear()
        tracked = [k for k, value in enumerate(results) if is_inexact(value.type)]
        _callees[key] = Callee(graph, tracked)
    return _callees[key]


def words_of(graph: Graph) -> Hashable:
    """Equal for graphs that compute the same, at the same lines."""
    numbers = {value: k for k, value in enumerate(graph.inputs)}
    words: list[Any] = [(x.type.shape, x.type.dtype) for x in graph.inputs]
    for node in graph.nodes:
        attrs = tuple([(name, attr_key(attr)) for name, attr in node.attrs.items()])
        inputs = tuple([numbers[value] for value in node.inputs])
        words.append((node.op, inputs, attrs, node.source))
        for value in node.outputs:
            numbers[value] = len(numbers)
    return (*words, *[numbers[value] for value in graph.outputs])


def results_of(body: Body, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a node gives that calls a body."""
    made: Any = bind(called, tuple(inputs), {"body": body})  # pyright: ignore[reportArgumentType]
    return list(made) if isinstance(made, tuple) else [made]


# ----- the op -----


def pull_into(
    sums: Sums, cotangents: Sequence[Tensor | None], record: Record, needed: Sequence[bool]
) -> None:
    """Adds the cotangents of the arguments to what has arrived there.

    Args:
        sums: What has arrived, by record.
        cotangents: Of the results; None for those that nobody used.
        record: Of the call.
        needed: For which of the arguments.
    """
    halves = _halves.get(record.attrs["body"])
    if context.recording or halves is None:
        checkpoint.pull_into(sums, cotangents, record, needed)  # by the ops, which tapes see
        return
    with context.aside():
        _pull_by_node(halves, sums, cotangents, record, needed)


def _pull_by_node(
    halves: Halves,
    sums: Sums,
    cotangents: Sequence[Tensor | None],
    record: Record,
    needed: Sequence[bool],
) -> None:
    """The same by one more call."""
    args: Any = record.inputs
    tracked = halves.callee.tracked
    given = tuple([n for n, k in enumerate(tracked) if cotangents[k] is not None])
    made = record.attrs.get("made")
    if given != halves.asked.given:
        halves, made = halves.callee.halves(Asked(halves.asked.sources, given)), None
    if made is None:  # other residuals than it has
        made = results_of(halves.forward, args)
    residuals = [(args, made)[where][k] for where, k in halves.kept]
    keys = {k: args[k].record for k in halves.reached}
    summed = [k for k, key in keys.items() if needed[k] and key in sums]
    given_now = [*residuals, *[cotangents[tracked[n]] for n in given]]
    back = halves.backward(summed)
    found = results_of(back, [*given_now, *[sums[keys[k]] for k in summed]])  # pyright: ignore[reportArgumentType]
    sums.update({keys[k]: g for k, g in zip(keys, found, strict=True) if needed[k]})


def push(tangents: Sequence[Tensor | None], y: Any, *args: Any, body: Graph, **_: Any) -> Any:
    """The tangents of the results."""
    return checkpoint.push_again(tangents, y, args, lambda inner: replay(body, inner, set()))


called = BodyOp(
    name="call",
    evaluate=checkpoint.evaluate,
    infer=for_sizes(call.infer),
    lower=call.lower,
    pull_into=pull_into,
    jvp=push,
    keeps=True,
    calls=True,
)
