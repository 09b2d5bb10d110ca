"""ConcreteFunction: traced from types alone, for extents that vary."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DTypeError, DualflowError, TraceError
from tests.tracing.both import vector


def layer(x, w):
    return df.tanh(x @ w).mean(axis=0) + x.shape[1]


def test_it_runs_at_several_sizes():
    f = df.function(layer).concrete(df.TensorSpec((None, 3)), df.TensorSpec((3, "out")))
    generator = np.random.default_rng(0)
    for n, out in ((2, 2), (5, 4), (64, 7), (5, 4)):
        x = df.asarray(generator.normal(size=(n, 3)).astype(np.float32))
        w = df.asarray(generator.normal(size=(3, out)).astype(np.float32))
        np.testing.assert_allclose(f(x, w).numpy(), layer(x, w).numpy(), rtol=1e-6)
    assert "float32[d0,3]" in str(f.graph)
    assert "concrete" not in repr(f) or "layer" in repr(f)


def test_extents_in_the_program():
    def f(x):
        n = x.shape[0]
        flat = x.reshape(-1)
        return flat.sum() / n, df.reshape(flat, (n, x.shape[1])) * 2.0, df.zeros((n, 2)), x.size

    g = df.function(f).concrete(df.TensorSpec((None, 3)))
    for n in (2, 3, 10):
        x = df.asarray(np.arange(3 * n, dtype=np.float32).reshape(n, 3))
        for ours, theirs in zip(g(x), f(x), strict=True):
            assert np.asarray(ours).tolist() == np.asarray(theirs).tolist()


def test_the_same_name_is_the_same_extent():
    f = df.function(lambda x, y: x + y).concrete(df.TensorSpec(("n",)), df.TensorSpec(("n",)))
    assert f(vector(1, 2), vector(3, 4)).tolist() == [4.0, 6.0]
    with pytest.raises(DualflowError):
        f(vector(1, 2), vector(3, 4, 5))


def test_wrong_arguments_are_refused():
    f = df.function(lambda x: x * 2.0).concrete(df.TensorSpec((None, 3)))
    for bad in (
        vector(1, 2, 3),
        df.asarray(np.ones((2, 4), np.float32)),
        df.asarray(np.ones((2, 3), np.float64)),
    ):
        with pytest.raises(DTypeError, match=r"argument 0 is .*\n  expected: float32\[d0,3\]"):
            f(bad)
    with pytest.raises(TraceError, match="arguments"):
        f(bad, bad)


def test_gradients_inside():
    def f(x):
        return df.grad(lambda x: (x * x * x).sum())(x)

    g = df.function(f).concrete(df.TensorSpec((None,)))
    for n in (2, 7):
        x = df.asarray(np.arange(n, dtype=np.float32))
        np.testing.assert_allclose(g(x).numpy(), 3 * x.numpy() ** 2)


def test_variables_are_read_at_each_call():
    v = df.Variable([1.0, 2.0])
    f = df.function(lambda x: x * v).concrete(df.TensorSpec((None, 2)))
    for k in range(3):
        v.assign([float(k), 2.0])
        assert f(df.asarray([[1.0, 1.0]] * 2)).tolist() == [[float(k), 2.0]] * 2
    assert v.tensor.raw is not None


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (lambda x: x if x.sum() > 0 else -x, r"bool\(\) asks for the value of a symbolic tensor"),
        (lambda x: x * float(x.sum()), r"float\(\) asks for the value of a symbolic tensor"),
        (lambda x: x.numpy(), r"\.numpy\(\) asks for the value"),
        (lambda x: STATE.assign(x[0]), "a symbolic trace assigns a Variable"),
    ],
)
def test_what_needs_values_is_refused_and_leaves_nothing(python, said):
    before = STATE.item()
    with pytest.raises(TraceError, match=said):
        df.function(python).concrete(df.TensorSpec((None,)))
    assert STATE.item() == before
    assert (STATE * 2.0).item() == 2 * before


STATE = df.Variable(5.0)


def test_structures_and_python_values():
    f = df.function(lambda batch, k: {"y": batch["x"] * k}).concrete(
        {"x": df.TensorSpec((None,))}, 3
    )
    assert f({"x": vector(1, 2)}, 3)["y"].tolist() == [3.0, 6.0]


def test_specs():
    spec = df.TensorSpec((None, 4))
    assert spec.accepts((7, 4), df.float32)
    assert not spec.accepts((7, 5), df.float32)
    assert not spec.accepts((7, 4), df.float64)
    assert not spec.accepts((4,), df.float32)
    assert spec == df.TensorSpec([None, 4], "float32")
    assert hash(spec) == hash(df.TensorSpec([None, 4], np.float32))
    assert str(df.TensorSpec((None, "n"), "int64")) == "int64 (None, n)"


def test_a_tensor_stands_for_its_type():
    f = df.function(lambda x: x * 2.0).concrete(vector(1, 2))
    assert f(vector(3, 4)).tolist() == [6.0, 8.0]


def test_gradients_flow_through_a_symbolic_call_at_every_size():
    w = df.Variable([[1.0, 2.0], [3.0, 4.0]])
    f = df.function(lambda x: df.tanh(x @ w).mean())
    concrete = f.concrete(df.TensorSpec((None, 2)))
    for n in (2, 3, 7):
        x = df.random.normal((n, 2))
        found = []
        for call in (concrete, f.python):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = call(x)
            found.append([y, *tape.gradient(y, [x, w])])
        for ours, eager in zip(*found, strict=True):
            assert ours.shape == eager.shape
            assert ours.numpy().tobytes() == eager.numpy().tobytes()


def test_a_custom_gradient_does_not_get_lost_in_a_symbolic_call():
    @df.custom_gradient
    def doubled(x):
        return x, lambda g: 2 * g

    concrete = df.function(lambda x: doubled(x * 3.0)).concrete(df.TensorSpec((2,)))
    x = df.ones(2)
    assert concrete(x).tolist() == [3.0, 3.0]
    with df.GradientTape() as tape:
        tape.watch(x)
        with pytest.raises(df.errors.TraceError, match="lacks custom_gradient of doubled"):
            concrete(x)
