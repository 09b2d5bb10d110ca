"""`recompute`: what a function computes on its way is not kept for gradients but computed again.

The function runs as it is and is recorded, also in eager mode. Its record holds what it was given,
and a graph of what it has computed; going back, the graph is run again, and Python is not. So what
the function prints or draws is printed and drawn once, and the numbers drawn are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from types import ModuleType
from typing import Any

from dualflow.autodiff.forward import push_forward
from dualflow.autodiff.sweep import Sweep, Watch, accumulate, detached
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.record import Leaf, Record, clock, hang
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.looped import BodyOp, for_sizes, op_by_op
from dualflow.tracing.control.rolling import Roll
from dualflow.tracing.replay import replay
from dualflow.tracing.trace import Trace
from jit.ir.call import Body, call
from jit.ir.graph import Graph

Sums = dict[Any, Tensor]
Again = Callable[[list[Tensor]], list[Tensor]]


def recompute(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, of which gradients keep the arguments only, and compute the rest once more.

    Args:
        function: Takes and returns tensors, or trees of them. What it reads besides, such as
            Variables, gets its gradients too. It runs once, whatever gradients are asked for.

    Returns:
        A function with the same results and gradients. Where it brings a gradient of its own
        (`custom_gradient`), or in `vmap`, everything is kept after all.

    Example:
        >>> import dualflow as df
        >>> block = df.recompute(lambda x: df.exp(df.sin(x)).sum())
        >>> df.grad(block)(df.asarray([0.0, 1.0])).shape
        (2,)
    """

    @wraps(function)
    def once(*args: Any, **kwargs: Any) -> Any:
        trace = context.trace
        if type(trace) is Trace:
            return recorded(trace, function, args, kwargs, eager=False)
        if trace is not None or not context.recording:
            return function(*args, **kwargs)
        trace = Trace("recompute")
        try:
            with using(trace=trace):
                return recorded(trace, function, args, kwargs, eager=True)
        finally:
            trace.release()

    return once


def recorded(
    trace: Trace, function: Callable[..., Any], args: Any, kwargs: Any, *, eager: bool
) -> Any:
    """The results, which have one record instead of those of all ops.

    Args:
        trace: Records the ops.
        function: The user's.
        args: Its arguments.
        kwargs: Likewise.
        eager: Whether the recording is for this only; else it goes on with a node.
    """
    nodes, rules, start = trace.graph.nodes, len(trace.custom_rules), next(clock)
    roll = Roll(trace, len(nodes))
    results: list[Any] = []

    def step(_: list[Tensor], __: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        results.append(function(*args, **kwargs))
        return [], [x for x in tree.flatten(results[0])[0] if is_result(x, start)]

    _, made = roll.step(step, [], [])
    leaves, spec = tree.flatten(results.pop())
    closed = roll.closed() if made and len(trace.custom_rules) == rules else None
    if closed is None:
        return tree.unflatten(spec, leaves)
    body, given, _ = closed
    attrs = {"body": Body.of(body)}
    if eager:
        outputs = [Tensor(x.raw) for x in made]
        given = [Tensor(x.raw, None, x.record) if trace.owns(x) else x for x in given]
    else:
        types, inputs = tuple([x.type for x in made]), list(map(trace.value_of, given))
        found = trace.append(recomputed, inputs, attrs, types)
        outputs = [Tensor(x.raw, trace.symbol(y)) for x, y in zip(made, found, strict=True)]

    hang(recomputed, tuple(given), attrs, outputs)
    rest = iter(outputs)
    return tree.unflatten(spec, [next(rest) if is_result(x, start) else x for x in leaves])


def is_result(x: Any, start: int) -> bool:
    """Whether gradients flow from a result into what was computed since `start`."""
    return isinstance(x, Tensor) and x.record is not None and x.record.tick > start


# ----- the op -----


def evaluate(xp: ModuleType, *arrays: Any, body: Graph) -> Any:
    """Runs the body."""
    results = op_by_op(xp, body, arrays, {})
    return results[0] if len(results) == 1 else tuple(results)


def run_again(
    again: Again, args: Sequence[Tensor], moving: Sequence[bool]
) -> tuple[list[Tensor], list[Tensor], int]:
    """The arguments as new tensors, what comes of them, recorded, and since when.

    Args:
        again: What runs.
        args: What it is given.
        moving: Which of the arguments are of interest.
    """
    recording, watch = context.recording and bool(context.tapes), Watch()
    leaves: dict[Any, Leaf] = {}
    with using(recording=True, tapes=(*context.tapes, watch) if recording else (watch,)):
        inner = [
            functions["identity"](x) if recording and flag else detached(x)
            for x, flag in zip(args, moving, strict=True)
        ]
        for x, new, flag in zip(args, inner, moving, strict=True):
            if flag and new.record is None:
                new.record = leaves.setdefault(x.record, Leaf())
        start = next(clock)
        return inner, again(inner), start


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
    body = record.attrs["body"]
    pull_again(sums, cotangents, record, needed, lambda inner: replay(body, inner, set()))


def pull_again(
    sums: Sums,
    cotangents: Sequence[Tensor | None],
    record: Record,
    needed: Sequence[bool],
    again: Again,
) -> None:
    """The same for anything that can be run again with other tensors in place of arguments."""
    args: Any = record.inputs
    inner, outputs, start = run_again(again, args, needed)
    keys: dict[Any, list[Any]] = {}
    for x, new, flag in zip(args, inner, needed, strict=True):
        if flag and new.record not in keys.setdefault(x.record, []):
            keys[x.record].append(new.record)
    alone = {key: own[0] for key, own in keys.items() if len(own) == 1}
    before = {own: sums[key] for key, own in alone.items() if key in sums}
    pairs = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if g is not None]
    pairs = [(y, g) for y, g in pairs if y.record is not None]
    sweep = Sweep([y for y, _ in pairs], lambda inside: inside.tick > start)
    wanted = {own for several in keys.values() for own in several}
    found = sweep.pull_all([g for _, g in pairs], wanted, before)
    for key, several in keys.items():
        for own in several:
            if own in found and key in alone:
                sums[key] = found[own]
            elif own in found:
                accumulate(sums, key, found[own])


def push(tangents: Sequence[Tensor | None], y: Any, *args: Any, body: Graph) -> Any:
    """The tangents of the results."""
    return push_again(tangents, y, args, lambda inner: replay(body, inner, set()))


def push_again(tangents: Sequence[Tensor | None], y: Any, args: Any, again: Again) -> Any:
    """The same for anything that can be run again with other tensors in place of arguments."""
    inner, outputs, start = run_again(again, args, [x is not None for x in tangents])
    moving = {x.record: t for x, t in zip(inner, tangents, strict=True) if t is not None}
    pushed = push_forward(outputs, moving, start)
    return tuple(pushed) if isinstance(y, tuple) else pushed[0]


recomputed = BodyOp(
    name="recompute",
    evaluate=evaluate,
    infer=for_sizes(call.infer),
    lower=call.lower,
    pull_into=pull_into,
    jvp=push,
    calls=True,
)
