"""Values that leave for Python in the middle: the call runs in segments; a message says where."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning, TraceError
from tests.modes import graphs_only
from tests.tracing.both import vector

ESCAPES = {
    "float()": lambda t: float(t),
    ".item()": lambda t: t.item(),
    ".numpy()": lambda t: t.numpy(),
    ".tolist()": lambda t: t.tolist(),
    "__array__()": lambda t: np.asarray(t),
    "repr()": lambda t: str(t),
    "format()": lambda t: f"{t:.3f}",
    "complex()": lambda t: complex(t),
    "__dlpack__()": lambda t: np.from_dlpack(t),
}


@graphs_only
@pytest.mark.parametrize("how", ESCAPES)
def test_an_escape_runs_in_segments_and_says_so_once(how):
    seen = []

    def f(x):
        total = x.sum()
        seen.append(ESCAPES[how](total))
        return total * 2.0

    g = df.function(f)
    with pytest.warns(FunctionWarning) as told:
        assert g(vector(1, 2)).item() == 6.0
    message = str(told[0].message)
    line = f.__code__.co_firstlineno + 2
    assert f"a value leaves for Python through {how} at test_escapes.py:" in message
    assert (f"test_escapes.py:{line}" in message) or how in message
    assert told[0].filename == __file__
    for k in range(3):
        assert g(vector(k, 0)).item() == 2.0 * k
    assert len(seen) == 4
    assert seen[0] is not seen[1]
    assert (g.from_graph, g.graphs) == (0, [])
    assert g.mode.startswith("segments (a value leaves")
    assert "segments: a value leaves" in str(g.explain())


@graphs_only
def test_strict_raises():
    f = df.function(lambda x: float(x.sum()), strict=True)
    for _ in range(2):
        with pytest.raises(
            TraceError, match=r"a value leaves for Python through float\(\) at test_escapes"
        ):
            f(vector(1, 2))


@graphs_only
def test_r38_what_was_formatted_is_printed_at_every_call(capsys):
    def f(x):
        print(f"{x.sum()}")
        return x

    g = df.function(f, strict=True)
    g(vector(1))
    g(vector(2))
    assert g.from_graph == 1
    assert capsys.readouterr().out.splitlines() == [
        "Tensor(1., shape=(), dtype=float32)",
        "Tensor(2., shape=(), dtype=float32)",
    ]


@graphs_only
def test_another_signature_is_told_again_and_others_stay_compiled():
    def f(x, how):
        return float(x.sum()) if how else x.sum()

    g = df.function(f)
    with pytest.warns(FunctionWarning):
        assert g(vector(1), True) == 1.0
    for _ in range(3):
        assert g(vector(1), False).item() == 1.0
        assert g(vector(2), True) == 2.0
    assert g.from_graph == 2


@graphs_only
def test_what_does_not_leave_is_no_escape():
    outside = vector(3)
    total = outside.sum()
    constant = float(total)

    def f(x):
        k = len(x) + x.shape[0] + x.ndim + x.size
        assert x.dtype == np.float32
        assert isinstance(x, df.Tensor)
        hash(x)
        return x * float(k) * constant * float(total)

    g = df.function(f, strict=True)
    for _ in range(3):
        assert g(vector(1)).tolist() == [4.0 * 3.0 * 3.0]
    assert g.from_graph == 2


@graphs_only
def test_a_variable_that_leaves():
    v = df.Variable(1.0)
    f = df.function(lambda x: x * float(v))
    with pytest.warns(FunctionWarning, match=r"float\(\)"):
        f(vector(1))
    v.assign(5.0)
    assert f(vector(1)).tolist() == [5.0]


def test_converting_the_result_is_no_escape():
    f = df.function(lambda x: x * 2.0, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert float(f(vector(1))) == 2.0


def test_a_tape_notes_what_left_it():
    """In a function as outside: the reason for a missing gradient is the same."""
    w = df.Variable(2.0, name="w")

    def f():
        with df.GradientTape() as tape:
            y = df.asarray(w.numpy()) * 2.0
        return tape.gradient(y, w, unconnected_gradients="raise")

    texts = set()
    g = df.function(f)
    for h in (f, g, g):
        with pytest.raises(df.errors.TapeError) as caught:
            h()
        texts.add(str(caught.value))
    assert len(texts) == 1
