"""Errors: what was wrong, what was expected, what to do, the user's line; in both modes alike."""

from __future__ import annotations

import builtins
import inspect
import pickle

import numpy as np
import pytest

import dualflow as df
from dualflow import errors

CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.DualflowError)
]


def a():
    return df.asarray(np.ones((2, 3), np.float32))


BAD = {
    "shapes": (lambda x: x + x.reshape(3, 2), errors.ShapeError),
    "inner sizes": (lambda x: x @ x, errors.ShapeError),
    "axis": (lambda x: x.sum(axis=2), errors.AxisError),
    "axis twice": (lambda x: x.sum(axis=(0, 0)), errors.AxisError),
    "reshape": (lambda x: x.reshape(4, 2), errors.ShapeError),
    "permutation": (lambda x: df.permute_dims(x, (0, 0)), errors.AxisError),
    "dtype": (lambda x: x & x, errors.DTypeError),
    "dtype name": (lambda x: x.astype("float31"), errors.DTypeError),
    "bool": (lambda x: bool(x), errors.DTypeError),
    "assign": (lambda x: df.Variable(x).assign(x.sum(0)), errors.ShapeError),
    "gradient": (lambda x: df.grad(lambda x: x)(x), errors.ShapeError),
}


@pytest.mark.parametrize("case", BAD)
def test_the_message_ends_at_the_users_line(case):
    bad, error = BAD[case]
    with pytest.raises(error) as caught:
        bad(a())
    lines = str(caught.value).splitlines()
    assert lines[0]
    assert not lines[0].startswith(" ")
    assert lines[1].startswith("  expected: ")
    number = bad.__code__.co_firstlineno
    assert lines[-1].startswith(f"  at test_errors.py:{number}: "), lines
    assert f'"{case}": (' in lines[-1]


@pytest.mark.parametrize("case", BAD)
def test_the_same_text_in_both_modes(case):
    bad, error = BAD[case]
    texts = set()
    for f in (bad, df.function(bad)):
        for _ in range(2):
            with pytest.raises(error) as caught:
                f(a())
            texts.add(str(caught.value))
    assert len(texts) == 1


def test_an_error_that_only_some_values_meet():
    """The graph finds the bad index, and the error is still Python's at the user's line."""

    def pick(x, i):
        return x[i] * 2.0

    f = df.function(pick)
    x = df.asarray([1.0, 2.0, 3.0])
    for _ in range(2):
        assert f(x, df.asarray([0, 2])).tolist() == [2.0, 6.0]
    texts = []
    for g in (pick, f):
        with pytest.raises(errors.IndexError) as caught:
            g(x, df.asarray([0, 3]))
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "test_errors.py" in texts[0]
    assert f(x, df.asarray([1, 1])).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_class_is_documented_and_pickles(cls):
    assert cls.__doc__
    error = pickle.loads(pickle.dumps(cls("what", "expected", "remedy")))
    assert type(error) is cls
    assert str(error).startswith("what\n  expected: expected\n  try: remedy")


def test_the_classes_are_pythons_too():
    assert issubclass(errors.ShapeError, ValueError)
    assert issubclass(errors.DTypeError, TypeError)
    assert issubclass(errors.AxisError, ValueError | IndexError)
    assert issubclass(errors.AxisError, builtins.IndexError)
    assert issubclass(errors.IndexError, builtins.IndexError)
    assert issubclass(errors.TapeError, RuntimeError)
    assert set(errors.__all__) == {n for n, _ in inspect.getmembers(errors, inspect.isclass)}
