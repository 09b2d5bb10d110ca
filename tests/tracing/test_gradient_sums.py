"""Gradients have eager's bits, whatever they are added to and whichever results they come from."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core.number import KINDS
from tests.tracing.both import vector

RNG = np.random.default_rng(0)
SIZE = 64


def weight():
    return df.Variable(RNG.standard_normal(SIZE).astype(np.float32), name="w")


def values():
    return df.asarray(RNG.standard_normal(SIZE).astype(np.float32))


def bits(found):
    return [None if x is None else x.numpy().tobytes() for x in found]


def law(program, make, *, calls=4):
    """`program(function)` gives `step`, whose gradients must be the same with and without it."""
    eager, compiled = (program(way, *make()) for way in (lambda f: f, df.function))
    for _ in range(calls):
        assert bits(eager()) == bits(compiled())


def made(*kinds):
    """The same values for both modes."""
    first = [kind() for kind in kinds]

    def copies():
        return [df.Variable(x.numpy()) if isinstance(x, df.Variable) else x for x in first]

    return copies


def test_a_variable_that_is_used_inside_and_outside():
    def program(function, w, x):
        f = function(lambda x: df.tanh(w * x) * w + df.sin(w))

        def step():
            with df.GradientTape() as tape:
                y = (df.cos(w) * f(x) * w).sum() + (w * 0.3).sum()
            return [tape.gradient(y, w)]

        return step

    law(program, made(weight, values))


def test_a_layer_that_is_called_again_and_again():
    def program(function, w, x):
        cell = function(lambda h: df.tanh(h * w + w))

        def step():
            h = x
            with df.GradientTape() as tape:
                for _ in range(5):
                    h = cell(h)
            return [tape.gradient(h, w)]

        return step

    law(program, made(weight, values))


def test_backward_adds_in_the_order_of_eager():
    def program(function, w, x):
        f = function(lambda x: df.exp(w * 0.1) * x + w * w)

        def step():
            w.grad = None
            ((f(x) + w * 0.7) * f(x * 1.1)).sum().backward()
            return [w.grad]

        return step

    law(program, made(weight, values))


def test_one_tensor_given_twice():
    def program(function, x):
        f = function(lambda a, b: df.sin(a) * b + df.cos(b) * a)

        def step():
            with df.GradientTape() as tape:
                tape.watch(x)
                y = f(x, x) * x
            return [tape.gradient(y, x)]

        return step

    law(program, made(values))


def test_a_result_that_nobody_uses_adds_nothing():
    def program(function, x):
        f = function(lambda x: (df.log(x), x * 2, df.sqrt(x)))

        def step():
            found = []
            for used in ([1], [0, 1], [2, 1], [1], [0, 1, 2]):
                with df.GradientTape() as tape:
                    tape.watch(x)
                    results = f(x)
                    y = sum(results[k].sum() for k in used)
                found.append(tape.gradient(y, x))
            return found

        return step

    law(program, lambda: [vector(0, 1, 4)])


@pytest.mark.parametrize(
    "f",
    [
        lambda w, x: (w.read_value(), w * x),
        lambda w, x: (x, x * w, x),
        lambda w, x: (x * w,) * 3,
        lambda w, x: (w.assign(w * 0.5), w.read_value() * x, w.read_value()),
    ],
    ids=["a variable", "an argument", "repeated", "assigned"],
)
def test_results_that_are_one_tensor(f):
    def program(function, w, x):
        g = function(lambda x: f(w, x))

        def step():
            with df.GradientTape() as tape:
                tape.watch(x)
                results = g(x)
                y = sum(((k + 0.3) * results[k] * x * w).sum() for k in range(len(results)))
            return tape.gradient(y, [w, x])

        return step

    law(program, made(weight, values))


def test_what_a_second_tape_watches_is_added_in_the_same_order():
    def program(function, w, x):
        f = function(lambda x: df.sin(w * x) * w + w * w)

        def step():
            with df.GradientTape() as outer:
                with df.GradientTape() as inner:
                    y = (f(x) * w + f(w * 0.5)).sum()
                first = inner.gradient(y, w)
                z = (first * first * w).sum()
            return [first, outer.gradient(z, w)]

        return step

    law(program, made(weight, values))


def test_a_variable_that_is_assigned_between_its_uses():
    def program(function, w, x):
        def f(x):
            y = w * x
            w.assign(df.tanh(x) + 0.1)
            y = y * w + w
            w.assign(df.sin(x))
            return df.exp(y * 0.1) * w + w * y

        g = function(f)

        def step():
            w.assign(x * 0.3)
            with df.GradientTape() as tape:
                y = g(x) * w
            return [tape.gradient(y, w)]

        return step

    law(program, made(weight, values))


def test_state_of_earlier_calls_whose_gradients_are_gone():
    def program(function, x):
        kept = [x * 0.5]

        @function
        def f(x):
            kept[0] = kept[0] + x * x
            return kept

        def step():
            with df.GradientTape() as tape:
                tape.watch(x)
                y = f(x)[0] * x
            return [tape.gradient(y, x)]

        return step

    law(program, made(values))


def test_a_gradient_that_the_recording_clears():
    def program(function, w, x):
        optimizer = df.optim.SGD([w], lr=0.1)

        @function
        def step():
            y = (w * x).sum()
            if w.grad is not None:
                y = y + w.grad.sum()
            optimizer.zero_grad()
            y.backward()
            found = w.grad.read_value()
            optimizer.zero_grad()
            return [found]

        def grown():
            w.grad = df.Variable(w.numpy(), trainable=False)
            return step()

        return grown

    law(program, made(weight, values))


@pytest.mark.filterwarnings("ignore:.*runs in segments", "ignore:.*recorded again")
@pytest.mark.parametrize(
    "keep",
    [
        lambda log, k, n: log.__iadd__([k]),
        lambda log, k, n: log.insert(0, n),
        lambda log, k, n: vars(box).update(extra=(k, [n])),
        lambda log, k, n: setattr(box, "extra", k + n),
    ],
)
def test_numbers_that_python_keeps_are_plain(keep):
    log = []

    @df.function
    def f(x, k):
        n = 0
        while x.sum() < 3.0:
            x = x + 1.0
            n += k
        keep(log, k, n)
        return x

    for k in (1, 2, 3, 4):
        for start in (0.5, 1.5, 2.5):
            f(vector(start), k)
    left = [*df.tree.flatten([log, vars(box)])[0]]
    assert left
    assert not any(type(x) in KINDS for x in left)


box = type("Box", (), {})()
