"""The gradient of a call: a forward graph that also returns what the backward graph needs.

When another tape watches the gradient itself, the call's graph is replayed as ops instead, from the
primal inputs; the replay is recorded, so gradients of every order follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from dualflow.autodiff.sweep import Sweep, Watch
from dualflow.core.context import context, using
from dualflow.core.op import registry
from dualflow.core.record import Record, hang, new_record
from dualflow.core.tensor import Tensor
from dualflow.tracing.compiling import DEFAULT, CompileOptions
from dualflow.tracing.numerics import Checker, finite
from dualflow.tracing.pair import Asked, Pair, is_inexact
from dualflow.tracing.replay import replay
from jit.errors import TraceError
from jit.ir.graph import Graph, Node, Value

if TYPE_CHECKING:
    from jit.compiler import Device

PATIENCE = 2  # calls without gradients after which none are expected
Sums = dict[Any, Tensor]  # what has arrived, by record


class CallGradient:
    """The op of a compiled call, as records see it.

    Args:
        graph: The recorded graph.
        tracked: Which of its outputs gradients flow back from, as the results need them.
        unrecorded: Nodes through which none flow.
        plain: Computes the graph, for calls after which nobody asks for gradients.
        target: What it is compiled for; None is the default.

    Attributes:
        slots: `tracked`, as given.
        tracked: The same, each once, but for those that are an input.
    """

    differentiable = True
    vjps = None
    jvp = None

    def __init__(
        self,
        graph: Graph,
        tracked: Sequence[int],
        unrecorded: set[Node],
        plain: Callable[[list[Any]], list[Any]],
        target: Device | None = None,
        *,
        compiling: CompileOptions = DEFAULT,
    ) -> None:
        self.name = f"call of {graph.name}"
        self.graph = graph
        self.unrecorded = unrecorded
        self.target = target
        self.compiling = compiling
        self._plain = plain
        self._alias_of = {slot: alias_of(graph, graph.outputs[slot]) for slot in tracked}
        self.slots = tracked
        self.tracked = [slot for slot, alias in self._alias_of.items() if alias is None]
        self._pairs: dict[Asked, Pair] = {}
        self._given: dict[Any, tuple[int, ...]] = {}  # by sources: what was asked for last time
        self._unasked: deque[ref[Residuals]] | None = None  # since gradients were asked for

    def wanted(self, inputs: list[Tensor]) -> bool:
        """Whether somebody watches an input of the call."""
        return new_record(self, tuple(inputs), {}) is not None

    def pair(self, asked: Asked) -> Pair:
        """The executables for some gradients.

        Raises:
            TraceError: They would not be right for all extents.
        """
        pair = self._pairs.get(asked)
        if pair is None:
            pair = self._pairs[asked] = Pair(self, asked)
        return pair

    def expected(self, inputs: Sequence[Tensor]) -> Pair:
        """The executables for the gradients that the next calls will be asked for.

        Raises:
            TraceError: They would not be right for all extents.
        """
        sources = sources_of(inputs)
        return self.pair(Asked(sources, self._given.get(sources, self._all)))

    def foresee(self, needed: Sequence[bool]) -> None:
        """Compiles gradients before a call wants them.

        Args:
            needed: For each input of the graph, whether it is watched.

        Raises:
            TraceError: They would not be right for all extents.
        """
        sources = tuple([k if flag else None for k, flag in enumerate(needed)])
        self.pair(Asked(sources, self._all)).compile()

    @property
    def _all(self) -> tuple[int, ...]:
        return tuple(range(len(self.tracked)))

    def forward(self, inputs: list[Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """The outputs of the call, and attrs for its record: the residuals.

        Where one tape stands in another, gradients of gradients will be asked for: then the graph
        is replayed at once, and the attrs are its outputs, each with the records of its ops.
        """
        if len(context.tapes) > 1:
            arrays = self._plain([x.raw for x in inputs])  # which looks at the guards
            return arrays, {"replayed": replay(self.graph, inputs, self.unrecorded)}
        pair = self.expected(inputs)
        residuals = Residuals(pair)
        arrays = [x.raw for x in inputs]
        if self._expects_to_be_asked():
            outputs, residuals.arrays = pair.run_forward(arrays)
        else:
            outputs = self._plain(arrays)
        if self._unasked is not None:
            self._unasked.append(ref(residuals))
        return outputs, {"sources": pair.asked.sources, "residuals": residuals}

    def _expects_to_be_asked(self) -> bool:
        """Whether gradients were asked for lately, or may still be of all the last calls."""
        unasked = self._unasked
        if unasked is None:
            return False
        return len(unasked) < PATIENCE or all(made() is not None for made in unasked)

    def hang(self, inputs: list[Tensor], attrs: dict[str, Any], outputs: list[Tensor]) -> None:
        """Records the call on those of its tracked outputs that a watched input reaches.

        An output that is an input has the input's record, and one tensor has one record.
        """
        if (replayed := attrs.get("replayed")) is not None:
            for slot, y in zip(self.slots, outputs, strict=True):
                y.record = replayed[slot].record
            return
        results = list(zip(self.slots, outputs, strict=True))
        own = {slot: y for slot, y in reversed(results) if self._alias_of[slot] is None}
        self._hang_aliases("before", inputs, results)
        if own:
            self._hang(inputs, attrs, [own[slot] for slot in self.tracked])
        self._hang_aliases("after", inputs, results)
        for slot, y in results:
            if (alias := self._alias_of[slot]) is None:
                y.record = own[slot].record
            elif alias.when == "same":
                y.record = inputs[alias.source].record

    def _hang_aliases(
        self, when: str, inputs: list[Tensor], results: list[tuple[int, Tensor]]
    ) -> None:
        """Gives outputs that are inputs read on their own the records of that."""
        for slot, y in results:
            alias = self._alias_of[slot]
            if alias is not None and alias.when == when:
                hang(registry["identity"], (inputs[alias.source],), {}, [y])

    def _hang(self, inputs: list[Tensor], attrs: dict[str, Any], outputs: list[Tensor]) -> None:
        reach = self.pair(Asked(attrs["sources"], self._all)).reach
        # An input that no output depends on has a history of its own, which this must not hold.
        kept = [source is None or bool(reach[source]) for source in attrs["sources"]]
        args = [x if own else x.alias(x.symbol) for x, own in zip(inputs, kept, strict=True)]
        hang(self, tuple(args), attrs, outputs)
        for k, y in enumerate(outputs):
            sources = [x.record for x, reached in zip(inputs, reach, strict=True) if k in reached]
            if not sources:
                y.record = None
            elif y.record is not None:
                y.record.rooted = any(record.rooted for record in sources)

    def definition(self, *inputs: Tensor, given: Sequence[int] | None = None, **attrs: Any) -> Any:
        """The tracked outputs (those `given`), by replaying the graph as ops."""
        outputs = replay(self.graph, list(inputs), self.unrecorded)
        kept = [self.tracked[k] for k in (self._all if given is None else given)]
        return tuple([outputs[k] for k in kept]) if len(kept) > 1 else outputs[kept[0]]

    # ----- the sweep back -----

    def pull_into(
        self,
        sums: Sums,
        cotangents: Sequence[Tensor | None],
        record: Record,
        needed: Sequence[bool],
    ) -> None:
        """Adds the cotangents of the inputs to what has arrived there, one after the other.

        Args:
            sums: What has arrived, by record.
            cotangents: Of the tracked outputs; None for those that nobody used.
            record: Of the call.
            needed: For which of its inputs.
        """
        args = record.inputs
        assert args is not None
        given = tuple([k for k, g in enumerate(cotangents) if g is not None])
        gs = [g for g in cotangents if g is not None]
        wanted = {k: x.record for k, (x, flag) in enumerate(zip(args, needed)) if flag}
        checks = isinstance(context.trace, Checker)
        symbolic = any(x.raw is None for x in (*args, *gs))
        if not (context.recording or (context.trace is not None and not checks) or symbolic):
            found = self._by_graph(sums, given, gs, record, wanted)
            if found is not None and not (checks and not finite([x.raw for x in found.values()])):
                sums.update(found)
                return
        before = {key: sums[key] for key in wanted.values() if key in sums}
        targets, start = self._by_ops(args, given)
        sweep = Sweep(targets, lambda inner: inner.tick > start)
        sums.update(sweep.run(gs, set(wanted.values()), before))

    def _by_graph(
        self,
        sums: Sums,
        given: tuple[int, ...],
        cotangents: list[Tensor],
        record: Record,
        wanted: dict[int, Any],
    ) -> Sums | None:
        """The new sums, by the compiled backward graph; None where there can be none."""
        sources, residuals = record.attrs["sources"], record.attrs["residuals"]
        args = record.inputs or ()
        try:
            pair = self.pair(Asked(sources, given))
        except TraceError:
            return None
        if not pair.fits(args):
            return None
        self._given[sources] = given
        self._unasked = deque(maxlen=PATIENCE)
        reached = {k: wanted[k] for k in pair.reached if k in wanted}
        before = {k: sums[key].raw for k, key in reached.items() if key in sums}
        raws = [g.raw for g in cotangents]
        found = pair.run_backward(residuals.of(pair, args), raws, before)
        return {key: found[k] for k, key in reached.items()}

    def _by_ops(self, args: tuple[Any, ...], given: Sequence[int]) -> tuple[list[Tensor], int]:
        """The outputs that have a cotangent, op by op, and the tick after which their records come.

        Tapes see them.
        """
        watch = Watch()
        tapes = (*context.tapes, watch) if context.recording else (watch,)
        with using(recording=True, tapes=tapes):
            start = Record(self, (), {}, rooted=False).tick
            made = self.definition(*args, given=given)
        return list(made) if isinstance(made, tuple) else [made], start


class Alias(NamedTuple):
    """An output that is an input of the call.

    Attributes:
        source: The number of the input.
        when: "same", if it has the record of the input, else when it was read, which gives it a
            record of its own: "before" everything else that reads the input, or "after".
    """

    source: int
    when: str


def alias_of(graph: Graph, value: Value) -> Alias | None:
    """The input that a value is: as it came, read from a Variable, or from one assigned there.

    None for other values, and for one that is read in between: the order of sums tells.
    """
    identity, assigned = registry["identity"], registry["assigned"]
    read = value.node if value.node is not None and value.node.op is identity else None
    value = value if read is None else read.inputs[0]
    while value.node is not None and value.node.op is assigned:
        value = value.node.inputs[0]
    if value.node is not None:
        return None
    source = graph.inputs.index(value)
    if read is None:
        return Alias(source, "same")
    same, before, after = {value}, False, False
    for node in graph.nodes:
        if node.op is assigned and node.inputs[0] in same:
            same.update(node.outputs)
        elif node is read:
            before, after = after, False
        elif not same.isdisjoint(node.inputs):
            after = True
    return None if before and after else Alias(source, "after" if before else "before")


def watched(inputs: Sequence[Tensor]) -> tuple[bool, ...]:
    """Which of the inputs of a call gradients are wanted for now."""
    return tuple(x.record is not None and is_inexact(x.type) for x in inputs)


def sources_of(inputs: Sequence[Tensor]) -> tuple[int | None, ...]:
    """For each input that is watched the first one that has the same record."""
    first: dict[Any, int] = {}
    return tuple(
        [
            first.setdefault(x.record, k) if x.record is not None and is_inexact(x.type) else None
            for k, x in enumerate(inputs)
        ]
    )


class Residuals:
    """What the backward graph needs of one call.

    Args:
        pair: For the gradients that were expected.

    Attributes:
        arrays: None while nobody has asked: then they are computed from the inputs.
    """

    __slots__ = ("__weakref__", "arrays", "pair")
    __hash__ = None  # pyright: ignore[reportAssignmentType] - a form of sweep must not hold it

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.arrays: list[Any] | None = None

    def of(self, pair: Pair, inputs: Sequence[Tensor]) -> list[Any]:
        """The arrays for some gradients; they are made where others were expected."""
        if self.arrays is None or self.pair is not pair:
            self.pair, self.arrays = pair, pair.run_forward([x.raw for x in inputs])[1]
        return self.arrays
