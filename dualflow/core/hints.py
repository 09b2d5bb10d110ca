"""What the user may have meant: looked up in the user's frame, once an error is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dualflow.core.record import Leaf
from dualflow.core.registry import functions
from dualflow.core.source import line_in, user_frame
from dualflow.core.tensor import Tensor
from dualflow.names import missing_attribute
from jit.types import format_shape


def visible_tensors() -> Iterator[tuple[str, Tensor]]:
    """Tensors that the user's line can name: locals, attributes of `self`, globals.

    Names like `_` and `_12`, under which IPython keeps what cells returned, are passed over.
    """
    frame = user_frame()
    if frame is None:
        return
    spaces = [("", frame.f_locals), ("self.", getattr(frame.f_locals.get("self"), "__dict__", {}))]
    if frame.f_globals is not frame.f_locals:
        spaces.append(("", frame.f_globals))
    seen: set[str] = set()
    for prefix, names in spaces:
        for name, value in list(names.items()):
            readable = name.strip("_") and not name.strip("_").isdigit()
            if isinstance(value, Tensor) and readable and prefix + name not in seen:
                seen.add(prefix + name)
                yield prefix + name, value


def name_of(x: Any) -> str | None:
    """What the user calls `x`, if it has a name."""
    return next((name for name, value in visible_tensors() if value is x), None)


def place_of(x: Any) -> str | None:
    """Where the user keeps `x`, if that is in a list, a dict or an object that has a name."""
    frame = user_frame()
    if frame is None:
        return None
    for name, holder in [*frame.f_locals.items(), *frame.f_globals.items()]:
        if isinstance(holder, dict | list | tuple):
            pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
            places = [f"{name}[{key!r}]" for key, value in pairs if value is x]
        else:
            held = getattr(holder, "__dict__", {})
            places = [f"{name}.{key}" for key, value in list(held.items()) if value is x]
        if places and name.strip("_"):
            return places[0]
    return None


def other_operand(x: Any, wrong: Any, fits: Callable[[Tensor], bool]) -> str | None:
    """`w1 (w1: (1000, 100))`: a tensor that would have been right in place of `wrong`."""
    for name, value in visible_tensors():
        if not is_same(value, wrong) and not is_same(value, x) and fits(value):
            return f"{name} ({name}: {format_shape(value.shape)})"
    return None


def is_same(x: Tensor, y: Any) -> bool:
    """Whether two are one tensor for the user: in a recording an argument has a stand-in."""
    return x is y or (x.raw is not None and x.raw is getattr(y, "raw", None))


def rebound(x: Tensor, attribute: str) -> str:
    """The message for `x.assign`, where `x` is what an expression has made of a Variable."""
    name, variable = name_of(x) or place_of(x), root_of(x)
    if name is None or variable is None:
        return missing_attribute(type(x), attribute)
    place = f" created at {line_in(*variable.born)}" if variable.born else ""
    return (
        f"a Tensor has no {attribute}: {name} is now a Tensor, not the Variable{place}; "
        f"use {name}.assign({name} + x) or {name} += x"
    )


functions["rebound"] = rebound


def root_of(x: Tensor) -> Any:
    """The Variable that a tensor was computed from, by the fewest steps through first arguments."""
    record = x.record
    while record is not None and record.__class__ is not Leaf:
        inputs = getattr(record, "bundle", record).inputs or ()
        record = next((y.record for y in inputs if getattr(y, "record", None) is not None), None)
    return record.owner() if record is not None and record.rooted else None
