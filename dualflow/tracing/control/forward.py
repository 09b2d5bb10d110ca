"""Tangents of loops: a loop over the same steps, which hands on the tangents of the carries.

As in the backward loop, a step at which some tangent is not there yet stands by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualflow.autodiff.forward import push_forward
from dualflow.autodiff.sweep import Watch, detached
from dualflow.core.context import context, using
from dualflow.core.record import Leaf, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.backward import at_run, found_by, there
from dualflow.tracing.control.looped import opened
from dualflow.tracing.control.rolling import Roll, recording
from dualflow.tracing.replay import replay
from jit.dims import Extent
from jit.ir.graph import Graph
from jit.ir.loop import counter

Tangents = list["Tensor | None"]


def push(
    tangents: Sequence[Tensor | None],
    y: Any,
    *args: Tensor,
    body: Graph,
    count: Extent,
    carried: Sequence[int],
    made: Sequence[Tensor] = (),
    **attrs: Any,
) -> Any:
    """The tangents of a loop's results.

    Args:
        tangents: Of its arguments; None for what does not move.
        y: The results.
        *args: The arguments.
        body: Of the loop.
        count: How often it runs.
        carried: Its carries.
        made: The results, those too that nobody has.
        attrs: What else the loop has.
    """
    found = found_by(args, {"body": body, "count": count, "carried": carried, **attrs}, made)
    results = Steps(tangents, args, body, count, found).run()
    return tuple(results) if isinstance(y, tuple) else results[0]


class Steps:
    """The steps of one loop, with tangents.

    Args:
        tangents: Of the arguments.
        args: The arguments.
        body: Of the loop.
        count: How often it runs.
        found: The carries as all steps find them, stacked.
    """

    def __init__(
        self,
        tangents: Sequence[Tensor | None],
        args: Sequence[Any],
        body: Graph,
        count: Extent,
        found: list[Tensor],
    ) -> None:
        self._size = size = len(found)
        self._args, self._tangents, self._count, self._found = args, tangents, count, found
        self._opened = opened(body, size)
        self._carry = list(tangents[:size])
        # For each stacked result what the steps give, or how many give nothing.
        self._stacked: list[list[Tensor | Extent]] = [[] for _ in range(len(body.outputs) - size)]
        self._shapes = [x.type for x in (*body.outputs[:size], *body.outputs[2 * size :])]

    def run(self) -> Tangents:
        """Goes from the first step to the last."""
        trace, run, before = recording(), 0, None
        while run < self._count:
            pattern = [x is not None for x in self._carry]
            if trace is not None and pattern == before and run < self._count - 1:
                if self._roll(trace, run):
                    break
                trace, self._count, run = None, int(self._count), run + 1  # Python takes all steps
                continue
            before = pattern
            self._step_at(run)
            run += 1
        stacks = [self._joined(k) for k in range(len(self._stacked))]
        return [*stacks[: self._size], *self._carry, *stacks[self._size :]]

    def _step_at(self, run: int) -> None:
        """One step by itself."""
        found = [x[run] for x in self._found]
        rows = [self._args[arg][at_run(at, run)] for arg, at in self._opened.rows]
        moving = [self._row_of_tangent(arg, at_run(at, run)) for arg, at in self._opened.rows]
        before = self._carry
        self._carry, ys = self._push(before, found, rows, moving)
        for kept, tangent in zip(self._stacked, [*before, *ys], strict=True):
            kept.append(1 if tangent is None else functions["expand_dims"](tangent, 0))

    def _row_of_tangent(self, arg: int, at: Extent) -> Tensor | None:
        tangent = self._tangents[arg]
        return None if tangent is None else tangent[at]

    def _roll(self, trace: Any, first: int) -> bool:
        """The steps from `first` on, as a loop; else `first` only, and False."""
        start, count = len(trace.graph.nodes), self._count - first
        run, opened = first + counter(count), self._opened
        moving = [self._tangents[arg] for arg, _ in opened.rows]
        stacks: list[tuple[Tensor, Extent]] = [(x, run) for x in self._found]
        stacks += [(self._args[arg], at_run(at, run)) for arg, at in opened.rows]
        places = [at_run(at, run) for _, at in opened.rows]
        stacks += [(x, at) for x, at in zip(moving, places, strict=True) if x is not None]
        firsts = [x[at_run(at, 0)] for x, at in stacks]
        roll = Roll(trace, start)

        def step(state: list[Tensor], given: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            left, rest = iter(state), iter(given)
            before = [None if x is None else next(left) for x in self._carry]
            found = [next(rest) for _ in self._found]
            rows = [next(rest) for _ in opened.rows]
            tangents = [None if x is None else next(rest) for x in moving]
            carry, ys = self._push(before, found, rows, tangents)
            return there(carry), [*there(before), *there(ys)]

        after, own = roll.step(step, there(self._carry), firsts)
        made = roll.loop(stacks, count)
        size = len(after)
        parts = [functions["expand_dims"](x, 0) for x in own] if made is None else made[2 * size :]
        left, stacked = iter(after if made is None else made[size : 2 * size]), iter(parts)
        self._carry = [None if x is None else next(left) for x in self._carry]
        for kept in self._stacked:
            none = 1 if made is None else count
            kept.append(next(stacked) if isinstance(kept[-1], Tensor) else none)
        return made is not None

    def push(self, carry: Tangents, found: Sequence[Tensor]) -> tuple[Tangents, Tangents]:
        """The same of a step that reads no rows."""
        return self._push(carry, found, [], [])

    def _push(
        self,
        carry: Tangents,
        found: Sequence[Tensor],
        rows: Sequence[Tensor],
        moving: Tangents,
    ) -> tuple[Tangents, Tangents]:
        """The tangents of the carry that a step leaves, and of what is stacked of it."""
        size, opened = self._size, self._opened
        given = [*found, *[self._args[arg] for arg in opened.same], *rows]
        tangents = [*carry, *[self._tangents[arg] for arg in opened.same], *moving]
        recorded, watch = context.recording and bool(context.tapes), Watch()
        with using(recording=True, tapes=(*context.tapes, watch) if recorded else (watch,)):
            inner = [functions["identity"](x) if recorded else detached(x) for x in given]
            for x, tangent in zip(inner, tangents, strict=True):
                if tangent is not None and x.record is None:
                    x.record = Leaf()
            start = next(clock)
            outs = replay(opened.graph, inner, set())[size:]
            known = {x.record: t for x, t in zip(inner, tangents, strict=True) if t is not None}
            pushed = push_forward(outs, known, start)
        return pushed[:size], pushed[size:]

    def _joined(self, k: int) -> Tensor | None:
        """The tangents of all steps on top of each other."""
        parts = self._stacked[k]
        if not any(isinstance(x, Tensor) for x in parts):
            return None
        type_, full = self._shapes[k], functions["full"]
        return functions["concat"](
            [
                x if isinstance(x, Tensor) else full((x, *type_.shape), 0, dtype=type_.dtype)
                for x in parts
            ]
        )
