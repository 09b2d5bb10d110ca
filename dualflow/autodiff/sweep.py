"""The reverse sweep over records: the one engine behind tapes, `backward()`, `grad` and composites.

Cotangents are kept per record, so that every alias of a tensor is the same place. Only records on a
way from a target to a wanted source are visited, in falling order of their ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from numpy import ndarray, ones

from dualflow.autodiff.walks import walked
from dualflow.core.backend import CUDA, are_alike, device_of
from dualflow.core.context import context, using
from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.gpu_kernels import number_on
from dualflow.core.op import Op, wrap
from dualflow.core.precision import as_given
from dualflow.core.record import INEXACT, NO_ATTRS, Leaf, Pick, Record, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import TapeError
from jit.types import format_shape, kind, same_shape

if TYPE_CHECKING:
    from jit.runtime.walks import Walk

Inside = Callable[[Any], bool]
Span = tuple[int, int]
EVER: Span = (-1, 2**62)
by_tick = attrgetter("tick")


class Sweep:
    """One walk back from targets.

    Args:
        targets: Tensors to start from.
        inside: Tells whether a record counts; a tape counts what it recorded.
        span: The ticks between which all records count and no others, if there are such: then
            native code may walk, and what it does not find is collected when it is asked for.

    Attributes:
        records: All records behind the targets that count, in no order.
        outputs: Results of each record that were met, by their numbers.
        leaves: Those behind the targets, and a tensor of each.
    """

    records: list[Record]
    outputs: dict[Record, dict[int, Tensor]]
    leaves: dict[Any, Tensor]

    def __init__(self, targets: list[Tensor], inside: Inside, span: Span | None = None) -> None:
        self.targets = targets
        self.inside = inside
        self.span = span if context.trace is None else None
        if self.span is None:
            with context.aside():  # a recording watches the code of the user's
                self._collect()

    def __getattr__(self, name: str) -> Any:
        if name not in ("records", "outputs", "leaves"):
            raise AttributeError(name)
        if name == "records" and self.walk is not None:
            return self.walk.records
        self._collect()
        return self.__dict__[name]

    @cached_property
    def walk(self) -> Walk | None:
        """What native code met; None where it does not walk."""
        return None if self.span is None else walked(self.targets, self.span)

    def rooted(self) -> set[Any]:
        """The leaves of Variables."""
        leaves = self.leaves if self.walk is None else self.walk.ends
        return {leaf for leaf in leaves if leaf.rooted}

    def _collect(self) -> None:
        self.records, self.outputs, self.leaves = [], {}, {}
        outputs, inside, trace = self.outputs, self.inside, context.trace
        stack: list[Any] = [x for x in self.targets if x.record is not None]
        pop, push, visit = stack.pop, stack.append, self.records.append
        while stack:
            tensor = pop()
            node, index = tensor.record, 0
            if node.__class__ is not Record:
                if node.__class__ is Leaf:
                    self.leaves[node] = tensor
                    continue
                node, index = node.bundle, node.index
            known = outputs.get(node)
            if known is not None:
                known[index] = tensor
                continue
            if not inside(node):
                continue
            outputs[node] = {index: tensor}
            if trace is not None:
                trace.swept(node)
            if node.inputs is None:
                self._meet_released(node)
                continue
            visit(node)
            for x in node.inputs:
                record = x.record if x.__class__ is Tensor else getattr(x, "record", None)
                if record is not None:
                    push(x)

    def _meet_released(self, record: Record) -> None:
        raise released(record)

    def find(
        self,
        cotangents: list[Tensor],
        wanted: set[Any],
        sources: Sequence[Any] | None = None,
        tape: Any = None,
    ) -> dict[Any, Tensor]:
        """The same as `run`, for somebody who asks; a recording is told.

        Args:
            cotangents: One for each target.
            wanted: Records.
            sources: What `wanted` are the records of, in order; None: whatever is behind.
            tape: Who asks; None: `backward()`.
        """
        trace = context.trace
        done = None if trace is None else trace.sweeps(self, cotangents, sources, tape)
        found = self.run(cotangents, wanted)
        if done is not None:
            done(found)
        return found

    def run(
        self, cotangents: list[Tensor], wanted: set[Any], before: dict[Any, Tensor] | None = None
    ) -> dict[Any, Tensor]:
        """Cotangents of the wanted records (leaves among them) that are reached.

        Args:
            cotangents: One for each target.
            wanted: Records.
            before: What has arrived at some of them; it is added to.
        """
        if context.autocast is not None:
            with as_given():
                return self.run(cotangents, wanted, before)
        if before:
            return self.pull_all(cotangents, wanted, before)
        eager = not context.recording and (context.trace is None or context.trace.runs)
        with beside(*cotangents):
            return (run_eagerly[-1] if eager else op_by_op)(self, cotangents, wanted)

    def pull_all(
        self, cotangents: list[Tensor], wanted: set[Any], before: dict[Any, Tensor] | None = None
    ) -> dict[Any, Tensor]:
        """The same, record by record."""
        sums = dict(before or {})
        for target, g in zip(self.targets, cotangents, strict=True):
            if target.record is not None:
                accumulate(sums, target.record, g)
        with context.aside():
            needed = self.needed(wanted)
            watched = context.trace is not None
            parts = [(watched and is_ours(x.op), x, flags) for x, flags in reversed(needed.items())]
        for ours, part in groupby(parts, itemgetter(0)):
            with context.aside() if ours else nullcontext():
                for _, record, flags in part:
                    self._pull(record, sums, flags, wanted)
        return {record: g for record, g in sums.items() if record in wanted}

    def needed(self, wanted: set[Any]) -> dict[Record, tuple[bool, ...]]:
        """Records behind which something wanted lies, in their order; to which arguments it leads.

        Cotangents of other arguments are of no use.
        """
        needed: dict[Record, tuple[bool, ...]] = {}
        for record in sorted(self.records, key=by_tick):
            assert record.inputs is not None
            flags = tuple([leads(x, needed, wanted) for x in record.inputs])
            if True in flags:
                needed[record] = flags
        return needed

    def _pull(
        self, record: Record, sums: dict[Any, Tensor], flags: tuple[bool, ...], wanted: set[Any]
    ) -> None:
        inputs, op = record.inputs, record.op
        assert inputs is not None
        ys, gs = self._outputs_of(record, sums, wanted)
        if gs.count(None) == len(gs):
            return
        if (pull_into := getattr(op, "pull_into", None)) is not None:  # it stands for many
            pull_into(sums, gs, record, flags)
            return
        y, g = (ys[0], gs[0]) if record.types is None else (tuple(ys), filled(gs, record.types))
        cotangents = pull(op, g, y, inputs, record.attrs, flags)
        for x, flag, cotangent in zip(inputs, flags, cotangents, strict=True):
            if flag and cotangent is not None:
                if not is_alike(cotangent, x):
                    cotangent = fitted(cotangent, x)
                accumulate(sums, x.record, cotangent)

    def _outputs_of(
        self, record: Record, sums: dict[Any, Tensor], wanted: set[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Outputs and their cotangents, None for those that nobody has, or uses."""
        tensors = self.outputs[record]
        if record.types is None:
            (y,) = tensors.values()
            return [y], [sums.get(record) if record in wanted else sums.pop(record, None)]
        ys = [tensors.get(k) for k in range(len(record.types))]
        keys = [None if y is None else y.record for y in ys]
        return ys, [sums.get(key) if key in wanted else sums.pop(key, None) for key in keys]

    def release(self) -> None:
        """Drops the inputs of all visited records, and with them the memory they hold."""
        for record in self.records:
            record.inputs = None
            record.attrs = NO_ATTRS


op_by_op = Sweep.pull_all
# How sweeps that nobody records or traces are run: the last one counts. `tracing` adds its own.
run_eagerly: list[Callable[..., dict[Any, Tensor]]] = [op_by_op]


def is_ours(op: Any) -> bool:
    """Whether no code of the user's is among the rules of an op: a recording needs not watch them.

    An op that stands for many asks others for their rules.
    """
    return getattr(op, "package", None) is not None and not hasattr(op, "pull_into")


def released(record: Record) -> TapeError:
    """The error of meeting a record whose inputs are gone."""
    return TapeError(
        f"the record of {record.op.name} was released by an earlier gradient call",
        "one gradient call for a record",
        "GradientTape(persistent=True), or backward(retain_graph=True)",
    )


def filled(cotangents: list[Any], types: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of several outputs, zeros where there is none."""
    return tuple(
        functions["full"](t.shape, 0, dtype=t.dtype) if g is None else g
        for g, t in zip(cotangents, types, strict=True)
    )


def is_inexact(x: Tensor) -> bool:
    """Whether a tensor's dtype has gradients."""
    return kind(x.dtype) in INEXACT


def leads(x: Any, needed: dict[Record, Any], wanted: set[Any]) -> bool:
    """Whether a cotangent of the argument `x` is of use."""
    record = x.record if x.__class__ is Tensor else getattr(x, "record", None)
    if record is None or not is_inexact(x):
        return False
    return record in wanted or (record.bundle if record.__class__ is Pick else record) in needed


def pull(
    op: Op, g: Any, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: tuple[bool, ...]
) -> Any:
    """Cotangents of all arguments of one op application; None where none is needed."""
    if op.pullback is not None:
        return op.pullback(g, y, args, attrs, needed)
    if op.vjps is not None:
        return [
            vjp(g, y, *args, **attrs) if flag and vjp is not None else None
            for vjp, flag in zip(op.vjps, needed, strict=True)
        ]
    return pull_definition(op, g, args, attrs, needed)


def pull_definition(
    op: Any, g: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: tuple[bool, ...]
) -> Any:
    """The cotangents of a composite: its definition is run again, recorded, and swept."""
    assert op.definition is not None
    recording = context.recording
    watch = Watch()
    with using(recording=True, tapes=(*context.tapes, watch) if recording else (watch,)):
        inner = [
            functions["identity"](x) if recording and flag else detached(x)
            for x, flag in zip(args, needed, strict=True)
        ]
        for x, flag in zip(inner, needed, strict=True):
            if flag and x.record is None:
                x.record = Leaf()
        start = Record(op, (), {}, rooted=False).tick
        y = op.definition(*inner, **attrs)
    outputs = list(y) if isinstance(y, tuple) else [y]
    cotangents = list(g) if isinstance(g, tuple) else [g]
    wanted = {x.record for x, flag in zip(inner, needed, strict=True) if flag}
    found = Sweep(outputs, lambda record: record.tick > start).run(cotangents, wanted)
    return [found.get(x.record) if flag else None for x, flag in zip(inner, needed, strict=True)]


class Watch:
    """Stands among the tapes so that work on watched tensors is recorded; it asks nothing.

    Attributes:
        forward: Whether it is there for tangents only.
        born: When it was made.
    """

    persistent = False  # who stands in it wants one sweep

    def __init__(self, *, forward: bool = False) -> None:
        self.forward, self.born = forward, next(clock)

    def saw(self, variable: Any) -> None:
        """Nothing: only real tapes list the variables they met."""

    def saw_call(self, variables: Any, cuts: Any) -> None:
        """Nothing, likewise."""

    def note_cut(self, how: str) -> None:
        """Nothing: explanations are the outer tapes' business."""

    def covers(self, record: Record) -> bool:
        """It wants every record kept while it stands there."""
        return True


def detached(x: Any) -> Any:
    """The same value, unrecorded, without leaving a node in a trace."""
    return twin(x) if isinstance(x, Tensor) else x


def twin(x: Tensor) -> Tensor:
    """Another tensor of the same value; who computes that later knows of both."""
    y = x.alias(x.symbol)
    copied = getattr(x.symbol.owner, "copied", None) if x.is_symbolic else None
    if copied is not None:
        copied(y)
    return y


def is_alike(g: Tensor, x: Any) -> bool:
    """Whether two tensors that have values have one shape and dtype, so that nothing is to fit.

    In a recording extents may be alike by chance.
    """
    return g.symbol is None and x.symbol is None and are_alike(g.raw, x.raw)


def fitted(g: Tensor, x: Tensor) -> Tensor:
    """The cotangent in the shape and dtype of `x`: what was stretched is summed here, once."""
    if not same_shape(g.shape, x.shape):
        g = sum_to(g, x.shape)
    if g.dtype != x.dtype:
        if kind(g.dtype) == "complex" and kind(x.dtype) == "floating":
            g = functions["real"](g)
        g = functions["astype"](g, x.dtype)
    return g


def sum_to(g: Tensor, shape: tuple[Any, ...]) -> Tensor:
    """`g` summed over the dimensions that broadcasting added or stretched."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        k + extra
        for k, d in enumerate(shape)
        if isinstance(d, int) and d == 1 and g.shape[k + extra] != 1
    )
    summed = functions["sum"](g, axis=axes, keepdims=True) if axes else g
    return summed if same_shape(summed.shape, shape) else functions["reshape"](summed, shape)


def accumulate(sums: dict[Any, Tensor], key: Any, g: Tensor) -> None:
    """Adds a cotangent to what has arrived at `key`."""
    before = sums.get(key)
    sums[key] = g if before is None else before + g


def start_cotangent(target: Tensor, given: Any) -> Tensor:
    """Ones, or what the user gave, in the target's shape and dtype."""
    if given is None:
        # What `ones_like` comes to; asking a recording's tensor for its array would compute it.
        array: Any = None if context.trace is not None else target.raw
        if array.__class__ is ndarray:
            return wrap(ones(array.shape, array.dtype))
        if hasattr(array.__class__, CUDA) and array.ndim == 0:
            return wrap(number_on(device_of(array), 1.0, array.dtype, 1.0))  # made once
        return functions["ones_like"](target)
    g = as_tensor(given, target.dtype if not isinstance(given, Tensor) else None)
    if g.shape != target.shape:
        raise TapeError(
            f"a cotangent of shape {format_shape(g.shape)} "
            f"for a target of shape {format_shape(target.shape)}",
            "the target's shape",
            "pass output_gradients of the same shape",
        )
    return fitted(g, target)
