"""The table of results, parameters and FLOPs, and the hooks that it is made with."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from tests.modes import graphs_only


def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Sequential({"wide": nn.Linear(4 * 64, 10), "drop": nn.Dropout(0.1)}),
    )


def test_the_table(golden):
    model = net()
    before = {name: x.numpy() for name, x in model.state_dict().items()}
    table = model.summary((2, 1, 8, 8))
    golden("nn/summary", str(table))
    assert model.training
    assert all(not m._hooks for m in model.modules())
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name])
    html = table._repr_html_()
    assert html.count("<tr>") == 9
    assert "2,570" in html


def test_flops_are_those_of_the_products():
    assert nn.Linear(30, 50, bias=False).summary((20, 30)).flops == 2 * 20 * 30 * 50
    conv = nn.Conv2d(3, 8, 3, groups=1, bias=False).summary((2, 3, 10, 10))
    assert conv.flops == 2 * 2 * 8 * 8 * 8 * 3 * 9
    assert nn.Conv2d(4, 8, 3, groups=2, bias=False).summary((2, 4, 10, 10)).flops == (
        2 * 2 * 8 * 8 * 8 * 2 * 9
    )
    assert nn.Flatten().summary((2, 3, 4)).flops == 0
    table = net().summary((2, 1, 8, 8))
    assert table.flops == table.rows[0].flops == sum(r.flops for r in table.rows if r.depth == 1)
    assert table.activations == 4 * sum(2 * n for n in (4 * 64, 4 * 64, 4 * 64, 4 * 64, 10, 10))


def test_inputs_of_other_dtypes_and_what_is_not_called():
    table = nn.Embedding(10, 4).summary(df.asarray([[1, 2]]))
    assert table.rows[0].results[0].shape == (1, 2, 4)
    assert nn.Embedding(10, 4).summary(df.TensorSpec((3,), "int64")).rows[0].results[0].ndim == 2

    class Half(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.ReLU(), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    assert "not called" in str(Half().summary((3,)))


def test_what_depends_on_values_is_refused():
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(df.errors.TraceError, match="summary: Choosing looks at values"):
        Choosing().summary((3,))


def test_hooks_see_and_change(mode):
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.assign(df.eye(2))
    seen = []
    first = layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    second = layer.register_forward_hook(lambda m, args, y: seen.append(args[0].shape) or y + 1)
    forward = df.function(layer, mode=mode)
    x = df.ones((1, 2))
    for _ in range(3):
        assert forward(x).tolist() == [[3.0, 3.0]]
    assert seen == [(1, 2)] * 3
    first.remove()
    assert forward(x).tolist() == [[2.0, 2.0]]
    second.remove()
    second.remove()
    assert forward(x).tolist() == [[1.0, 1.0]]


LAZY = {
    "LazyLinear": ((5,), (3, 4)),
    "LazyConv1d": ((2, 3), (2, 4, 7)),
    "LazyConv2d": ((2, 3), (2, 4, 7, 7)),
    "LazyConv3d": ((2, 3), (2, 4, 5, 5, 5)),
    "LazyConvTranspose1d": ((2, 3), (2, 4, 7)),
    "LazyConvTranspose2d": ((2, 3), (2, 4, 7, 7)),
    "LazyConvTranspose3d": ((2, 3), (2, 4, 3, 3, 3)),
    "LazyBatchNorm1d": ((), (3, 4)),
    "LazyBatchNorm2d": ((), (3, 4, 2, 2)),
    "LazyBatchNorm3d": ((), (3, 4, 2, 2, 2)),
    "LazyInstanceNorm1d": ((), (3, 4, 5)),
    "LazyInstanceNorm2d": ((), (3, 4, 2, 2)),
    "LazyInstanceNorm3d": ((), (3, 4, 2, 2, 2)),
}


@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers(name):
    args, shape = LAZY[name]
    layer = getattr(nn, name)(*args, dtype="float32")
    assert list(layer.parameters()) == []
    assert "not built yet" in str(layer)
    df.random.seed(3)
    y = layer(df.ones(shape))
    df.random.seed(3)
    built = getattr(nn, name.removeprefix("Lazy"))(4, *args)
    assert [p.shape for p in layer.parameters()] == [p.shape for p in built.parameters()]
    np.testing.assert_array_equal(y.numpy(), built(df.ones(shape)).numpy())
    assert "not built" not in str(layer)


@graphs_only
def test_a_lazy_layer_in_a_function():
    layer = nn.LazyLinear(2)
    forward = df.function(layer)
    x = df.ones((3, 4))
    first = forward(x)
    for _ in range(3):
        np.testing.assert_array_equal(forward(x).numpy(), first.numpy())
    assert forward.from_graph >= 2


def test_a_table_without_inputs():
    with pytest.raises(TypeError, match=r"summary: Linear needs inputs, or their shapes"):
        nn.Linear(3, 2).summary()
    model = df.train.Model(nn.Linear(3, 2))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="summary: Model needs inputs"):
        model.summary()
    model.fit(df.ones((12, 3)), df.ones((12, 2)), batch_size=6)
    assert str(model.summary()) == str(model.summary((6, 3)))
