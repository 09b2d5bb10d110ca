"""Every op sample gives the same at every stage of compilation.

Kernels as planned, as scheduled, in direct instructions, and their machine code, alone and as
launched: bit for bit. NumPy, by `evaluate` and by forms: bit for bit where forms leave no choice,
else nearly.
"""

from __future__ import annotations

import pytest

from dualflow.core import doors
from jit.forms.exact import is_exact
from jit.forms.program import lower_graph
from jit.types import kind
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import IN_NUMPY, IN_ORDER, Stages, bits, cost
from tests.ops import laws
from tests.ops.laws import assert_close, cases, widened
from tests.samples import SAMPLES

NAMES = sorted(SAMPLES)
INTERPRETED = ("naive", "scheduled", "direct")
SMALL, LARGE = 1500, 30_000  # about so many additions are interpreted, by slow tests more
NEAR = 64  # roundings that sums and elementary functions of NumPy may be away


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


@pytest.mark.parametrize("name", NAMES)
def test_stages_agree(name):
    for case in cases(name, None):
        call = laws.traced(name, case.number, None)
        made = Stages(call.graph)
        few = case.number == 0 and cost(made) <= SMALL
        check(made, call.inputs, case, interpreted=few)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stages_agree_in_all_dtypes(name):
    for case in cases(name, None, "float64", *laws.OTHERS):
        call = laws.traced(name, case.number, case.dtype)
        made = Stages(call.graph)
        check(made, call.inputs, case, interpreted=cost(made) <= LARGE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stages_of_gradients_agree(name):
    for case in list(laws.differentiable(name, "float32"))[: laws.FIRST]:
        call = laws.gradient_graph(case)
        made = Stages(call.graph)
        check(made, call.inputs, f"gradient of {case}", interpreted=cost(made) <= LARGE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_stages_of_examples_agree(name):
    call = example(name)
    check(Stages(call.graph), call.inputs, name)


def check(made, inputs, what, *, interpreted=True):
    """All stages of a graph agree; those in the interpreter may be left out."""
    assert made.is_native, what
    stages = [x for x in (*IN_NUMPY, *IN_ORDER) if interpreted or x not in INTERPRETED]
    found = {stage: made.run(stage, inputs) for stage in stages}
    exact = all(map(is_exact, lower_graph(made.given).forms))
    for stage in stages:
        for ours, theirs in zip(found["native"], found[stage], strict=True):
            sort = kind(ours.dtype)
            one_answer = sort in ("bool", "integer") or (exact and sort == "floating")
            if bits(ours) != bits(theirs):
                said = f"{what}, native and {stage}: {ours} instead of {theirs}"
                assert not one_answer, said
                assert stage not in IN_ORDER, said
                near = NEAR * laws.rounding(ours.dtype)
                assert_close(ours, widened(theirs), near, said, inputs)
