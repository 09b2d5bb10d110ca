"""The forward sweep: tangents pushed along the records that a computation leaves."""

from __future__ import annotations

from typing import Any

from dualflow.autodiff.sweep import Sweep, fitted
from dualflow.core.devices import beside
from dualflow.core.precision import as_given
from dualflow.core.record import Pick, Record
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import TapeError
from jit.types import kind, same_shape


def push_forward(
    targets: list[Tensor], tangents: dict[Any, Tensor], start: int
) -> list[Tensor | None]:
    """Tangents of `targets`, given those of some records; None where a target does not move.

    Args:
        targets: What was computed.
        tangents: Tangent by the record of each tensor that moves.
        start: Only records after this tick count.
    """
    sweep = Sweep(targets, lambda record: record.tick > start)
    moving = dict(tangents)
    with as_given():
        for record in sorted(sweep.records, key=lambda r: r.tick):
            push(record, sweep.outputs[record], moving)
    return [moving.get(t.record) for t in targets]


def push(record: Record, outputs: dict[int, Tensor], moving: dict[Any, Tensor]) -> None:
    """Adds the tangents of one record's outputs to `moving`."""
    assert record.inputs is not None
    given = tuple(moving.get(getattr(x, "record", None)) for x in record.inputs)
    if all(t is None for t in given):
        return
    if record.types is None:
        y = outputs[0]
        tangent = jvp_of(record, given, y)
        if tangent is not None:
            moving[y.record] = spread(tangent, y)
        return
    ys = tuple(outputs.get(k) for k in range(len(record.types)))
    for y, tangent in zip(ys, jvp_of(record, given, ys), strict=True):
        if y is not None and tangent is not None and y.record.__class__ is Pick:
            moving[y.record] = spread(tangent, y)


def spread(tangent: Tensor, y: Tensor) -> Tensor:
    """The tangent in the shape of `y`, which broadcasting may have made larger."""
    if not same_shape(tangent.shape, y.shape):
        tangent = functions["broadcast_to"](tangent, y.shape)
    return fitted(tangent, y)


def jvp_of(record: Record, given: tuple[Tensor | None, ...], y: Any) -> Any:
    """The tangents of an op's outputs by its own rule."""
    op, inputs, attrs = record.op, record.inputs, record.attrs
    assert inputs is not None
    if op.jvp == "linear":
        return op_of(
            op, [zeros(x) if t is None else t for x, t in zip(inputs, given, strict=True)], attrs
        )
    if op.jvp == "bilinear":
        terms = [
            op_of(op, [t if j == k else x for j, x in enumerate(inputs)], attrs)
            for k, t in enumerate(given)
            if t is not None
        ]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]
    if callable(op.jvp):
        with beside(*inputs):
            return op.jvp(given, y, *inputs, **attrs)
    if op.definition is not None:
        return push_definition(op, given, inputs, attrs)
    raise TapeError(
        f"jvp: {op.name} has no forward rule", "ops with a jvp", "df.vjp, or the reverse mode"
    )


def op_of(op: Any, args: list[Any], attrs: dict[str, Any]) -> Any:
    """`op` applied to other arguments."""
    from dualflow.core.op import bind

    return bind(op, tuple(args), attrs)


def push_definition(
    op: Any, given: tuple[Any, ...], inputs: tuple[Any, ...], attrs: dict[str, Any]
) -> Any:
    """The tangents of a composite: through its definition."""
    from dualflow.autodiff.functional import pushed

    moving = [k for k, t in enumerate(given) if t is not None]

    def of_moving(*some: Any) -> Any:
        args = list(inputs)
        for k, x in zip(moving, some, strict=True):
            args[k] = x
        return op.definition(*args, **attrs)

    with beside(*inputs):
        return pushed(of_moving, [inputs[k] for k in moving], [given[k] for k in moving])[1]


def zeros(x: Any) -> Any:
    """The tangent of an argument that does not move."""
    return functions["zeros_like"](x) if isinstance(x, Tensor) and kind(x.dtype) != "bool" else x
