"""Attrs of ops that may hold extents and numbers which vary, and records that hold such attrs."""

from __future__ import annotations

from typing import Any

from dualflow.core.number import KINDS, plain, value_of
from dualflow.core.op import argument_types
from dualflow.core.record import Pick
from dualflow.core.source import user_line
from jit.dims import Dim, hint


def settled(attr: Any) -> Any:
    """An attr without Numbers: those that are extents stay symbolic, others are fixed."""
    if type(attr) in KINDS:
        return attr.number_fixed() if attr.number_dim is None else attr.number_dim
    if type(attr) is tuple and attr:
        return tuple(map(settled, attr))
    return plain(attr)


def make_plain(record: Any) -> None:
    """Numbers and extents in a record become what they were in the call, which is over."""
    record = record.bundle if isinstance(record, Pick) else record
    record.attrs = {name: at_hint(attr) for name, attr in record.attrs.items()}
    if record.inputs is not None:
        record.inputs = tuple(map(value_of, record.inputs))
    if record.types is not None:
        record.types = tuple([t.with_shape(at_hint(t.shape)) for t in record.types])


def at_hint(attr: Any) -> Any:
    """An attr with the extents of this call."""
    if isinstance(attr, Dim):
        return hint(attr)
    return tuple(map(at_hint, attr)) if type(attr) is tuple else attr


def has_dim(attr: Any) -> bool:
    """Whether an attr is a symbolic dimension or holds one, so that nothing can be computed yet."""
    return isinstance(attr, Dim) or (isinstance(attr, tuple) and any(map(has_dim, attr)))


def varying_types(trace: Any, op: Any, args: Any, attrs: dict[str, Any]) -> Any:
    """The types of an op's results for all extents; None, and they vary no more, if it asks."""
    try:
        return op.infer_all(argument_types(args), attrs)
    except Exception as error:
        trace.fix_extents(f"{op.name} at {user_line()}: {error}")
        return None


def agreed(trace: Any, op: Any, types: Any, found: Any) -> Any:
    """The types, which must be those of the results where extents are what they are now."""
    if at_hint(shapes(types)) == shapes(found):
        return types
    trace.fix_extents(f"{op.name} at {user_line()} has a shape that depends on values")
    return found


def shapes(types: Any) -> tuple[Any, ...]:
    """Those of several types."""
    return tuple([t.shape for t in types])
