"""Modules: what they find, how they save, load, copy, convert and show themselves."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.errors import ShapeError
from tests.modes import in_mode


class Block(nn.Module):
    """Without super().__init__(), and with state in every kind of place."""

    def __init__(self):
        self.linear = nn.Linear(3, 2)
        self.scales = [nn.Parameter(df.ones(2)), df.Variable([2.0])]
        self.branches = {"left": nn.Linear(2, 2, bias=False), "right": (nn.ReLU(), nn.Linear(2, 1))}
        self.count = df.Variable(0)
        self.nothing = None

    def forward(self, x):
        h = self.linear(x) * self.scales[0] * self.scales[1]
        return self.branches["right"][1](self.branches["right"][0](self.branches["left"](h)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.again = self.block
        self.head = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5))
        self.head.parent = self  # a cycle


NAMES = [  # of a module its own parameters first, then those of modules inside, as in PyTorch
    "block.scales.0",
    "block.scales.1",
    "block.linear.weight",
    "block.linear.bias",
    "block.branches.left.weight",
    "block.branches.right.1.weight",
    "block.branches.right.1.bias",
    "head.0.weight",
    "head.0.bias",
]


def test_parameters_are_found_wherever_they_are():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [p.name for p in net.parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["block.count"]
    assert [v.name for v in net.trainable_variables] == NAMES
    names = dict(net.named_modules())
    assert list(names)[:3] == ["", "block", "block.linear"]
    assert len(names) == len(set(map(id, names.values()))) == 9
    assert list(dict(net.named_children())) == ["block", "again", "head"]


def test_names_become_whole_from_the_inside_out():
    block = Block()
    assert [p.name for p in block.linear.parameters()] == ["weight", "bias"]
    assert block.linear.weight.label() == "Variable 'weight'"
    net = nn.Sequential(block)
    next(net.parameters())
    assert block.linear.weight.name == "0.linear.weight"
    own = nn.Module()
    own.w = nn.Parameter([1.0], name="mine")
    assert [name for name, _ in own.named_parameters()] == ["w"]
    assert own.w.name == "mine"


def test_buffers():
    module = nn.Module()
    module.register_buffer("mean", np.float32([1.5]))
    module.sum = df.Variable([2.5], trainable=False)
    assert [(name, v.item()) for name, v in module.named_buffers()] == [("mean", 1.5), ("sum", 2.5)]
    assert next(module.buffers()) is module.mean
    assert list(module.parameters()) == []
    assert list(module.state_dict()) == ["mean", "sum"]


class Centred(nn.Module):
    """Keeps a running mean, as code for PyTorch does."""

    def __init__(self):
        self.scale = nn.Parameter([2.0])
        self.register_buffer("mean", df.zeros(2))

    def forward(self, x):
        self.mean = 0.5 * self.mean + 0.5 * x.mean(axis=0)
        return (x - self.mean) * self.scale


@pytest.mark.parametrize("decorate", [lambda f: f, df.function])
def test_a_tensor_that_is_set_as_a_buffer_is_assigned_to_it(decorate):
    net, x = Centred(), df.asarray([[1.0, 2.0], [3.0, 6.0]])
    mean, call = net.mean, decorate(net)
    found = [call(x).tolist() for _ in range(4)]
    assert net.mean is mean
    assert net.state_dict()["mean"].tolist() == [1.875, 3.75]
    assert found[0] == [[0.0, 0.0], [4.0, 8.0]]
    with pytest.raises(ShapeError, match="assign: Variable 'mean' has shape"):
        net.mean = df.zeros(3)


@pytest.mark.parametrize("decorate", [lambda f: f, df.function])
def test_a_tensor_takes_no_parameters_place(decorate):
    net = Centred()

    def decay():
        net.scale = net.scale * 0.5

    with pytest.raises(TypeError, match=r"Centred.scale is a parameter.*use scale.assign\(value\)"):
        decorate(decay)()
    assert [name for name, _ in net.named_parameters()] == ["scale"]
    del net.scale
    net.scale = df.ones(1)
    assert list(net.parameters()) == []


def test_training_flags():
    net = Net()
    assert net.training
    assert net.head[1].training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.block.train()
    assert net.block.linear.training
    assert not net.training


def test_frozen_parameters_stay_parameters():
    net = Net()
    net.block.requires_grad_(False)
    assert [name for name, _ in net.named_parameters() if "scales.1" not in name] == [
        name for name in NAMES if "scales.1" not in name
    ]
    assert [v.name for v in net.trainable_variables] == NAMES[-2:]
    net.block.requires_grad_()
    assert len(net.trainable_variables) == len(NAMES) - 1  # a plain Variable is one or the other


def test_apply_goes_from_the_inside_out():
    seen = []
    net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    assert net.apply(seen.append) is net
    assert seen[-1] is net
    assert seen.index(net[0][0]) < seen.index(net[0])


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(df.ones((1, 2))).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


# ----- saving and loading -----


@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x.numpy()], ids=["tensors", "arrays"])
def test_round_trip(convert):
    one, other = Net(), Net()
    one.block.count.assign(7)
    saved = {name: convert(x) for name, x in one.state_dict().items()}
    assert "again.linear.weight" in saved
    assert other.load_state_dict(saved) == ([], [])
    assert other.block.count.item() == 7
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
        assert q.requires_grad


def test_saved_values_do_not_move_on():
    layer = nn.Linear(2, 2)
    saved = layer.state_dict()
    before = layer.weight.numpy().copy()
    layer.weight.assign_add(df.ones((2, 2)))
    np.testing.assert_array_equal(saved["weight"].numpy(), before)
    assert not saved["weight"].requires_grad


def test_what_does_not_fit_is_told_and_changes_nothing(golden):
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    before = net.state_dict()
    bad = {
        "0.weight": df.zeros((3, 2)),
        "0.bias": df.ones(2),
        "2.weight": df.zeros((1, 2)),
        "3.weight": df.zeros(1),
    }
    with pytest.raises(df.errors.ShapeError) as caught:
        net.load_state_dict(bad)
    text, _, place = str(caught.value).partition("\n  at ")
    golden("nn/load_state_dict", text)
    assert place.endswith("net.load_state_dict(bad)")
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name].numpy())
    del bad["0.weight"]
    missing, unexpected = net.load_state_dict(bad, strict=False)
    assert (missing, unexpected) == (["0.weight", "2.bias"], ["3.weight"])
    assert net[0].bias.tolist() == [1.0, 1.0]


def test_values_are_widened_and_never_narrowed():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.ones((1, 2), "float16"), "bias": np.ones(1, "float32")})
    assert layer.weight.dtype == df.float32
    with pytest.raises(df.errors.DTypeError, match="weight holds float32, the value is float64"):
        layer.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.zeros(1, "float32")})
    assert layer.weight.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_share_nothing_with_the_original(twin):
    net = Net().eval()
    net.block.linear.requires_grad_(False)
    names = [name for name, _ in net.named_parameters()]
    other = twin(net)
    assert [name for name, _ in other.named_parameters()] == names
    assert isinstance(other.block.linear.weight, nn.Parameter)
    assert not other.block.linear.weight.requires_grad
    assert other.again is other.block
    assert not other.training
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert p is not q
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    other.block.scales[0].assign(df.zeros(2))
    assert net.block.scales[0].tolist() == [1.0, 1.0]


def test_to_converts_floating_values_in_place(mode):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(3))
    weight = net[0].weight
    forward = df.function(lambda x: net[0](x), mode=mode)
    assert forward(df.ones((1, 2))).dtype == df.float32
    weight.sum().backward()
    assert net.to(df.float64) is net
    assert net[0].weight is weight
    assert weight.requires_grad
    assert {v.dtype.name for v in net.parameters()} == {"float64"}
    assert weight.grad.dtype == df.float64
    assert net[1].num_batches_tracked.dtype == df.int64
    x = df.ones((1, 2), dtype=df.float64)
    expected = x.numpy() @ weight.numpy().T + net[0].bias.numpy()
    np.testing.assert_array_equal(forward(x).numpy(), expected)
    net.to("cpu")
    assert weight.device == "cpu"


# ----- people -----


def test_the_table(golden):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Sequential({"wide": nn.Linear(64, 1000), "drop": nn.Dropout(0.1)}),
    )
    net[0].requires_grad_(False)
    golden("nn/table", str(net))
    html = net._repr_html_()
    assert html.count("<tr>") == 9
    assert "65,044" in html
    assert str(nn.ReLU()) == "ReLU()"


def test_modules_that_cannot_be_called():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty defines no forward\(self, ...\)"):
        Empty()(1)


# ----- containers -----


def test_sequential_and_lists():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert net.append(nn.Linear(3, 1)) is net
    assert len(net) == 3
    assert list(net)[1] is net[1] is net[-2]
    assert isinstance(net[:2], nn.Sequential)
    assert net[:2](df.ones((1, 2))).shape == (1, 3)
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    layers[-1] = nn.Linear(1, 2)
    assert [name for name, _ in layers.named_parameters()][-1] == "2.bias"
    assert layers[2].out_features == 2
    assert len(layers[1:]) == 2
    table = nn.ModuleDict({"a": nn.ReLU()})
    table["b"] = nn.Linear(1, 1)
    assert (list(table), "b" in table, len(table)) == (["a", "b"], True, 2)
    del table["a"]
    assert table.keys() == ["b"]
    assert table.items() == [("b", table["b"])]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Sequential(nn.ReLU(), df.tanh), TypeError, "element 1 is a function"),
        (
            lambda: nn.ModuleDict({"forward": nn.ReLU()}),
            ValueError,
            "'forward' is the name of a me",
        ),
        (lambda: nn.ModuleList([1]), TypeError, "element 0 is a int, not a Module"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2 does not divide"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "3 extents, not 2"),
        (lambda: nn.Dropout(1.5), ValueError, "p=1.5"),
        (lambda: nn.MSELoss("avg"), ValueError, "reduction='avg'"),
        (lambda: nn.BatchNorm2d(3)(df.ones((2, 4, 2, 2))), df.errors.ShapeError, "2, 4, 2, 2"),
        (lambda: nn.BatchNorm2d(3)(df.ones((1, 3, 1, 1))), df.errors.ShapeError, "one value"),
        (lambda: nn.Linear(3, 2)(df.ones((1, 4))), df.errors.ShapeError, "linear"),
        (lambda: nn.init.kaiming_normal_(nn.Parameter([1.0])), df.errors.ShapeError, "no inputs"),
        (lambda: nn.init.calculate_gain("hat"), ValueError, "'hat' is none of"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def gradients_of(net, x, mode):
    """Gradients of parameters and input, from the second of two steps: from the graph, if any."""
    x = df.Variable(x)

    def step():
        net.zero_grad()
        x.grad = None
        (net(x) ** 2).sum().backward()
        return [df.asarray(v.grad) for v in (*net.parameters(), x)]

    run = in_mode(mode, step)
    run()
    return [g.numpy() for g in run()]


def test_hooks_see_gradients_and_change_them(mode):
    df.random.seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = np.arange(6.0, dtype="float32").reshape(2, 3)
    plain = gradients_of(net, x, mode)
    seen = []

    def note(module, grad_input, grad_output):
        seen.append((type(module).__name__, grad_input[0] + 0.0, grad_output[0] + 0.0))

    handles = [layer.register_full_backward_hook(note) for layer in net]
    for a, b in zip(gradients_of(net, x, mode), plain, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [name for name, *_ in seen] == ["Linear", "Tanh", "Linear"] * 2
    del seen[:3]
    np.testing.assert_array_equal(seen[-1][1].numpy(), plain[-1])
    for later, earlier in pairwise(seen):  # what leaves here arrives there
        np.testing.assert_array_equal(later[1].numpy(), earlier[2].numpy())
    for handle in handles:
        handle.remove()
    net[2].register_full_backward_pre_hook(lambda module, grads: (2 * grads[0],))
    net[0].register_full_backward_hook(lambda module, inner, outer: (0 * inner[0],))
    *parameters, of_x = gradients_of(net, x, mode)
    assert not of_x.any()
    for g, before in zip(parameters, plain, strict=False):
        np.testing.assert_allclose(g, 2 * before, rtol=1e-6)
    assert len(seen) == 3


def test_hooks_of_gradients_where_no_argument_needs_one():
    layer, seen = nn.Linear(3, 1), []
    layer.register_full_backward_hook(lambda m, inner, outer: seen.append((inner, outer[0].shape)))
    with df.no_grad():
        layer(df.ones((2, 3)))
    layer(df.ones((2, 3))).sum().backward()
    assert seen == [((None,), (2, 1))]


def test_hooks_of_gradients_see_nests():
    class Twice(nn.Module):
        def forward(self, x, scale):
            return {"one": x, "other": (x * scale, 3)}

    net, seen = Twice(), []
    net.register_full_backward_hook(lambda m, inner, outer: seen.append((inner, outer)))
    x = df.Variable([1.0, 2.0])
    with df.GradientTape() as tape:
        loss = net(x, 5.0)["other"][0].sum()
    assert tape.gradient(loss, x).tolist() == [5.0, 5.0]
    ((inner, outer),) = seen
    assert inner[0].tolist() == [5.0, 5.0]
    assert inner[1] is None
    assert [None if g is None else g.tolist() for g in outer] == [[0.0, 0.0], [1.0, 1.0], None]


def test_parts_by_name():
    model = nn.Sequential({"first": nn.Linear(3, 2), "norm": nn.BatchNorm1d(2)})
    assert model.get_submodule("") is model
    assert model.get_submodule("first") is model[0]
    assert model.get_parameter("first.weight") is model[0].weight
    assert model.get_buffer("norm.running_mean") is model[1].running_mean
    with pytest.raises(AttributeError, match=r"Sequential has no parameter 'first.weigth'.*weight"):
        model.get_parameter("first.weigth")
    with pytest.raises(AttributeError, match="no buffer"):
        model.get_buffer("first.weight")


def test_parameters_as_one_vector(mode):
    model = nn.Linear(3, 2)
    utils = nn.utils

    def halved():
        vector = utils.parameters_to_vector(model.parameters())
        (vector * vector).sum().backward()
        utils.vector_to_parameters(vector / 2.0, model.parameters())
        return vector

    before = [p.numpy().copy() for p in model.parameters()]
    vector = in_mode(mode, halved)()
    np.testing.assert_array_equal(vector.numpy(), np.concatenate([p.ravel() for p in before]))
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.numpy(), old / 2)
        np.testing.assert_array_equal(p.grad.numpy(), 2 * old)
    with pytest.raises(df.errors.ShapeError, match="vec has shape"):
        utils.vector_to_parameters(df.ones(7), model.parameters())
