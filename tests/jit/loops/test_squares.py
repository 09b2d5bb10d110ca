"""Maps that read across: squares are turned in registers, edges are not, and no bit is another."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import symbol
from jit.loops.ir import TURN, For
from jit.types import TensorType, dtypes
from tests.jit.loops.whole import graph_of, numbers
from tests.jit.stages import Stages, bits


def turned(perm):
    """x with its axes in another order, and a sum of it with what lies as the result does."""

    def build(form, x, y):
        order = [perm.index(axis) for axis in range(len(perm))]
        view = form.view(x, y.shape, lambda *at: tuple([at[k] for k in order]))
        return form.pointwise("add", form.pointwise("negative", view), y)

    return build


def squares(made):
    return [
        s
        for kernel in made.kernels
        for s in kernel.statements()
        if isinstance(s, For) and s.var.hint.startswith(TURN)
    ]


CASES = [
    ("float32", (40, 37), (1, 0)),
    ("float64", (19, 50), (1, 0)),
    ("int32", (64, 16), (1, 0)),
    ("int64", (3, 33, 21), (0, 2, 1)),
    ("float32", (2, 8, 64), (2, 0, 1)),
    ("float32", (5, 17, 33), (2, 1, 0)),
]


@pytest.mark.parametrize(("name", "shape", "perm"), CASES)
def test_transposes_of_any_shape_have_the_values_of_numpy(name, shape, perm):
    dtype = dtypes[name]
    rng = np.random.default_rng(0)
    x = numbers(dtype, shape, rng)
    y = numbers(dtype, tuple(shape[k] for k in perm), rng)
    made = Stages(graph_of(turned(perm), [TensorType(a.shape, a.dtype) for a in (x, y)]))
    with np.errstate(all="ignore"):
        wanted = -x.transpose(perm) + y
    for stage in ("scheduled", "native"):
        (found,) = made.run(stage, [x, y])
        assert bits(found) == bits(wanted)


def test_squares_are_read_in_rows_and_turned():
    types = [TensorType((64, 48), dtypes["float32"]), TensorType((48, 64), dtypes["float32"])]
    made = Stages(graph_of(turned((1, 0)), types))
    assert len(squares(made)) == 1
    as_they_lie = Stages(graph_of(turned((0, 1)), [types[0], types[0]]))
    assert squares(as_they_lie) == []
    few = [TensorType((64, 3), dtypes["float32"]), TensorType((3, 64), dtypes["float32"])]
    assert squares(Stages(graph_of(turned((1, 0)), few))) == []


def test_sizes_that_vary():
    m, n = symbol("m", hint=50), symbol("n", hint=40)
    dtype = dtypes["float32"]
    graph = graph_of(turned((1, 0)), [TensorType((m, n), dtype), TensorType((n, m), dtype)])
    made = Stages(graph)
    assert squares(made)
    rng = np.random.default_rng(1)
    for rows, columns in ((50, 40), (64, 32), (5, 3), (17, 2)):
        x, y = numbers(dtype, (rows, columns), rng), numbers(dtype, (columns, rows), rng)
        (found,) = made.run("native", [x, y])
        with np.errstate(all="ignore"):
            assert bits(found) == bits(-x.T + y)
