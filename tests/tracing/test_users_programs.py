"""Programs as people write them, with changes between calls: both modes do the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.modes import graphs_only
from tests.tracing.fuzz.sides import run

TEXT = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(Path(__file__).parent.glob("users_programs_*.txt"))
)
PROGRAMS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", TEXT, re.MULTILINE))
# What needs Python at each call: a result, a setting or a change that no graph has.
SEGMENTS = {
    "a configuration that is replaced",
    "a moving average of weights",
    "augmentation by chance",
    "contextvars for a precision",
    "memory of an agent in a dataclass",
    "warnings that are told",
}


@graphs_only
@pytest.mark.parametrize("name", PROGRAMS)
def test_r9_r10_programs_do_the_same_in_both_modes(name):
    report = run(PROGRAMS[name])
    assert report.difference is None, str(report.difference)
    in_segments = any("segments" in f.mode for f in report.functions)
    assert in_segments == (name in SEGMENTS)
