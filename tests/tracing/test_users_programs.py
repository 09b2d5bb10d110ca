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
pytestmark = pytest.mark.usefixtures("own_holders")
SEGMENTS = {
    "a configuration that is replaced",
    "a functional state that is passed through",
    "a least recently used cache by hand",
    "a moving average of weights",
    "a mutable default argument",
    "a priority queue of states",
    "a sliding window with running statistics",
    "a state in a dataclass that is replaced",
    "a tensor that is kept and compared by identity",
    "augmentation by chance",
    "beam search with a heap",
    "configuration by frozen dataclasses",
    "contextvars for a precision",
    "decorators that cache and time",
    "dynamic memory with attention",
    "evolution strategies with a population of tensors",
    "memory of an agent in a dataclass",
    "plain values that are alike",
    "quantisation-aware training with a straight-through estimator",
    "settings on an exit stack",
    "text that is built from shapes and numbers",
    "warnings that are told",
}


@graphs_only
@pytest.mark.parametrize("name", PROGRAMS)
def test_r9_r10_programs_do_the_same_in_both_modes(name):
    report = run(PROGRAMS[name])
    assert report.difference is None, str(report.difference)
    in_segments = any("segments" in f.mode for f in report.functions)
    assert in_segments == (name in SEGMENTS)
