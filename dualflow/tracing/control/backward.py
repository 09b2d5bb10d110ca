"""Gradients of loops: the steps backwards, each from the carry that it found.

Cotangents of carries go from step to step. What all steps share gets its cotangents added one by
one, from the last step on, as in a loop of Python's: so the sums have the same bits. A step at
which some cotangent is not there yet differs from others; it stands by itself, and so does the
first step, at which carries have come from outside. All others are alike: they are a loop again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualflow.autodiff.sweep import Sweep, Watch, accumulate, detached, is_inexact
from dualflow.core.context import context, using
from dualflow.core.op import bind
from dualflow.core.record import Leaf, Record, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.looped import looped, opened
from dualflow.tracing.control.rolling import Roll, recording
from dualflow.tracing.replay import replay
from jit.dims import Dim, Extent, free_symbols, same, substitute
from jit.ir.graph import Graph
from jit.ir.loop import COUNTER, counter
from jit.ir.printer import static_dims

Sums = dict[Any, Tensor]
Cotangents = list["Tensor | None"]


def pull_into(
    sums: Sums, cotangents: Sequence[Tensor | None], record: Record, needed: Sequence[bool]
) -> None:
    """Adds the cotangents of a loop's arguments to what has arrived there.

    Args:
        sums: What has arrived, by record.
        cotangents: Of the results; None for those that nobody used.
        record: Of the loop.
        needed: For which of the arguments.
    """
    steps = Steps(record, cotangents, needed, sums)
    steps.run()
    steps.give(sums)


class Steps:
    """The steps of one loop, backwards.

    Args:
        record: Of the loop.
        cotangents: Of its results.
        needed: For which of its arguments they are wanted.
        sums: What has arrived at these.
    """

    def __init__(
        self,
        record: Record,
        cotangents: Sequence[Tensor | None],
        needed: Sequence[bool],
        sums: Sums,
    ) -> None:
        attrs = record.attrs
        assert record.inputs is not None
        self._args: Any = record.inputs
        self._body, self._count = attrs["body"], attrs["count"]
        self._size = size = len(attrs["carried"])
        self._opened = opened(self._body, size)
        self._met, self._last, self._ys = (
            list(cotangents[:size]),
            list(cotangents[size : 2 * size]),
            list(cotangents[2 * size :]),
        )
        bare = {name: x for name, x in attrs.items() if name != "made"}
        self._found = found_by(self._args, bare, attrs.get("made", ()))
        self._rows = [k for k, (arg, _) in enumerate(self._opened.rows) if needed[arg]]
        same = [arg for arg in self._opened.same if needed[arg]]
        self._keys = {arg: self._args[arg].record for arg in same}
        self._needed = needed
        # Which stacked results are a carry as a step has left it: they reach it before the next
        # step does.
        outs = self._body.outputs
        left = outs[size : 2 * size]
        self._of_carry = {
            k: left.index(value) for k, value in enumerate(outs[2 * size :]) if value in left
        }
        self._carry = list(self._last)
        for j in range(size):
            for y in self._ys_of(j, self._count - 1):
                self._carry[j] = added(self._carry[j], y)
        self._shared: dict[Any, Tensor | None] = {key: sums.get(key) for key in self._keys.values()}
        self._met_shared: list[Any] = []  # where something arrived in the last step
        self._of_rows: list[list[Tensor | Extent]] = [
            [] for _ in self._rows
        ]  # or how many have none
        self._before = sums

    def _ys_of(self, j: int, run: Extent) -> list[Tensor]:
        """What arrives at carry `j`, as a step has left it, from what is stacked of it."""
        found = [k for k, of in self._of_carry.items() if of == j and self._ys[k] is not None]
        return [self._ys[k][run] for k in reversed(found)]  # pyright: ignore[reportOptionalSubscript]

    # ----- all steps -----

    def run(self) -> None:
        """Goes from the last step to the first."""
        trace, run, before = recording(), self._count - 1, None
        while run >= 0:
            pattern = self._pattern()
            if trace is not None and pattern == before and run > 1:
                if self._roll(trace, run):
                    run = 0
                else:  # Python takes all steps
                    trace, self._count, run = None, int(self._count), int(run) - 1
                continue
            before = pattern
            self._step_at(run)
            run -= 1

    def _pattern(self) -> tuple[bool, ...]:
        """Which cotangents are there."""
        return tuple([x is not None for x in (*self._carry, *self._shared.values())])

    def _step_at(self, run: Extent) -> None:
        """One step by itself."""
        found = [x[run] for x in self._found]
        rows = [self._args[arg][at_run(at, run)] for arg, at in self._opened.rows]
        ys = [None if y is None else y[run] for y in self._ys]
        met = [None if y is None else y[run] for y in self._met]
        starts = [self._start(j, run, met[j]) for j in range(self._size)]
        before = self._shared
        self._carry, self._shared, made = self._back(
            self._carry, before, found, rows, ys, starts, run
        )
        self._met_shared = [key for key, x in self._shared.items() if x is not before[key]]
        for kept, cotangent in zip(self._of_rows, made, strict=True):
            kept.append(1 if cotangent is None else functions["expand_dims"](cotangent, 0))

    def _start(self, j: int, run: Extent, met: Tensor | None) -> Tensor | None:
        """What has arrived at carry `j`, as a step finds it, before the step is pulled through."""
        start: Tensor | None = None
        if same(run, 0):
            key = self._args[j].record
            alone = sum(getattr(x, "record", None) is key for x in self._args) == 1
            if key is not None and self._needed[j] and alone:
                start = self._before.get(key)
        for y in () if same(run, 0) else self._ys_of(j, run - 1):
            start = added(start, y)
        return start if met is None else added(start, met)

    def _roll(self, trace: Any, last: Extent) -> bool:
        """The steps from `last` down to the second one, as a loop; else `last` only, and False."""
        start = len(trace.graph.nodes)
        run = last - counter(last)
        stacks: list[tuple[Tensor, Extent]] = [(x, run) for x in self._found]
        stacks += [(self._args[arg], at_run(at, run)) for arg, at in self._opened.rows]
        stacks += [(y, run) for y in self._ys if y is not None]
        stacks += [(x, run) for x in self._met if x is not None]
        of_carry = [
            (j, k)
            for j in range(self._size)
            for k in sorted(self._of_carry, reverse=True)
            if self._of_carry[k] == j and self._ys[k] is not None
        ]
        stacks += [(y, run - 1) for _, k in of_carry if (y := self._ys[k]) is not None]
        firsts = [x[at_run(at, 0)] for x, at in stacks]
        roll = Roll(trace, start)

        def step(state: list[Tensor], rows: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            left, given = iter(state), iter(rows)
            carry = [None if x is None else next(left) for x in self._carry]
            shared: dict[Any, Tensor | None] = dict.fromkeys(self._shared)
            shared |= {key: next(left) for key in self._met_shared}
            found = [next(given) for _ in self._found]
            of_rows = [next(given) for _ in self._opened.rows]
            ys = [None if y is None else next(given) for y in self._ys]
            starts = [None if x is None else next(given) for x in self._met]
            arrived: Cotangents = [None] * self._size
            for j, _ in of_carry:
                arrived[j] = added(arrived[j], next(given))
            starts = [x if y is None else added(x, y) for x, y in zip(arrived, starts, strict=True)]
            carry, shared, made = self._back(carry, shared, found, of_rows, ys, starts, run)
            met = {key: x for key, x in shared.items() if x is not None}
            assert [*met] == self._met_shared
            return there([*carry, *met.values()]), there(made)

        # Nothing arrives at the others in any of these steps: they are like the step before.
        state = there([*self._carry, *[self._shared[key] for key in self._met_shared]])
        left, own = roll.step(step, state, firsts)
        made = roll.loop(stacks, last)
        size = len(state)
        parts = [functions["expand_dims"](x, 0) for x in own] if made is None else made[2 * size :]
        after, stacked = iter(left if made is None else made[size : 2 * size]), iter(parts)
        self._carry = [None if x is None else next(after) for x in self._carry]
        self._shared |= {key: next(after) for key in self._met_shared}
        for kept in self._of_rows:  # the same ones as in the step before
            none = 1 if made is None else last
            kept.append(next(stacked) if isinstance(kept[-1], Tensor) else none)
        return made is not None

    # ----- one step -----

    def back(
        self,
        carry: Cotangents,
        shared: dict[Any, Tensor],
        found: Sequence[Tensor],
        starts: Cotangents,
    ) -> tuple[Cotangents, dict[Any, Tensor]]:
        """Pulls cotangents through one step that reads no rows; what `_back` takes and gives."""
        told = {key: shared.get(key) for key in self._keys.values()}
        before, after, _ = self._back(carry, told, found, [], [], starts)
        return before, {key: x for key, x in after.items() if x is not None}

    def _back(
        self,
        carry: Cotangents,
        shared: dict[Any, Tensor | None],
        found: Sequence[Tensor],
        rows: Sequence[Tensor],
        ys: Cotangents,
        starts: Cotangents,
        run: Extent = 0,
    ) -> tuple[Cotangents, dict[Any, Tensor | None], Cotangents]:
        """Pulls cotangents through one step.

        Args:
            carry: Of the carry that it leaves.
            shared: What has arrived at what all steps share.
            found: The carry that it finds.
            rows: What it reads.
            ys: Of what is stacked of it.
            starts: What has arrived at the carry that it finds.
            run: The number of the step.

        Returns:
            The same of the carry that it finds, what has arrived then, and that of the rows.
        """
        size, opened = self._size, self._opened
        given = [*found, *[self._args[arg] for arg in opened.same], *rows]
        flags = [is_inexact(x) for x in found]
        flags += [arg in self._keys for arg in opened.same]
        flags += [k in self._rows for k in range(len(rows))]
        recorded, watch = context.recording, Watch()
        with using(recording=True, tapes=(*context.tapes, watch) if recorded else (watch,)):
            inner = [
                functions["identity"](x) if recorded and flag else detached(x)
                for x, flag in zip(given, flags, strict=True)
            ]
            for x, flag in zip(inner, flags, strict=True):
                if flag and x.record is None:
                    x.record = Leaf()
            start = next(clock)
            outs = replay(in_run(opened.graph, run), inner, set())
        sums = {
            x.record: y for x, y in zip(inner, starts, strict=False) if y is not None and x.record
        }
        keys = {arg: inner[size + k].record for k, arg in enumerate(opened.same)}
        sums |= {keys[arg]: x for arg, key in self._keys.items() if (x := shared[key]) is not None}
        pairs = list(zip(outs[size : 2 * size], carry, strict=True))
        own = [None if k in self._of_carry else y for k, y in enumerate(ys)]
        pairs += zip(outs[2 * size :], own, strict=True)
        pairs = [(y, g) for y, g in pairs if g is not None and y.record is not None]
        wanted = {x.record for x, flag in zip(inner, flags, strict=True) if flag}
        sweep = Sweep([y for y, _ in pairs], lambda record: record.tick > start)
        done = sweep.pull_all([g for _, g in pairs], wanted, sums)  # pyright: ignore[reportArgumentType]
        first = size + len(opened.same)
        return (
            [done.get(x.record) if flags[k] else None for k, x in enumerate(inner[:size])],
            {key: done.get(keys[arg]) for arg, key in self._keys.items()},
            [done.get(inner[first + k].record) for k in self._rows],
        )

    # ----- what has come of it -----

    def give(self, sums: Sums) -> None:
        """Adds everything to what has arrived."""
        sums.update({key: x for key, x in self._shared.items() if x is not None})
        for j, cotangent in enumerate(self._carry):
            if cotangent is not None and self._needed[j]:
                key = self._args[j].record
                alone = sum(getattr(x, "record", None) is key for x in self._args) == 1
                if alone:
                    sums[key] = cotangent
                else:
                    accumulate(sums, key, cotangent)
        for k, parts in zip(self._rows, self._of_rows, strict=True):
            arg, at = self._opened.rows[k]
            if any(isinstance(x, Tensor) for x in parts):
                accumulate(sums, self._args[arg].record, self._stacked(parts, arg, at))

    def _stacked(self, parts: list[Tensor | Extent], arg: int, at: Extent) -> Tensor:
        """The cotangents of all rows of an argument, which came from the last run to the first."""
        stack = self._args[arg]
        first, last = (at_run(at, run) for run in (0, self._count - 1))
        zeros = functions["zeros_like"]
        whole = functions["concat"](
            [x if isinstance(x, Tensor) else zeros(stack[:x]) for x in parts]
        )
        if last > first:
            whole = functions["flip"](whole, axis=0)
        before, after = min(first, last), stack.shape[0] - 1 - max(first, last)
        if not (before or after):
            return whole
        pads = [zeros(stack[:n]) for n in (before, after)]
        return functions["concat"]([pads[0], whole, pads[1]])


def found_by(args: Sequence[Any], attrs: dict[str, Any], made: Sequence[Tensor]) -> list[Tensor]:
    """The carries as all steps have found them, stacked.

    They are computed again where gradients of gradients flow through them.

    Args:
        args: Of the loop.
        attrs: Of the loop.
        made: Its results, without their history.
    """
    size = len(attrs["carried"])
    again = size and context.recording and context.tapes
    return list((bind(looped, tuple(args), attrs) if again else made)[:size])  # pyright: ignore[reportArgumentType]


def at_run(at: Extent, run: Extent) -> Extent:
    """Which row is read in a run, whose number may depend on another counter."""
    return substitute(at, {COUNTER: run})


def in_run(graph: Graph, run: Extent) -> Graph:
    """A step as a graph in which the counter is the number of a run."""
    if not any(str(symbol) == COUNTER for symbol in free_symbols(static_dims(graph))):
        return graph
    made = Graph(graph.name)
    new_of = {value: made.input(value.type, value.name) for value in graph.inputs}
    for node in graph.nodes:
        attrs = {name: attr_in_run(attr, run) for name, attr in node.attrs.items()}
        types = tuple([value.type for value in node.outputs])
        results = made.add(node.op, [new_of[x] for x in node.inputs], attrs, types, node.source)
        new_of.update(zip(node.outputs, results, strict=True))
    made.outputs = [new_of[value] for value in graph.outputs]
    return made


def attr_in_run(attr: Any, run: Extent) -> Any:
    """An attr of it."""
    if isinstance(attr, Dim):
        return at_run(attr, run)
    return tuple([attr_in_run(x, run) for x in attr]) if type(attr) is tuple else attr


def added(before: Tensor | None, more: Tensor) -> Tensor:
    """The sum with what has arrived before."""
    return more if before is None else before + more


def there(xs: Sequence[Tensor | None]) -> list[Tensor]:
    """Those that are there."""
    return [x for x in xs if x is not None]
