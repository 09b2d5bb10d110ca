"""GradientTape, and `backward()`, which is a tape that was always on.

Records hang on tensors; a tape only knows *when* it recorded, as intervals of the records' clock,
and what it was told to watch. `gradient` sweeps back over records that fall into those intervals.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dualflow.autodiff.reasons import explain_unconnected
from dualflow.autodiff.sweep import EVER, Span, Sweep, start_cotangent
from dualflow.autodiff.vmap import vmap
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.convert import as_tensor
from dualflow.core.record import Leaf, Record, clock
from dualflow.core.registry import functions
from dualflow.core.source import user_line, warn_user
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.errors import UnconnectedWarning
from jit.errors import DTypeError, TapeError
from jit.types import format_shape, kind, product

MEMORY = 32e6  # bytes that one sweep for rows of a Jacobian may take
ALIVE = 4  # cotangents as large as the largest tensor that live at once in a sweep

MAX_CUTS = 8  # explanations name so many places
# Tapes that may still ask for gradients, by id.
open_tapes: weakref.WeakValueDictionary[int, GradientTape] = weakref.WeakValueDictionary()


class GradientTape:
    """Records operations for differentiation, inside its `with` block.

    Args:
        persistent: `gradient` may be called more than once; otherwise the record is released at
            the first.
        watch_accessed_variables: Trainable Variables are watched as soon as they are used.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray(3.0)
        >>> with df.GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = x * x
        >>> tape.gradient(y, x).item()
        6.0
    """

    fills = False  # whether who opened it has zeros where no gradient flows

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:  # noqa: FBT001, FBT002
        self.persistent = persistent
        self.watch_accessed_variables = watch_accessed_variables
        self.spent = False
        self.born = next(clock)
        self.cuts: dict[str, str | None] = {}  # where gradients ended, and at which line first
        self._spans: list[list[int | None]] = []  # [first tick, last tick or None while recording]
        self._watched: set[Leaf] = set()
        self._variables: dict[int, Variable] = {}
        self._chosen: set[int] = set()

    # ----- recording -----

    def __enter__(self) -> GradientTape:
        if self.recording:
            raise TapeError(
                "the tape is recording already", "one `with` at a time", "make a second tape"
            )
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.recording:
            self._stop()

    @property
    def recording(self) -> bool:
        """Whether the tape records now."""
        return any(tape is self for tape in context.tapes)

    def _used(self, how: str = "", given: Sequence[Any] = ()) -> None:
        """The user does something with the tape: a recording must know."""
        if context.trace is not None:
            context.trace.used_tape(self, how, given)

    def _start(self) -> None:
        self._used("start")
        self._spans.append([next(clock), None])
        context.tapes = (*context.tapes, self)
        open_tapes[id(self)] = self

    def _stop(self) -> None:
        self._used("stop")
        self._spans[-1][1] = next(clock)
        context.tapes = tuple(tape for tape in context.tapes if tape is not self)

    @property
    def began(self) -> float:
        """The tick since which it records without a break; infinity if it never did."""
        return self._spans[-1][0] or 0 if self._spans else float("inf")

    def covers(self, record: Record) -> bool:
        """Whether `record` was made while this tape recorded."""
        tick, spans = record.tick, self._spans
        if len(spans) == 1:  # nearly always
            ((first, last),) = spans
            return first < tick and (last is None or tick < last)  # type: ignore[operator]
        return any(first < tick and (last is None or tick < last) for first, last in spans)  # type: ignore[operator]

    @property
    def span(self) -> Span | None:
        """The ticks between which it recorded all the time; None if there was a break."""
        if len(self._spans) != 1:
            return None
        ((first, last),) = self._spans
        return first or 0, EVER[1] if last is None else last

    @contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Suspends recording for a `with` block."""
        if not self.recording:
            raise TapeError(
                "stop_recording: the tape is not recording", "a call inside the tape's `with`", ""
            )
        self._stop()
        try:
            yield
        finally:
            self._start()

    def reset(self) -> None:
        """Forgets everything recorded and watched so far."""
        self._used("reset")
        recording = self.recording
        if recording:
            self._stop()
        self._spans.clear()
        self._watched.clear()
        self._variables.clear()
        self._chosen.clear()
        self.cuts.clear()
        self.spent = False
        if recording:
            self._start()

    # ----- watching -----

    def watch(self, tensors: Any) -> None:
        """Follows tensors (or Variables, or any nest of them) from now on.

        Raises:
            DTypeError: A dtype that has no gradients.
        """
        leaves = tree.flatten(tensors)[0]
        self._used("watch", leaves)
        for x in leaves:
            if not isinstance(x, Tensor):
                raise TypeError(
                    f"watch: a {type(x).__name__}; only tensors and Variables can be watched"
                )
            if kind(x.dtype) not in ("floating", "complex"):
                raise DTypeError(
                    f"watch: a tensor of dtype {x.dtype} has no gradient",
                    "a floating or complex tensor",
                    "x.astype(df.float32)",
                )
            self._chosen.add(id(x))
            target = x.tensor if isinstance(x, Variable) else x
            if target.record is None:
                target.record = Leaf()
            if target.record.__class__ is Leaf:
                self._watched.add(target.record)
            if isinstance(x, Variable):
                self._variables[id(x)] = x

    def saw(self, variable: Variable) -> None:
        """An op read `variable` while this tape recorded."""
        if variable.trainable and self.watch_accessed_variables:
            self._variables[id(variable)] = variable

    def note_cut(self, how: str) -> None:
        """A watched value went where no gradient follows: to Python, or through an op."""
        for cuts in (self.cuts, getattr(context.trace, "cuts", self.cuts)):
            if how not in cuts and len(cuts) < MAX_CUTS:
                cuts[how] = user_line()

    def saw_call(self, variables: Sequence[Variable], cuts: Mapping[str, str | None]) -> None:
        """A call ran from its graph.

        Args:
            variables: It has read them.
            cuts: Where gradients ended when it was recorded.
        """
        for variable in variables:
            self.saw(variable)
        for how, line in cuts.items():
            if len(self.cuts) < MAX_CUTS:
                self.cuts.setdefault(how, line)

    def watched_variables(self) -> tuple[Variable, ...]:
        """The Variables that are watched, in the order of their first use."""
        self._used("variables")
        return tuple(self._variables.values())

    @property
    def started(self) -> bool:
        """Whether the tape has recorded, or does now."""
        return bool(self._spans)

    def watches(self, tensor: Tensor) -> bool:
        """Whether the tape was told to watch a tensor that is no Variable."""
        return tensor.record in self._watched

    @property
    def chosen(self) -> list[int]:
        """The ids of the Variables that the tape was told to watch."""
        return [key for key in self._variables if key in self._chosen]

    def knows(self, source: Any) -> bool:
        """Whether gradients of `source` can be asked for at all."""
        return self.key_of(source) is not None

    # ----- asking -----

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "warn",
    ) -> Any:
        """Gradients of `target` with respect to `sources`.

        Args:
            target: A tensor, or a nest of tensors whose gradients are summed.
            sources: Tensors or Variables, in any nest.
            output_gradients: Cotangents in the structure of `target`; ones when None.
            unconnected_gradients: What a source gets that does not reach the target: "warn" (None,
                with a warning that says why), "none", "zero", or "raise".

        Returns:
            Gradients in the structure of `sources`.

        Raises:
            TapeError: The tape is spent, or a source is unconnected and "raise" was asked for.
        """
        self._used()
        if self.spent:
            raise TapeError(
                "this tape is spent: gradient() was called once and released the record",
                "one call of a tape that is not persistent",
                "GradientTape(persistent=True)",
            )
        if unconnected_gradients not in ("warn", "none", "zero", "raise"):
            raise ValueError(
                f"unconnected_gradients={unconnected_gradients!r}: warn, none, zero or raise"
            )
        if not self.persistent:
            if self.recording:
                self._stop()
            self.spent = True
            open_tapes.pop(id(self), None)
        leaves, spec = tree.flatten(sources)
        with using(recording=bool(context.tapes) and context.recording):
            targets = [as_tensor(t) for t in tree.flatten(target)[0]]
            sweep = Sweep(targets, self.covers, self.span)
            found = self._found(sweep, leaves, output_gradients)
            gradients = [
                g if g is not None else self._missing(x, targets, unconnected_gradients)
                for x, g in zip(leaves, found, strict=True)
            ]
        if not self.persistent:
            release_unless_wanted(sweep)
        return tree.unflatten(spec, gradients)

    def _found(
        self, sweep: Sweep, sources: list[Any], output_gradients: Any
    ) -> list[Tensor | None]:
        targets = sweep.targets
        given = (
            [None] * len(targets) if output_gradients is None else tree.flatten(output_gradients)[0]
        )
        if len(given) != len(targets):
            raise TapeError(
                f"gradient: {len(given)} output_gradients for {len(targets)} targets",
                "the structure of the target",
                "a tensor (or None) for each target",
            )
        keys = [self.key_of(x) for x in sources]
        cotangents = [start_cotangent(t, g) for t, g in zip(targets, given, strict=True)]
        wanted = {key for key in keys if key is not None}
        found = sweep.find(cotangents, wanted, sources, self)
        return [found.get(key) for key in keys]

    def key_of(self, x: Any) -> Any:
        """The record under which gradients of a source are collected; None if it is not watched."""
        if not isinstance(x, Tensor):
            raise TypeError(
                f"gradient: a source is a {type(x).__name__}; tensors and Variables have gradients"
            )
        if kind(x.dtype) not in ("floating", "complex"):
            raise DTypeError(
                f"gradient: a source of dtype {x.dtype} has no gradient",
                "a floating or complex tensor",
                "x.astype(df.float32) before the tape",
            )
        if (
            not self.watch_accessed_variables
            and isinstance(x, Variable)
            and id(x) not in self._chosen
        ):
            return None
        record = x.record
        if record.__class__ is Leaf and not record.rooted and record not in self._watched:
            return None
        return record

    def _missing(self, source: Any, targets: list[Tensor], policy: str) -> Any:
        if policy == "zero":
            return functions["zeros_like"](source)
        if policy != "none":
            reason = explain_unconnected(source, targets, self)
            if policy == "raise":
                raise TapeError(
                    f"gradient: {reason}",
                    "a source that reaches the target",
                    "watch it, and use it",
                )
            warn_user(f"gradient is None: {reason}", UnconnectedWarning)
        return None

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = "warn",
        *,
        chunk: int | None = None,
        memory: float = MEMORY,
    ) -> Any:
        """Derivatives of every element of `target`, of shape `target.shape + source.shape`.

        Args:
            target: One tensor.
            sources: Tensors or Variables, in any nest.
            unconnected_gradients: As for `gradient`.
            chunk: How many elements of the target are differentiated at a time, in one sweep; with
                1 each has a sweep of its own. As many as `memory` allows when None.
            memory: Bytes that one sweep may take, besides the result and what the tape holds.
        """
        target = as_tensor(target)
        chunk = chunk or self._rows_in(memory, target, sources)
        return self._rows(target, sources, unconnected_gradients, chunk, batch=False)

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: str = "warn",
        *,
        chunk: int | None = None,
        memory: float = MEMORY,
    ) -> Any:
        """Per-example derivatives of `target` (n, a...) by `source` (n, b...): (n, a..., b...).

        Args:
            target: Tensor whose first dimension runs over examples that do not depend on each
                other.
            source: Tensor with the same first dimension.
            unconnected_gradients: As for `gradient`.
            chunk: As for `jacobian`; it counts elements of an example.
            memory: As for `jacobian`.
        """
        target = as_tensor(target)
        chunk = chunk or self._rows_in(memory, target, source)
        return self._rows(target, source, unconnected_gradients, chunk, batch=True)

    def _rows_in(self, memory: float, target: Tensor, sources: Any) -> int:
        """How many rows of a Jacobian one sweep may find, so that it takes so many bytes."""
        sweep = Sweep([target], self.covers)
        made = [x for outputs in sweep.outputs.values() for x in outputs.values()]
        largest = max([int(x.size) * x.dtype.itemsize for x in (*tree.flatten(sources)[0], *made)])
        return max(1, int(memory / (ALIVE * max(1, largest))))

    def _rows(self, target: Tensor, sources: Any, policy: str, chunk: int, *, batch: bool) -> Any:
        """One row per element of the target (per element of an example, when batched)."""
        self._used("rows")
        persistent, self.persistent = self.persistent, True
        shape = target.shape[1:] if batch else target.shape
        size = int(product(shape))
        numbers = functions["arange"](size)  # a matrix of ones and zeros would be large
        given, spec = tree.flatten(sources)

        def row(number: Tensor) -> Any:
            chosen = functions["astype"](functions["equal"](numbers, number), target.dtype)
            g = functions["broadcast_to"](functions["reshape"](chosen, shape), target.shape)
            return self.gradient(target, sources, g, policy)

        where = 1 if batch else 0
        try:
            if not size:
                found = [
                    functions["zeros"]((*target.shape[:where], 0, *x.shape[where:]), dtype=x.dtype)
                    for x in given
                ]
            else:
                found = mapped_rows(row, numbers, where, chunk)
        finally:
            self.persistent = persistent
        if not persistent:
            self.spent = True
            if self.recording:
                self._stop()
            open_tapes.pop(id(self), None)
        return tree.unflatten(spec, [apart(y, where, shape) for y in found])


def mapped_rows(row: Any, numbers: Tensor, where: int, chunk: int) -> list[Any]:
    """The rows of a Jacobian, joined along axis `where`; so many in one sweep."""
    if chunk > 1:
        return tree.flatten(vmap(row, out_axes=where, chunk=chunk)(numbers))[0]
    rows = [tree.flatten(row(numbers[k]))[0] for k in range(int(numbers.shape[0]))]
    stack = functions["stack"]
    return [
        None if parts[0] is None else stack(list(parts), axis=where)
        for parts in zip(*rows, strict=True)
    ]


def apart(y: Tensor | None, where: int, shape: Any) -> Tensor | None:
    """Rows with the dimensions of the target that they are for."""
    if y is None:
        return None
    return functions["reshape"](y, (*y.shape[:where], *shape, *y.shape[where + 1 :]))


def release_unless_wanted(sweep: Sweep) -> None:
    """Frees the swept records, unless a tape that is still open recorded some of them."""
    still_open = [tape for ref in open_tapes.valuerefs() if (tape := ref()) is not None]
    if not any(
        tape.covers(record) for tape in {*still_open, *context.tapes} for record in sweep.records
    ):
        sweep.release()


def backward(target: Tensor, gradient: Any = None, *, retain_graph: bool = False) -> None:
    """Adds the gradient of `target` to `.grad` of every trainable Variable that it depends on."""
    target = as_tensor(target)
    if target.record is None:
        raise TapeError(
            "backward: this tensor does not depend on a trainable Variable",
            "work on Variables with trainable=True, outside of no_grad()",
            "check requires_grad of the parameters",
        )
    if gradient is None and target.size != 1:
        raise TapeError(
            f"backward: the target has shape {format_shape(target.shape)}",
            "a scalar, or a gradient of the target's shape",
            "loss.mean().backward()",
        )
    with using(recording=False):
        sweep = Sweep([target], lambda record: True, EVER)
        found = sweep.find([start_cotangent(target, gradient)], sweep.rooted())
        for leaf, g in found.items():
            variable = leaf.owner()
            if variable is None:
                continue
            if variable.grad is None:
                variable.grad = g
            else:
                variable.grad.assign_add(g)
    if not retain_graph:
        release_unless_wanted(sweep)


functions["backward"] = backward
