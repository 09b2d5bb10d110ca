"""Layers against their meaning in NumPy, and nets in training in both modes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import dualflow as df
from dualflow import nn
from tests.modes import graphs_only

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "ReLU": (nn.ReLU, lambda x: np.maximum(x, 0)),
    "Tanh": (nn.Tanh, np.tanh),
    "Sigmoid": (nn.Sigmoid, sigmoid),
    "SiLU": (nn.SiLU, lambda x: x * sigmoid(x)),
    "GELU": (nn.GELU, lambda x: x * special.ndtr(x)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "ELU": (lambda: nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
    "Softplus": (lambda: nn.Softplus(2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
    "Softmax": (lambda: nn.Softmax(axis=0), lambda x: special.softmax(x, axis=0)),
    "LogSoftmax": (nn.LogSoftmax, lambda x: special.log_softmax(x, axis=-1)),
    "Identity": (nn.Identity, lambda x: x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, mode):
    make, reference = ACTIVATIONS[name]
    layer = df.function(make(), mode=mode)
    for _ in range(2):
        y = layer(df.asarray(X))
        assert y.dtype == df.float32
        np.testing.assert_allclose(y.numpy(), reference(X.astype("float64")), rtol=1e-5, atol=1e-6)


def test_linear():
    layer = nn.Linear(4, 2)
    expected = X @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=1e-6)
    assert layer(df.ones((5, 3, 4))).shape == (5, 3, 2)
    assert layer(df.ones(4)).shape == (2,)
    assert [n for n, _ in nn.Linear(4, 2, bias=False).named_parameters()] == ["weight"]
    assert nn.Linear(2, 2, dtype=df.float64).weight.dtype == df.float64


def test_flatten():
    x = df.ones((2, 3, 4, 5))
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0)(x).shape == (120,)
    assert nn.Flatten(1, 2)(x).shape == (2, 12, 5)
    assert nn.Flatten()(x[:0]).shape == (0, 60)
    with pytest.raises(df.errors.AxisError, match="Flatten: axis 4"):
        nn.Flatten(4)(x)


def test_conv_and_pooling():
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 6)).astype("float32")
    layer = nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=1)
    w, b = layer.weight.numpy(), layer.bias.numpy()
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 2), axis=(2, 3)
    )[:, :, ::2]
    expected = np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None]
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    blocks = x[:, :, :6].reshape(2, 3, 3, 2, 3, 2)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x).numpy(), blocks.max((3, 5)))
    np.testing.assert_allclose(
        nn.AvgPool2d(2)(x).numpy(), blocks.mean((3, 5)), rtol=1e-5, atol=1e-6
    )
    assert nn.MaxPool2d(3, stride=2, padding=1)(x).shape == (2, 3, 4, 3)
    assert nn.Conv1d(3, 2, 3)(df.ones((1, 3, 8))).shape == (1, 2, 6)
    assert nn.Conv3d(1, 2, 2)(df.ones((1, 1, 4, 4, 4))).shape == (1, 2, 3, 3, 3)
    assert str(nn.MaxPool2d(3, stride=2, padding=1)) == "MaxPool2d(3, stride=2, padding=1)"


def test_embedding():
    layer = nn.Embedding(5, 3)
    ids = np.array([[0, 4], [2, 2]])
    np.testing.assert_array_equal(layer(ids).numpy(), layer.weight.numpy()[ids])
    layer(ids).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [1, 0, 2, 0, 1])


def test_layer_norm():
    layer = nn.LayerNorm(4)
    layer.weight.assign(df.asarray([1.0, 2.0, 3.0, 4.0]))
    layer.bias.assign(df.ones(4))
    centred = X - X.mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * [1, 2, 3, 4] + 1
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert list(nn.LayerNorm((2, 2), elementwise_affine=False).parameters()) == []
    assert nn.LayerNorm((2, 2), bias=False).bias is None


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm(mode, momentum):
    layer = nn.BatchNorm2d(3, momentum=momentum)
    layer.weight.assign(df.asarray([1.0, 2.0, 3.0]))
    layer.bias.assign(df.asarray([0.0, 1.0, 2.0]))
    forward = df.function(layer, mode=mode)
    mean, var = np.zeros(3), np.ones(3)
    generator = np.random.default_rng(0)

    def normalised(x, mean, var):
        y = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
        return y * np.array([1, 2, 3])[:, None, None] + np.array([0, 1, 2])[:, None, None]

    for k in range(1, 5):
        x = generator.normal(2, 3, size=(4, 3, 2, 5)).astype("float32")
        y = forward(df.asarray(x))
        batch_mean, batch_var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        np.testing.assert_allclose(
            y.numpy(), normalised(x, batch_mean, batch_var), rtol=1e-4, atol=1e-5
        )
        share = momentum or 1 / k
        mean = (1 - share) * mean + share * batch_mean
        var = (1 - share) * var + share * batch_var * 40 / 39
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
    layer.eval()
    for _ in range(2):
        np.testing.assert_allclose(
            forward(df.asarray(x)).numpy(), normalised(x, mean, var), rtol=1e-4, atol=1e-5
        )
    assert layer.num_batches_tracked.item() == 4
    layer.train()
    forward(df.asarray(x))
    assert layer.num_batches_tracked.item() == 5
    if mode == "compiled":
        assert [t.paths for t in forward.explain().traces] == [2]


def test_dropout(mode):
    layer = nn.Dropout(0.25)
    forward = df.function(layer, mode=mode)
    x = df.ones((100, 100))
    seen = [forward(x).numpy() for _ in range(3)]
    for y in seen:
        assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
        assert abs((y == 0).mean() - 0.25) < 0.02
    assert not np.array_equal(seen[1], seen[2])
    layer.eval()
    assert forward(x).numpy().min() == 1.0
    df.random.seed(0)
    layer.train()
    np.testing.assert_array_equal(forward(x).numpy(), seen[0])


LOGITS = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
CLASSES = np.array([0, 2, 1, 1, 0])
TARGET = np.random.default_rng(2).uniform(size=(5, 3)).astype("float32")
LOG_P = special.log_softmax(LOGITS.astype("float64"), axis=1)
HIT = -LOG_P[np.arange(5), CLASSES]
BINARY = np.logaddexp(0, LOGITS) - LOGITS * TARGET
SHARES = np.array([1.0, 2.0, 3.0])
LOSSES = [
    (nn.MSELoss(), TARGET, ((LOGITS - TARGET) ** 2).mean()),
    (nn.MSELoss("sum"), TARGET, ((LOGITS - TARGET) ** 2).sum()),
    (nn.L1Loss("none"), TARGET, np.abs(LOGITS - TARGET)),
    (nn.CrossEntropyLoss(), CLASSES, HIT.mean()),
    (nn.CrossEntropyLoss(reduction="sum"), CLASSES, HIT.sum()),
    (nn.CrossEntropyLoss(ignore_index=1), CLASSES, HIT[[0, 1, 4]].mean()),
    (
        nn.CrossEntropyLoss(weight=SHARES.astype("float32")),
        CLASSES,
        (HIT * SHARES[CLASSES]).sum() / SHARES[CLASSES].sum(),
    ),
    (nn.CrossEntropyLoss(label_smoothing=0.1), CLASSES, (0.9 * HIT - 0.1 * LOG_P.mean(1)).mean()),
    (nn.BCEWithLogitsLoss(), TARGET, BINARY.mean()),
    (
        nn.BCEWithLogitsLoss(pos_weight=np.float32([2.0])),
        TARGET,
        (BINARY + TARGET * np.logaddexp(0, -LOGITS)).mean(),
    ),
]


@pytest.mark.parametrize(("loss", "target", "expected"), LOSSES)
def test_losses(loss, target, expected):
    y = loss(df.asarray(LOGITS), df.asarray(target))
    assert y.dtype == df.float32
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert list(loss.parameters()) == []


class Net(nn.Module):
    """A bit of everything, random numbers and running statistics included."""

    def __init__(self):
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(36, 3)

    def forward(self, x):
        return self.head(self.drop(nn.Flatten()(self.features(x))))


def train(mode, make_optimizer):
    df.random.seed(0)
    net = Net()
    optimizer = make_optimizer(net.parameters())
    criterion = nn.CrossEntropyLoss()
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 1, 6, 6)).astype("float32")
    y = generator.integers(0, 3, size=30)

    @df.function(mode=mode)
    def step(x, y):
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    @df.function(mode=mode)
    def predict(x):
        return net(x).argmax(axis=-1)

    loader = df.data.DataLoader(df.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    losses, predictions = [], []
    for _ in range(5):
        net.train()
        losses += [step(*batch).item() for batch in loader]
        net.eval()
        predictions.append(predict(df.asarray(x)).tolist())
    return losses, predictions, net.state_dict(), step, predict


@graphs_only
@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda params: df.optim.Adam(params, lr=0.01),
        lambda params: df.optim.SGD(params, lr=0.05, momentum=0.9),
    ],
    ids=["adam", "sgd"],
)
def test_training_is_the_same_in_both_modes(make_optimizer):
    eager = train("eager", make_optimizer)
    compiled = train("compiled", make_optimizer)
    assert eager[0] == compiled[0]
    assert eager[1] == compiled[1]
    for name, x in eager[2].items():
        np.testing.assert_array_equal(x.numpy(), compiled[2][name].numpy(), err_msg=name)
    assert np.mean(eager[0][-4:]) < np.mean(eager[0][:4])
    assert [(t.paths, t.hits) for t in compiled[3].explain().traces] == [(1, 14), (1, 4)]
    assert [(t.paths, t.hits) for t in compiled[4].explain().traces] == [(1, 4)]


def test_a_tied_parameter_gets_one_update(mode):
    one = nn.Linear(3, 3, bias=False)
    other = nn.Linear(3, 3, bias=False)
    other.weight = one.weight
    net = nn.Sequential(one, other)
    assert len(list(net.parameters())) == 1
    assert list(net.state_dict()) == ["0.weight", "1.weight"]
    optimizer = df.optim.SGD(net.parameters(), lr=1.0)
    start = one.weight.numpy()

    @df.function(mode=mode)
    def step(x):
        net(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(df.ones((1, 3)))
    ones = np.ones((3, 1), "float32")
    expected = start - (ones @ (ones.T @ start.T) + start.T @ ones @ ones.T)
    np.testing.assert_allclose(one.weight.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d"])
def test_dropout_of_channels(name):
    rank = int(name[-2])
    y = getattr(nn, name)(0.25)(df.ones((50, 40, *(3,) * rank))).numpy()
    channels = y.reshape(50 * 40, -1)
    assert (channels == channels[:, :1]).all()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs((channels[:, 0] == 0).mean() - 0.25) < 0.05
    assert getattr(nn, name)(0.5).eval()(df.ones((1, 2, *(3,) * rank))).numpy().min() == 1


def test_alpha_dropout_keeps_mean_and_variance():
    df.random.seed(0)
    x = df.random.normal((400, 500))
    for layer in (nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)):
        y = layer(x).numpy()
        assert abs(y.mean()) < 0.01
        assert abs(y.std() - 1) < 0.01
        _, counts = np.unique(y, return_counts=True)
        assert abs(counts.max() / y.size - 0.3) < 0.03  # the one value that stands for dropped ones
        assert layer.eval()(x) is x


def test_random_slopes_and_samples():
    x = df.asarray(np.full((100, 100), -1.0, "float32"))
    y = nn.RReLU(0.1, 0.3)(x).numpy()
    assert -0.3 < y.min() < -0.29
    assert -0.11 < y.max() < -0.1
    logits = df.Variable(np.zeros((300, 3), "float32"))
    sample = df.nn.functional.gumbel_softmax(logits, tau=0.5, hard=True)
    assert set(np.unique(sample.numpy())) == {0.0, 1.0}
    assert (sample.numpy().sum(1) == 1).all()
    np.testing.assert_allclose(sample.numpy().mean(0), 1 / 3, atol=0.1)
    (sample * df.asarray([1.0, 2.0, 3.0])).sum().backward()
    assert np.abs(logits.grad.numpy()).max() > 0


def test_the_way_back_from_the_largest():
    x = df.asarray(np.random.default_rng(0).uniform(1, 2, size=(2, 3, 6, 4)).astype("float32"))
    y, at = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(y, at)
    kept = back.numpy() != 0
    np.testing.assert_array_equal(back.numpy()[kept], x.numpy()[kept])
    assert kept.sum() == y.size
    np.testing.assert_array_equal(nn.MaxPool2d(2)(back).numpy(), y.numpy())
    assert nn.MaxUnpool2d(2)(y, at, output_size=(7, 5)).shape == (2, 3, 7, 5)


def test_output_size_of_a_transposed_convolution():
    layer = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)
    assert layer(df.ones((1, 1, 4, 4))).shape == (1, 1, 7, 7)
    assert layer(df.ones((1, 1, 4, 4)), output_size=(8, 7)).shape == (1, 1, 8, 7)
    with pytest.raises(ValueError, match="no output has the extents"):
        layer(df.ones((1, 1, 4, 4)), output_size=(9, 7))


def test_bags_in_one_row_are_those_in_rows():
    for mode in ("mean", "sum", "max"):
        layer = nn.EmbeddingBag(7, 3, mode=mode)
        ids = np.array([1, 2, 6, 0, 3])
        bags = layer(ids, np.array([0, 3])).numpy()
        np.testing.assert_allclose(bags[0], layer(ids[None, :3]).numpy()[0], rtol=1e-6)
        np.testing.assert_allclose(bags[1], layer(ids[None, 3:]).numpy()[0], rtol=1e-6)
        assert (layer(ids, np.array([0, 3, 5])).numpy()[2] == 0).all()
    weighted = nn.EmbeddingBag(7, 3, mode="sum")
    y = weighted(ids[None], per_sample_weights=df.asarray([[0.0, 0.0, 2.0, 0.0, 0.0]]))
    np.testing.assert_allclose(y.numpy()[0], 2 * weighted.weight.numpy()[6], rtol=1e-6)
    frozen = nn.Embedding.from_pretrained(np.eye(3, dtype="float32"))
    assert not frozen.weight.requires_grad
    assert frozen([2]).tolist() == [[0.0, 0.0, 1.0]]


def test_lists_and_dicts_of_parameters():
    weights = nn.ParameterList([df.ones(2), df.zeros(3)])
    weights.append(nn.Parameter([1.0]))
    weights[0] = df.zeros(4)
    assert [p.shape for p in weights] == [(4,), (3,), (1,)]
    assert [name for name, _ in weights.named_parameters()] == ["0", "1", "2"]
    assert len(weights[1:]) == 2
    table = nn.ParameterDict({"a": df.ones(2)})
    table["b"] = df.ones(1)
    assert (list(table), "b" in table, len(table)) == (["a", "b"], True, 2)
    del table["a"]
    assert table.keys() == ["b"]
    assert table.items() == [("b", table["b"])]
    with pytest.raises(ValueError, match="'keys' is the name of a method"):
        table["keys"] = df.ones(1)


@graphs_only
def test_lengths_are_data():
    layer = nn.LSTM(3, 4, bidirectional=True, batch_first=True)
    forward = df.function(lambda x, n: layer(nn.utils.rnn.pack_padded_sequence(x, n, True)))
    x = df.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32"))
    for lengths in ([5, 2], [1, 5], [3, 3], [2, 4]):
        packed, (h, _) = forward(x, df.asarray(lengths))
        y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        for k, n in enumerate(lengths):
            alone, (h_alone, _) = layer(x[k : k + 1, :n])
            np.testing.assert_allclose(y.numpy()[k, :n], alone.numpy()[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(h.numpy()[:, k], h_alone.numpy()[:, 0], rtol=1e-5, atol=1e-6)
            assert (y.numpy()[k, n:] == 0).all()
    assert [t.paths for t in forward.explain().traces] == [1]


def test_sequences_are_padded():
    rnn = nn.utils.rnn
    rows = [df.asarray([1.0, 2.0, 3.0]), df.asarray([4.0])]
    packed = rnn.pack_sequence(rows)
    assert packed.lengths.tolist() == [3, 1]
    y, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
    assert y.tolist() == [[1.0, 2.0, 3.0], [4.0, -1.0, -1.0]]
    assert lengths.tolist() == [3, 1]
    with pytest.raises(df.errors.ShapeError, match="lengths of shape"):
        rnn.pack_padded_sequence(df.ones((3, 2, 1)), df.asarray([1, 2, 3]))


def test_adaptive_softmax_of_rare_classes(mode):
    """Each target's probability is the one among all; classes out of range are refused."""
    layer = nn.AdaptiveLogSoftmaxWithLoss(4, 9, [2, 5], div_value=2.0)
    x, targets = df.random.normal((9, 4)), df.arange(9)
    run = df.function(layer, mode=mode)
    every = layer.log_prob(x).numpy()
    np.testing.assert_allclose(np.exp(every).sum(axis=1), 1.0, rtol=1e-5)
    for _ in range(2):
        output, loss = run(x, targets)
        np.testing.assert_allclose(output.numpy(), np.diag(every), rtol=1e-5)
        np.testing.assert_allclose(loss.item(), -np.diag(every).mean(), rtol=1e-5)
    assert layer.predict(x).tolist() == every.argmax(axis=1).tolist()
    for wrong in (-1, 9):
        with pytest.raises(df.errors.IndexError):
            run(x, targets * 0 + wrong)
    with pytest.raises(df.errors.ShapeError, match=r"\(9, 4\), target \(3,\)"):
        run(x, targets[:3])
    before = layer.state_dict()
    layer.reset_parameters()
    assert all((x != before[key]).any() for key, x in layer.state_dict().items())
    with pytest.raises(ValueError, match="do not ascend within 1 to 8"):
        nn.AdaptiveLogSoftmaxWithLoss(4, 9, [5, 2])


def test_fractional_pooling_draws_its_windows(mode):
    """Each result is an element of its image, at the place that is told; another call, others."""
    layer = nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.75), return_indices=True)
    run = df.function(layer, mode=mode)
    x = df.random.normal((2, 3, 8, 8))
    found = [run(x) for _ in range(3)]
    for y, at in found:
        assert y.shape == at.shape == (2, 3, 4, 6)
        elements = x.reshape((2, 3, 64)).numpy()
        np.testing.assert_array_equal(
            np.take_along_axis(elements, at.numpy().reshape(2, 3, 24), axis=2).ravel(),
            y.numpy().ravel(),
        )
    assert len({at.numpy().tobytes() for _, at in found}) == 3
    with pytest.raises(df.errors.ShapeError, match="hold so many windows"):
        nn.FractionalMaxPool2d(3, output_size=7)(x)
    with pytest.raises(ValueError, match="one of them"):
        nn.FractionalMaxPool2d(3)
