"""`compile` and `fit`: the same numbers in both modes, and what users of Keras expect of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dualflow as df
from dualflow.train import words
from tests.modes import bits, graphs_only

C = df.train.callbacks


def points(n=50):
    """Three clouds, of which a small net learns to tell which is which."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    centres = np.array([[0, 3], [3, 0], [-2, -2]], np.float32)
    return centres[labels] + random.standard_normal((n, 2), np.float32), labels


def net_of(seed=1):
    df.random.seed(seed)
    return df.nn.Sequential(
        df.nn.Linear(2, 8), df.nn.ReLU(), df.nn.Dropout(0.1), df.nn.Linear(8, 3)
    )


def model_of(mode, **options):
    model = df.train.Model(net_of())
    model.compile("adam", "cross_entropy", ["accuracy"], mode=mode, **options)
    return model


def test_it_learns_alike_in_all_modes():
    x, y = points()
    told = []
    for mode in ("eager", "compiled", "auto"):
        model = model_of(mode)
        df.random.seed(5)
        history = model.fit(x, y, batch_size=8, epochs=4, validation_data=(x[:9], y[:9]))
        weights = [bits(v) for v in model.net.state_dict().values()]
        predictions = bits(model.predict(x, batch_size=7))
        told.append((history.history, weights, predictions, model.evaluate(x, y)))
    assert told[0] == told[1] == told[2]
    history = told[0][0]
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["loss"][-1] < history["loss"][0]


@graphs_only
def test_the_last_short_batch_is_recorded_once():
    x, y = points()
    model = model_of("compiled")
    model.fit(x, y, batch_size=8)
    step = model.training_state.steps["train"]
    traces = len(step.explain().traces)
    assert traces <= 2
    model.fit(x, y, batch_size=8, epochs=3)
    model.fit(x[:43], y[:43], batch_size=8)  # a last batch of another length
    assert len(step.explain().traces) == traces


def test_logs_are_means_over_examples(mode):
    x, y = points(10)
    model = model_of(mode)
    loss, accuracy = model.evaluate(x, y, batch_size=4)
    predictions = model.predict(x)
    assert loss == pytest.approx(df.nn.functional.cross_entropy(predictions, y).item(), rel=1e-6)
    assert accuracy == np.mean(np.argmax(predictions.numpy(), 1) == y)
    assert model.evaluate(x, y, return_dict=True).keys() == {"loss", "accuracy"}


def test_one_batch(mode):
    x, y = points(12)
    model = model_of(mode)
    losses = [model.train_on_batch(x, y)[0] for _ in range(30)]
    assert losses[-1] < losses[0]
    before = [bits(v) for v in model.net.parameters()]
    assert model.test_on_batch(x, y, return_dict=True).keys() == {"loss", "accuracy"}
    assert model.predict_on_batch(x).shape == (12, 3)
    assert [bits(v) for v in model.net.parameters()] == before
    assert model.net[2].training


class TwoHeads(df.train.Model):
    """A subclass with a forward and a step of its own."""

    def __init__(self):
        self.body = df.nn.Linear(2, 4)
        self.left, self.right = df.nn.Linear(4, 3), df.nn.Linear(4, 1)

    def forward(self, x):
        h = df.tanh(self.body(x))
        return {"class": self.left(h), "size": self.right(h)}

    def train_step(self, x, y):
        state, y_pred = self.training_state, self(x)
        loss = df.nn.functional.cross_entropy(y_pred["class"], y) + (y_pred["size"] ** 2).mean()
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.mean.add(loss, y.shape[0])
        return loss


def test_a_subclass_with_its_own_step(mode):
    x, y = points()
    model = TwoHeads()
    model.compile(lambda params: df.optim.SGD(params, lr=0.05), mode=mode)
    history = model.fit(x, y, batch_size=16, epochs=5)
    assert history.history["loss"][-1] < history.history["loss"][0]
    predictions = model.predict(x, batch_size=20)
    assert {k: v.shape for k, v in predictions.items()} == {"class": (50, 3), "size": (50, 1)}
    assert set(model.state_dict()) >= {"body.weight", "left.bias"}


def test_datasets_loaders_and_lists_of_batches():
    x, y = points(20)
    dataset = df.data.TensorDataset(x, y)
    loader = df.data.DataLoader(dataset, 5, num_workers=2)
    for given in (dataset, loader, list(loader)):
        model = model_of("eager")
        model.fit(given, shuffle=False, batch_size=5)
        assert model.predict(given, batch_size=5).shape == (20, 3)
        assert model.evaluate(given, batch_size=5) == model.evaluate(x, y, batch_size=5)


def test_a_share_of_the_examples_validates():
    x, y = points(20)
    model = model_of("eager")
    history = model.fit(x, y, validation_split=0.25, epochs=2)
    assert history.history["val_loss"][-1] == model.evaluate(x[15:], y[15:])[0]
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(df.data.DataLoader(df.data.TensorDataset(x, y)), validation_split=0.5)


# ----- words -----


@pytest.mark.parametrize(
    ("loss", "y_pred", "y_true", "wanted"),
    [
        ("mse", [[1.0], [3.0]], [1.0, 1.0], 2.0),
        ("mae", [[1.0], [3.0]], [[1.0], [1.0]], 1.0),
        ("cross_entropy", [[0.0, 0.0]], [1], math.log(2)),
        ("sparse_categorical_crossentropy", [[0.25, 0.75]], [1], -math.log(0.75)),
        ("categorical_crossentropy", [[0.25, 0.75]], [[0.0, 1.0]], -math.log(0.75)),
        ("binary_crossentropy", [[0.25], [0.5]], [0, 1], -math.log(0.75 * 0.5) / 2),
        ("binary_cross_entropy_with_logits", [[0.0], [0.0]], [0, 1], math.log(2)),
    ],
)
def test_losses_by_name(mode, loss, y_pred, y_true, wanted):
    function = df.train.words.loss_for(loss)
    call = df.function(function) if mode == "compiled" else function
    assert call(df.asarray(y_pred), df.asarray(y_true)).item() == pytest.approx(wanted, rel=1e-5)


M = df.train.metrics


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        (M.Accuracy(), 2 / 5),
        (M.Precision(), 1 / 2),
        (M.Recall(), 1 / 3),
        (M.MeanSquaredError(), (0.25 + 0.16 + 0.01 + 0.64 + 0.81) / 5),
        (M.RootMeanSquaredError(), math.sqrt((0.25 + 0.16 + 0.01 + 0.64 + 0.81) / 5)),
        (M.MeanAbsoluteError(), 2.7 / 5),
        (M.MeanOf(lambda p, t: df.max(p), "largest"), (3 * 0.6 + 2 * 0.8) / 5),
    ],
    ids=lambda x: x.name if isinstance(x, M.Metric) else "",
)
def test_metrics_over_batches(mode, metric, wanted):
    metric.reset_state()

    def update(y_true, y_pred):
        metric.update_state(y_true, y_pred)

    run = df.function(update) if mode == "compiled" else update
    run(df.asarray([1.0, 1.0, 0.0]), df.asarray([0.5, 0.6, 0.1]))
    run(df.asarray([0.0, 1.0]), df.asarray([0.8, 0.1]))
    assert metric.result().item() == pytest.approx(wanted, rel=1e-6)
    saved = metric.state_dict()
    metric.reset_state()
    assert metric.result().item() == 0.0
    metric.load_state_dict(saved)
    assert metric.result().item() == pytest.approx(wanted, rel=1e-6)


def test_top_k(mode):
    metric = M.TopKAccuracy(k=2)
    update = df.function(metric.update_state) if mode == "compiled" else metric.update_state
    update(df.asarray([0, 1, 2]), df.asarray([[3.0, 2, 1], [3.0, 2, 1], [3.0, 2, 1]]))
    assert metric.result().item() == pytest.approx(2 / 3)


def test_accuracy_knows_its_shapes():
    for y_true, y_pred in (
        ([1, 0], [[0.1, 2.0], [0.3, 0.4]]),
        ([[0, 1], [1, 0]], [[0.1, 2.0], [0.3, 0.4]]),
        ([1, 0], [[0.9], [0.6]]),
        ([[1], [0]], [[0.9], [0.6]]),
    ):
        metric = M.Accuracy()
        metric.update_state(y_true, y_pred)
        assert metric.result().item() == 0.5


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m.compile("adamant", "mse"), ValueError, "optimizer 'adamant' is none of"),
        (lambda m: m.compile("adam", "rms"), ValueError, "loss 'rms' is none of"),
        (lambda m: m.compile("adam", "mse", ["f1"]), ValueError, "metric 'f1' is none of"),
        (lambda m: m.compile("adam", "mse", mode="fast"), ValueError, "mode='fast'"),
        (lambda m: m.fit([[1.0]], [[1.0]]), RuntimeError, "model.compile"),
        (lambda m: df.train.Model().forward(1), NotImplementedError, "defines no forward"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(df.train.Model(df.nn.Linear(1, 1)))


def test_weights_go_through_files(tmp_path):
    x, _ = points(4)
    model = model_of("eager")
    model.save_weights(tmp_path / "w.npz")
    other = df.train.Model(net_of(seed=7))
    assert bits(other.predict(x)) != bits(model.predict(x))
    other.load_weights(tmp_path / "w.npz")
    assert bits(other.predict(x)) == bits(model.predict(x))


@pytest.mark.slow
def test_mixed_precision_learns_alike_in_both_modes():
    x, y = points(24)
    told = []
    for mode in ("eager", "compiled"):
        model = model_of(mode, autocast="float16")
        df.random.seed(5)
        history = model.fit(x, y, batch_size=8, epochs=6, shuffle=False)
        weights = [bits(v) for v in model.net.state_dict().values()]
        told.append((history.history, weights, bits(model.predict(x)), model.evaluate(x, y)))
        assert {v.dtype for v in model.net.state_dict().values()} == {df.float32}
        assert model.predict(x).dtype == df.float16
        assert model.training_state.scaler.get_scale() == 2.0**16
    assert told[0] == told[1]
    assert told[0][0]["loss"][-1] < told[0][0]["loss"][0]
    with pytest.raises(df.errors.DTypeError, match="autocast"):
        model_of("eager", autocast="float64")


LOSSES = [
    "cross_entropy",
    df.nn.CrossEntropyLoss(label_smoothing=0.1),
    lambda p, y, reduction="mean": df.nn.functional.cross_entropy(p, y, reduction=reduction),
]


@pytest.mark.parametrize("loss", LOSSES, ids=["word", "module", "function"])
def test_weights_of_examples_are_counts(loss):
    """An example of weight 2 is as good as two of it, but for the number that is divided by."""
    x, y = points(12)
    weight = np.array([2.0, 0.0, 1.0] * 4, "float32")
    again = np.repeat(np.arange(12), weight.astype(int))
    model = df.train.Model(net_of().eval())
    model.compile(df.optim.SGD(model.parameters(), lr=0.1), loss, mode="eager")
    told = model.evaluate(x, y, batch_size=12, sample_weight=weight)
    assert told == pytest.approx(model.evaluate(x[again], y[again], batch_size=12), rel=1e-5)
    assert model.test_on_batch(x, y, weight) == pytest.approx(told)


def test_weights_of_words_for_losses():
    x, y = points(12)
    scores = net_of().eval()(df.asarray(x))
    p, labels = df.nn.functional.softmax(scores), df.asarray(y)
    hot = df.one_hot(labels, 3, dtype="float32")
    classes = {"cross_entropy": scores, "nll": df.log(p), "sparse_categorical_crossentropy": p}
    for name, loss in words.LOSSES.items():
        pair = (classes[name], labels) if name in classes else (p, hot)
        losses = words.each(loss, *pair)
        assert losses.shape == (12,), name
        np.testing.assert_allclose(losses.mean().numpy(), loss(*pair).numpy(), rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_fit_with_weights(mode):
    x, y = points(24)
    by_example = np.array([0.0, 3.0, 1.0], "float32")[y]
    told = []
    for how_it_runs, how in (
        (mode, {"class_weight": {0: 0.0, 1: 3.0}}),
        ("eager", {"sample_weight": by_example}),
        ("eager", {}),
    ):
        model = model_of(how_it_runs)
        df.random.seed(5)
        history = model.fit(
            x, y, batch_size=8, epochs=2, shuffle=False, validation_data=(x, y, by_example), **how
        )
        told.append((history.history, [bits(v) for v in model.net.state_dict().values()]))
    assert told[0] == told[1] != told[2]
    split = model_of("eager").fit(x, y, validation_split=0.25, sample_weight=np.zeros(24))
    assert (split.history["loss"], split.history["val_loss"]) == ([0.0], [0.0])


def test_weights_that_cannot_be_given():
    x, y = points(12)
    model = df.train.Model(net_of())
    model.compile("adam", lambda p, y: df.nn.functional.cross_entropy(p, y), mode="eager")
    with pytest.raises(ValueError, match="the loss of each example"):
        model.fit(x, y, sample_weight=np.ones(12))
    with pytest.raises(ValueError, match="weights go with arrays"):
        model.fit([(x, y)], class_weight={0: 1.0})
    with pytest.raises(ValueError, match="integer labels"):
        model.fit(x, x, class_weight={0: 1.0})
