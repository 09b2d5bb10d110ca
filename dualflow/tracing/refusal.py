"""Refusal: why a call cannot be replayed by a graph, and of which kind the reason is."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """One reason.

    Attributes:
        reason: What the call did, with the line.
        remedy: The change that would help.
        kind: "escape": a value leaves for Python, or what is no graph is asked of the call;
            "impure": it reads what differs from call to call; "effect": it does something besides
            computing; "access": it reads what cannot be checked.
    """

    reason: str
    remedy: str
    kind: str
