"""Keras programs as the lecture's slides write them, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
import dualflow.compat.tensorflow as tf
from tests.modes import in_mode

N, D, H = 32, 20, 10


def data():
    random = np.random.RandomState(0)
    x = random.randn(N, D).astype(np.float32)
    return tf.convert_to_tensor(x), tf.convert_to_tensor(np.tanh(x[:, ::-1] * 0.5))


def net():
    tf.random.set_seed(1)
    model = tf.keras.Sequential()
    model.add(tf.keras.layers.Dense(H, input_shape=(D,), activation=tf.nn.relu))
    model.add(tf.keras.layers.Dense(D))
    return model


def test_a_loop_by_hand(mode):
    x, y = data()
    model, optimizer = net(), tf.optimizers.SGD(1e-1)
    loss_of = tf.keras.losses.MeanSquaredError()

    def step(x, y):
        with tf.GradientTape() as tape:
            y_pred = model(x)
            loss = loss_of(y, y_pred)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return y_pred, loss

    run = tf.function(step) if mode == "compiled" else step
    losses = [run(x, y)[1].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    if mode == "compiled":
        assert run.from_graph >= 28  # the optimiser's state was made in the first call
    np.testing.assert_allclose(losses[0], np.mean((net()(x).numpy() - y.numpy()) ** 2), rtol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_compile_and_fit(mode, named):
    x, y = data()
    model = net()
    optimizer = "adam" if named else tf.keras.optimizers.SGD(learning_rate=0.5)
    eager = {"run_eagerly": mode == "eager"}
    model.compile(loss=tf.keras.losses.MeanSquaredError(), optimizer=optimizer, **eager)
    history = model.fit(x, y, epochs=20, batch_size=N)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.evaluate(x, y) == pytest.approx(np.mean((model.predict(x) - y).numpy() ** 2), 1e-5)


def test_classes_with_a_net_of_unknown_inputs():
    x = np.concatenate([np.full((20, 3), -1.0), np.full((20, 3), 1.0)]).astype(np.float32)
    y = np.repeat([0, 1], 20)
    keras = tf.keras
    model = keras.Sequential(
        [keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.1), keras.layers.Dense(2, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=40, batch_size=10)
    assert history.history["accuracy"][-1] == 1.0
    assert model.predict(x).shape == (40, 2)


def test_targets_meet_a_column_of_predictions(mode):
    x = np.random.RandomState(0).randn(20, D)
    y = x.sum(axis=1)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=mode == "eager")
    loss, error = model.evaluate(x, y, verbose=0)
    p = model.predict(x, verbose=0).numpy()[:, 0]
    assert loss == pytest.approx(np.mean((p - y) ** 2), rel=1e-4)
    assert error == pytest.approx(np.mean(abs(p - y)), rel=1e-4)
    assert tf.keras.losses.MeanSquaredError()([1.0, 2.0], [[1.0], [2.0]]).item() == 0.0


def test_weights_of_classes_metrics_and_callbacks_by_class():
    x, _ = data()
    labels = np.arange(N) % 3
    keras = tf.keras
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(D,))])
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.SparseCategoricalAccuracy()],
    )
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=3)
    wanted = model.evaluate(x, labels)[0]
    history = model.fit(x, labels, N, 2, 0, [stop], class_weight={0: 2.0, 1: 2.0, 2: 2.0})
    assert history.history["loss"][0] == pytest.approx(2 * wanted, rel=1e-5)
    assert "sparse_categorical_accuracy" in history.history
    mean = keras.metrics.Mean(name="train_loss")
    assert mean(3.0).item() == 3.0
    words = keras.losses.get("huber")
    assert words([1.0], [3.0]).item() == 1.5
    with pytest.raises(AttributeError, match="has no MeanIoU"):
        _ = keras.metrics.MeanIoU


class Small(tf.keras.Model):
    """A model of one's own."""

    def __init__(self):
        super().__init__()
        self.flat = tf.keras.layers.Flatten()
        self.dense = tf.keras.layers.Dense(1, kernel_initializer="he_normal")

    def call(self, x):
        return self.dense(self.flat(x))


def test_a_model_of_ones_own():
    x = np.random.RandomState(0).randn(16, 2, 3).astype(np.float32)
    model = Small()
    model.compile(tf.keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(x, x.sum(axis=(1, 2))[:, None], epochs=30).history["loss"]
    assert losses[-1] < losses[0]
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(6, 1), (1,)]
    model.set_weights([np.zeros_like(w) for w in weights])
    assert model.predict(x).numpy().any() == False  # noqa: E712 - NumPy's


@pytest.mark.parametrize(
    ("name", "y_true", "y_pred", "wanted"),
    [
        ("SparseCategoricalCrossentropy", [1], [[0.25, 0.75]], -np.log(0.75)),
        ("CategoricalCrossentropy", [[0.0, 1.0]], [[0.25, 0.75]], -np.log(0.75)),
        ("BinaryCrossentropy", [[1.0], [0.0]], [[0.75], [0.5]], -np.log(0.75 * 0.5) / 2),
        ("MeanAbsoluteError", [[1.0, 3.0]], [[2.0, 1.0]], 1.5),
    ],
)
def test_losses(name, y_true, y_pred, wanted):
    loss = getattr(tf.keras.losses, name)()
    assert loss(y_true, y_pred).item() == pytest.approx(wanted, rel=1e-5)
    if "entropy" in name:
        p = df.asarray(y_pred)
        logits = df.log(p) if name != "BinaryCrossentropy" else df.log(p / (1.0 - p))
        again = getattr(tf.keras.losses, name)(from_logits=True)
        assert again(y_true, logits).item() == pytest.approx(wanted, rel=1e-5)


def test_learning_rates_and_initial_values():
    optimizer = tf.keras.optimizers.Adam(0.5)
    assert optimizer.learning_rate == 0.5
    w = tf.Variable([1.0])
    optimizer.apply_gradients([(tf.constant([1.0]), w)])
    optimizer.learning_rate = 0.25
    assert float(optimizer.lr) == 0.25
    initial = tf.initializers.VarianceScaling(scale=2.0)((400, 300))
    assert np.std(initial.numpy()) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    bound = np.sqrt(6 / 700)
    assert 0.99 * bound < np.abs(tf.initializers.GlorotUniform()((400, 300)).numpy()).max() <= bound


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda k: k.layers.Dense(1, "swoosh"), ValueError, "no activation 'swoosh'"),
        (lambda k: k.losses.get("dice"), ValueError, "loss 'dice': .*, mse"),
        (lambda k: k.optimizers.get("ftrl"), ValueError, "optimizer 'ftrl'"),
        (lambda k: k.initializers.get("x"), ValueError, "initializer 'x'"),
        (lambda k: k.layers.GRUCell, AttributeError, "keras.layers has no GRUCell"),
        (lambda k: k.Sequential([k.layers.Dense(1)]).fit([[1.0]], [1.0]), RuntimeError, "compile"),
    ],
)
def test_refused(ask, error, words):
    with pytest.raises(error, match=words):
        ask(tf.keras)


def test_layers_of_images(mode):
    keras, x = tf.keras.layers, df.randn(2, 7, 6, 3)
    conv = keras.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu")
    conv(x)
    conv.bias.assign(df.randn(4))
    pools = [
        keras.MaxPooling2D(2, strides=3, padding="same"),
        keras.AveragePooling2D((3, 2), padding="same"),
        keras.AveragePooling2D(),
        keras.GlobalAveragePooling2D(),
        keras.GlobalMaxPooling2D(),
    ]

    def all_of_them(x):
        return conv(x), [pool(x) for pool in pools]

    y, pooled = in_mode(mode, all_of_them)(x)
    assert y.shape == (2, 4, 6, 4)
    framed = np.pad(x.numpy(), [(0, 0), (1, 1), (0, 1), (0, 0)])
    window = framed[1, 2:5, 4:6]  # the second step down, the fifth to the right
    expected = np.tensordot(window, conv.kernel.numpy(), 3) + conv.bias.numpy()
    np.testing.assert_allclose(y[1, 1, 4].numpy(), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    largest, mean, plain, *overall = (p.numpy() for p in pooled)
    assert [p.shape for p in (largest, mean, plain)] == [(2, 3, 2, 3), (2, 3, 3, 3), (2, 3, 3, 3)]
    np.testing.assert_array_equal(largest[:, 2, 1], x.numpy()[:, 6:, 3:5].max(axis=(1, 2)))
    np.testing.assert_allclose(mean[:, 0, 0], x.numpy()[:, :2, :2].mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(plain[:, 0, 1], x.numpy()[:, :2, 2:4].mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(overall[0], x.numpy().mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(overall[1], x.numpy().max(axis=(1, 2)))
    with pytest.raises(ValueError, match='"same" or "valid"'):
        keras.MaxPooling2D(padding="full")(x)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_recurrent_layers_are_those_of_nn(name, mode):
    """With the same weights, whose gates stand in another order."""
    layer, x = getattr(tf.keras.layers, name)(5, return_sequences=True), df.randn(2, 4, 3)
    layer(x)
    layer.bias.assign(df.randn(*layer.bias.shape))
    ours = getattr(df.nn, {"SimpleRNN": "RNN"}.get(name, name))(3, 5, batch_first=True)
    order = np.arange(5 * layer.gates).reshape(-1, 5)
    order = order[[1, 0, 2]].ravel() if name == "GRU" else order.ravel()
    kernels = [k.numpy().T[order] for k in (layer.kernel, layer.recurrent_kernel)]
    biases = layer.bias.numpy()[..., order]
    biases = biases if name == "GRU" else [biases, np.zeros_like(biases)]
    for v, value in zip(ours.parameters(), [*kernels, *biases], strict=True):
        v.assign(value)
    y = in_mode(mode, layer)(x)
    np.testing.assert_allclose(y.numpy(), ours(x)[0].numpy(), atol=1e-5)
    last = getattr(tf.keras.layers, name)(5)
    last(x)
    for v, w in zip(last.parameters(), layer.parameters(), strict=True):
        v.assign(w)
    np.testing.assert_array_equal(last(x).numpy(), layer(x).numpy()[:, -1])


def test_other_layers():
    keras, x = tf.keras.layers, df.randn(8, 5, 3) + 2.0
    batch, layer = keras.BatchNormalization(momentum=0.5), keras.LayerNormalization()
    y = batch(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1)), 1, atol=2e-3)
    np.testing.assert_allclose(
        batch.moving_mean.numpy(), x.numpy().mean(axis=(0, 1)) / 2, rtol=1e-4
    )
    assert [v.shape for v in batch.parameters()] == [(3,), (3,)]
    batch.eval()
    for _ in range(2):  # nothing moves now
        again = batch(x).numpy()
    assert np.abs(again - y).max() > 0.1
    np.testing.assert_allclose(layer(x).numpy().mean(axis=-1), 0, atol=1e-5)
    table = keras.Embedding(10, 4)
    assert table(df.asarray([[1, 2, 1]])).shape == (1, 3, 4)
    assert keras.Reshape((3, -1))(x).shape == (8, 3, 5)
    square = tf.keras.initializers.Orthogonal()((6, 4)).numpy()
    np.testing.assert_allclose(square.T @ square, np.eye(4), atol=1e-4)


@pytest.mark.slow
def test_a_net_of_images_learns():
    keras = tf.keras
    random = np.random.RandomState(0)
    y = random.randint(0, 2, 64)
    x = (random.randn(64, 6, 6, 1) + 2.0 * y[:, None, None, None]).astype(np.float32)
    model = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, activation="relu", input_shape=(6, 6, 1)),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], run_eagerly=True)
    history = model.fit(x, y, epochs=4, batch_size=16)
    assert history.history["accuracy"][-1] > 0.9


class TwoInputs(tf.keras.Model):
    """Its `call` gets both inputs in one list, as Keras has it."""

    def __init__(self):
        self.first, self.second = tf.keras.layers.Dense(3), tf.keras.layers.Dense(1)

    def call(self, inputs):
        a, b = inputs
        h = tf.nn.relu(self.first(a))
        return {"kind": h + b, "size": self.second(h)}


def test_several_inputs_and_outputs():
    random = np.random.default_rng(0)
    a, b = random.standard_normal((12, 2)), random.standard_normal((12, 1))
    model = TwoInputs()
    model.compile(
        "adam",
        {"kind": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"},
        loss_weights={"size": 0.5},
        metrics={"kind": ["accuracy"]},
        run_eagerly=True,
    )
    y = {"kind": random.integers(0, 3, 12), "size": a.sum(axis=1)}
    history = model.fit([a, b], y, batch_size=4, epochs=3, verbose=0)
    assert list(history.history) == ["loss", "kind_loss", "size_loss", "kind_accuracy"]
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.predict([a, b])["size"].shape == (12, 1)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("rmsprop", lambda v: df.optim.RMSprop(v, lr=0.001, alpha=0.9, eps=1e-7)),
        ("adagrad", lambda v: df.optim.Adagrad(v, 0.001, initial_accumulator_value=0.1, eps=1e-7)),
        ("adadelta", lambda v: df.optim.Adadelta(v, lr=0.001, rho=0.95, eps=1e-7)),
        ("nadam", lambda v: df.optim.NAdam(v, lr=0.001, eps=1e-7)),
    ],
)
def test_optimisers_by_name(name, ours):
    w, v = df.Variable([1.0, -2.0]), df.Variable([1.0, -2.0])
    theirs, optimizer = tf.keras.optimizers.get(name), ours([v])
    for k in range(3):
        gradient = df.asarray([0.5, -1.0 - k])
        theirs.apply_gradients([(gradient, w)])
        optimizer.apply_gradients([(gradient, v)])
    assert w.tolist() == v.tolist() != [1.0, -2.0]


def test_the_summary_is_printed(capsys):
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(2,))])
    model.compile("sgd", "mse")
    assert model.summary() is None
    assert "9 parameters" in capsys.readouterr().out
    model.fit(np.ones((4, 2), "f4"), np.ones((4, 3), "f4"), verbose=0)
    model.summary()
    assert "(4, 3)" in capsys.readouterr().out
