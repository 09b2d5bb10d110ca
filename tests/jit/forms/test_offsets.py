"""Slices that lie apart share one kernel: where they begin is a parameter."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import registry
from dualflow.tracing.trace import Trace
from jit import compile as compiled
from jit.dims import symbol
from jit.forms.expression import parted


def kernels(f, *arrays):
    """The result of a function's graph, and its kernels."""
    trace = Trace("f")
    tensors = trace.arguments([df.asarray(x) for x in arrays])
    with df.no_grad():
        from dualflow.core.context import using

        with using(trace=trace):
            result = f(*tensors)
            trace.graph.outputs = [trace.value_of(y) for y in result]
    executable = compiled(trace.graph, ops=registry)
    trace.release()
    return executable(list(arrays)), executable.code.plan.program.steps


def test_steps_of_a_sequence_are_one_kernel():
    x = np.random.default_rng(0).standard_normal((9, 4, 5)).astype("f")
    w = np.random.default_rng(1).standard_normal((5, 3)).astype("f")
    made, steps = kernels(lambda x, w: [df.tanh(x[k] @ w) for k in range(9)], x, w)
    for k, y in enumerate(made):
        np.testing.assert_allclose(y, np.tanh(x[k] @ w), rtol=1e-5)
    assert len(steps) == 9
    assert len({str(step.kernel) for step in steps}) == 2  # the first one begins at 0
    assert [step.sizes for step in steps] == [()] + [(20 * k,) for k in range(1, 9)]


def test_windows_that_overlap_have_no_parameters():
    x = np.arange(12.0, dtype="f")
    (made,), steps = kernels(lambda x: [x[:-2] + x[1:-1] * x[2:]], x)
    np.testing.assert_array_equal(made, x[:-2] + x[1:-1] * x[2:])
    assert [step.sizes for step in steps] == [()]


def test_flipped_and_shifted():
    x = np.random.default_rng(0).standard_normal((6, 7)).astype("f")
    made, _ = kernels(lambda x: [x[::-1] * 2.0, x[3:, ::-1] + 1.0, x[5] - x[2], x[4, 3] * x[1]], x)
    wanted = [x[::-1] * 2, x[3:, ::-1] + 1, x[5] - x[2], x[4, 3] * x[1]]
    for ours, theirs in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("f"))


@pytest.mark.parametrize(
    ("place", "wanted"), [(0, 0), (7, 7), ("i + 9", 9), ("i + 10", 10), ("i + 8", 0), ("8 - i", 8)]
)
def test_an_offset_is_as_far_as_a_place_moves(place, wanted):
    i = symbol("i", lo=0, hi=9)
    x = eval(place, {"i": i}) if isinstance(place, str) else place
    offset, rest = parted(x)
    assert offset == wanted
    assert offset + rest == x
