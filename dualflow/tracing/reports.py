"""Reports and pages of functions come from a part of dualflow above this one; here is the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jit.errors import TraceError

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

Maker = Callable[..., Any]
_makers: dict[str, Maker] = {}


def made_by(*, report: Maker, view: Maker) -> None:
    """From now on reports and pages come from these.

    Args:
        report: Is called with a function and the arguments of a call.
        view: Is called with a function; what it gives has `to_html()` and `_repr_html_()`.
    """
    _makers.update(report=report, view=view)


def view(function: Function) -> Any:
    """What people see of a function."""
    return _makers["view"](function)


def arguments(function: Function, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments of a call; where none are given, those of the last recording.

    Raises:
        TraceError: There are none any more.
    """
    if args or kwargs:
        return args, kwargs
    examples = [entry.example for entry in function.entries.values() if entry.example]
    given = examples[-1].given() if examples else None
    if given is None:
        raise TraceError(
            f"{function.name}: no call to look at",
            "a recorded call whose arguments are still there",
            "pass the arguments of a call, as in f.report(x, y)",
        )
    return given


def report(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Both modes of a call of a function; without arguments, of one like the last recorded."""
    args, kwargs = arguments(function, args, kwargs)
    return _makers["report"](function, *args, **kwargs)
