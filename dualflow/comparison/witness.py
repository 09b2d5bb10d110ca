"""Witness: one call in both modes from the same state, and all that they returned and left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.backend import to_device
from dualflow.core.context import context, using
from dualflow.core.tensor import Tensor
from dualflow.tracing.audit import Audit, Foreseen, difference
from dualflow.tracing.function import Function
from dualflow.tracing.path import Outcome, Output, Path
from dualflow.tracing.signature import Call
from jit.dataclass import dataclass

NUMBERS = (bool, int, float, complex)


@dataclass(frozen=True)
class Pair:
    """One thing that a call returns or leaves.

    Attributes:
        name: What people call it.
        graph: What the graph gave; arrays are NumPy's.
        python: What Python gave.
        output: Which output of the graph it is; None where it is none.
    """

    name: str
    graph: Any
    python: Any
    output: int | None

    @property
    def is_numeric(self) -> bool:
        """Whether it is an array of one type in both modes, or a number."""
        x, y = self.graph, self.python
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            return (x.shape, x.dtype) == (y.shape, y.dtype)
        return type(x) is type(y) and isinstance(x, NUMBERS) and np.asarray(x).dtype.kind in "bifc"

    def difference(self) -> str | None:
        """How the two differ, in words; None if they do not."""
        found = difference(self.graph, self.python)
        return found and f"{self.name}: {found}"


class Witness(Audit):
    """Has a call served by the graph and by Python, and keeps what both gave.

    Args:
        function: What is called; a path for such calls must be there.
        call: The arguments.

    Attributes:
        pairs: What both gave; empty if no graph served the call.
        path: The path that served it, if it is one by itself.
        arrays: What its graph was given.
        stretches: All paths that served it, one after the other, each with what it was given.
        structure: How the results differ in structure, if they do.
    """

    def __init__(self, function: Function, call: Call) -> None:
        super().__init__(function, call)
        self.pairs: list[Pair] = []
        self.path: Path | None = None
        self.arrays: list[Any] = []
        self.stretches: list[tuple[Path, list[Any]]] = []
        self.structure: str | None = None

    def serve(self) -> Any:
        """Runs the call; state is what Python left."""
        with using(checker=self):
            entry = self._function._entry_of(self._call)
            if entry.segments is not None:
                return self._in_python()
            return self._function._run(entry, self._call)

    def follow(self, path: Any, tensors: list[Tensor], numbers: Sequence[Any]) -> Any:
        """Serves a call in both ways, and compares nothing yet."""
        seen: list[Any] = []

        def stop(made: list[Any], outcome: Callable[[], Outcome] | None) -> None:
            if outcome is not None:  # the end of the call, not of a stretch
                seen.extend(made)
                raise Foreseen(outcome())

        whole = isinstance(path, Path)
        stretches = [(path, path.inputs(tensors, numbers))] if whole else []
        try:
            stretches = stretches or list(path.walk(tensors, numbers))
            path.call(tensors, numbers, stop)
        except Foreseen as foreseen:
            outcome = foreseen.outcome
        else:
            raise AssertionError("a path has written what was not accepted")
        result = self._in_python()
        self._keep(outcome, self._passed.left(result), seen)
        self.stretches = stretches
        if whole:
            ((self.path, self.arrays),) = stretches
        return result

    def _keep(self, outcome: Outcome, result: Any, made: list[Any]) -> None:
        spec, other = tree.flatten(outcome.result)[1], tree.flatten(result)[1]
        if spec != other:
            self.structure = f"the graph gives {spec}, Python {other}"
            return
        place = {id(array): k for k, array in enumerate(made)}
        for name, x, y in self._pairs(outcome, result):
            output = place.get(id(x.array)) if isinstance(x, Output) else None
            self.pairs.append(Pair(name, at_hand(x), at_hand(y), output))


def at_hand(x: Any) -> Any:
    """The array of a tensor or an output, where NumPy can look at it; anything else as it is."""
    if isinstance(x, Output):
        return to_device(x.array, "cpu")
    return to_device(x.raw, "cpu") if isinstance(x, Tensor) else x


def called(function: Function, call: Call) -> Any:
    """A plain call, with the arguments as the caller gave them."""
    assert context.trace is None
    args, kwargs = call.given
    return function(*args, **kwargs)
