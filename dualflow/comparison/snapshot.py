"""Snapshot: the state that calls of a function start from, so that both modes start from the same.

That is Variables (parameters, optimisers, random generators are made of them), their gradients, and
what Python keeps elsewhere and the function can reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.context import using
from dualflow.core.variable import Variable
from dualflow.tracing.parameters import leaf_names
from dualflow.tracing.signature import Call
from dualflow.tracing.trace import Trace


class Snapshot:
    """What a call reads and changes, found by running it once in Python; nothing stays changed.

    Args:
        python: The function.
        call: Its arguments.

    Attributes:
        result: What the call returned.
        variables: Those that it reads, by what people call them.
        only_read: Those of them that it does not assign.
        writes: Whether it assigns parameters, or touches gradients.
    """

    def __init__(self, python: Callable[..., Any], call: Call) -> None:
        self._traces: list[Trace] = []
        self.result = self._run(python, call)
        if self._traces[0].variables.survivors():  # later calls find what the first creates
            self.result = self._run(python, call)
        last, seen = self._traces[-1], self._traces[-1].variables
        grads = {id(grad) for grad in seen.grads.values()}
        read = [v for v in seen.before if id(v) not in grads]
        self.variables = named(read)
        self.only_read = [v for v in read if v not in seen.written]
        self.writes = bool(seen.grads) or any(v.trainable for v in seen.written)
        if len(self._traces) > 1:
            last.restore(python=True)
        else:
            self.put_back()

    def _run(self, python: Callable[..., Any], call: Call) -> Any:
        trace = Trace("snapshot")
        self._traces.append(trace)
        args, kwargs = call.given
        names = dict(zip(leaf_names(python, call), call.leaves, strict=False))
        with using(trace=trace), trace.watch(python, names):
            result = python(*args, **kwargs)
        trace.release(restorable=True)
        return result

    def start(self) -> None:
        """Puts everything to where calls start: what the first of all calls creates is there."""
        self._traces[-1].restore(python=True)

    def put_back(self) -> None:
        """Leaves everything as it was before anything ran."""
        for trace in reversed(self._traces):
            trace.restore(python=True)


def named(variables: list[Variable]) -> dict[str, Variable]:
    """Variables by their names, which are made different."""
    found: dict[str, Variable] = {}
    for number, variable in enumerate(variables):
        name = variable.name or f"variable {number}"
        found[name if name not in found else f"{name} ({number})"] = variable
    return found
