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


def report(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Both modes of a call of a function.

    Args:
        function: The function.
        args: Of the call; without any, those of the last recording.
        kwargs: Of the call.

    Raises:
        TraceError: No arguments are given, and those of the last recording are gone.
    """
    if not args and not kwargs:
        examples = [entry.example for entry in function.entries.values() if entry.example]
        given = examples[-1].given() if examples else None
        if given is None:
            raise TraceError(
                f"{function.name}.report(): no call to look at",
                "a recorded call whose arguments are still there",
                "pass the arguments of a call: f.report(x, y)",
            )
        args, kwargs = given
    return _makers["report"](function, *args, **kwargs)
