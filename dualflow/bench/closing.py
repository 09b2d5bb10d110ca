"""The end of the main job: what was asked of each program, a table of all, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dualflow.bench.runner import BOUND, Run
from dualflow.comparison.report import count, duration, finite, scientific, size, spread
from jit.dataclass import dataclass

LEAST = 0.96  # of the held-out examples
LABEL, COLUMN = 17, 21


@dataclass(frozen=True)
class Check:
    """Something that must hold.

    Attributes:
        program: Where.
        what: In words.
        passed: Whether it does.
        found: What was found.
    """

    program: str
    what: str
    passed: bool
    found: str


def checks(run: Run) -> list[Check]:
    """What one program must fulfil; accuracy only after all of its usual epochs."""
    name, loss = run.workload.name, run.comparison.outputs[0]
    found = [
        Check(
            name,
            f"losses of both modes agree at every step within {scientific(BOUND)}",
            loss.relative <= BOUND,
            "bit for bit" if loss.identical else f"worst {scientific(loss.relative)}",
        ),
        Check(
            name,
            "every call after the first epoch runs from the graph",
            run.share_later == 1,
            f"{run.share_later:.1%} did",
        ),
    ]
    if run.correct and run.epochs >= run.workload.epochs:
        eager, compiled = run.correct["eager"], run.correct["compiled"]
        enough = min(eager, compiled) >= LEAST * run.workload.held_out
        found.append(
            Check(
                name,
                f"both modes read at least {LEAST:.0%} of the held-out images, alike but for one",
                enough and abs(eager - compiled) <= 1,
                f"{eager} and {compiled} of {run.workload.held_out}",
            )
        )
    return found


def table(runs: Sequence[Run]) -> str:
    """The programs side by side."""
    rows: dict[str, list[str]] = {
        "": [run.workload.name for run in runs],
        "losses agree": [agreed(run) for run in runs],
        "accuracy": [accuracy(run) for run in runs],
        "from the graph": [f"{run.share_later:.0%} after epoch 1" for run in runs],
        "eager step": [spread(run.comparison.eager) for run in runs],
        "graph step": [spread(run.comparison.compiled) for run in runs],
        "recording": [recording(run) for run in runs],
        "break-even": [paid_off(run) for run in runs],
        "eager memory": [f"{size(run.comparison.eager_bytes)} at the peak" for run in runs],
        "graph memory": [f"{size(run.comparison.compiled_bytes)} at the peak" for run in runs],
    }
    return "\n".join(
        f"{label:<{LABEL}}" + "".join(f"{cell:<{COLUMN}}" for cell in cells).rstrip()
        for label, cells in rows.items()
        if set(cells) != {"-"}
    )


def agreed(run: Run) -> str:
    """How well the losses of both modes agree."""
    loss = run.comparison.outputs[0]
    return "bit for bit" if loss.identical else f"to {scientific(loss.relative)}"


def accuracy(run: Run) -> str:
    """The share of held-out examples that each mode gets right."""
    shares = [f"{right / run.workload.held_out:.1%}" for right in run.correct.values()]
    return " and ".join(shares) or "-"


def recording(run: Run) -> str:
    """What the first call cost, and all others that were recorded."""
    first = run.comparison.first
    return f"{duration(first.seconds)}, {count(first.recordings, 'call')}"


def paid_off(run: Run) -> str:
    """From which call on recording paid off."""
    call = run.comparison.break_even
    return "never" if call is None else f"call {call:,}"


def document(runs: Sequence[Run], about: dict[str, Any]) -> str:
    """Everything that was measured, as JSON.

    Args:
        runs: The programs that ran.
        about: The machine, the versions, and when.
    """
    programs = {
        run.workload.name: {
            "net": run.workload.net,
            "epochs": run.epochs,
            "steps_in_epoch": run.first_epoch,
            "comparison": json.loads(run.comparison.to_json()),
            "share_after_first_epoch": run.share_later,
            "losses": run.losses,
            "seconds": run.seconds,
            "recorded": run.recorded,
            "correct": run.correct,
            "held_out": run.workload.held_out,
            "checks": [vars(check) for check in checks(run)],
        }
        for run in runs
    }
    return json.dumps(finite({"format": 1, **about, "programs": programs}), indent=1)
