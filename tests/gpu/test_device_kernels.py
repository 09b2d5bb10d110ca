"""Kernels on a GPU give the bits of the CPU, where there is one."""

from __future__ import annotations

import pytest

from jit.forms.native import lower_for_code
from jit.planner import plan
from tests.gpu.device import OnDevice, available, device
from tests.gpu.workloads import WORKLOADS
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import Stages, bits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(), reason="there is no CuPy, or no device"),
]


def check(graph, arrays):
    made = Stages(graph)
    target = device()
    program = plan("device", lower_for_code(made.graph, target.units), target).program
    found, wanted = OnDevice(program, arrays).run(), made.run("native", arrays)
    for a, b in zip(found, wanted, strict=True):  # memory may have another shape than a result
        assert bits(a.reshape(b.shape)) == bits(b)


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name):
    work = WORKLOADS[name]
    check(work.graph(large=False), work.arrays(large=False))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("program", EXAMPLES)
def test_examples(program, large):
    call = example(program, large=large)
    check(call.graph, call.inputs)
