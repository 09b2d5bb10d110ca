"""What scan and its relatives take: trees, lengths, and the messages of what they refuse."""

from __future__ import annotations

import pytest

import dualflow as df
from tests.modes import in_mode
from tests.tracing.both import agree


def test_trees_of_any_kind():
    def step(carry, x):
        count, (h, none) = carry["count"], carry["h"]
        h = h + x["a"] * x["b"][0]
        return {"count": count + 1, "h": (h, none)}, {"h": h, "n": [count, None]}

    def program():
        def f(a, b):
            return df.scan(step, {"count": 0, "h": (a[0], None)}, {"a": a, "b": (b, None)})

        return f, ()

    a, b = df.ones((4, 2)), df.asarray([1.0, -2.0, 0.5, 3.0])
    f = agree(program, [(a, b)] * 2)
    carry, ys = f(a, b)
    assert carry["count"].item() == 4
    assert ys["n"][0].tolist() == [0, 1, 2, 3]
    assert ys["n"][1] is None
    assert carry["h"][1] is None


def test_without_xs():
    total, ys = df.scan(lambda c, _: (c * 2, c), 1, length=4)
    assert (total.item(), ys.tolist()) == (16, [1, 2, 4, 8])
    assert df.fori_loop(2, 5, lambda i, c: c + i, 0).item() == 9
    assert df.fori_loop(5, 2, lambda i, c: c + i, {"a": 1.5})["a"].item() == 1.5
    assert df.map(lambda x: (x, x * 2), df.arange(3))[1].tolist() == [0, 2, 4]


REFUSED = {
    "shape": (lambda c, x: (df.stack([c, c]), x), 1.0, "carry has shape () before a step and (2,)"),
    "dtype": (lambda c, x: ((c[0], c[1] + 0.5), x), (0, 1), "carry[1] is int64 before a step"),
    "tree": (lambda c, x: ({"b": c["a"]}, x), {"a": 0}, "carry is {'a': *} before a step and {'b'"),
    "no pair": (lambda c, x: c, 0, "the function returned a Tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_mistakes_have_one_text_in_both_modes(kind):
    step, init, text = REFUSED[kind]

    def f(xs):
        return df.scan(step, init, xs)

    told = []
    for python in (f, df.function(f)):
        with pytest.raises((df.errors.ShapeError, df.errors.DTypeError)) as caught:
            python(df.arange(3))
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert text in told[0]
    assert "test_scan_arguments.py" in told[0]


@pytest.mark.parametrize(
    ("xs", "length", "text"),
    [
        ((df.arange(3), df.arange(4)), None, "xs[0] has 3 steps, xs[1] 4"),
        (df.arange(3), 2, "xs has 3 steps, length 2"),
        (None, None, "nothing tells how many"),
        (df.asarray(1.0), None, "xs has no dimensions"),
    ],
)
def test_lengths_that_do_not_fit(xs, length, text):
    with pytest.raises(df.errors.ShapeError) as caught:
        df.scan(lambda c, x: (c, x), 0, xs, length)
    assert text in str(caught.value)


def test_no_steps_leave_the_carry_and_no_rows(mode):
    w, seed = df.Variable([1.0, 2.0]), df.random.get_state().tolist()

    def step(carry, x):
        y = carry["h"] * w + x + df.random.uniform(2)
        return {"h": y, "none": None}, (y.sum(), x > 0)

    def run(h, xs):
        carry, (sums, signs) = df.scan(step, {"h": h, "none": None}, xs)
        return carry["h"], sums, signs, df.map(lambda x: x * 2, xs)

    h, sums, signs, doubled = in_mode(mode, run)(df.ones(2), df.zeros((0, 2)))
    assert h.tolist() == [1.0, 1.0]
    assert [(x.shape, x.dtype) for x in (sums, signs, doubled)] == [
        ((0,), df.float32),
        ((0, 2), df.bool),
        ((0, 2), df.float32),
    ]
    assert df.random.get_state().tolist() == seed
    assert df.grad(lambda h: (run(h, df.zeros((0, 2)))[0] * w).sum())(h).tolist() == [1.0, 2.0]


def test_no_steps_of_a_function_that_looks_at_values():
    with pytest.raises(df.errors.ShapeError, match="there are no steps, and f cannot tell"):
        df.scan(lambda c, x: (c, x if x > 0 else c), 0.0, df.zeros(0))
