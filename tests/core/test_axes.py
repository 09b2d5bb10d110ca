"""Axes and shapes as users give them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflow.core.axes import canonical_axes, canonical_axis, canonical_shape, fill_in
from dualflow.errors import AxisError, ShapeError
from jit.dims import symbol


@given(st.integers(0, 4), st.integers(-6, 6))
def test_an_axis_is_numpys(ndim, axis):
    if -ndim <= axis < ndim:
        assert canonical_axis("f", axis, ndim) == np.lib.array_utils.normalize_axis_index(
            axis, ndim
        )
    else:
        with pytest.raises(AxisError, match=f"f: axis {axis} of a tensor with {ndim} dimensions"):
            canonical_axis("f", axis, ndim)


@given(st.lists(st.integers(-3, 2), max_size=4))
def test_axes_are_sorted_and_distinct(axes):
    if len({k % 3 for k in axes}) == len(axes):
        assert canonical_axes("f", tuple(axes), 3) == tuple(sorted(k % 3 for k in axes))
    else:
        with pytest.raises(AxisError, match="names a dimension twice"):
            canonical_axes("f", axes, 3)
    assert canonical_axes("f", None, 3) == (0, 1, 2)


@given(st.lists(st.integers(1, 4), max_size=4), st.data())
def test_filling_in_is_numpys_reshape(old, data):
    new = list(data.draw(st.permutations(old))) if old else [1]
    if data.draw(st.booleans()):
        new[data.draw(st.integers(0, len(new) - 1))] = -1
    assert fill_in("f", tuple(old), new) == np.zeros(old).reshape(new).shape


@pytest.mark.parametrize("new", [(4,), (-1, -1), (-1, 4), (-2, 3), (7, -1), (0, -1)])
def test_shapes_that_do_not_fit(new):
    with pytest.raises(ShapeError, match="has 6 elements, which do not fill"):
        fill_in("f", (2, 3), new)


def test_symbolic_extents():
    n = symbol("n")
    assert fill_in("f", (n, 4), (-1, 2)) == (2 * n, 2)
    assert fill_in("f", (n, 4), (4 * n,)) == (4 * n,)
    assert canonical_shape("f", (n, 3)) == (n, 3)


def test_a_shape_is_a_tuple_of_extents():
    assert canonical_shape("f", 3) == (3,)
    assert canonical_shape("f", [np.int64(2), 3]) == (2, 3)
    with pytest.raises(ShapeError, match="negative extent"):
        canonical_shape("f", (2, -1))
    with pytest.raises(TypeError):
        canonical_shape("f", 2.5)
