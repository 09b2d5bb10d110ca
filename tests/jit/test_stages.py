"""Every op sample gives the same at every stage of compilation, and so do typical programs."""

from __future__ import annotations

import pytest

from dualflow.core import doors
from tests.jit.agreement import check
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import Stages, cost
from tests.ops import laws
from tests.ops.laws import cases
from tests.samples import SAMPLES

NAMES = sorted(SAMPLES)
SMALL, LARGE = 1500, 30_000  # about so many additions are interpreted, by slow tests more


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
