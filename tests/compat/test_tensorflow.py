"""`dualflow.compat.tensorflow` makes every call of an introductory TensorFlow 2 program."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
import dualflow.compat.tensorflow as tf
from tests.modes import graphs_only

ROWS, WIDTH, HIDDEN = 8, 20, 5


def setup():
    tf.random.set_seed(0)
    generator = np.random.default_rng(0)
    x = tf.convert_to_tensor(generator.standard_normal((ROWS, WIDTH)), np.float32)
    y = tf.convert_to_tensor(generator.standard_normal((ROWS, WIDTH)), np.float32)
    first = tf.Variable(tf.random.uniform((WIDTH, HIDDEN)))
    second = tf.Variable(tf.random.uniform((HIDDEN, WIDTH)))
    return x, y, first, second


def loss_of(x, y, first, second):
    difference = tf.matmul(tf.matmul(x, first), second) - y
    return tf.reduce_mean(tf.reduce_sum(difference**2, axis=1))


def test_the_tape():
    x, y, first, second = setup()
    losses = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            loss = loss_of(x, y, first, second)
            gradients = tape.gradient(loss, [first, second])
        for w, g in zip((first, second), gradients, strict=True):
            w.assign(w - 1e-4 * g)
        losses.append(loss.numpy())
    assert x.dtype == first.dtype == tf.float32
    assert losses[-1] < 0.9 * losses[0]


@graphs_only
def test_function():
    x, y, first, second = setup()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(x, y, first, second)
        gradients = tape.gradient(loss, [first, second])
        first.assign(first - 1e-4 * gradients[0])
        second.assign(second - 1e-4 * gradients[1])
        return loss

    compiled = [step(x, y).item() for _ in range(5)]
    assert step.from_graph == 4
    x, y, first, second = setup()
    assert [step.python(x, y).item() for _ in range(5)] == compiled
    assert compiled[-1] < compiled[0]


def test_the_forward_pass_alone_as_a_function():
    x, y, first, second = setup()

    @tf.function(jit_compile=True)
    def forward(x, y):
        y_pred = tf.matmul(tf.nn.relu(tf.matmul(x, first)), second)
        return y_pred, tf.reduce_mean(tf.square(y_pred - y))

    with tf.GradientTape() as tape:
        y_pred, loss = forward(x, y)
    assert y_pred.shape == (ROWS, WIDTH)
    assert [g.shape for g in tape.gradient(loss, [first, second])] == [first.shape, second.shape]


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: tf.reduce_sum(x, 1), X.sum(1)),
        (lambda x: tf.reduce_mean(x, axis=0, keepdims=True), X.mean(0, keepdims=True)),
        (lambda x: tf.reduce_max(x), X.max()),
        (lambda x: tf.math.reduce_std(x), X.std()),
        (lambda x: tf.constant(2.0, shape=(2, 2)), np.full((2, 2), 2.0)),
        (lambda x: tf.constant([1, 2]), np.array([1, 2])),
        (lambda x: tf.cast(x, tf.int32), X.astype(np.int32)),
        (lambda x: tf.matmul(x, x, transpose_b=True), X @ X.T),
        (lambda x: tf.matmul(x, x, transpose_a=True), X.T @ X),
        (lambda x: tf.transpose(x), X.T),
        (lambda x: tf.transpose(x, perm=[1, 0]), X.T),
        (lambda x: tf.concat([x, x], 1), np.concatenate([X, X], 1)),
        (lambda x: tf.stack([x, x], axis=1), np.stack([X, X], 1)),
        (lambda x: tf.expand_dims(x, 0), X[None]),
        (lambda x: tf.gather(x, [1, 0]), X[[1, 0]]),
        (lambda x: tf.one_hot([0, 2], 3), np.eye(3)[[0, 2]]),
        (lambda x: tf.argmax(x), X.argmax(0)),
        (lambda x: tf.clip_by_value(x, 1, 2), X.clip(1, 2)),
        (lambda x: tf.nn.softmax(x), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        (lambda x: tf.math.log(x + 1), np.log(X + 1)),
        (lambda x: tf.zeros((2,)) + tf.ones(2, tf.float32), np.ones(2)),
        (lambda x: tf.fill((2,), 3.0), np.full(2, 3.0)),
        (lambda x: tf.range(1, 7, 2), np.arange(1, 7, 2)),
        (lambda x: tf.math.cumsum(x, axis=1), X.cumsum(1)),
        (lambda x: tf.cumsum(x), X.cumsum(0)),
        (lambda x: tf.stack(tf.split(x, 3, axis=1))[:, :, 0], X.T),
        (lambda x: tf.split(x, [1, 2], axis=1)[1], X[:, 1:]),
        (lambda x: tf.stack(tf.unstack(x, axis=1)), X.T),
        (lambda x: tf.slice(x, [0, 1], [-1, 1]), X[:, 1:2]),
        (lambda x: tf.pad(x, [[1, 0], [0, 2]]), np.pad(X, [[1, 0], [0, 2]])),
        (lambda x: tf.pad(x, [[1, 1], [0, 0]], "REFLECT"), np.pad(X, [[1, 1], [0, 0]], "reflect")),
        (lambda x: tf.reverse(x, [1]), X[:, ::-1]),
        (lambda x: tf.norm(x, axis=0), np.linalg.norm(X, axis=0)),
        (lambda x: tf.rsqrt(x + 1) * tf.squared_difference(x, 1), (X - 1) ** 2 / np.sqrt(X + 1)),
        (lambda x: tf.add_n([x, x, x]) + tf.rank(x) + tf.size(x), 3 * X + 2 + X.size),
        (lambda x: tf.map_fn(lambda row: row.sum(), x), X.sum(1)),
        (lambda x: tf.clip_by_norm(x, 2.0), X * 2 / np.linalg.norm(X)),
        (lambda x: tf.clip_by_norm(x, 99.0), X),
        (lambda x: tf.clip_by_global_norm([x, None, x], 1.0)[0][2], X / np.sqrt(2 * (X**2).sum())),
        (lambda x: tf.identity(x)[:, tf.newaxis], X[:, None]),
        (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x), X),
        (
            lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + x), (0, x))[1],
            4 * X,
        ),
    ],
)
def test_functions(call, expected):
    np.testing.assert_allclose(call(tf.constant(X)).numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(tf.function(call)(tf.constant(X)), call(tf.constant(X)))


def test_random_numbers():
    tf.random.set_seed(1)
    x = tf.random.uniform((1000,), minval=2, maxval=3).numpy()
    assert 2 <= x.min() < 2.1 < 2.9 < x.max() < 3
    n = tf.random.normal((1000,), mean=5.0, stddev=0.1).numpy()
    assert abs(n.mean() - 5) < 0.02
    k = tf.random.uniform((100,), 0, 3, tf.int64)
    assert k.dtype == df.int64
    assert set(k.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: tf.placeholder, "import dualflow.compat.tensorflow_v1 as tf"),
        (lambda: tf.Session, "belongs to TensorFlow 1's graphs"),
        (lambda: tf.gradients, "belongs to TensorFlow 1's graphs"),
        (lambda: tf.boolean_mask, r"x\[mask\]"),
        (lambda: tf.raw_ops, "compat.tensorflow has no raw_ops"),
    ],
)
def test_what_is_missing_says_so(ask, words):
    with pytest.raises(AttributeError, match=words):
        ask()
