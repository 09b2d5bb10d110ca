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
    with pytest.raises(AttributeError, match=r"tensorflow_v1 has no py_func"):
        tf.py_func  # noqa: B018


# ----- programs with layers, chance and files -----


def net(x, training):
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        h = tf.layers.conv2d(x, 4, 3, padding="same", activation=tf.nn.relu, name="conv")
        h = tf.layers.max_pooling2d(h, 2, 2)
        h = tf.layers.dropout(tf.layers.flatten(h), 0.25, training=training)
        return tf.layers.dense(h, 2, name="out", kernel_initializer=tf.zeros_initializer())


def test_a_net_of_layers_learns_and_is_saved(tmp_path):
    tf.set_random_seed(1)
    x = tf.placeholder(tf.float32, [None, 6, 6, 1])
    labels, training = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.bool, [])
    logits = net(x, training)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    count = tf.Variable(0, trainable=False, name="global_step")
    step = tf.train.AdamOptimizer(0.02).minimize(loss, global_step=count)
    assert net(x, training) is not logits  # of the same variables
    names = [v.name for v in tf.trainable_variables()]
    assert names == [f"net/{part}/{w}" for part in ("conv", "out") for w in ("kernel", "bias")]
    random = np.random.RandomState(0)
    kinds = random.randint(0, 2, 24)
    images = random.randn(24, 6, 6, 1) * 0.3 + kinds[:, None, None, None]
    feed, saver = {x: images, labels: kinds}, tf.train.Saver(max_to_keep=1)
    with tf.Session() as sess:
        tf.global_variables_initializer().run()
        first = loss.eval({**feed, training: False})
        noisy = {float(loss.eval({**feed, training: True})) for _ in range(3)}
        assert noisy == {float(first)}  # zeros at first
        for _ in range(30):
            step.run({**feed, training: True})
        last = loss.eval({**feed, training: False})
        assert last < 0.5 * first
        assert len({float(loss.eval({**feed, training: True})) for _ in range(3)}) == 3
        paths = [saver.save(sess, tmp_path / "model", global_step=k) for k in (1, count)]
    assert tf.train.latest_checkpoint(tmp_path) == paths[1] == str(tmp_path / "model-30")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "model-30.safetensors"]
    with tf.Session() as sess:
        saver.restore(sess, paths[1])
        assert loss.eval({**feed, training: False}) == last
        assert count.eval() == 30
    assert tf.train.latest_checkpoint(tmp_path / "none") is None
    with pytest.raises(KeyError, match="no value for other"):
        tf.train.Saver({"other": count}).restore(tf.Session(), paths[1])


def test_random_numbers_are_drawn_in_each_run():
    w = tf.Variable(tf.random_normal([2, 3], stddev=0.1), name="w")
    noise, whole = tf.random_uniform([4]), tf.random_uniform([9], 0, 5, dtype=tf.int32)
    mixed = tf.random_shuffle(tf.range(8))
    keep = tf.placeholder(tf.float32, [])
    dropped = tf.nn.dropout(tf.ones([200]), keep_prob=keep)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert (sess.run(w) == sess.run(w)).all()
        assert (sess.run(noise) != sess.run(noise)).any()
        assert set(sess.run(whole)) <= set(range(5))
        assert sorted(sess.run(mixed)) == list(range(8))
        found = sess.run(dropped, {keep: 0.25})
        assert set(found) == {0.0, 4.0}
        assert (sess.run(dropped, {keep: 1.0}) == 1.0).all()
        kept = sess.run(w)
        sess.run(tf.global_variables_initializer())
        assert (sess.run(w) != kept).all()
    with pytest.raises(ValueError, match="either keep_prob or rate"):
        tf.nn.dropout(noise)


def test_choices_and_loops():
    x = tf.placeholder(tf.float32, [])
    y = tf.cond(x > 0, lambda: x * 2, lambda: x - 1)
    i, total = tf.while_loop(lambda i, t: i < 5, lambda i, t: [i + 1, t + x], [tf.constant(0), y])
    with tf.Session():
        assert y.eval({x: 3.0}) == 6.0
        assert y.eval({x: -3.0}) == -4.0
        assert (i.eval({x: 1.0}), total.eval({x: 1.0})) == (5, 7.0)


def test_images_channels_last():
    random = np.random.RandomState(1)
    x, w = random.randn(2, 5, 5, 3).astype("f4"), random.randn(2, 2, 3, 4).astype("f4")
    y = tf.nn.conv2d(tf.constant(x), tf.constant(w), [1, 1, 1, 1], "VALID")
    wanted = sum(
        np.einsum("nhwc,cd->nhwd", x[:, i : i + 4, j : j + 4], w[i, j])
        for i in range(2)
        for j in range(2)
    )
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-4, atol=1e-5)
    pooled = tf.nn.max_pool(tf.constant(x), [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    assert pooled.shape == (2, 3, 3, 3)
    assert pooled[0, 2, 2, 0].item() == x[0, 4, 4, 0]


def test_scopes_of_variables():
    with tf.variable_scope("a") as scope:
        v = tf.get_variable("v", [2], initializer=tf.constant_initializer(3.0))
        with tf.name_scope("ops"):
            inner = tf.get_variable("inner", [1], initializer=tf.ones_initializer())
    assert (v.name, inner.name) == ("a/v", "a/inner")
    with tf.variable_scope(scope, reuse=True):
        assert tf.get_variable("v", [2]) is v
        with pytest.raises(ValueError, match="no a/w to reuse"):
            tf.get_variable("w", [2])
        with pytest.raises(ValueError, match="a/v has shape"):
            tf.get_variable("v", [3])
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert v.eval().tolist() == [3.0, 3.0]


# ----- what waits, and collections -----


def test_batch_normalisation_learns_its_means_while_training():
    x = tf.placeholder(tf.float32, [None, 4])
    training = tf.placeholder_with_default(False, shape=())
    h = tf.layers.batch_normalization(x, momentum=0.5, training=training, name="norm")
    loss = tf.reduce_mean(tf.square(tf.layers.dense(h, 1) - 3.0))
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert len(updates) == 2
    with tf.control_dependencies(updates):
        step = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
    names = [v.name for v in tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="norm")]
    assert names == ["norm/gamma", "norm/beta"]
    mean, variance = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope="norm/moving")
    a = np.random.RandomState(0).randn(16, 4).astype("f4") * 2.0 + 1.0
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_allclose(sess.run(h, {x: a}), a / np.sqrt(1.001), rtol=1e-5)
        own = (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-3)
        np.testing.assert_allclose(sess.run(h, {x: a, training: True}), own, atol=1e-5)
        assert (mean.eval() == 0).all()  # nobody has trained
        losses = [sess.run([loss, step], {x: a, training: True})[0] for _ in range(30)]
        np.testing.assert_allclose(mean.eval(), a.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance.eval(), a.var(0), rtol=1e-4)
        assert sess.run(loss, {x: a}) < 0.1 * losses[0]
        kept = mean.eval()
        sess.run(step, {x: a - 5.0})
        np.testing.assert_allclose(mean.eval(), kept)  # it was not said to train


def test_what_waits_sees_what_was_set():
    count, total = tf.Variable(0.0, name="count"), tf.Variable(1.0, name="total")
    before = tf.identity(count)
    add = tf.assign_add(count, 1.0)
    with tf.control_dependencies([add]):
        after = tf.identity(count)
        grown = tf.assign(total, total * 2.0 + count)
        with tf.control_dependencies(None):
            free = count * 10.0
        nothing = tf.no_op()
    with tf.control_dependencies([after]):
        later = total + 0.5
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run([before, free]) == [0.0, 0.0]
        assert sess.run([before, after]) == [0.0, 1.0]
        assert sess.run(after, {after: 7.0}) == 7.0  # what is fed waits for nothing
        assert sess.run([grown, count]) == [4.0, 1.0]
        assert sess.run(nothing) is None
        assert sess.run([count, total]) == [3.0, 4.0]
        assert sess.run(later) == 4.5
        assert sess.run([count, tf.group(grown, nothing)]) == [4.0, None]
        assert sess.run([count, total]) == [5.0, 13.0]


def test_a_branch_only_computes():
    x, count = tf.placeholder(tf.float32, []), tf.Variable(0.0, name="count")

    def counted():
        with tf.control_dependencies([tf.assign_add(count, 1.0)]):
            return tf.identity(x)

    with pytest.raises(df.errors.TraceError, match="put the block around the choice"):
        tf.cond(x > 0, counted, lambda: x)
    with pytest.raises(df.errors.DTypeError, match="<Operation 'assign to count'> cannot become"):
        tf.cond(x > 0, lambda: tf.assign(count, x), lambda: count)
    with tf.control_dependencies([tf.assign(count, tf.where(x > 0, count + 1.0, count))]):
        y = tf.cond(x > 0, lambda: x * 2.0, lambda: x)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert [sess.run(y, {x: number}) for number in (3.0, -1.0)] == [6.0, -1.0]
        assert sess.run(count) == 1.0


def test_gradients_of_what_was_set_are_the_variables_own():
    w = tf.Variable([1.0, 2.0])
    with tf.control_dependencies([tf.assign(w, w * 3.0)]):
        (slope,) = tf.gradients(tf.reduce_sum(w * w), [w])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(slope).tolist() == [6.0, 12.0]
        assert sess.run(w).tolist() == [3.0, 6.0]


def test_collections_and_defaults():
    x = tf.placeholder_with_default([[1.0, 2.0]], shape=[None, 2])
    tf.add_to_collection("outputs", x)
    doubled = tf.placeholder_with_default(x * 2.0, shape=[None, 2], name="doubled")
    assert tf.get_collection("outputs") == [x]
    with tf.Session() as sess:
        assert sess.run(doubled).tolist() == [[2.0, 4.0]]
        assert sess.run(doubled, {x: np.ones((3, 2))}).shape == (3, 2)
        assert sess.run(doubled + x, {doubled: [[5.0, 5.0]]}).tolist() == [[6.0, 7.0]]
    with pytest.raises(df.errors.ShapeError, match="the default has shape"):
        tf.placeholder_with_default(1.0, shape=[2])
    tf.reset_default_graph()
    assert tf.get_collection("outputs") == []


# ----- rates, averages, boards -----


def test_rates_fall_with_the_steps():
    step = tf.train.get_or_create_global_step()
    assert tf.train.get_or_create_global_step() is step is tf.train.get_global_step()
    rates = [
        tf.train.exponential_decay(0.5, step, 10, 0.25),
        tf.train.exponential_decay(0.5, step, 10, 0.25, True),
        tf.train.polynomial_decay(1.0, step, 20, 0.2, power=2.0),
        tf.train.piecewise_constant(step, [4, 30], [1.0, 0.5, 0.1]),
    ]
    w = tf.Variable(10.0)
    train = tf.train.GradientDescentOptimizer(rates[0]).minimize(w * 2.0, global_step=step)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        wanted = {
            0: [0.5, 0.5, 1.0, 1.0],
            5: [0.25, 0.5, 0.8 * 0.75**2 + 0.2, 0.5],
            40: [0.5 * 0.25**4, 0.5 * 0.25**4, 0.2, 0.1],
        }
        for count, numbers in wanted.items():
            np.testing.assert_allclose(sess.run(rates, {step: count}), numbers, rtol=1e-6)
        sess.run(train)
        sess.run(train)
        assert step.eval() == 2
        np.testing.assert_allclose(w.eval(), 10.0 - 1.0 - 0.25**0.1, rtol=1e-6)


def test_averages_wait_for_the_step():
    w = tf.Variable([1.0, 3.0], name="w")
    step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(w))
    averages = tf.train.ExponentialMovingAverage(0.75)
    with tf.control_dependencies([step]):
        train = averages.apply(tf.trainable_variables())
    slow = tf.train.ExponentialMovingAverage(0.99, num_updates=2)
    also = slow.apply([w])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        assert w.eval().tolist() == [0.0, 2.0]
        assert averages.average(w).eval().tolist() == [0.75, 2.75]
        sess.run(also)
        np.testing.assert_allclose(slow.average(w).eval(), [0.25, 2.25])
    assert averages.average(step) is None


def test_summaries_are_written(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    x = tf.placeholder(tf.float32, [None, 4, 4, 1], name="x")
    with tf.name_scope("train"):
        tf.summary.scalar("loss", tf.reduce_mean(x))
    tf.summary.histogram("values", x)
    tf.summary.image("pictures", x, max_outputs=2)
    merged = tf.summary.merge_all()
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as sess:
        writer = tf.summary.FileWriter(str(tmp_path), sess.graph)
        for k in range(3):
            found, mean = sess.run([merged, tf.reduce_mean(x)], {x: np.full((3, 4, 4, 1), k / 4)})
            writer.add_summary(found, k)
        writer.close()
    assert mean == 0.5
    board = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    tags = board.Tags()
    assert [e.value for e in board.Scalars("train/loss")] == [0.0, 0.25, 0.5]
    assert (tags["histograms"], tags["images"]) == (["values"], ["pictures/0", "pictures/1"])
    assert tags["graph"]


def test_losses_add_up():
    y = tf.placeholder(tf.float32, [2, 2])
    labels = np.array([[1.0, 0.0], [0.0, 1.0]], "f4")
    losses = [
        tf.losses.mean_squared_error(labels, y),
        tf.losses.absolute_difference(labels, y),
        tf.losses.huber_loss(labels, y),
        tf.losses.sigmoid_cross_entropy(labels, y),
    ]
    assert tf.losses.get_losses() == losses
    values = np.array([[3.0, 0.5], [-1.0, 0.0]], "f4")
    difference = np.abs(values - labels)
    with tf.Session() as sess:
        *found, total = sess.run([*losses, tf.losses.get_total_loss()], {y: values})
    small = np.where(difference <= 1, difference**2 / 2, difference - 0.5).mean()
    logistic = (np.log1p(np.exp(values)) - labels * values).mean()
    wanted = [(difference**2).mean(), difference.mean(), small, logistic]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(total, sum(wanted), rtol=1e-5)


def test_ranks_of_classes():
    scores = tf.placeholder(tf.float32, [3, 4])
    right = tf.nn.in_top_k(scores, tf.constant([0, 1, 2]), 2)
    values, places = tf.nn.top_k(scores, 2)
    a = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], [0.0, 1.0, 5.0, 2.0]], "f4")
    with tf.Session() as sess:
        found = sess.run([right, values, places], {scores: a})
    assert found[0].tolist() == [False, True, True]
    assert found[1].tolist() == [[4.0, 3.0], [4.0, 3.0], [5.0, 2.0]]
    assert found[2].tolist() == [[3, 2], [3, 1], [2, 3]]
