"""What users of Keras write from memory: arguments, data and steps as they know them."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.train.losses import LOSSES
from tests.train.test_fit import C, M, model_of, points


def test_numpys_floats_become_what_the_net_computes_in(mode):
    x, y = points(20)
    wide = x.astype(np.float64)
    net = df.nn.Sequential(df.nn.Linear(2, 3), df.nn.BatchNorm1d(3))
    model = df.train.Model(net)
    model.compile("adam", "cross_entropy", mode=mode)
    model.fit(wide, y, validation_split=0.2)
    loss = model.train_on_batch(wide.tolist(), y)
    assert loss == pytest.approx(model.evaluate(x, y), abs=1.0)
    assert model.predict(wide).dtype == model.predict_on_batch(wide).dtype == df.float32
    assert model.evaluate(wide, y) == model.evaluate(x, y)


def test_labels_may_be_a_column():
    x, y = points(20)
    model = model_of("eager")
    assert model.evaluate(x, y[:, None]) == model.evaluate(x, y)
    for metric in (M.Accuracy(), M.TopKAccuracy(2)):
        scores = np.eye(3, dtype=np.float32)[[2, 2, 0]] + np.eye(3, dtype=np.float32)[1] / 2
        assert metric([[2], [0], [0]], scores).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("word", ["mse", "mae", "rmse", "huber"])
def test_numbers_meet_a_column_of_predictions(word):
    net = df.nn.Linear(2, 1)
    x, _ = points(20)
    model = df.train.Model(net)
    model.compile("sgd", "mse", word, mode="eager")
    y = x.sum(axis=1)
    assert model.evaluate(x, y) == model.evaluate(x, y[:, None])


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("huber", lambda p, y: (0.5 * (p - y) ** 2).mean()),
        ("log_cosh", lambda p, y: np.log(np.cosh(p - y)).mean()),
        ("hinge", lambda p, y: np.maximum(1 - p, 0).mean()),
        ("poisson", lambda p, y: (p - y * np.log(p)).mean()),
        ("mape", lambda p, y: (100 * abs(p - y) / y).mean()),
        ("msle", lambda p, y: ((np.log1p(p) - np.log1p(y)) ** 2).mean()),
        ("kl_divergence", lambda p, y: (y * np.log(y / p)).sum(-1).mean()),
        (
            "cosine_similarity",
            lambda p, y: (
                -((p * y).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(y, axis=-1)).mean()
            ),
        ),
    ],
)
def test_words_for_losses(word, wanted):
    random = np.random.default_rng(2)
    p, y = random.uniform(0.1, 0.9, (2, 5, 3))
    assert LOSSES[word](p, y).item() == pytest.approx(wanted(p, y), rel=1e-6)
    each = LOSSES[word](p, y, reduction="none")
    assert each.mean().item() == pytest.approx(wanted(p, y), rel=1e-6)


def endless():
    x, y = points(8)
    while True:
        yield x, y


def test_steps_of_a_stream(mode):
    model = model_of(mode)
    told = model.fit(
        endless(),
        epochs=3,
        steps_per_epoch=2,
        validation_data=endless(),
        validation_steps=1,
        validation_freq=2,
    )
    assert len(told.history["loss"]) == 3
    assert len(told.history["val_loss"]) == 1
    assert model.predict(endless(), steps=2).shape == (16, 3)
    x, y = points(8)
    assert model.evaluate(endless(), steps=2) == pytest.approx(model.evaluate(x, y))


def test_steps_go_on_where_the_last_epoch_ended():
    seen = []
    x = np.arange(6, dtype=np.float32).reshape(6, 1)
    model = df.train.Model(df.nn.Linear(1, 1))
    model.compile("sgd", lambda p, y: seen.append(y.tolist()) or (p - y).mean(), mode="eager")
    model.fit(x, x, 2, 2, shuffle=False, steps_per_epoch=2)
    assert [int(part[0][0]) for part in seen] == [0, 2, 4, 0]
    with pytest.raises(ValueError, match="ended after 1 of 2 batches"):
        model.fit(iter([(df.ones((2, 1)), df.ones((2, 1)))]), steps_per_epoch=2)


def test_data_without_batches_is_no_result():
    x, y = points(8)
    model = model_of("eager")
    with pytest.raises(ValueError, match="there are no batches"):
        model.fit(iter([(df.asarray(x), df.asarray(y))]), epochs=2)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="there are no batches"):
            call(x[:0], y[:0])
    with pytest.raises(ValueError, match="there are no batches"):
        model.predict(x[:0])


class Own(df.train.Model):
    """Its step gives the loss in some form, and tells nobody else."""

    form = staticmethod(lambda loss: loss)

    def train_step(self, x, y):
        loss = df.nn.functional.cross_entropy(self(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.form(loss)


def test_the_loss_of_a_step_of_ones_own_is_told(mode):
    x, y = points(10)
    for form in (lambda loss: loss, lambda loss: {"loss": loss}):
        model = Own(df.nn.Linear(2, 3))
        model.form = form
        model.compile("sgd", mode=mode)
        wanted = df.nn.functional.cross_entropy(model(x), y).item()
        assert model.train_on_batch(x, y) == pytest.approx(wanted, rel=1e-6)
    model.form = lambda loss: None
    with pytest.raises(TypeError, match="train_step gives None: return the loss"):
        model.train_on_batch(x, y)


def test_what_is_shown_and_who_is_told(capsys):
    x, y = points(8)
    model = model_of("eager")
    told = []
    model.fit(x, y, 4, 2, 0, C.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(epoch)))
    assert told == [0, 1]
    assert model.predict(x, verbose=0).shape == (8, 3)
    model.evaluate(x, y, verbose=0)
    assert capsys.readouterr().out == ""
    loss, accuracy = model.evaluate(x, y, verbose=2)
    assert capsys.readouterr().out == f"loss {loss:.4g}  accuracy {accuracy:.4g}\n"


def test_metrics_are_called():
    mean, accuracy = M.Mean(name="train_loss"), M.Accuracy()
    mean(2.0)
    assert mean(df.asarray(4.0)).item() == 3.0
    mean.reset_state()
    mean.update_state([1.0, 4.0], sample_weight=[3.0, 1.0])
    assert mean.result().item() == 1.75
    assert accuracy([1, 0], [[0.1, 2.0], [0.3, 0.4]]).item() == 0.5
