"""Refusal: why a call cannot be replayed by a graph, and of which kind the reason is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Refusal(NamedTuple):
    """One reason.

    Attributes:
        reason: What the call did, with the line.
        remedy: The change that would help.
        kind: "escape": a value leaves for Python, or what is no graph is asked of the call;
            "impure": it reads what differs from call to call; "random": it draws numbers that are
            not dualflow's; "effect": it does something besides computing; "access": it reads what
            cannot be checked.
    """

    reason: str
    remedy: str
    kind: str


def leading(refusals: Sequence[Refusal]) -> Refusal | None:
    """The reason that is told: a value that leaves comes before what is done to it."""
    escapes = (r for r in refusals if r.kind == "escape")
    return next(escapes, refusals[0] if refusals else None)
