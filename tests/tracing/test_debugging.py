"""Debugging decorated functions: reasons, breakpoints, numbers that go wrong, the off-switch."""

from __future__ import annotations

import warnings

import pytest

import dualflow as df
from dualflow.errors import UnconnectedWarning
from tests.tracing.both import vector

# ----- R44: gradients that are None -----

CUTS = {
    ".numpy()": lambda w: df.asarray(w.numpy()) * 2.0,
    "astype": lambda w: w.astype("int64").astype("float32"),
    "stop_gradient": lambda w: df.stop_gradient(w) * 2.0,
    "assign()": lambda w: df.Variable([0.0, 0.0], trainable=False).assign(w * 2.0) * 1.0,
}


@pytest.mark.parametrize("how", CUTS)
def test_r44_the_reason_is_the_same_inside_of_a_function(how):
    w = df.Variable([1.0, 2.0], name="w")

    def f():
        with df.GradientTape() as tape:
            y = CUTS[how](w)
        return tape.gradient(y, w)

    texts = []
    for g in (f, df.function(f)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert g() is None
        texts.append([str(w.message) for w in told if w.category is UnconnectedWarning])
    assert texts[0] == texts[1]
    (text,) = texts[0]
    assert f"gradients end at {how} (test_debugging.py:" in text


def test_r44_integers_and_what_nobody_watches():
    n, x = df.asarray([1, 2]), vector(1, 2)

    def f(source):
        with df.GradientTape() as tape:
            y = source * 2.0
        return tape.gradient(y, source, unconnected_gradients="raise")

    for g in (f, df.function(f)):
        with pytest.raises(df.errors.DTypeError, match="a source of dtype int64 has no gradient"):
            g(n)
        with pytest.raises(df.errors.TapeError, match=r"is not watched: use tape\.watch\(x\)"):
            g(x)
