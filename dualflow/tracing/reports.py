"""Reports: a part of dualflow above this one makes what `f.report()` shows; here is the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jit.errors import TraceError

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

Maker = Callable[..., Any]
_makers: list[Maker] = []


def reported_by(make: Maker) -> None:
    """From now on reports come from `make`, which is called with a function and its arguments."""
    _makers[:] = [make]


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
    return _makers[0](function, *args, **kwargs)
