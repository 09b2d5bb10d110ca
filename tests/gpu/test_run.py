"""The runner of tests on a device reads what became of each test, whatever it is called."""

from __future__ import annotations

from tests.gpu import run

PASSED, FAILED, ENDED = "t.py::test_a[left turned]", "t.py::test_a[both]", "t.py::test_b"
SAID = f"""
{PASSED} PASSED [ 33%]
{FAILED} FAILED [ 66%]
=== short test summary info ===
FAILED {FAILED} - ValueError: of no use - at all
"""


def test_outcomes_are_read_by_name(monkeypatch):
    monkeypatch.setattr(run, "_ran", lambda *_: (SAID, "Fatal Python error: Aborted"))
    counts, failed = run.run([PASSED, FAILED, ENDED], "log", 1.0)
    assert counts == {"passed": 1, "failed": 2}
    told = [FAILED, "ValueError: of no use - at all"], [ENDED, "Fatal Python error: Aborted"]
    assert failed == [*told]
