"""Stores of one lane write one element, and nothing beside it."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.codegen.masks import Masks
from jit.loops.ir import Let, Lit, Var, VType
from jit.types import bool_, int64
from tests.jit.stages import Stages, bits
from tests.ops import laws

NARROWER = [
    *[("int64", "int32"), ("int64", "int8"), ("int32", "int16"), ("int32", "int8")],
    *[("int16", "int8"), ("float32", "bfloat16"), ("float32", "float16"), ("float64", "float32")],
]


@pytest.mark.parametrize(("wide", "narrow"), NARROWER)
@pytest.mark.parametrize("count", [9, 17, 33, 65])
def test_narrowed_elements_are_written_alone(wide, narrow, count):
    """Of each size one element is left over, for one width of vectors or another."""
    x = df.asarray(np.arange(count)).astype(wide)

    def narrowed(x):
        return x.astype(narrow)

    call = laws.recorded(narrowed, [x])
    (found,) = Stages(call.graph).run("machine", call.inputs)  # which looks at what lies beside
    assert bits(found) == bits(narrowed(x).numpy())


def test_rows_of_a_scatter_end_where_the_next_begin():
    x, updates = df.full((17, 17), 3, dtype="bfloat16"), df.ones((3, 17), dtype="bfloat16")

    def updated(x, updates, rows):
        return x.at[rows].max(updates)

    call = laws.recorded(updated, [x, updates, df.asarray([0, 1, 3])])
    (found,) = Stages(call.graph).run("native", call.inputs)
    assert bits(found) == bits(x.numpy())


def test_the_one_lane_is_found_where_the_text_tells_it():
    lanes, truth = VType(int64, 8), VType(bool_, 8)
    iota, moved, first, both, some = (
        Var(type_, name)
        for name, type_ in zip("abcde", (lanes, lanes, truth, truth, truth), strict=True)
    )
    masks = Masks()
    masks.note(Let(iota, "iota", ()))
    masks.note(Let(moved, "add", (iota, Lit(16, VType(int64)))))
    masks.note(Let(first, "less", (moved, Lit(17, VType(int64)))))
    masks.note(Let(both, "less", (moved, Lit(18, VType(int64)))))
    masks.note(Let(some, "less", (moved, Var(VType(int64), "n"))))
    assert [masks.lane(x) for x in (first, both, some, None)] == [0, None, None, None]
