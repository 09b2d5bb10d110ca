"""Gifts: state that a call may update in place, and whether it may do so now.

A Variable that a path reads and assigns can take its new value in the memory of the old one, if
nobody else sees that memory. Native code counts the references to the array, right before it writes
(`jit.runtime.executable`). What it cannot see is asked here: whether others hold the Tensor around
the array, such as a record. Where other Python threads could read the Variable meanwhile, its
Tensor is lent.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

from dualflow.core.context import context
from dualflow.tracing.bulk import put_into, put_into_gradients
from dualflow.tracing.cells import GradCell, Holder, VariableCell
from dualflow.tracing.lending import lent

Pairs = tuple[tuple[int, int], ...]
Run = Callable[..., list[Any]]
Written = Sequence[tuple[VariableCell | GradCell, int]]
Given = dict[int, tuple[int, Holder]]


class Gifts:
    """What one path may give away.

    Args:
        given: As `given_away` tells.
        arguments: How many inputs come before cells.
        written: Cells, each with the output that it is assigned.
        replaced: Gradients that are new ones afterwards, with the output that each is given.

    Attributes:
        pairs: (input, output): what is read there and assigned from there.
        numbers: The cells that these inputs are.
        rest: What is written, but for Variables.
    """

    def __init__(
        self,
        given: Given,
        arguments: int,
        written: Written,
        replaced: Sequence[tuple[GradCell, int]] = (),
    ) -> None:
        self.pairs = pairs_of(given)
        self._read = [k for k, _ in given.values()]
        self.numbers = frozenset([k - arguments for k in self._read])
        variables = [(x.variable, k) for x, k in written if isinstance(x, VariableCell)]
        self.rest = [x for x in written if not isinstance(x[0], VariableCell)]
        self._put, self._refill = put_into(variables), put_into_gradients(replaced)
        self._holders = [holder for _, holder in given.values()]

    def used(self, run: Run, arrays: list[Any], *, unshared: bool = False) -> list[Any]:
        """What a run of the path computes, in the memory of these pairs where that may be.

        Another reference to an array is what tells native code not to write it.

        Args:
            run: The code: `run(arrays, pairs)`.
            arrays: One for each input.
            unshared: Nobody but the holders has their Tensors, as was just seen.
        """
        if context.tapes:
            return run(arrays)
        if alone():
            if unshared:
                return run(arrays, self.pairs)
            kept = [x.tensor.raw for x in self._holders if getrefcount(x.tensor) > ALONE]
            made = run(arrays, self.pairs)
            del kept  # not before: nobody was to write there
            return made
        with lent(self._holders, self._read, arrays) as kept:
            made = run(arrays, self.pairs)
        del kept
        return made

    def refill(self, made: list[Any]) -> bool:
        """Assigns what a run has computed to the gradients that are there already.

        Args:
            made: The outputs.

        Returns:
            Whether that was done: they are as good as new ones, as nobody else has one.
        """
        return not context.tapes and self._refill(made) == 1

    def put(self, made: list[Any]) -> bool:
        """Assigns what a run has computed to all Variables, without new Tensors around it.

        Args:
            made: The outputs.

        Returns:
            Whether that was done: nobody else has one of their Tensors, or can get one.
        """
        return not context.tapes and self._put(made) == 1


def given_away(cells: Sequence[Any], arguments: int, written: Written) -> Given:
    """What a path may give away: by output the input and who holds it.

    Args:
        cells: Where the inputs of the graph after the arguments come from.
        arguments: How many inputs come before.
        written: Cells, each with the output that it is assigned.
    """
    inputs = {place(cell): k for k, cell in enumerate(cells, arguments) if place(cell)}
    found: Given = {}
    for cell, output in written:
        if (k := inputs.get(place(cell))) is not None:
            found.setdefault(output, (k, cell.holder))
    return found


def pairs_of(given: Given) -> Pairs:
    """(input, output): what is read there and assigned from there."""
    return tuple([(k, output) for output, (k, _) in given.items()])


def alone() -> bool:
    """Whether this is the only thread of Python."""
    return _thread._count() == 0


def place(cell: Any) -> tuple[type, int] | None:
    """The same for two cells that read and write the same state; None: it is never written."""
    if isinstance(cell, VariableCell):
        return VariableCell, id(cell.variable)
    return (GradCell, id(cell.owner)) if isinstance(cell, GradCell) else None


class _Example:
    """Holds a tensor that nobody else holds."""

    def __init__(self) -> None:
        self.tensor = type("Tensor", (), {})()


# What CPython counts for a tensor that only its Variable holds, asked as `used` asks.
(ALONE,) = [getrefcount(x.tensor) for x in [_Example()]]
