"""Native code makes the tensors and records that Python does."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import dualflow as df
from dualflow.core import results
from dualflow.core.context import using
from dualflow.core.op import registry
from dualflow.core.record import Leaf, Pick, Record, new_record
from dualflow.core.tensor import Tensor

ADD, LESS = registry["add"], registry["less"]


@pytest.fixture
def native():
    pytest.importorskip("llvmlite")
    results.use_native_code()
    assert results.result is not results.in_python
    return results.result


def tensor(record=None):
    return Tensor(np.ones(3, "float32"), None, record)


def rooted():
    """A tensor that comes from a Variable."""
    return df.Variable([1.0, 2.0, 3.0]) * 1.0


def watched():
    """One that comes from a tensor that a tape was told to watch."""
    return tensor(Record(ADD, (tensor(Leaf()),), {}, rooted=False))


INPUTS = {
    "nothing": lambda: (tensor(), tensor()),
    "a number": lambda: (tensor(), 2.0),
    "no inputs": tuple,
    "a root": lambda: (tensor(), rooted()),
    "a root and a number": lambda: (rooted(), 3),
    "a leaf": lambda: (tensor(Leaf()), tensor()),
    "a Variable's value": lambda: (df.Variable([1.0]).tensor, tensor()),
    "a Variable": lambda: (df.Variable([1.0]), tensor()),
    "watched": lambda: (watched(), watched()),
    "watched and a root": lambda: (watched(), rooted()),
    "one of several": lambda: (tensor(Pick(watched().record, 1)), tensor()),
    "one of several with a root": lambda: (tensor(Pick(rooted().record, 0)),),
    "other objects": lambda: (tensor(), 1j, True, None),
    "a list": lambda: [rooted()],
}
AROUND = {
    "nobody": {},
    "a tape": {"tapes": (df.GradientTape(),)},
    "no_grad": {"recording": False},
    "no_grad in a tape": {"tapes": (df.GradientTape(),), "recording": False},
}


def told(record):
    """What a record says."""
    if record is None:
        return None
    assert type(record) is Record
    return record.op, record.inputs, record.attrs, record.rooted, record.types


@pytest.mark.parametrize("op", [ADD, LESS], ids=lambda op: op.name)
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("what", INPUTS)
def test_native_code_makes_what_python_makes(native, what, around, op):
    inputs, attrs, array = INPUTS[what](), {"axis": 1}, np.ones(3, "float32")
    with using(**AROUND[around]):
        wanted = new_record(op, inputs, attrs)
        made = native(op, inputs, attrs, array)
        again = results.in_python(op, inputs, attrs, array)
    assert type(made) is Tensor
    assert made.raw is again.raw is array
    assert made.symbol is None
    assert told(made.record) == told(wanted) == told(again.record)
    if wanted is not None:
        assert made.record.tick == wanted.tick + 1 == again.record.tick - 1


def test_tapes_are_told_where_gradients_end(native):
    for make in (native, results.in_python):
        with df.GradientTape() as tape:
            make(LESS, (watched(),), {}, np.ones(3))
            with df.no_grad():
                make(ADD, (watched(),), {}, np.ones(3))
        assert list(tape.cuts) == ["less", "no_grad()"]


def test_nothing_is_held_that_is_not_needed(native):
    inputs, attrs, array = (rooted(), tensor()), {}, np.ones(3)
    objects = inputs, attrs, array, ADD, Tensor, Record, None
    before = list(map(sys.getrefcount, objects))
    made = [native(ADD, inputs, attrs, array) for _ in range(50)]
    held = list(map(weakref.ref, made))
    assert sys.getrefcount(array) == before[2] + 50
    del made
    assert [ref() for ref in held] == [None] * 50
    after = list(map(sys.getrefcount, objects))
    assert after[:4] == before[:4]
    assert all(abs(a - b) < 20 for a, b in zip(after[4:], before[4:], strict=True))


def test_collectors_see_what_was_made(native):
    y = native(ADD, (rooted(),), {}, np.ones(3))
    assert gc.is_tracked(y)
    assert gc.is_tracked(y.record)
    assert any(x is y.record for x in gc.get_referents(y))


def test_python_makes_results_until_there_are_many(monkeypatch):
    monkeypatch.setattr(results, "result", results.in_python)
    monkeypatch.setattr(results, "MANY", next(results.made) + 3)
    x = tensor()
    seen = []
    for _ in range(5):
        results.result(ADD, (x,), {}, x.raw)
        seen.append(results.result is results.in_python)
    if results.scoped.get().target == "cpu":
        assert seen == [True, True, False, False, False]
    else:
        assert seen == [True] * 5
