"""Variable: assign rules, in-place operators, what old readers see."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DTypeError, ShapeError


def test_assign_changes_the_cell_and_not_what_was_read():
    w = df.Variable([1.0, 2.0])
    old, view, doubled = w.read_value(), w.numpy(), w * 2.0
    assert w.assign([5.0, 6.0]) is w
    assert w.tolist() == [5.0, 6.0]
    assert old.tolist() == view.tolist() == [1.0, 2.0]
    assert doubled.tolist() == [2.0, 4.0]


def test_the_initial_array_is_copied():
    values = np.ones(2, np.float32)
    w = df.Variable(values)
    values[:] = 7
    assert w.tolist() == [1.0, 1.0]
    other = df.Variable(w)
    w.assign([2.0, 2.0])
    assert other.tolist() == [1.0, 1.0]


def test_assign_add_and_sub_and_zero():
    w = df.Variable([1.0, 2.0])
    assert w.assign_add([1.0, 1.0]).tolist() == [2.0, 3.0]
    assert w.assign_sub(df.asarray([0.5, 0.5])).tolist() == [1.5, 2.5]
    assert w.zero_().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iadd", 5.0),
        ("isub", 1.0),
        ("imul", 6.0),
        ("itruediv", 1.5),
        ("ifloordiv", 1.0),
        ("imod", 1.0),
        ("ipow", 9.0),
    ],
)
def test_in_place_operators_assign(name, expected):
    w = df.Variable(3.0)
    before = w
    w = getattr(operator, name)(w, 2.0)
    assert w is before
    assert w.item() == expected


def test_in_place_matmul():
    w = df.Variable(np.eye(2, dtype=np.float32))
    before = w
    w @= df.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert w is before
    assert w.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_in_place_on_a_tensor_makes_a_new_one():
    x = df.asarray([1.0])
    y = x
    y += 1.0
    assert x.tolist() == [1.0]


def test_items_are_assigned():
    w = df.Variable([[1.0, 2.0], [3.0, 4.0]])
    w[0] = df.asarray([9.0, 8.0])
    w[1, 1] += 10.0
    assert w.tolist() == [[9.0, 8.0], [3.0, 14.0]]


def test_assigning_another_shape_or_dtype():
    w = df.Variable([1.0, 2.0], name="w")
    with pytest.raises(
        ShapeError, match=r"assign: Variable 'w' has shape \(2,\), the value has \(3,\)"
    ):
        w.assign([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match=r"the value has \(\)"):
        w.assign(1.0)
    with pytest.raises(
        DTypeError,
        match=r"holds float32, the value is float64[\s\S]*w\.assign\(value\.astype\('float32'\)\)",
    ):
        w.assign(np.ones(2))
    assert w.tolist() == [1.0, 2.0]


def test_python_numbers_take_the_cells_dtype():
    assert df.Variable([1, 2]).assign([3, 4]).dtype == df.int64
    assert df.Variable(np.float16([1])).assign([2]).dtype == df.float16


def test_widening_in_place_is_refused():
    n = df.Variable([1, 2])
    with pytest.raises(DTypeError, match="holds int64, the value is float32"):
        n += 0.5
    assert n.tolist() == [1, 2]


def test_dtype_trainable_name():
    w = df.Variable([1, 2], dtype="float32", name="w")
    assert (w.dtype, w.trainable, w.name) == (df.float32, True, "w")
    assert not df.Variable([1, 2]).trainable
    assert not df.Variable([1.0], trainable=False).requires_grad


def test_it_reads_like_a_tensor():
    w = df.Variable([[1.0, 2.0]])
    assert isinstance(w, df.Tensor)
    assert (w.shape, w.ndim, w.size, w.dtype) == ((1, 2), 2, 2, df.float32)
    assert w[0, 1].item() == 2.0
    assert (2.0 + w).tolist() == [[3.0, 4.0]]
    assert w.T.shape == (2, 1)
    assert w.sum().item() == 3.0
    assert len(w) == 1
    assert float(df.Variable(2.0)) == 2.0
    assert bool(df.Variable(True))
    assert np.asarray(w).tolist() == [[1.0, 2.0]]


def test_hashes_by_identity_and_survives_assignment():
    w = df.Variable(1.0)
    seen = {w: "w"}
    w.assign(2.0)
    assert seen[w] == "w"


def test_repr():
    w = df.Variable([1.0], name="w1")
    assert repr(w).splitlines() == [
        "Variable('w1', shape=(1,), dtype=float32, trainable)",
        "Tensor([1.], shape=(1,), dtype=float32)",
    ]
    assert repr(df.Variable(1)).startswith("Variable(shape=(), dtype=int64)")


def test_deepcopy_and_pickle_are_cells_of_their_own():
    w = df.Variable([1.0, 2.0], name="w")
    frozen = df.Variable([1.0], trainable=False)
    for other in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert (other.tolist(), other.name, other.trainable) == ([1.0, 2.0], "w", True)
        other.assign([9.0, 9.0])
        assert w.tolist() == [1.0, 2.0]
        (other * 1.0).sum().backward()
        assert w.grad is None
    pair = copy.deepcopy([w, w])
    assert pair[0] is pair[1]
    assert not copy.deepcopy(frozen).trainable


def test_a_copy_of_a_variable_has_no_history():
    w = df.Variable([1.0, 2.0])
    other = df.Variable(w * 2.0)
    (other * 3.0).sum().backward()
    assert w.grad is None
    assert other.grad.tolist() == [3.0, 3.0]


def test_names_of_gradients_and_setting_them():
    w = df.Variable([1.0, 2.0], name="w")
    w.grad = df.asarray([1.0, 1.0])
    assert w.grad.name == "w.grad"
    assert not w.grad.trainable
