"""Ledger: what a recorded call does besides computing, for its path to do again after each run.

An entry is an action and what it is given: tensors of the graph, numbers of the prologue, or
constants. A path does its entries in program order when all of its guards have held and its
Variables are written; a path that misses has therefore done nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import islice
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.number import value_of
from dualflow.core.tensor import Tensor
from dualflow.tracing.parts import VALUES
from dualflow.tracing.passed import is_repeated, nodes_of, shared
from dualflow.tracing.texts import Texts
from jit.dataclass import dataclass

PLAIN = (*VALUES, np.generic, type, Enum, range, type(Ellipsis))


class EffectError(BaseException):
    """An action raised: the call has written, so it is not run again in Python.

    Args:
        cause: What the action raised.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Effect:
    """One entry.

    Attributes:
        act: Is given the value, as it is in this call.
        spec: The structure of the value.
        leaves: Its leaves, as they were while recording.
        told: What it does, in words, with the line.
        keeps: Whether the value outlives the call, so that gradients may flow through it.
        crossing: How many crossings came before.
        value: What it was given while recording.
    """

    act: Callable[[Any], None]
    spec: tree.TreeSpec
    leaves: list[Any]
    told: str
    keeps: bool
    crossing: int
    value: Any


class Ledger:
    """The entries of one recording, in program order.

    Attributes:
        crossing: How many crossings there were so far.
        texts: F-strings of tensors.
        said: How often the call has printed or logged something so far.
    """

    def __init__(self) -> None:
        self.said = 0
        self.effects: list[Effect] = []
        self.crossing = 0
        self.texts = Texts()

    def note(
        self,
        act: Callable[[Any], None],
        value: Any,
        told: str,
        *,
        keeps: bool = False,
        crossing: int | None = None,
    ) -> Any:
        """Adds an entry.

        Args:
            act: What later calls do with the value.
            value: Of this call; `replayable`.
            told: The same in words.
            keeps: Whether the value outlives the call.
            crossing: How many crossings came before; None: all that there were.

        Returns:
            The value without what belongs to the recording.
        """
        leaves, spec = tree.flatten(value)
        crossing = self.crossing if crossing is None else crossing
        self.effects.append(Effect(act, spec, leaves, told, keeps, crossing, value))
        return tree.unflatten(spec, map(without_symbol, leaves))

    def leaves(self) -> list[tuple[Any, bool]]:
        """What the entries are given, each with whether it is kept."""
        return [(x, effect.keeps) for effect in self.effects for x in effect.leaves]

    def after(
        self, build: Callable[[list[Any]], Any], count: int, result: Any
    ) -> Callable[[list[Any]], Any]:
        """What does the entries, and then makes the result.

        Args:
            build: Makes the result of its leaves.
            count: How many these are; those of the entries come after them.
            result: Of the recording call.
        """
        if not self.effects:
            return build
        if self.shares(result):
            return self._together(build, count, result)
        do = doing(self.effects)

        def finish(leaves: list[Any]) -> Any:
            do(leaves[count:])
            return build(leaves[:count])

        return finish

    def shares(self, result: Any) -> bool:
        """Whether a list, tuple or dict is kept in several places, or is in the result, too."""
        kept = [effect.value for effect in self.effects if effect.keeps]
        return bool(kept) and is_repeated(nodes_of([result, *kept]))

    def _together(
        self, build: Callable[[list[Any]], Any], count: int, result: Any
    ) -> Callable[[list[Any]], Any]:
        """The same where it does: all is made first, with one thing in the places of one."""
        acts, specs = zip(*[(effect.act, effect.spec) for effect in self.effects], strict=True)

        def make(leaves: list[Any]) -> list[Any]:
            rest = iter(leaves[count:])
            parts = [tree.unflatten(spec, islice(rest, spec.num_leaves)) for spec in specs]
            return [build(leaves[:count]), *parts]

        own = [result, *[effect.value for effect in self.effects]]
        form = shared(make([None] * (count + len(self.leaves()))), own, {})

        def finish(leaves: list[Any]) -> Any:
            made, *values = shared(make(leaves), form, {})
            try:
                for act, value in zip(acts, values, strict=True):
                    act(value)
            except Exception as error:
                raise EffectError(error) from error
            return made

        return finish


def doing(effects: Sequence[Effect]) -> Callable[[list[Any]], None]:
    """What does some entries, given all leaves of them."""
    steps: list[tuple[Callable[[Any], None], tree.TreeSpec | None, int, int]] = []
    start = 0
    for effect in effects:
        spec, end = None if effect.spec.is_leaf() else effect.spec, start + len(effect.leaves)
        steps.append((effect.act, spec, start, end))
        start = end

    def do(leaves: list[Any]) -> None:
        try:
            for act, spec, first, end in steps:
                act(leaves[first] if spec is None else tree.unflatten(spec, leaves[first:end]))
        except Exception as error:
            raise EffectError(error) from error

    return do


def current() -> Ledger | None:
    """The ledger of the recording in this thread; None where nothing is recorded."""
    return getattr(context.trace, "ledger", None)


def replayable(value: Any, others: Sequence[Any] = ()) -> bool:
    """Whether a path can make such a value anew: its tensors are the graph's, the rest is plain.

    Args:
        value: Of the recording call.
        others: Objects that may be in it, as they are.
    """
    leaves = tree.flatten(value)[0]
    return all(
        x.__class__ is Tensor or isinstance(x, PLAIN) or any(x is y for y in others) for x in leaves
    )


def without_symbol(x: Any) -> Any:
    """A tensor or a number of a recording as Python has it elsewhere."""
    if x.__class__ is Tensor and x.raw is not None:
        return Tensor(x.raw, None, x.record)
    return value_of(x)
