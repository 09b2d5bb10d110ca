"""The text and the JSON of comparisons made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflow.comparison import Agreement, Comparison, FirstCall, Step, Timing
from dualflow.comparison.accuracy import Accuracy
from dualflow.comparison.agreement import FARTHEST
from dualflow.comparison.report import duration, figures, scientific, size

EXACT = (
    Agreement("loss", 500, 0.0, 0.0, 0, identical=True),
    Agreement("0.weight", 100_000, 0.0, 0.0, 0, identical=True),
)
CLOSE = (EXACT[0], Agreement("0.weight", 100_000, 3e-9, 2.1e-7, 3, identical=False))
FAR = (Agreement("loss", 500, 0.5, 0.02, 81_234, identical=False), EXACT[1])
NAN = (Agreement("loss", 500, float("inf"), 2.0, int(FARTHEST), identical=False), EXACT[1])

GOOD = Comparison(
    name="static",
    place="static.py:22",
    what=("two-layer net 1000-100-10, Adam", "batch 64", "float32", "cpu, 2 threads"),
    mode="compiled",
    compared="500 losses and 4 parameters",
    outputs=EXACT,
    bound=1e-4,
    eager=Timing(4.12e-4, 4.0e-4, 4.4e-4, 499),
    compiled=Timing(1.43e-4, 1.4e-4, 1.5e-4, 499),
    first=FirstCall(0.003, 0.013, 1),
    eager_bytes=3_100_000,
    compiled_bytes=1_200_000,
    calls=500,
    from_graph=499,
    traces=1,
    ops=57,
    kernels=12,
    steps=(
        Step("matmul_add_relu", "static.py:23", 3, 6.1e-5, 0.51, 1.04e11),
        Step("adam_update", "static.py:25", 4, 4.0e-5, 0.333),
        Step(
            "a_name_that_is_much_too_long_for_it", "a_file_of_many_words.py:1023", 1, 1.2e-6, 0.01
        ),
    ),
)
CASES = {
    "good": GOOD,
    "close": replace(GOOD, outputs=CLOSE, first=FirstCall(0.03, 0.13, 1)),
    "slower": replace(
        GOOD, compiled=Timing(6.0e-4, 5.0e-4, 7.0e-4, 400), first=FirstCall(1.2, 0.3, 50)
    ),
    "no_difference": replace(GOOD, compiled=Timing(4.0e-4, 3.9e-4, 4.4e-4, 499)),
    "far": replace(GOOD, outputs=FAR),
    "nan": replace(GOOD, outputs=NAN, steps=()),
    "interpreted": replace(
        GOOD,
        mode="interpreted",
        compiled=Timing(6.0e-4, 5.0e-4, 7.0e-4, 400),
        place=None,
        kernels=0,
        host_steps=41,
    ),
    "host_steps": replace(GOOD, host_steps=2),
    "trial": replace(
        GOOD,
        name="step",
        compared="1 output and 16 Variables",
        calls=40,
        from_graph=40,
        accuracy=Accuracy(3.1e-7, 3.1e-7),
        found={"compiled": 3, "from disk": 8, "in memory": 1},
        effects=0,
        trial=True,
    ),
    "wrong": replace(
        GOOD,
        outputs=FAR,
        compiled=Timing(6.0e-4, 5.0e-4, 7.0e-4, 400),
        accuracy=Accuracy(3.1e-7, 0.02),
        first_difference="subtract at nets.py:17",
        effects=3,
        lost=1,
        trial=True,
        steps=3 * GOOD.steps,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_report(name, golden):
    text = str(CASES[name])
    golden(f"comparison/{name}", text)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 20


def test_an_interpreted_graph_is_called_so():
    for name, comparison in CASES.items():
        assert ("interpreted" in str(comparison)) == (name == "interpreted")
        assert ("compiled" in str(comparison)) == (name != "interpreted")


def test_answers():
    assert (GOOD.same, GOOD.identical, GOOD.break_even) == (True, True, 60)
    assert GOOD.ratio == pytest.approx(2.88, abs=0.01)
    assert (CASES["close"].same, CASES["close"].identical) == (True, False)
    assert (CASES["far"].same, CASES["far"].worst.name) == (False, "loss")
    assert CASES["slower"].break_even is None


def test_json_holds_everything_and_is_json():
    found = json.loads(CASES["nan"].to_json(), parse_constant=pytest.fail)
    assert found["outputs"][0]["absolute"] is None
    assert found["eager"] == {"median": 4.12e-4, "lower": 4.0e-4, "upper": 4.4e-4, "calls": 499}
    assert (found["mode"], found["break_even"], found["same"]) == ("compiled", 60, False)
    assert set(found) >= set(vars(GOOD))
    assert json.loads(GOOD.to_json())["steps"][0]["line"] == "static.py:23"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(4.123e-4), "0.412 ms"),
        (duration(2.5e-6), "2.50 µs"),
        (duration(0.0999), "99.9 ms"),
        (duration(75.0), "75.0 s"),
        (duration(0.0), "0 µs"),
        (size(999), "999 bytes"),
        (size(3_149_000), "3.1 MB"),
        (size(64_000), "64 kB"),
        (size(2.5e9), "2.5 GB"),
        (figures(1234.5), "1,234"),
        (figures(0.04567, 2), "0.046"),
        (figures(9.96, 2), "10"),
        (figures(0.0998, 2), "0.10"),
        (scientific(2.13e-7), "2.1e-7"),
        (scientific(1e-4), "1e-4"),
    ],
)
def test_numbers(text, expected):
    assert text == expected


@given(st.floats(1e-9, 1e5), st.floats(1e-9, 1e5), st.integers(1, 10**6), st.integers(1, 10**9))
def test_no_figures_break_the_layout(eager, compiled, calls, size):
    comparison = replace(
        GOOD,
        eager=Timing(eager, eager / 2, eager * 2, calls),
        compiled=Timing(compiled, compiled / 2, compiled * 2, calls),
        eager_bytes=size,
        calls=calls,
    )
    assert max(map(len, str(comparison).splitlines())) <= 80
