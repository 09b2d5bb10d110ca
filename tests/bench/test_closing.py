"""The closing table and the checks, from runs made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dualflow.bench.closing import checks, table
from dualflow.bench.programs import WORKLOADS
from dualflow.bench.runner import Run
from dualflow.comparison import FirstCall, Timing
from tests.comparison.test_report import CLOSE, FAR, GOOD

STATIC = Run(
    workload=WORKLOADS["static"],
    epochs=500,
    comparison=GOOD,
    losses={"eager": [1.0, 0.5], "compiled": [1.0, 0.5]},
    seconds={"eager": [0.1, 0.1], "compiled": [0.2, 0.1]},
    recorded=[True] + [False] * 499,
    first_epoch=1,
    correct={},
)
DIGITS = replace(
    STATIC,
    workload=WORKLOADS["digits"],
    epochs=15,
    comparison=replace(
        GOOD, outputs=CLOSE, compiled=Timing(0.5, 0.4, 0.6, 10), first=FirstCall(1.0, 2.0, 2)
    ),
    correct={"eager": 352, "compiled": 351},
)
DYNAMIC = replace(STATIC, workload=WORKLOADS["dynamic"], epochs=4)


def test_table(golden):
    text = table([STATIC, DIGITS, DYNAMIC])
    golden("bench/table", text)
    assert max(map(len, text.splitlines())) <= 80


def test_a_row_that_says_nothing_is_left_out():
    assert "accuracy" not in table([STATIC, DYNAMIC])


def test_what_passes():
    assert [check.passed for run in (STATIC, DIGITS, DYNAMIC) for check in checks(run)] == [
        True
    ] * 7


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (replace(STATIC, comparison=replace(GOOD, outputs=FAR)), "losses of both modes agree"),
        (replace(STATIC, recorded=[True, False, True]), "runs from the graph"),
        (replace(DIGITS, correct={"eager": 352, "compiled": 350}), "held-out images"),
        (replace(DIGITS, correct={"eager": 345, "compiled": 345}), "held-out images"),
    ],
)
def test_what_fails(run, what):
    [failed] = [check for check in checks(run) if not check.passed]
    assert what in failed.what
    assert failed.program == run.workload.name


def test_accuracy_is_asked_for_after_the_usual_epochs_only():
    short = replace(DIGITS, epochs=14, correct={"eager": 1, "compiled": 300})
    assert all(check.passed for check in checks(short))
