"""Audit: a share of the calls that graphs serve is run in Python as well, and both must agree.

The graph computes first and writes nothing. Then Python runs the call for good: state, gradients,
random numbers and effects are those of one call, which is Python's. What the graph would have given
and assigned is compared with that, bit for bit. In segments Python runs anyway; there each segment
is computed a second time, op by op.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from dualflow.autodiff.sweep import Sweep
from dualflow.core import tree
from dualflow.core.backend import to_device
from dualflow.core.context import context, using
from dualflow.core.op import Op, bind
from dualflow.core.record import INEXACT, Pick, Record, clock
from dualflow.core.source import user_line
from dualflow.core.tensor import Tensor
from dualflow.core.ulp import FARTHEST, ulp_distance
from dualflow.core.variable import Variable
from dualflow.tracing import modes
from dualflow.tracing.joins.joined import Joined
from dualflow.tracing.passed import Own, Passed, places_in
from dualflow.tracing.path import Outcome, Output, Path
from dualflow.tracing.settings import alike
from dualflow.tracing.signature import Call
from dualflow.tracing.unrecorded import Unrecorded
from jit.errors import AuditError
from jit.types import kind

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

NEAR = 64  # roundings of the largest element
EXPECTED = "the same bits from both"
REMEDY = "df.function(mode='eager') for Python's answer; if nothing unguarded changed, report this"

chance = random.Random(0)  # of its own: the user's generators stay as they are


def serve(function: Function, call: Call) -> Any:
    """Serves a call in both ways, if there is a graph for it, or segments."""
    with using(checker=Audit(function, call)):
        entry = function._entry_of(call)
        if entry.segments is not None:
            return function._in_segments(call)
        return function._run(entry, call)


def is_due(options: dict[str, Any]) -> bool:
    """Whether a call of a function with these options is audited now."""
    share = options["audit"] or float(modes.mode() == "audit" and not options["fast"])
    return share > 0.0 and chance.random() < share


class Exact:
    """Has each way through a function checked by the first call that it serves.

    Ways that join are one, which is checked again when it has grown.
    """

    def __init__(self) -> None:
        self.checked: WeakKeyDictionary[Path | Joined, int] = WeakKeyDictionary()
        self._recordings = 0  # when all ways were checked

    def is_due(self, function: Function) -> bool:
        """Whether there may be a way that no call was checked on."""
        if self._recordings == function.recordings:
            return False
        ways = [way for entry in function.entries.values() for way in entry.paths]
        if not all(map(self.knows, ways)):
            return True
        self._recordings = function.recordings
        return False

    def knows(self, way: Path | Joined) -> bool:
        """Whether a way was checked as it is."""
        return self.checked.get(way) == len(way.parts)

    def serve(self, function: Function, call: Call) -> Any:
        """Serves a call, in both ways where its way was not checked yet."""
        entry = function._entry_of(call)
        if entry.segments is not None:
            return function._in_segments(call)
        with using(checker=Once(function, call, self)):
            return function._run(entry, call)


class Foreseen(Exception):  # noqa: N818 - stops a call before it writes
    """What a call from a graph was about to do."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def stop(made: list[Any], outcome: Callable[[], Outcome] | None) -> None:
    """Accepts no end of a call."""
    if outcome is not None:
        raise Foreseen(outcome())


class Audit(Unrecorded):
    """One call; it stands where a recording would stand, while Python runs.

    Args:
        function: What is called.
        call: The arguments.
    """

    runs = False  # sweeps go op by op

    def __init__(self, function: Function, call: Call) -> None:
        super().__init__()
        self._function = function
        self._call = call
        self._passed = Passed(call.given, call.given)
        self._made: list[Variable] = []  # by the call
        self._read: dict[Variable, Tensor] = {}  # what they held when they were first read
        self._before: dict[Variable, Tensor] = {}  # what those held that were assigned
        self._after: dict[Variable, Tensor] = {}  # and what they were given last
        self._grads: dict[Variable, Variable | None] = {}  # the `.grad`s that they had

    # ----- a call from a graph -----

    def follow(self, path: Path | Joined, tensors: list[Tensor], numbers: Sequence[Any]) -> Any:
        """Serves a call in both ways.

        Raises:
            AuditError: They differ. State is what Python left.
        """
        held = {variable: variable.tensor for variable in path.variables}
        sources, start = self._followed(held), next(clock)
        try:
            path.call(tensors, numbers, stop)
        except Foreseen as foreseen:
            outcome = foreseen.outcome
        else:
            raise AssertionError("a path has written what was not accepted")
        result = self._in_python()
        left = self._passed.left(result)
        error = next(self._differences(outcome, left), None)
        if error is None and outcome.tracked:
            error = next(self._of_gradients(outcome, left, sources, start), None)
        if error is not None and not self._disturbed(held):
            raise error
        path.hits += 1
        self._function.audited += 1
        return result

    def _in_python(self) -> Any:
        try:
            with using(trace=self, checker=None):
                return self._function._eager(self._call)
        except Exception as error:
            what = f"Python raises {error!r:.200} where the graph gives a result"
            raise self._error(what) from error

    def _differences(self, outcome: Outcome, result: Any) -> Iterator[AuditError]:
        """What differs between what the graph would have done and what Python did."""
        spec, other = tree.flatten(outcome.result)[1], tree.flatten(result)[1]
        if spec != other:
            yield self._error(f"the result: the graph gives {shown(spec)}, Python {shown(other)}")
            return
        for name, x, y in self._pairs(outcome, result):
            yield from self._between(name, x, y)
        leaves, others = tree.flatten(outcome.result)[0], tree.flatten(result)[0]
        for name, x, y in zip(places_in(result), leaves, others, strict=True):
            if isinstance(x, Tensor) and x is not y:  # no `Output`: it was there before
                yield self._error(f"{name}: the graph gives a tensor from before, Python another")

    def _pairs(self, outcome: Outcome, result: Any) -> Iterator[tuple[str, Any, Any]]:
        """All that a call returns and leaves: what it is called, the graph's and Python's."""
        leaves, others = tree.flatten(outcome.result)[0], tree.flatten(result)[0]
        yield from zip(places_in(result), leaves, others, strict=True)
        gone = {id(grad) for v, grad in self._grads.items() if v._grad is not grad}
        for variable in dict.fromkeys([*outcome.written, *self._before]):
            if id(variable) not in gone:
                x = outcome.written.get(variable) or self._before[variable]
                yield f"{variable.label()} after the call", x, variable.tensor
        for variable in dict.fromkeys([*outcome.replaced, *self._grads]):
            if not self._is_made(variable):
                x, y = self._grad(outcome, variable), variable._grad
                name = f"the .grad of {variable.label()} after the call"
                yield name, x, None if y is None else y.tensor

    def _of_gradients(
        self, outcome: Outcome, result: Any, sources: dict[str, Tensor], start: int
    ) -> Iterator[AuditError]:
        """What differs of the gradients that a tape outside would get."""
        leaves = tree.flatten(result, lambda x: any(x is y for y in outcome.standing))[0]
        if max(outcome.tracked) >= len(leaves):  # what was appended somewhere is not at hand
            return
        records = {x.record for x in sources.values()}
        pairs = [(x, leaves[k]) for k, x in outcome.tracked.items()]
        # Nobody may differentiate what a tape inside has released, as the graph was yet to do.
        pairs = [(x, y) for x, y in pairs if not is_released(y)]
        if not pairs:
            return
        with using(trace=None, recording=False, checker=None):
            gs = [pattern(x) for x, _ in pairs]
            found, wanted = (
                Sweep([*ys], lambda record: record.tick > start).run(gs, records)
                for ys in zip(*pairs, strict=True)
            )
        for name, x in sources.items():
            a, b = found.get(x.record), wanted.get(x.record)
            if not near(a, b):
                yield from self._between(f"the gradient of {name}", a, b)

    def _followed(self, held: dict[Variable, Tensor]) -> dict[str, Tensor]:
        """What somebody outside may ask gradients of; by what it is called.

        Tapes inside leave their marks on what they watch, too, after which nobody asks.
        """
        sources = {f"argument {k}": x for k, x in enumerate(self._call.tensors)}
        sources |= {variable.label(): x for variable, x in held.items()}
        return {
            name: x
            for name, x in sources.items()
            if x.record is not None and (context.tapes or x.record.rooted)
        }

    def _grad(self, outcome: Outcome, variable: Variable) -> Output | Tensor | None:
        """The `.grad` that the graph would have left."""
        if variable in outcome.replaced:
            return outcome.replaced[variable]
        grad = self._grads[variable]
        if grad is None:
            return None
        return outcome.written.get(grad) or self._before.get(grad, grad.tensor)

    def _between(self, name: str, x: Any, y: Any) -> Iterator[AuditError]:
        """The error if `x`, of the graph, and `y`, of Python, differ."""
        line = None
        if isinstance(x, Output):
            x, line = x.array, x.line
        elif isinstance(x, Tensor):
            x = x.raw
        y = y.raw if isinstance(y, Tensor) else y
        if isinstance(x, Own) and isinstance(y, Own) and self._passed.are_one(x, y):
            return
        if (what := difference(x, y)) is not None:
            error = self._error(f"{name}: {what}")
            error.pin(line)
            yield error

    def _error(self, what: str) -> AuditError:
        return AuditError(f"{self._function.name}: {what}", EXPECTED, REMEDY)

    def _disturbed(self, held: dict[Variable, Tensor]) -> bool:
        """Whether another thread has assigned a Variable in between: these were two calls."""
        read, after = self._read, self._after
        return any(read.get(v, tensor) is not tensor for v, tensor in held.items()) or any(
            v.tensor is not tensor for v, tensor in after.items()
        )

    # ----- a call in segments -----

    def segment(self, steps: list[Any], made: list[Any], wanted: list[Any]) -> None:
        """Compares what a segment computed with what its ops give one by one."""
        ops = ", ".join(dict.fromkeys(step.kind.op.name for step in steps))
        for x, y in zip(made, wanted, strict=True):
            if (what := difference(x, y)) is not None:
                raise self._error(f"a segment ({ops:.200}) at {user_line()}: {what}")

    # ----- what Python does -----

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op."""
        with using(trace=None):
            return bind(op, args, attrs)

    def read(self, variable: Variable) -> Tensor:
        """A Variable is read."""
        self._read.setdefault(variable, variable.tensor)
        return variable.tensor

    def created(self, variable: Variable) -> None:
        """A Variable is made; it is nobody else's."""
        self._made.append(variable)

    def _is_made(self, variable: Variable) -> bool:
        return any(variable is made for made in self._made)

    def wrote(self, variable: Variable, before: Tensor, after: Tensor) -> None:
        """A Variable was assigned."""
        if not self._is_made(variable):
            self._before.setdefault(variable, before)
            self._after[variable] = after

    def touched_grad(self, variable: Variable) -> None:
        """`.grad` of a Variable is read or set."""
        self._grads.setdefault(variable, variable._grad)


class Once(Audit):
    """A call that is served in both ways if it is the first one that its way serves.

    Args:
        function: What is called.
        call: The arguments.
        exact: Knows which ways were checked.
    """

    def __init__(self, function: Function, call: Call, exact: Exact) -> None:
        super().__init__(function, call)
        self._exact = exact

    def follow(self, path: Path | Joined, tensors: list[Tensor], numbers: Sequence[Any]) -> Any:
        """Serves the call.

        Raises:
            AuditError: Both ways were gone, and differ.
        """
        if self._exact.knows(path):
            with using(checker=None):
                return path.call(tensors, numbers)
        result = super().follow(path, tensors, numbers)
        self._exact.checked[path] = len(path.parts)
        return result


def of_segments() -> Any:
    """What looks at the segments of a call that is audited; None if it is not."""
    return context.checker.segment if isinstance(context.checker, Audit) else None


def failed(what: str) -> None:
    """A graph has failed where Python did not: an error, if the call is audited."""
    if isinstance(context.checker, Audit):
        raise AuditError(what, EXPECTED, REMEDY)


def difference(x: Any, y: Any) -> str | None:
    """How a leaf of a graph's result differs from Python's, in words; None if it does not."""
    x, y = on_host(x), on_host(y)
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        return None if alike(x, y) or equal(x, y) else f"the graph gives {x!r}, Python {y!r}"
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return f"the graph gives {x.dtype}{list(x.shape)}, Python {y.dtype}{list(y.shape)}"
    places = np.flatnonzero((octets(x) != octets(y)).any(axis=1))
    if kind(x.dtype) in INEXACT:  # nobody says which NaN an operation gives
        places = places[~(np.isnan(x) & np.isnan(y)).ravel()[places]]
    if not len(places):
        return None
    distance = ulp_distance(x, y).ravel()
    worst = places[np.argmax(distance[places])]
    at = tuple(map(int, np.unravel_index(worst, x.shape)))
    far = "NaN on one side" if distance[worst] == FARTHEST else f"{distance[worst]} ULP apart"
    where = f" at {list(at)}, {len(places)} of {x.size} differ" if at else ""
    return f"the graph gives {x[at]!s}, Python {y[at]!s}{where}, {far}"


def near(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two gradients differ by no more than the order in which things are added."""
    if a is None or b is None or a.type != b.type or not a.size:
        return False
    x, y = on_host(a.raw), on_host(b.raw)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    return bool(abs(x - y).max() <= NEAR * np.finfo(x.dtype).eps * abs(y).max())


def is_released(x: Tensor) -> bool:
    """Whether a gradient call has let go of what a tensor was computed of."""
    record = x.record.bundle if x.record.__class__ is Pick else x.record
    return record.__class__ is Record and record.inputs is None


def pattern(x: Tensor) -> Tensor:
    """A cotangent with values that are all different."""
    values = np.linspace(0.5, 1.5, x.size).reshape(x.shape).astype(x.dtype)
    return Tensor(to_device(values, x.device))


def on_host(x: Any) -> Any:
    """An array where NumPy can look at it; anything else as it is."""
    is_elsewhere = hasattr(x, "dtype") and not isinstance(x, np.ndarray | np.generic)
    return to_device(x, "cpu") if is_elsewhere else x


def shown(spec: tree.TreeSpec) -> str:
    """A structure, as Python writes it."""
    return repr(tree.unflatten(spec, [...] * spec.num_leaves)).replace("Ellipsis", "...")


def octets(x: Any) -> Any:
    """The bytes of each element of an array, a row each."""
    return np.frombuffer(x.tobytes(), np.uint8).reshape(x.size, x.dtype.itemsize)


def equal(x: Any, y: Any) -> bool:
    """Whether two objects of a result, which are no tensors, say of themselves that they are."""
    try:
        return type(x) is type(y) and bool(x == y)
    except Exception:  # whatever they are, they do not say so
        return False
