"""A two-layer net, from by hand to modules inside modules, in PyTorch's way of training."""

from __future__ import annotations

import dualflow as df
from dualflow import nn
from tests.modes import in_mode
from tests.programs import closed_form
from tests.programs.closed_form import double, layers_of
from tests.programs.runs import (
    D_in,
    D_out,
    H,
    assert_close,
    assert_falls,
    in_both_modes,
    random_data,
)

TWO_LAYERS = [(("0",), True), (("2",), False)]


def test_by_hand():
    lr, start = 1e-6, []

    def program(mode):
        x, y = random_data()
        w1 = df.randn(D_in, H, requires_grad=True)
        w2 = df.randn(H, D_out, requires_grad=True)
        start[:] = [double(x), double(y), double(w1), double(w2)]

        def step(w1, w2):
            y_pred = x.mm(w1).clamp(min=0).mm(w2)
            loss = (y_pred - y).pow(2).sum()
            loss.backward()
            with df.no_grad():
                w1 -= lr * w1.grad
                w2 -= lr * w2.grad
                w1.grad.zero_()
                w2.grad.zero_()
            return loss

        run = in_mode(mode, step)
        return [run(w1, w2).item() for _ in range(60)], [w1, w2, w1.grad, w2.grad]

    losses, (w1, w2, *grads) = in_both_modes(program)
    x, y, v1, v2 = start
    expected = []
    for _ in losses:
        loss, g1, g2 = closed_form.squares_and_gradients(x, y, v1, v2, relu=True)
        expected.append(loss)
        v1, v2 = v1 - lr * g1, v2 - lr * g2
    assert_close([losses, w1, w2], [expected, v1, v2])
    assert not any(g.any() for g in grads)
    assert_falls(losses, 0.1)


def two_layers():
    return nn.Sequential(nn.Linear(D_in, H), nn.ReLU(), nn.Linear(H, D_out))


def trained(mode, make, make_optimizer, steps, start):
    """Trains a net of `make()` on one batch; `start` receives the data and the initial layers."""
    x, y = random_data()
    model = make()
    optimizer = make_optimizer(model)
    start[:] = [double(x), double(y), layers_of(model)]

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = in_mode(mode, step)
    losses = [run(x, y).item() for _ in range(steps)]
    assert all(p.grad is None for p in model.parameters())
    return losses, list(model.state_dict().values())


def assert_as_by_hand(run, start, plan, optimizer, rtol=1e-4):
    """Losses and layers are those of the closed form from the same start."""
    (losses, state), (x, y, layers) = run, start
    expected = closed_form.train(layers, optimizer, [(plan, x, y)] * len(losses))
    assert_close([losses, *state], [expected, *(p for pair in layers.values() for p in pair)], rtol)
    assert_falls(losses)


def test_sequential_with_updates_by_hand():
    lr, start = 1e-2, []

    def program(mode):
        x, y = random_data()
        model = two_layers()
        start[:] = [double(x), double(y), layers_of(model)]

        def step(x, y):
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            with df.no_grad():
                for param in model.parameters():
                    param -= lr * param.grad
            model.zero_grad()
            return loss

        run = in_mode(mode, step)
        return [run(x, y).item() for _ in range(40)], list(model.state_dict().values())

    run = in_both_modes(program)
    assert_as_by_hand(run, start, TWO_LAYERS, closed_form.SGD(lr))


def test_sequential_with_adam():
    start = []

    def program(mode):
        def adam(model):
            return df.optim.Adam(model.parameters(), lr=1e-4)

        return trained(mode, two_layers, adam, 40, start)

    run = in_both_modes(program)
    assert_as_by_hand(run, start, TWO_LAYERS, closed_form.Adam(1e-4), rtol=1e-3)
    assert_falls(run[0], 0.8)


class TwoLayerNet(nn.Module):
    def __init__(self, D_in, H, D_out):
        super().__init__()
        self.linear1 = nn.Linear(D_in, H)
        self.linear2 = nn.Linear(H, D_out)

    def forward(self, x):
        return self.linear2(self.linear1(x).clamp(min=0))


TWO_LAYER_NET = [(("linear1",), True), (("linear2",), False)]


def test_custom_module():
    start = []

    def program(mode):
        def sgd(model):
            return df.optim.SGD(model.parameters(), lr=1e-4)

        return trained(mode, lambda: TwoLayerNet(D_in, H, D_out), sgd, 40, start)

    assert_as_by_hand(in_both_modes(program), start, TWO_LAYER_NET, closed_form.SGD(1e-4))


class ParallelBlock(nn.Module):
    def __init__(self, D_in, D_out):
        super().__init__()
        self.linear1 = nn.Linear(D_in, D_out)
        self.linear2 = nn.Linear(D_in, D_out)

    def forward(self, x):
        return (self.linear1(x) + self.linear2(x)).clamp(min=0)


def test_modules_in_modules():
    start = []

    def program(mode):
        def adam(model):
            return df.optim.Adam(model.parameters(), lr=1e-4)

        def make():
            return nn.Sequential(ParallelBlock(D_in, H), ParallelBlock(H, D_out))

        return trained(mode, make, adam, 40, start)

    run = in_both_modes(program)
    plan = [(("0.linear1", "0.linear2"), True), (("1.linear1", "1.linear2"), True)]
    assert_as_by_hand(run, start, plan, closed_form.Adam(1e-4), rtol=1e-3)
    assert_falls(run[0], 0.9)


def test_data_loader():
    start, lr = [], 1e-2

    def program(mode):
        x, y = random_data()
        loader = df.data.DataLoader(df.data.TensorDataset(x, y), batch_size=8)
        model = TwoLayerNet(D_in, H, D_out)
        optimizer = df.optim.SGD(model.parameters(), lr=lr)
        start[:] = [double(x), double(y), layers_of(model)]

        def step(x, y):
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run, losses = in_mode(mode, step), []
        for _ in range(20):
            losses += [run(x_batch, y_batch).item() for x_batch, y_batch in loader]
        return losses, list(model.state_dict().values())

    losses, state = in_both_modes(program)
    x, y, layers = start
    assert len(losses) == 20 * 8
    batches = [(TWO_LAYER_NET, x[k : k + 8], y[k : k + 8]) for k in range(0, 64, 8)] * 20
    expected = closed_form.train(layers, closed_form.SGD(lr), batches)
    assert_close([losses, *state], [expected, *(p for pair in layers.values() for p in pair)])
    assert_falls([sum(losses[:8]), sum(losses[-8:])], 0.9)
