"""The one switch for every function: `DUALFLOW_MODE=compiled|eager|audit`, or `df.set_mode`."""

from __future__ import annotations

import os
from typing import Any

EAGER = "eager"
MODES = ("compiled", EAGER, "audit")


def _from_environment() -> str:
    wanted = os.environ.get("DUALFLOW_MODE", "compiled")
    if wanted not in MODES:
        raise ValueError(f"DUALFLOW_MODE={wanted!r}: {', '.join(MODES)}")
    return wanted


_mode = _from_environment()


def mode() -> str:
    """The mode in force."""
    return _mode


class set_mode:  # noqa: N801 - reads as a function; as a context manager it puts the old mode back
    """Switches every decorated function to a mode.

    Args:
        wanted: "compiled"; "eager", which runs Python; or "audit", which runs both, and raises an
            `AuditError` where they differ.

    Example:
        >>> import dualflow as df
        >>> with df.set_mode("eager"):
        ...     pass
    """

    def __init__(self, wanted: str) -> None:
        global _mode
        if wanted not in MODES:
            raise ValueError(f"set_mode({wanted!r}): {', '.join(MODES)}")
        self._before = _mode
        _mode = wanted

    def __enter__(self) -> set_mode:
        return self

    def __exit__(self, *exc: Any) -> None:
        global _mode
        _mode = self._before
