"""Nets with several inputs and outputs: how data reaches them, losses and metrics of each."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits

F = df.nn.functional


class Both(df.nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self):
        self.left, self.right = df.nn.Linear(2, 3), df.nn.Linear(1, 3)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


class Packed(df.nn.Module):
    """The same inputs as one argument, in a tuple or a dict."""

    def __init__(self):
        self.both = Both()

    def forward(self, given):
        return self.both(*(given.values() if isinstance(given, dict) else given))


def data(n=20):
    random = np.random.default_rng(3)
    left, right = random.standard_normal((n, 2)), random.standard_normal((n, 1))
    return left, right, random.integers(0, 3, n)


def model_of(kind, mode, *words, **options):
    df.random.seed(4)
    model = df.train.Model(kind())
    model.compile(*words, mode=mode, **options)
    return model


def test_several_inputs_come_as_the_net_takes_them(mode):
    left, right, y = data()
    told = []
    for kind in (Both, Packed):
        for x in ([left, right], {"left": left, "right": right}):
            if mode == "compiled" and isinstance(x, dict if kind is Both else list | tuple):
                continue  # one of each will do
            model = model_of(kind, mode, "adam", "cross_entropy", ["accuracy"])
            df.random.seed(5)
            history = model.fit(x, y, batch_size=8, epochs=2, validation_split=0.25)
            predictions = model.predict(x, batch_size=8)
            assert bits(predictions) == bits(model.predict_on_batch(x))
            found = model.test_on_batch(x, y)
            told.append((history.history, bits(predictions), model.evaluate(x, y), found))
            model.train_on_batch(x, y)
    assert all(one == told[0] for one in told)


def test_several_inputs_from_loaders():
    left, right, y = data()
    x = (left.astype("float32"), right.astype("float32"))
    model = model_of(Both, "eager", "adam", "cross_entropy")
    batches = [((x[0][k : k + 5], x[1][k : k + 5]), y[k : k + 5]) for k in range(0, 20, 5)]
    assert model.evaluate(batches) == pytest.approx(model.evaluate(x, y, batch_size=5))
    model.fit(batches, epochs=2, validation_data=(list(x), y))
    named = [({"left": a, "right": b}, labels) for (a, b), labels in batches]
    assert bits(model.predict(named)) == bits(model.predict(list(x)))


class Heads(df.nn.Module):
    """Two outputs, in a dict or a tuple."""

    def __init__(self, named=True):
        self.named = named
        self.body = df.nn.Linear(2, 4)
        self.kind, self.size = df.nn.Linear(4, 3), df.nn.Linear(4, 1)

    def forward(self, x):
        h = df.tanh(self.body(x))
        found = {"kind": self.kind(h), "size": self.size(h)}
        return found if self.named else tuple(found.values())


def by_hand(model, x, labels, sizes, weight=None):
    """Both losses of a net with two heads."""
    kind, size = tuple(model.net(df.asarray(x, dtype="float32")).values())
    each = F.cross_entropy(kind, labels, reduction="none")
    squares = (size[:, 0] - df.asarray(sizes, dtype="float32")) ** 2
    factor = 1.0 if weight is None else df.asarray(weight, dtype="float32")
    return df.mean(each * factor).item(), df.mean(squares * factor).item()


def test_a_loss_for_each_output(mode):
    x, _, labels = data()
    sizes = x.sum(axis=1)
    loss = {"kind": "cross_entropy", "size": "mse"}
    weights = {"size": 0.25}
    metrics = {"kind": ["accuracy"], "size": "mae"}
    model = model_of(Heads, mode, "adam", loss, metrics, loss_weights=weights)
    y = {"size": sizes, "kind": labels}
    first, second = by_hand(model, x, labels, sizes)
    logs = model.evaluate(x, y, batch_size=7, return_dict=True)
    names = ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"]
    assert list(logs) == names
    assert logs["kind_loss"] == pytest.approx(first, rel=1e-5)
    assert logs["size_loss"] == pytest.approx(second, rel=1e-5)
    assert logs["loss"] == pytest.approx(first + 0.25 * second, rel=1e-5)
    history = model.fit(x, y, batch_size=8, epochs=4, shuffle=False)
    assert list(history.history) == names
    assert history.history["loss"][-1] < history.history["loss"][0]
    example = np.linspace(0, 2, 20)
    first, second = by_hand(model, x, labels, sizes, example)
    told = model.evaluate(x, y, batch_size=20, sample_weight=example)[0]
    assert told == pytest.approx(first + 0.25 * second, rel=1e-5)


def test_outputs_in_a_tuple_have_numbers():
    x, _, labels = data()
    y = (labels, x.sum(axis=1))
    loss = ["cross_entropy", "mse"]
    df.random.seed(4)
    model = df.train.Model(Heads(named=False))
    model.compile("adam", loss, [["accuracy"], []], loss_weights=[1.0, 0.5], mode="eager")
    other = model_of(Heads, "eager", "adam", {"kind": loss[0], "size": loss[1]})
    first, second = by_hand(other, x, *y)
    logs = model.evaluate(x, y, batch_size=20, return_dict=True)
    assert list(logs) == ["loss", "output_1_loss", "output_2_loss", "output_1_accuracy"]
    assert logs["loss"] == pytest.approx(first + 0.5 * second, rel=1e-5)


@pytest.mark.parametrize("weights", [None, {"left": 2.0, "right": 1.0}])
def test_one_word_for_all_outputs(weights):
    x, _, _ = data()

    class Two(df.nn.Module):
        def __init__(self):
            self.left, self.right = df.nn.Linear(2, 1), df.nn.Linear(2, 1)

        def forward(self, x):
            return {"left": self.left(x), "right": self.right(x)}

    model = model_of(Two, "eager", "sgd", "mse", loss_weights=weights)
    y = {"left": x[:, 0], "right": x[:, 1]}
    factor = 2.0 if weights else 1.0
    p = model.predict(x)
    parts = [
        df.mean((p[k][:, 0] - df.asarray(v, dtype="float32")) ** 2).item() for k, v in y.items()
    ]
    wanted = factor * parts[0] + parts[1]
    assert model.evaluate(x, y, batch_size=20, return_dict=True)["loss"] == pytest.approx(
        wanted, rel=1e-5
    )


def test_run_eagerly_is_kerass_word():
    model = model_of(Heads, "compiled", "adam", "mse", run_eagerly=True)
    assert not hasattr(model.training_state.steps["train"], "explain")


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (({"kind": "mse"},), {"loss_weights": {"size": 1.0}}, r"loss_weights for \['size'\]"),
        (({"kind": "mse"}, ["accuracy"]), {}, r"metrics=\['accuracy'\] for several outputs"),
    ],
)
def test_refused_at_once(words, options, message):
    with pytest.raises(ValueError, match=message):
        model_of(Heads, "eager", "adam", *words, **options)


def test_an_output_that_is_not_there():
    x, _, labels = data()
    model = model_of(Heads, "eager", "adam", {"kin": "mse"})
    with pytest.raises(ValueError, match=r"output 'kin', and there is outputs \['kind', 'size'\]"):
        model.evaluate(x, {"kind": labels})
