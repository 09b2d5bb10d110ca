"""vmap: every op on a batch gives what it gives on each example; axes, nesting, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from tests.ops import laws
from tests.samples import SAMPLES
from tests.samples.sample import normal

# What looks at values: how many elements there are, or where.
LOOKS = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values", "repeat"}
# One or two ops for each way to meet batches (`dualflow.core.batching`), and of each family.
USUAL = set(
    """add where clip matmul einsum solve sum max argmax var cumulative_sum sort top_k getitem
    at.add at.set take_along_axis segment_sum concat reshape permute_dims pad roll one_hot softmax
    layer_norm conv2d nll_loss cholesky eigh expm fft embedding searchsorted""".split()
)
GRADIENTS = set("add where max sort at.set cumulative_sum concat softmax cholesky expm".split())
SCALES = (1.0, 0.75)  # of the floats of each example


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what these tests are about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def by_name(usual):
    """Runs a law for every op; for all but `usual` ones only among the slow tests."""
    names = sorted(set(SAMPLES) - LOOKS)
    found = [pytest.param(n, marks=() if n in usual else pytest.mark.slow) for n in names]
    return pytest.mark.parametrize("name", found)


def examples(case):
    """The arrays of each example."""
    return [
        [x * x.dtype.type(scale) if x.dtype.kind in "fc" else x for x in case.arrays]
        for scale in SCALES
    ]


def stacked(each):
    """For each array the batch of all examples."""
    return [df.asarray(np.stack(arrays)) for arrays in zip(*each, strict=True)]


def cases(name):
    for case in list(laws.cases(name, "float64"))[: laws.FIRST]:
        if case.arrays:
            yield case


@by_name(USUAL)
def test_a_batch_gives_what_each_example_gives(name):
    for case in cases(name):
        each = examples(case)
        wanted = [laws.tensors_of(case.call(*map(df.asarray, arrays))) for arrays in each]
        found = laws.tensors_of(df.vmap(case.call)(*stacked(each)))
        for y, *ys in zip(found, *wanted, strict=True):
            assert_close(y, np.stack([x.numpy() for x in ys]), case)


def assert_close(ours, wanted, case):
    """Equal, but for sums that another kernel may order otherwise."""
    if ours.dtype.kind in "fc":
        laws.assert_close(ours, wanted, 1e-12, case)
    else:
        np.testing.assert_array_equal(ours.numpy(), wanted, str(case))


@by_name(GRADIENTS)
def test_gradients_of_each_example(name):
    for case in laws.differentiable(name):
        g = laws.cotangent(case)

        def pulled(*xs, case=case, g=g):
            return df.vjp(case.of_wanted, *xs)[1](g)

        primals = [x.numpy() for x in case.primals()]
        each = [[x * scale for x in primals] for scale in SCALES]
        wanted = [pulled(*map(df.asarray, xs)) for xs in each]
        found = df.vmap(pulled)(*stacked(each))
        for y, *ys in zip(found, *wanted, strict=True):
            laws.assert_close(y, np.stack([x.numpy() for x in ys]), 1e-9, case)


@pytest.mark.parametrize("name", sorted(LOOKS - {"repeat"}))
def test_who_looks_at_values_is_told(name):
    with pytest.raises(df.errors.TraceError, match="the value of one example, of many"):
        df.vmap(getattr(df, name))(df.ones((2, 3)))


def test_r19_the_usual_ops_have_samples():
    assert (USUAL | GRADIENTS) - set(SAMPLES) == set()


def test_axes():
    x, y = df.asarray(normal(3, 2, 4)), df.asarray(normal(4, 2))

    def function(a, b):
        return {"sum": a + b, "same": b}

    found = df.vmap(function, in_axes=(2, 0), out_axes={"sum": -1, "same": 1})(x, y)
    np.testing.assert_array_equal(found["sum"].numpy(), x.numpy() + y.numpy().T[None])
    np.testing.assert_array_equal(found["same"].numpy(), y.numpy().T)
    shared = df.vmap(lambda a, b: (a * b, b), in_axes=(0, None), out_axes=(0, None))(y, y[0])
    np.testing.assert_array_equal(shared[1].numpy(), y[0].numpy())
    nest = df.vmap(lambda p, a: p["w"] @ a + p["b"], in_axes=({"w": None, "b": 0}, 0))
    w, b = df.asarray(normal(3, 2)), df.asarray(normal(4, 3))
    np.testing.assert_allclose(
        nest({"w": w, "b": b}, y).numpy(), y.numpy() @ w.numpy().T + b.numpy(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: df.vmap(df.add)(x, x[:2]), "ShapeError", "vmap: 3 and 2 examples"),
        (lambda x: df.vmap(df.sin, in_axes=2)(x), "AxisError", "vmap: axis 2 of an argument"),
        (lambda x: df.vmap(df.sin, in_axes=None)(x), "ShapeError", "no argument has examples"),
        (lambda x: df.vmap(df.add, in_axes=(0,))(x, x), "ShapeError", "in_axes for 1 arguments"),
        (lambda x: df.vmap(df.sin, out_axes=None)(x), "AxisError", "differs from example"),
        (lambda x: df.vmap(lambda r: r if r.sum() > 0 else -r)(x), "TraceError", "one example"),
    ],
)
def test_mistakes(call, error, words):
    with pytest.raises(getattr(df.errors, error), match=words):
        call(df.ones((3, 2)))


# ----- with the other transformations -----

X, W = normal(4, 3).astype(np.float64), normal(3, 2, seed=1).astype(np.float64)


def energy(x, w):
    return df.tanh(x @ w).sum()


def test_nested():
    pairs = df.vmap(df.vmap(energy, in_axes=(0, None)), in_axes=(None, 0))
    ws = df.asarray(np.stack([W, 2 * W, -W]))
    wanted = [[energy(df.asarray(x), w).item() for x in X] for w in ws]
    np.testing.assert_allclose(pairs(df.asarray(X), ws).numpy(), wanted)


@pytest.mark.parametrize("compiled", [False, True])
def test_of_gradients_around_and_inside(compiled):
    x, w = df.asarray(X), df.asarray(W)
    decorate = df.function if compiled else lambda f: f
    wanted = np.stack([df.grad(energy, 1)(row, w).numpy() for row in x])
    of_each = decorate(df.vmap(df.grad(energy, 1), in_axes=(0, None)))
    of_all = decorate(df.grad(lambda w: df.vmap(energy, in_axes=(0, None))(x, w).sum()))
    for _ in range(2):
        np.testing.assert_allclose(of_each(x, w).numpy(), wanted)
        np.testing.assert_allclose(of_all(w).numpy(), wanted.sum(axis=0))


def test_of_hessians_and_forward_mode():
    x, w = df.asarray(X), df.asarray(W)
    hessians = df.vmap(df.hessian(energy), in_axes=(0, None))(x, w)
    wanted = np.stack([df.hessian(energy)(row, w).numpy() for row in x])
    np.testing.assert_allclose(hessians.numpy(), wanted, atol=1e-12)
    slopes = df.vmap(lambda r, t: df.jvp(lambda r: energy(r, w), [r], [t])[1])(x, x)
    wanted = [df.jvp(lambda r: energy(r, w), [row], [row])[1].item() for row in x]
    np.testing.assert_allclose(slopes.numpy(), wanted)


@pytest.mark.parametrize("options", [{}, {"audit": 1.0}, {"exact": True}, {"mode": "auto"}])
def test_of_functions_that_are_compiled_otherwise(options):
    f = df.function(energy, **options)
    f(df.asarray(X[0]), df.asarray(W))
    found = df.vmap(f, in_axes=(0, None))(df.asarray(X), df.asarray(W))
    np.testing.assert_allclose(found.numpy(), [f(df.asarray(x), df.asarray(W)).item() for x in X])


def test_chunks_give_the_same_bits():
    f = df.vmap(lambda x, w: (x @ w, x * 2), in_axes=(0, None), out_axes=(1, 0))
    g = df.vmap(lambda x, w: (x @ w, x * 2), in_axes=(0, None), out_axes=(1, 0), chunk=3)
    for a, b in zip(f(df.asarray(X), df.asarray(W)), g(df.asarray(X), df.asarray(W)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_variables_are_shared_and_get_their_gradients():
    v = df.Variable(W)
    df.vmap(lambda x: df.tanh(x @ v).sum())(df.asarray(X)).sum().backward()
    wanted = df.grad(lambda w: sum(energy(df.asarray(x), w) for x in X))(df.asarray(W))
    np.testing.assert_allclose(v.grad.numpy(), wanted.numpy())
