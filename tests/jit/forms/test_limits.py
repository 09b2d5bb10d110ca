"""Limits: what forms tell of integers holds for all elements, and spares checks of indices."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import registry
from jit.forms.forms import FormBuilder
from jit.forms.reference import Reference
from jit.loops.ir import Check
from jit.types import TensorType, dtypes
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages
from tests.modes import in_mode

INT64, INT8, UINT8 = (dtypes[name] for name in ("int64", "int8", "uint8"))


def clipped(form, x):
    low, high = (form.constant(value, x.dtype) for value in (2, 9))
    return form.pointwise("minimum", form.pointwise("maximum", x, low), high)


def from_start(form, x):
    below = form.pointwise("less", x, form.constant(0, x.dtype))
    return form.pointwise("where", below, form.pointwise("add", x, form.constant(10, x.dtype)), x)


CASES = {
    "nothing": (lambda form, x: x, (None, None)),
    "between": (clipped, (2, 9)),
    "at_most": (
        lambda form, x: form.pointwise("minimum", x, form.constant(5, x.dtype)),
        (None, 5),
    ),
    "rest": (lambda form, x: form.pointwise("remainder", x, form.constant(7, x.dtype)), (0, 6)),
    "sum": (lambda form, x: form.pointwise("add", clipped(form, x), clipped(form, x)), (4, 18)),
    "never_below": (lambda form, x: from_start(form, clipped(form, x)), (2, 9)),
    "perhaps_below": (lambda form, x: from_start(form, x), (None, None)),
    "narrower": (lambda form, x: form.pointwise("astype", clipped(form, x), dtype=INT8), (2, 9)),
    "wrapped": (lambda form, x: form.pointwise("astype", x, dtype=INT8), (-128, 127)),
    "bytes": (lambda form, x: form.pointwise("astype", x, dtype=UINT8), (0, 255)),
    "places": (lambda form, x: form.index(x.shape, lambda i: 3 * i + 1, INT64), (1, 58)),
    "padded": (
        lambda form, x: form.view(clipped(form, x), (30,), lambda i: (i - 3,), fill=-1),
        (-1, 9),
    ),
    "known": (lambda form, x: form.constant(np.arange(5, 25), INT64, (20,)), (5, 24)),
}


@pytest.mark.parametrize("name", CASES)
def test_all_elements_are_between(name):
    build, wanted = CASES[name]
    x = np.random.default_rng(0).integers(-1000, 1000, 20)
    form = Reference()
    found = build(form, form.put(x))
    assert found.limits == wanted
    low, high = found.limits
    assert low is None or form.arrays[found].min() >= low
    assert high is None or form.arrays[found].max() <= high


def test_sums_that_may_wrap_around_tell_nothing():
    form = FormBuilder()
    x = form.pointwise(
        "astype", clipped(form, form.source(df.ones(3).type.with_dtype(INT64))), dtype=INT8
    )
    for _ in range(4):
        x = form.pointwise("add", x, x)
    assert x.limits == (-128, 127)


def checks(index):
    """What is checked where rows of a matrix are read at what `index` makes of integers."""

    def build(form, x, i):
        return registry["gather"].lower(form, x, index(form, i), axes=(0,))

    types = [TensorType((50, 10), dtypes["float32"]), TensorType((30,), INT64)]
    kernels = Stages(graph_of(build, types)).kernels
    return [s for kernel in kernels for s in kernel.statements() if isinstance(s, Check)]


def rest(form, i, by):
    return form.pointwise("remainder", i, form.constant(by, INT64))


def test_indices_that_are_inside_are_not_checked():
    assert checks(lambda form, i: rest(form, i, 50)) == []
    assert checks(lambda form, i: rest(form, i, 51)) != []
    assert checks(lambda form, i: i) != []


def test_values_and_errors_are_as_ever(mode):
    x = df.asarray(np.arange(100.0, dtype="f").reshape(10, 10))
    i = df.asarray([-30, 3, 9, 25, -1])
    clipped = in_mode(mode, lambda x, i: x[df.clip(i, 0, 9), df.clip(i, -2, 4)])
    a, b = np.clip(i.numpy(), 0, 9), np.clip(i.numpy(), -2, 4)
    assert clipped(x, i).tolist() == x.numpy()[a, b].tolist()
    outside = in_mode(mode, lambda x, i: x[df.clip(i, 0, 10)])
    with pytest.raises(df.errors.IndexError, match="index 10 is out of bounds"):
        outside(x, i)
