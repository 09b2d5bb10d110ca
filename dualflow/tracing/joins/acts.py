"""Acts: what Python does with a tape while it is recorded, as what a call can do again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import CodeType
from typing import Any

from dualflow.autodiff.sweep import Sweep
from dualflow.autodiff.tape import GradientTape, backward
from dualflow.core.context import context
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.joins.frames import Opaque
from dualflow.tracing.joins.keys import State
from dualflow.tracing.joins.tapes import Action, Ask, Start, Stop, Watch


def check_orders(tape: GradientTape | None, oldest: int) -> None:
    """Looks whether gradients of these gradients are those that Python finds.

    Args:
        tape: Who is asked.
        oldest: The tick of the first record behind the target.

    Raises:
        Opaque: A tape that records now has not seen all that is swept over, or there was none.
    """
    if context.recording and context.tapes:
        outer = [x for x in context.tapes if x is not tape]
        if not outer or any(not isinstance(x, GradientTape) or x.began > oldest for x in outer):
            raise Opaque


def starts(state: State, tape: GradientTape, given: Sequence[Any]) -> Action:
    """A tape begins to record."""
    del given
    return Start(state.number_of(tape))


def stops(state: State, tape: GradientTape, given: Sequence[Any]) -> Action:
    """A tape stops recording."""
    del given
    return Stop(state.number_of(tape))


def watches(state: State, tape: GradientTape, given: Sequence[Any]) -> Action:
    """A tape is told what to watch.

    Raises:
        Opaque: That is no tensor, or a Variable that is not trainable.
    """
    variables = [x for x in given if isinstance(x, Variable)]
    if not all(isinstance(x, Tensor) for x in given) or any(x.leaf is None for x in variables):
        raise Opaque
    slots = [state.slot_of(x) for x in given if not isinstance(x, Variable)]
    state.kept += variables
    return Watch(state.number_of(tape), tuple(slots), tuple(variables))


def asks(
    state: State,
    sweep: Sweep,
    cotangents: Sequence[Tensor],
    sources: Sequence[Any] | None,
    tape: GradientTape | None,
) -> Action:
    """Gradients are asked for.

    Raises:
        Opaque: A target, a cotangent or a source is no tensor of the recording.
    """
    targets, gs = [tuple(map(state.slot_of, xs)) for xs in (sweep.targets, cotangents)]
    if sources is None or tape is None:
        return Ask(None, targets, gs, None)
    names: list[Any] = []
    for x in sources:
        if tape.key_of(x) is None:
            names.append(None)
        else:
            names.append(x if isinstance(x, Variable) else state.slot_of(x))
    return Ask(state.number_of(tape), targets, gs, tuple(names))


def arguments(code: CodeType) -> tuple[str, ...]:
    """The names of the arguments of a function, but for any more that it takes."""
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def named(action: Action) -> tuple[Any, ...]:
    """What tells an action from others; a Variable is told by what it is."""
    parts = [getattr(action, field.name) for field in dataclasses.fields(action)]
    return type(action).__name__, *[
        tuple([("is", id(x)) if isinstance(x, Variable) else x for x in part])
        if isinstance(part, tuple)
        else part
        for part in parts
    ]


MAKERS = {"start": starts, "stop": stops, "watch": watches}
ACTS = frozenset(
    function.__code__
    for function in (
        GradientTape.__enter__,
        GradientTape.__exit__,
        GradientTape.watch,
        GradientTape.gradient,
        Tensor.backward,
        backward,
    )
)
