"""Derivatives of loops of which their values tell how long they are.

Backwards they go from the last step that there was to the first: a loop of the same kind, over the
carries that were kept, which may be done where it is said how many there are at most. Cotangents
that are not there yet are -0.0, which changes no sum. Else the steps are taken again, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dualflow.autodiff.sweep import accumulate
from dualflow.core.context import context, using
from dualflow.core.op import bind
from dualflow.core.record import INEXACT, Record
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control import backward, forward
from dualflow.tracing.control.checkpoint import pull_again, push_again
from dualflow.tracing.control.first import is_watched
from dualflow.tracing.control.looped import looped
from dualflow.tracing.control.rolling import Roll, recording
from dualflow.tracing.replay import replay
from jit.ir.call import Body
from jit.ir.graph import Graph, Value
from jit.types import TensorType, kind

Sums = dict[Any, Tensor]
Cotangents = Sequence["Tensor | None"]
TIMES = 1  # the carry that counts the steps, of loops of which is known how many there may be


def pull_into(sums: Sums, cotangents: Cotangents, record: Record, needed: Sequence[bool]) -> None:
    """Adds the cotangents of a loop's arguments to what has arrived there.

    Args:
        sums: What has arrived, by record.
        cotangents: Of the results; None for those that nobody used.
        record: Of the loop.
        needed: For which of the arguments.
    """
    attrs = {name: x for name, x in record.attrs.items() if name != "made"}
    if recording() is not None and attrs["count"] is not None:
        kept = any(attrs["stacked"])
        every = cotangents if kept else [*[None] * len(attrs["carried"]), *cotangents]
        if Back(record, attrs, every, needed, sums).run(sums):
            return
    pull_again(sums, cotangents, record, needed, lambda inner: step_by_step(inner, attrs))


def push(tangents: Cotangents, y: Any, *args: Any, made: Any = (), **attrs: Any) -> Any:
    """The tangents of a loop's results.

    Args:
        tangents: Of its arguments; None for what does not move.
        y: The results.
        *args: The arguments.
        made: The results, those too that nobody has.
        **attrs: Of the loop.
    """
    pushed = None if recording() is None else ahead(tangents, args, attrs)
    if pushed is None:
        return push_again(tangents, y, args, lambda inner: step_by_step(inner, attrs))
    return tuple(pushed) if isinstance(y, tuple) else pushed[0]


def step_by_step(args: Sequence[Tensor], attrs: dict[str, Any]) -> list[Tensor]:
    """The results of a loop whose steps Python takes, asking before each of them."""
    body, carried, going = attrs["body"], attrs["carried"], attrs["going"]
    state, same = list(args[: len(carried)]), args[len(carried) :]
    rows: list[list[Tensor]] = [[] for _ in body.outputs]
    while bool(state[going]):
        state = [x if x.record is None else functions["identity"](x) for x in state]
        outs = replay(body, [*state, *same], set())
        state = [outs[k] for k in carried]
        for kept, out in zip(rows, outs, strict=True):
            kept.append(out)
    last = dict(zip(carried, state, strict=True))
    return [
        on_top(kept, value.type, attrs["count"]) if flag else last[k]
        for k, (kept, value, flag) in enumerate(
            zip(rows, body.outputs, attrs["stacked"], strict=True)
        )
    ]


def on_top(rows: list[Tensor], type_: TensorType, count: int) -> Tensor:
    """Rows on top of each other, and zeros for those that there are not."""
    rest = functions["full"]((count - len(rows), *type_.shape), 0, dtype=type_.dtype)
    return functions["concat"]([functions["stack"](rows), rest]) if rows else rest


# ----- backwards -----


class Back:
    """The steps of one loop, backwards, as a loop.

    Args:
        record: Of the loop.
        attrs: Of the loop.
        cotangents: Of its results; first those of carries as all steps have found them.
        needed: For which of its arguments they are wanted.
        sums: What has arrived at these.
    """

    def __init__(
        self,
        record: Record,
        attrs: dict[str, Any],
        cotangents: Cotangents,
        needed: Sequence[bool],
        sums: Sums,
    ) -> None:
        assert record.inputs is not None
        self._args, self._needed, self._count = record.inputs, needed, attrs["count"]
        self._size = size = len(attrs["carried"])
        made = record.attrs.get("made", ())
        if not any(attrs["stacked"]):
            attrs, made = keeping(attrs), ()
        found = found_by(self._args, attrs, made)
        self._found, self._times = found[:size], found[size + TIMES]
        bare = Record(record.op, record.inputs, {**attrs, "made": found}, rooted=False)
        with using(recording=False):  # nothing is computed here
            self._steps = backward.Steps(bare, cotangents, needed, sums)
        self._last, self._met = list(cotangents[size : 2 * size]), list(cotangents[:size])
        self._flow(attrs["body"])
        self._sums = sums

    def _flow(self, body: Graph) -> None:
        """Finds out which carries and which of what is the same in each step get cotangents."""
        size = self._size
        lasts = body.outputs[size : 2 * size]
        moving = {j for j, x in enumerate(self._last) if x is not None}
        moving |= {j for j, x in enumerate(self._met) if x is not None}
        while True:
            reached = reaching(body, [lasts[j] for j in moving])
            more = moving | {j for j in range(size) if body.inputs[j] in reached}
            if more == moving:
                break
            moving = more
        self._moving = sorted(moving)
        self._reached = {j for j in range(size) if body.inputs[j] in reached}
        keys = [
            self._args[k].record
            for k in range(size, len(body.inputs))
            if self._needed[k] and body.inputs[k] in reached
        ]
        self._keys = list(dict.fromkeys(keys))
        self._types = [value.type for value in lasts]

    def run(self, sums: Sums) -> bool:
        """Goes from the last step to the first, and adds everything to what has arrived.

        Returns:
            False where its step can be no body, as one of a batch of examples: nothing was added.
        """
        trace, number = recording(), len(self._moving)
        if trace is None or not number:
            return True
        state = self._start()
        roll = Roll(trace, len(trace.graph.nodes))
        (_, times, *given), _ = roll.begin(state, [])
        try:
            roll.gives(self._step(times, given))
        finally:
            roll.end()
        made = roll.loop((), self._count, found=is_watched(roll.reads()), going=0)
        if made is None:
            return False
        left = made[-len(state) + 2 :]
        for key, x in zip(self._keys, left[number:], strict=True):
            sums[key] = x if key in sums else self._if_any(x)
        for j, x in zip(self._moving, left[:number], strict=True):
            if self._needed[j]:
                accumulate(sums, self._args[j].record, self._first_carry(j, x))
        return True

    def _first_carry(self, j: int, x: Tensor) -> Tensor:
        """The cotangent of what came in as carry `j`."""
        last = self._last[j]
        if last is None:
            return self._if_any(x)
        if j in self._reached:
            return x
        return functions["where"](self._times > 0, functions["zeros_like"](last), last)

    def _if_any(self, x: Tensor) -> Tensor:
        """What has arrived where nothing was before: zeros, if there was no step."""
        return functions["where"](self._times > 0, x, functions["zeros_like"](x))

    def _start(self) -> list[Tensor]:
        """Whether there is a step, how many there were, and what has arrived before."""
        none = functions["zeros"]((), dtype="int64")
        lasts = [(self._last[j], self._types[j]) for j in self._moving]
        arrived = [nothing(type_) if x is None else x for x, type_ in lasts]
        types = {x.record: x.type for x in self._args}
        before = self._sums
        shared = [before[key] if key in before else nothing(types[key]) for key in self._keys]
        return [self._times > 0, none, *arrived, *shared]

    def _step(self, times: Tensor, given: Sequence[Tensor]) -> list[Tensor]:
        """One step: whether there is another, how many there were, and what has arrived then."""
        at, after = self._times - 1 - times, times + 1
        number, size = len(self._moving), self._size
        cotangents: list[Tensor | None] = [None] * size
        for j, x in zip(self._moving, given[:number], strict=True):
            cotangents[j] = x
        shared = dict(zip(self._keys, given[number:], strict=True))
        found = [functions["take"](x, at, axis=0) for x in self._found]
        met = [None if x is None else functions["take"](x, at, axis=0) for x in self._met]
        cotangents, sums = self._steps.back(cotangents, shared, found, met)
        before = [
            nothing(self._types[j]) if cotangents[j] is None else cotangents[j]
            for j in self._moving
        ]
        return [after < self._times, after, *before, *[sums[key] for key in self._keys]]  # pyright: ignore[reportReturnType]


def found_by(args: Sequence[Any], attrs: dict[str, Any], made: Sequence[Tensor]) -> list[Tensor]:
    """The results of a loop with the carries as all steps have found them.

    They are computed again where they were not kept, and where gradients of gradients flow
    through them.
    """
    if made and not (context.recording and context.tapes):
        return list(made)
    return list(bind(looped, tuple(args), attrs))  # pyright: ignore[reportArgumentType]


def keeping(attrs: dict[str, Any]) -> dict[str, Any]:
    """The attrs of a loop that keeps the carries as all steps have found them."""
    size, old = len(attrs["carried"]), attrs["body"]
    body = Graph(old.name)
    body.inputs, body.nodes = old.inputs, old.nodes
    body.outputs = [*old.inputs[:size], *[old.outputs[k] for k in attrs["carried"]]]
    return {
        **attrs,
        "carried": tuple(range(size, 2 * size)),
        "stacked": (*[True] * size, *[False] * size),
        "body": Body.of(body),
    }


def nothing(type_: TensorType) -> Tensor:
    """What changes no sum, not even the sign of a zero."""
    return functions["negative"](functions["zeros"](type_.shape, dtype=type_.dtype))


# ----- forwards -----


def ahead(tangents: Cotangents, args: Sequence[Any], attrs: dict[str, Any]) -> list[Any] | None:
    """The tangents of the results, by a loop that hands on tangents beside the carries.

    Returns:
        None where its step can be no body, as one of a batch of examples.
    """
    keeps, size = any(attrs["stacked"]), len(attrs["carried"])
    attrs = attrs if keeps else keeping(attrs)
    body, trace = attrs["body"], recording()
    assert trace is not None
    moving = moving_carries(body, size, tangents)
    steps = forward.Steps(tangents, args, body, 0, list(args[:size]))
    zeros = functions["zeros_like"]
    starts = [zeros(args[j]) if (t := tangents[j]) is None else t for j in moving]
    roll = Roll(trace, len(trace.graph.nodes))
    given, _ = roll.begin([*args[:size], *starts], [])
    before: list[Tensor | None] = [None] * size
    for j, x in zip(moving, given[size:], strict=True):
        before[j] = x
    try:
        found = given[:size]
        outs = replay(body, [*found, *args[size:]], set())[size:]
        pushed, _ = steps.push(before, found)
        ends = [zeros(found[j]) if (t := pushed[j]) is None else t for j in moving]
        roll.gives([*outs, *ends])
    finally:
        roll.end()
    made = roll.loop((), attrs["count"], found=keeps, going=attrs["going"])
    if made is None:
        return None
    width, results = size + len(moving), []
    for first in (0, width) if keeps else (0,):
        results += [
            made[first + size + moving.index(j)] if j in moving else None for j in range(size)
        ]
    return results


def moving_carries(body: Graph, size: int, tangents: Cotangents) -> list[int]:
    """The carries that move sooner or later."""
    moving = {k for k, x in enumerate(tangents) if x is not None}
    while True:
        met = {body.inputs[k] for k in moving}
        for node in body.nodes:
            if flows(node) and not met.isdisjoint(node.inputs):
                met.update(filter(is_inexact, node.outputs))
        more = moving | {j for j in range(size) if body.outputs[size + j] in met}
        if more == moving:
            return sorted(j for j in moving if j < size)
        moving = more


# ----- where derivatives flow -----


def reaching(graph: Graph, outputs: Iterable[Value]) -> set[Value]:
    """The values that cotangents of some outputs may flow back to."""
    met = {x for x in outputs if is_inexact(x)}
    for node in reversed(graph.nodes):
        if flows(node) and not met.isdisjoint(node.outputs):
            met.update(filter(is_inexact, node.inputs))
    return met


def flows(node: Any) -> bool:
    """Whether derivatives flow through a node."""
    return getattr(node.op, "differentiable", False)


def is_inexact(x: Value) -> bool:
    """Whether values like this have derivatives."""
    return kind(x.type.dtype) in INEXACT
