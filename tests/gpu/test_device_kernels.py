"""Kernels on a GPU give the bits of the CPU, where there is one, or nearly so (see docs/gpu.md)."""

from __future__ import annotations

import numpy as np
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
    program = plan("device", lower_for_code(made.graph), device()).program
    found, wanted = OnDevice(program, arrays).run(), made.run("native", arrays)
    for a, b in zip(found, wanted, strict=True):
        if bits(a) != bits(b):
            assert np.issubdtype(b.dtype, np.floating)
            np.testing.assert_allclose(a, b, rtol=1.2e-4, atol=1e-6)  # as near as gradients of ops


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name):
    work = WORKLOADS[name]
    check(work.graph(large=False), work.arrays(large=False))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("program", EXAMPLES)
def test_examples(program, large):
    call = example(program, large=large)
    check(call.graph, call.inputs)
