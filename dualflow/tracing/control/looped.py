"""Ops with a body, as graphs and records see them; among them the loop that was recorded.

A loop is that of `jit.ir.loop` with a body of dualflow's ops. Of the body's outputs the first ones
are the carries as a step finds them, stacked: gradients need these, and where nobody does they are
dropped when the graph is compiled. Then come the carries as the step leaves them, and what is
stacked of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from dualflow.core.op import PACKAGE, Op, registry, values
from jit.dataclass import dataclass
from jit.dims import Dim, Extent, free_symbols, solve
from jit.errors import DualflowError
from jit.ir import builtin
from jit.ir.call import Body
from jit.ir.graph import Graph, Value
from jit.ir.interpret import bound
from jit.ir.loop import COUNTER, loop, repeated
from jit.ir.op import OpDef
from jit.ir.printer import static_dims
from jit.types import TensorType

if TYPE_CHECKING:
    from jit.compiler import Executable


Step = Callable[[Sequence[Any], Mapping[str, int]], list[Any]]  # of arrays, and what symbols are


@dataclass(frozen=True, eq=False, kw_only=True)
class BodyOp(OpDef):
    """An op with a body of other ops, with what records ask of an op; see `dualflow.core.op`.

    Attributes:
        pull_into: Adds cotangents to what has arrived, as `dualflow.autodiff.sweep` asks for it.
        keeps: Records hold the results too.
    """

    differentiable: bool = True
    keeps: bool = False
    quiet: bool = False
    definition: None = None
    batch: None = None
    package: Path | None = PACKAGE
    vjps: None = None
    pullback: None = None
    pull_into: Callable[..., None]
    jvp: Callable[..., Any]


def evaluate(xp: ModuleType, *arrays: Any, body: Graph, **attrs: Any) -> Any:
    """Runs the body: many steps in native code, few op by op, which has the same bits.

    Where some of the loop is left to Python, its steps are taken one by one, each by code of its
    own if they are many.
    """
    count, going = attrs["count"], attrs.get("going")
    results = None
    if xp is np and going is None and count >= MANY:
        results = natively(arrays, body, attrs)
    elif xp is np and going is not None:  # nobody knows how many there are: some are tried
        try:
            results = by_steps(xp, arrays, body, attrs, MANY)
        except TooMany:
            results = natively(arrays, body, attrs)
    if results is None:
        many = xp is np and (count is None or count >= MANY)
        step = step_of(body, len(attrs["carried"])) if many else None
        results = by_steps(xp, arrays, body, attrs, step=step)
    return results[0] if len(results) == 1 else tuple(results)


class TooMany(Exception):  # noqa: N818 - nothing is wrong
    """There are more steps than were to be tried."""


def by_steps(
    xp: ModuleType,
    arrays: Sequence[Any],
    body: Graph,
    attrs: dict[str, Any],
    most: int = -1,
    step: Step | None = None,
) -> list[Any]:
    """The results of a loop of which each step is run by itself, or each of its ops.

    Raises:
        TooMany: There are more than `most` steps.
    """
    told = solve([x.type.shape for x in body.inputs], [x.shape for x in arrays])

    def run(given: Sequence[Any], sizes: dict[str, int]) -> list[Any]:
        if sizes[COUNTER] == most:
            raise TooMany
        if step is not None:
            return step(given, {**told, **sizes})
        return op_by_op(xp, body, given, sizes)

    return repeated(run, arrays, xp=xp, body=body, **attrs)


def natively(arrays: Sequence[Any], body: Graph, attrs: dict[str, Any]) -> list[Any] | None:
    """The results by native code; None where some of the loop is left to Python."""
    native = compiled(body, arrays, attrs)
    return None if native is None else native(list(arrays))


def op_by_op(
    xp: ModuleType, body: Graph, arrays: Sequence[Any], sizes: Mapping[str, int]
) -> list[Any]:
    """What a body gives, each op as it is where it is called by itself.

    Args:
        xp: The array module.
        body: What runs.
        arrays: One for each input.
        sizes: Of symbols in attrs, beside those of the inputs.
    """
    shapes = [value.type.shape for value in body.inputs]
    sizes = {**solve(shapes, [x.shape for x in arrays]), **sizes}
    found: dict[Value, Any] = dict(zip(body.inputs, arrays, strict=True))
    for node in body.nodes:
        if node.op is builtin.constant:
            found[node.outputs[0]] = xp.asarray(node.attrs["value"])
            continue
        inputs = [found[x] for x in node.inputs]
        attrs = {name: bound(x, sizes) for name, x in node.attrs.items()} if sizes else node.attrs
        try:
            made = made_by(xp, node.op, inputs, attrs)
        except DualflowError as error:
            error.pin(node.source)
            raise
        found.update(zip(node.outputs, made, strict=True))
    return [found[x] for x in body.outputs]


def made_by(xp: ModuleType, op: Any, inputs: list[Any], attrs: Mapping[str, Any]) -> list[Any]:
    """What an op gives."""
    if isinstance(op, Op | BodyOp):
        return [x.raw for x in values(op, inputs, dict(attrs))]  # pyright: ignore[reportArgumentType]
    return [op.evaluate(xp, *inputs, **attrs)]


def step_of(body: Graph, carries: int) -> Step | None:
    """Code for one step of a loop; None where there is none, or sizes vary that a step meets."""
    if not isinstance(body, Body):
        return None
    if body not in _steps:
        _steps[body] = None
        parts = opened(body, carries)
        if not varies(parts.graph) and COUNTER not in {
            str(s) for s in free_symbols(static_dims(parts.graph))
        }:
            _steps[body] = step_by(parts, carries)
    return _steps[body]


def step_by(parts: Opened, carries: int) -> Step | None:
    """The same of the parts of a body."""
    import jit

    code = jit.compile(parts.graph, ops=registry)
    if code.mode != "compiled":
        return None

    def step(given: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        rows = [given[k][bound(at, sizes), ...] for k, at in parts.rows]
        return code([*given[:carries], *[given[k] for k in parts.same], *rows])

    return step


def compiled(body: Graph, arrays: Sequence[Any], attrs: dict[str, Any]) -> Executable | None:
    """The loop in native code; None where some of it is left to Python."""
    if not isinstance(body, Body):
        return None
    if body not in _compiled:
        _compiled[body] = None
        types = [TensorType(x.shape, x.dtype) for x in arrays]
        if not varies(body):
            import jit

            graph = Graph("loop")
            inputs = [graph.input(x) for x in types]
            graph.outputs = list(graph.add(looped, inputs, {**attrs, "body": body}))
            made = jit.compile(graph, ops=registry)
            if made.mode == "compiled" and not made.host_steps:
                _compiled[body] = made
    return _compiled[body]


def varies(body: Graph) -> bool:
    """Whether extents of what a body is given may be others in other calls."""
    return any(free_symbols(value.type.shape) for value in body.inputs)


def for_sizes(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A type rule of an op with a body, for a body whose extents vary and types that do not."""

    def infer(*types: TensorType, body: Graph, **attrs: Any) -> Any:
        if varies(body) and not any(free_symbols(type_.shape) for type_ in types):
            sizes = solve([x.type.shape for x in body.inputs], [x.shape for x in types])  # pyright: ignore[reportArgumentType]
            body = typed(body, sizes)
        return rule(*types, body=body, **attrs)

    return infer


def typed(body: Graph, sizes: Mapping[str, int]) -> Graph:
    """A graph with the inputs and outputs of a body at some sizes, and nothing between."""
    graph = Graph(body.name)

    def at(x: Value) -> Value:
        return Value(x.type.with_shape(bound(x.type.shape, sizes)), None, 0, None)

    graph.inputs, graph.outputs = list(map(at, body.inputs)), list(map(at, body.outputs))
    return graph


MANY = 100  # steps that are worth compiling
_compiled: WeakKeyDictionary[Body, Executable | None] = WeakKeyDictionary()
_steps: WeakKeyDictionary[Body, Step | None] = WeakKeyDictionary()


@dataclass(frozen=True)
class Opened:
    """The body of a loop with the rows that it reads as inputs.

    Attributes:
        graph: Its inputs: carries, what is the same in each step, rows.
        same: The numbers of the loop's arguments that are the same in each step.
        rows: For each row the number of the argument that it is of, and which row that is.
    """

    graph: Graph
    same: tuple[int, ...]
    rows: tuple[tuple[int, Extent], ...]


def opened(body: Graph, carries: int) -> Opened:
    """Takes the reading of rows out of a body."""
    reads = [node for node in body.nodes if isinstance(node.attrs.get("at"), Dim)]
    stacks = {node.inputs[0] for node in reads}
    numbers = range(carries, len(body.inputs))
    same = [k for k in numbers if body.inputs[k] not in stacks]
    graph = Graph(body.name)
    taken = [*body.inputs[:carries], *[body.inputs[k] for k in same]]
    new_of = {x: graph.input(x.type) for x in [*taken, *[node.outputs[0] for node in reads]]}
    for node in body.nodes:
        if node not in reads:
            graph.append_copy(node, new_of)
    graph.outputs = [new_of[x] for x in body.outputs]
    rows = [(body.inputs.index(node.inputs[0]), node.attrs["at"]) for node in reads]
    return Opened(graph, tuple(same), tuple(rows))


def _pull_into(sums: Any, cotangents: Any, record: Any, needed: Any) -> None:
    from dualflow.tracing.control import backward, until  # which make loops

    of = backward if record.attrs.get("going") is None else until
    of.pull_into(sums, cotangents, record, needed)


def _jvp(*args: Any, **attrs: Any) -> Any:
    from dualflow.tracing.control import forward, until  # likewise

    return (forward if attrs.get("going") is None else until).push(*args, **attrs)


looped = BodyOp(
    name=loop.name,
    evaluate=evaluate,
    infer=for_sizes(loop.infer),
    lower=loop.lower,
    pull_into=_pull_into,
    jvp=_jvp,
    repeats=True,
    keeps=True,
)
