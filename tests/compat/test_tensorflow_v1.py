"""Programs for TensorFlow 1 run with only their import changed."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
import dualflow.compat.tensorflow_v1 as tf


@pytest.fixture(autouse=True)
def graph():
    tf.reset_default_graph()
    yield
    tf.reset_default_graph()


def data(rows=40):
    random = np.random.RandomState(0)
    x = random.randn(rows, 3)
    return x, x @ [[1.0], [-2.0], [0.5]] + 0.25


def test_placeholders_for_everything():
    n, d, h = 6, 5, 4
    x = tf.placeholder(tf.float32, shape=(n, d))
    w1 = tf.placeholder(tf.float32, shape=(d, h))
    w2 = tf.placeholder(tf.float32, shape=(h, d))
    y_pred = tf.matmul(tf.maximum(tf.matmul(x, w1), 0), w2)
    loss = tf.reduce_mean(tf.reduce_sum((y_pred - x) ** 2, axis=1))
    slopes = tf.gradients(loss, [w1, w2])
    with tf.Session() as sess:
        values = {
            x: np.random.randn(n, d),
            w1: np.random.randn(d, h),
            w2: np.random.randn(h, d),
        }
        losses = []
        for _ in range(200):
            loss_val, d1, d2 = sess.run([loss, *slopes], feed_dict=values)
            losses.append(float(loss_val))
            values[w1] -= 0.01 * d1
            values[w2] -= 0.01 * d2
        pairs = tuple(item for pair in values.items() for item in pair)
        assert sess.run(loss, feed_dict=pairs) < losses[-1]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.train.GradientDescentOptimizer(0.1),
        lambda: tf.train.MomentumOptimizer(0.03, 0.9),
        lambda: tf.train.AdamOptimizer(learning_rate=0.1),
        lambda: tf.train.AdagradOptimizer(0.5),
        lambda: tf.train.RMSPropOptimizer(0.01, momentum=0.5),
    ],
)
def test_variables_and_minimize(make):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.placeholder(tf.float32, [None, 1], name="y")
    w = tf.Variable(tf.zeros([3, 1]), name="w")
    b = tf.get_variable("b", [1], initializer=tf.zeros_initializer())
    loss = tf.losses.mean_squared_error(y, tf.matmul(x, w) + b)
    step = make().minimize(loss)
    a, t = data()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(200):
            loss_val, _ = sess.run([loss, step], feed_dict={x: a, y: t})
        assert loss_val < 1e-3
        np.testing.assert_allclose(sess.run(w).ravel(), [1.0, -2.0, 0.5], atol=0.05)
    assert tf.get_variable("b") is b
    assert tf.trainable_variables() == [w, b]


def test_adam_is_dualflows_adam():
    w = tf.Variable([1.0, -2.0], name="w")
    loss = tf.reduce_sum(tf.square(w) * [1.0, 3.0])
    step = tf.train.AdamOptimizer(0.1).minimize(loss)
    theirs = df.Variable([1.0, -2.0])
    optimizer = df.optim.Adam([theirs], lr=0.1)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(5):
            sess.run(step)
            (df.square(theirs) * df.asarray([1.0, 3.0])).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        np.testing.assert_allclose(sess.run(w), theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "step"),
    [
        (tf.train.AdagradOptimizer, lambda g, acc: g / np.sqrt(acc + 0.1)),
        (tf.train.RMSPropOptimizer, lambda g, acc: g / np.sqrt(0.9 + 0.1 * acc + 1e-10)),
    ],
)
def test_first_steps_by_their_formulas(make, step):
    w = tf.Variable([1.0, -2.0], name="w")
    count = tf.Variable(0, trainable=False, name="global_step")
    optimizer = make(0.5).minimize(tf.reduce_sum(w * w), global_step=count, name="train")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(optimizer)
        g = np.array([2.0, -4.0])
        np.testing.assert_allclose(sess.run(w), [1.0, -2.0] - 0.5 * step(g, g * g), rtol=1e-5)
        sess.run(optimizer)
        assert sess.run(count) == 2


def test_types_and_shapes_by_word():
    x = tf.placeholder("float", [None, 4])
    assert x.dtype == tf.float32
    halves = tf.reshape(x, [-1, tf.shape(x)[1] // 2])
    assert tf.Session().run(halves, {x: np.ones((3, 4))}).shape == (6, 2)


def test_classes():
    logits = tf.placeholder(tf.float32, [None, 3])
    labels = tf.placeholder(tf.int64, [None])
    one_hot = tf.one_hot(labels, 3)
    losses = [
        tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=one_hot, logits=logits)),
        tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        ),
        tf.losses.sparse_softmax_cross_entropy(labels, logits),
        tf.losses.softmax_cross_entropy(one_hot, logits),
    ]
    right = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))
    feed = {logits: [[2.0, 1.0, 0.0], [0.0, 0.5, 1.0]], labels: [0, 1]}
    *found, share = tf.Session().run([*losses, right], feed)
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
    assert share == 0.5


def test_what_is_missing_says_so():
    with pytest.raises(AttributeError, match=r"tensorflow_v1 has no while_loop"):
        tf.while_loop  # noqa: B018
