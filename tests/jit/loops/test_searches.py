"""Searches: what is found is what all elements give, and what lies behind it is not looked at."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import symbol
from jit.forms.order import BLOCK
from jit.loops.ir import If, Load
from jit.loops.searches import BLOCKS
from jit.types import TensorType, dtypes
from tests.jit.loops.whole import compiled, graph_of, interpreted, reference
from tests.jit.stages import Stages, bits

FLOAT, BYTE, INDEX = dtypes["float32"], dtypes["uint8"], dtypes["int64"]


def found(name, threshold=0.5):
    """Whether any element is above a threshold, or all are, or which is the first that is."""

    def build(form, x):
        limit = form.constant(threshold, x.dtype, x.shape)
        element = form.pointwise("astype", form.pointwise("greater", x, limit), dtype=BYTE)
        axis = len(x.shape) - 1
        if name not in ("argmax", "argmin"):
            return form.reduce(name, element, (axis,), keepdims=False)
        places = form.index(x.shape, lambda *at: at[axis], INDEX)
        return form.reduce(name, (element, places), (axis,), keepdims=False)

    return build


def with_one(shape, at, high):
    """Elements that are all low, but for one, or all high, but for one."""
    x = np.full(shape, 1 - high, np.float32)
    if at is not None:
        x[..., at] = high
    return x


LONG = 2 * BLOCKS * BLOCK + 5  # elements that one item does not search alone


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("shape", [(LONG,), (2, LONG), (9, 3 * BLOCK + 1)])
@pytest.mark.parametrize("at", [None, 0, BLOCK - 1, BLOCK, -1])
@pytest.mark.parametrize("high", [0, 1])
def test_what_is_searched_is_found(name, shape, at, high):
    x = with_one(shape, at, high)
    code = compiled(found(name), [TensorType(shape, FLOAT)])
    result = code([x])[-1]
    assert result.tolist() == getattr(np, name)(x, -1).tolist()


def test_the_naive_kernels_say_the_same():
    x = with_one((BLOCK + 3,), BLOCK + 1, 1)
    code = compiled(found("argmax"), [TensorType(x.shape, FLOAT)])
    wanted = reference(found("argmax"), [x])
    assert [bits(a) for a in interpreted(code, [x])] == [bits(a) for a in wanted]


def test_sizes_that_vary():
    n = symbol("n", hint=100_000)
    code = compiled(found("max"), [TensorType((n,), FLOAT)])
    for length in (3, BLOCK, BLOCK + 1, 10 * BLOCK, LONG):
        for at in (None, 0, length // 2, -1):
            (got,) = code([with_one((length,), at, 1)])
            assert got.item() == (at is not None)


def leaves_out(build, types):
    first, *_ = Stages(graph_of(build, types)).kernels
    loaded = {s.var: s.buffer for s in first.statements() if isinstance(s, Load)}
    asked = [s.condition for s in first.statements() if isinstance(s, If)]
    return any(x in loaded and loaded[x].name.startswith("open") for x in asked)


def several(form, x):
    """Two searches of the same elements, and a sum of them, which needs all."""
    wide = form.pointwise("astype", found("max")(form, x), dtype=FLOAT)
    return wide, form.reduce("sum", x, (0,), keepdims=False)


def extremes(form, x):
    return form.reduce("max", x, (0,), keepdims=False)


def test_only_what_one_element_tells_is_left_out():
    assert leaves_out(found("max"), [TensorType((LONG,), FLOAT)])
    assert leaves_out(extremes, [TensorType((LONG,), BYTE)])
    assert not leaves_out(extremes, [TensorType((LONG,), FLOAT)])
    assert not leaves_out(several, [TensorType((LONG,), FLOAT)])
