"""Scatters on a GPU, without one: elements ask for the updates of the windows around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jit.target import gpu
from jit.types import TensorType, dtypes
from tests.jit.loops.whole import graph_of, numbers
from tests.jit.stages import Stages, bits

SM90 = gpu("sm_90")
WAYS = ["add", "set", "max", "min"]


def windows(combine, shape, steps, margin, *, turned=False, fill=True):
    """Sums of windows in the last two axes; their inner loops before the outer ones if turned."""

    def build(form, into, updates):
        start = form.constant(0, into.dtype, shape) if fill else into

        def place(b, i, j, u, v):
            if turned:
                i, j, u, v = u, v, i, j
            return b, i * steps[0] + u - margin, j * steps[1] + v - margin

        return form.scatter(combine, start, updates, place, dropped=True)

    return build


def check(build, into, updates, *, kernels=1):
    types = [TensorType(x.shape, x.dtype) for x in (into, updates)]
    made = Stages(graph_of(build, types), SM90)
    assert len(made.kernels) == kernels
    found, wanted = made.run("direct", [into, updates]), made.run("native", [into, updates])
    # Which of two zeros is greater, nobody says.
    assert [bits(x + 0) for x in found] == [bits(x + 0) for x in wanted]
    return made


@st.composite
def cases(draw):
    combine, dtype = (
        draw(st.sampled_from(WAYS)),
        dtypes[draw(st.sampled_from(["float32", "int32"]))],
    )
    steps = draw(st.tuples(*[st.integers(1, 3)] * 2))
    window = draw(st.tuples(*[st.integers(1, 3)] * 2))
    counts = draw(st.tuples(*[st.integers(1, 3)] * 2))
    margin, more = draw(st.integers(0, 1)), draw(st.integers(0, 2))
    size = [max(1, (n - 1) * s + w - 2 * margin + more) for n, s, w in zip(counts, steps, window)]
    turned = draw(st.booleans())
    loops = (*window, *counts) if turned else (*counts, *window)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    into = numbers(dtype, (2, *size), rng)
    build = windows(combine, (2, *size), steps, margin, turned=turned, fill=draw(st.booleans()))
    return build, into, numbers(dtype, (2, *loops), rng)


@settings(max_examples=8)
@given(cases())
def test_updates_meet_in_row_major_order(case):
    check(*case)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_windows_side_by_side_are_one_map(dtype):
    """No loop over updates: each element has one."""
    rng = np.random.default_rng(1)
    into, updates = (numbers(dtypes[dtype], s, rng) for s in ((1, 4, 6), (1, 2, 3, 2, 2)))
    made = check(windows("add", (1, 4, 6), (2, 2), 0), into, updates)
    (kernel,) = made.kernels
    each = 16 // kernel.buffers[-1].dtype.itemsize  # elements that a thread takes of a row
    assert kernel.grid == 4 * -(-6 // each)
    assert "if " not in str(kernel)


def test_wide_windows_stay_loops():
    rng = np.random.default_rng(1)
    into, updates = (numbers(dtypes["float32"], s, rng) for s in ((1, 5, 5), (1, 2, 2, 4, 4)))
    made = check(windows("add", (1, 5, 5), (1, 1), 0), into, updates)
    assert "update" in str(made.kernels[0])
