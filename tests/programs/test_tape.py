"""The two-layer net with a tape and assigned Variables: TensorFlow's way of training."""

from __future__ import annotations

import numpy as np

import dualflow as df
from tests.modes import bits, graphs_only, in_mode
from tests.programs import closed_form
from tests.programs.closed_form import double
from tests.programs.runs import D_in as D
from tests.programs.runs import H, N, assert_close, assert_falls, in_both_modes

LR = 1e-6


def weights():
    return df.Variable(df.random.uniform((D, H))), df.Variable(df.random.uniform((H, D)))


def data():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, N, D))
    return df.asarray(x, dtype=np.float32), df.asarray(y, dtype=np.float32)


def loss_and_gradients(x, y, w1, w2):
    with df.GradientTape() as tape:
        h = df.matmul(x, w1)
        y_pred = df.matmul(h, w2)
        difference = y_pred - y
        loss = df.mean(df.sum(difference**2, axis=1))
        gradients = tape.gradient(loss, [w1, w2])
    return loss, gradients


def test_one_step_written_out():
    x, y = data()
    w1, w2 = weights()
    v1, v2 = double(w1), double(w2)
    loss, gradients = loss_and_gradients(x, y, w1, w2)
    w1.assign(w1 - LR * gradients[0])
    w2.assign(w2 - LR * gradients[1])
    total, g1, g2 = closed_form.squares_and_gradients(double(x), double(y), v1, v2, relu=False)
    assert_close([loss, *gradients], [total / N, g1 / N, g2 / N])
    assert_close([w1, w2], [v1 - LR * g1 / N, v2 - LR * g2 / N])


@graphs_only  # as its fixture looks at them
def test_the_loop_in_both_modes():
    start = []

    def program(mode):
        x, y = data()
        w1, w2 = weights()
        start[:] = [double(v) for v in (x, y, w1, w2)]

        def step(x, y):
            loss, gradients = loss_and_gradients(x, y, w1, w2)
            w1.assign(w1 - LR * gradients[0])
            w2.assign(w2 - LR * gradients[1])
            return loss

        run = in_mode(mode, step)
        return [run(x, y).item() for _ in range(30)], [w1, w2]

    losses, (w1, w2) = in_both_modes(program)
    x, y, v1, v2 = start
    expected = []
    for _ in losses:
        total, g1, g2 = closed_form.squares_and_gradients(x, y, v1, v2, relu=False)
        expected.append(total / N)
        v1, v2 = v1 - LR * g1 / N, v2 - LR * g2 / N
    assert_close([losses, w1, w2], [expected, v1, v2])
    assert_falls(losses, 0.5)


@graphs_only
def test_the_model_alone_as_a_function_with_the_tape_outside():
    x, y = data()
    w1, w2 = weights()

    @df.function(strict=True)
    def model(x, y):
        y_pred = df.matmul(df.matmul(x, w1), w2)
        return y_pred, df.mean(df.sum((y_pred - y) ** 2, axis=1))

    _, expected = loss_and_gradients(x, y, w1, w2)
    for _ in range(3):
        with df.GradientTape() as tape:
            y_pred, loss = model(x, y)
        gradients = tape.gradient(loss, [w1, w2])
        assert y_pred.shape == (N, D)
        assert [bits(g) for g in gradients] == [bits(g) for g in expected]
    assert model.from_graph == 2
