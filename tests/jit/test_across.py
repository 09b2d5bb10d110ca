"""Folds across memory on a GPU: a thread takes a row, in the canonical order."""

from __future__ import annotations

import numpy as np
import pytest

from jit.forms import across
from jit.forms.native import lower_for_code
from jit.loops.heuristics import scheduled
from jit.loops.ir import LANE, For
from jit.planner import plan
from jit.runtime.cpu import host_target
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.target import gpu
from jit.types import TensorType, dtypes
from tests.jit.loops.whole import graph_of
from tests.jit.stages import interpreted, machine, run_program

SM90 = gpu("sm_90")


@pytest.fixture(autouse=True)
def of_few_rows(monkeypatch):
    monkeypatch.setattr(across, "MANY", 2)


def places(form, x):
    """Channels, which lie last, before places."""
    n, h, w, c = x.shape
    return form.view(x, (n, c, h, w), lambda n, c, h, w: (n, h, w, c))


def total(form, x):
    return form.reduce("sum", places(form, x), (0, 2, 3))


def moments(form, x):
    """Two folds of the same elements."""
    y = places(form, x)
    square = form.pointwise("multiply", y, y)
    return form.pointwise(
        "subtract", form.reduce("sum", square, (0, 2, 3)), form.reduce("max", y, (0, 2, 3))
    )


def each(form, x):
    """One fold of each image and channel."""
    return form.reduce("sum", form.pointwise("abs", places(form, x)), (2, 3))


def planned(build, shape, dtype, target):
    types = [TensorType(shape, dtypes[dtype])]
    forms = lower_for_code(graph_of(build, types), target.units)
    return plan("across", forms, target).program


def is_of_threads(kernel):
    """Whether the elements of a row are one thread's."""
    hints = [s.var.hint for s in kernel.statements() if isinstance(s, For)]
    own = [hint for hint in hints if hint.startswith("own")]
    assert not (own and any(hint.startswith(LANE) for hint in hints))
    return bool(own)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("build", [total, moments, each])
@pytest.mark.parametrize("shape", [(2, 5, 7, 4), (1, 5, 5, 8), (1, 66, 65, 2), (3, 1, 50, 5)])
def test_the_bits_are_those_of_a_processor(build, shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtypes[dtype])
    (wanted,) = run_program(
        planned(build, shape, dtype, host_target()), [x], machine(host_target())
    )
    made = planned(build, shape, dtype, SM90)
    assert is_of_threads(made.steps[0].kernel)
    (found,) = run_program(made, [x], interpreted())
    assert found.tobytes() == wanted.tobytes()
    (found,) = run_program(made, [x], interpreted(lambda kernel: scheduled(kernel, SM90)))
    assert found.tobytes() == wanted.tobytes()


def test_neighbours_read_neighbours():
    """Threads are as many as images, blocks and channels; those of channels follow each other."""
    first, *_ = planned(total, (4, 96, 96, 64), "float32", SM90).steps
    assert first.kernel.grid == 4 * 3 * 64
    assert scheduled(first.kernel, SM90).threads == 128
    if linker() is not None:
        assert gpu_code(first.kernel, SM90).image.startswith(b"\x7fELF")


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda form, x: form.reduce("sum", x, (0, 2, 3)), (4, 8, 16, 16)),  # along memory
        (lambda form, x: form.reduce("sum", x, (1,)), (64, 64)),
        (total, (1, 64, 64, 1)),  # one channel
    ],
)
def test_other_folds_are_of_warps(build, shape):
    first, *_ = planned(build, shape, "float32", SM90).steps
    assert not is_of_threads(first.kernel)


def test_few_rows_are_of_warps(monkeypatch):
    monkeypatch.setattr(across, "MANY", 1024)
    first, *_ = planned(total, (2, 96, 96, 64), "float32", SM90).steps
    assert not is_of_threads(first.kernel)
