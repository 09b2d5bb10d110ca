"""The small data sets: shapes, ranges, shares, and the same values for the same seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dualflow as df


def test_digits():
    (x, y), (x_test, y_test) = df.data.digits()
    assert (x.shape, x.dtype, y.dtype) == ((1437, 1, 8, 8), df.float32, df.int64)
    assert x_test.shape == (360, 1, 8, 8)
    assert (x.min().item(), x.max().item()) == (0.0, 1.0)
    shares = np.bincount(y_test.numpy()) / np.bincount(np.concatenate([y.numpy(), y_test.numpy()]))
    assert np.abs(shares - 360 / 1797).max() < 0.005
    again = df.data.digits()[1]
    np.testing.assert_array_equal(again[0].numpy(), x_test.numpy())
    other = df.data.digits(held_out=100, seed=1)[1]
    assert other[1].shape == (100,)


@pytest.mark.parametrize(
    ("name", "rows", "width", "classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)],
)
def test_tables(name, rows, width, classes):
    (x, y), (x_test, y_test) = getattr(df.data, name)(held_out=30)
    assert (x.shape, x_test.shape) == ((rows - 30, width), (30, width))
    assert (x.dtype, y.dtype) == (df.float32, df.int64)
    both = [np.bincount(part.numpy(), minlength=classes) / len(part) for part in (y, y_test)]
    assert np.abs(both[0] - both[1]).max() < 0.03


def test_numbers_to_be_foretold():
    (x, y), (x_test, y_test) = df.data.diabetes()
    assert (x.shape, y.shape) == ((354, 10), (354, 1))
    assert (x_test.shape, y_test.dtype) == ((88, 10), df.float32)
    model = df.train.Model(df.nn.Linear(10, 1))
    model.compile(df.optim.Adam(model.parameters(), lr=3.0), "mse")
    model.fit(x, y, epochs=80)
    assert model.evaluate(x_test, y_test) < 0.7 * y_test.var().item()


def test_digits_without_scikit_learn():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import dualflow as df\n"
        "try: df.data.digits()\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.count("\n") == 1
    assert "pip install dualflow[bench]" in ran.stdout


def leaves(tree):
    return [tree] if isinstance(tree, df.Tensor) else leaves(tree[0]) + leaves(tree[1])


def shape(tree):
    return 1 if isinstance(tree, df.Tensor) else (shape(tree[0]), shape(tree[1]))


def test_random_trees():
    trees = df.data.random_trees(30, seed=1, width=4)
    counts = [len(leaves(tree)) for tree in trees]
    assert set(counts) <= set(range(15, 26))
    assert len(set(counts)) > 5
    assert len({shape(tree) for tree in trees}) == 30
    assert all(x.shape == (4,) and x.dtype == df.float32 for x in leaves(trees[0]))
    again = df.data.random_trees(30, seed=1, width=4)
    assert [shape(tree) for tree in again] == [shape(tree) for tree in trees]
    np.testing.assert_array_equal(leaves(again[7])[3].numpy(), leaves(trees[7])[3].numpy())
    assert shape(df.data.random_trees(1, leaves=(1, 1))[0]) == 1
    with pytest.raises(ValueError, match="leaves="):
        df.data.random_trees(1, leaves=(3, 2))
