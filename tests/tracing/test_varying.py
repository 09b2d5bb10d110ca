"""Extents that vary: symbolic from the second value on, compiled once, bit for bit as eager."""

from __future__ import annotations

from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from tests.modes import bits, graphs_only
from tests.tracing.both import agree, outcome, vector

GENERATOR = np.random.default_rng(0)
W = df.Variable(GENERATOR.normal(size=(4, 3)).astype(np.float32), name="w")


def rows(n, *rest, dtype=np.float32):
    """A tensor of `n` rows."""
    values = np.random.default_rng(n).normal(size=(n, *(rest or (4,))))
    return df.asarray((values * 3).astype(dtype))


def check(f, calls, traces, **options):
    """The Function of `f`, after calls that were as eager, of which all later ones need no trace.

    The extents come twice: the second time nothing may be recorded.
    """
    calls = list(calls)
    g = df.function(f, strict=True, **options)
    for args in calls:
        assert outcome(g, args) == outcome(f, args), [getattr(x, "shape", x) for x in args]
    assert len(g.entries) <= traces, str(g.explain())
    graphs = len(g.graphs)
    for args in calls:
        assert outcome(g, args) == outcome(f, args), [getattr(x, "shape", x) for x in args]
    assert len(g.graphs) == graphs, str(g.explain())
    return g


PROGRAMS = {
    "elementwise": lambda x: df.tanh(x) * 2.0 + x,
    "sums": lambda x: (x.sum(), x.sum(axis=0), x.mean(axis=1), x.max(axis=0), x.std(axis=0)),
    "a product": lambda x: (x @ W, x.T @ x, x @ x.T),
    "attention": lambda x: df.nn.functional.softmax(x @ x.T / 2.0, axis=-1) @ x,
    "shapes": lambda x: (x.shape, x.size, len(x.shape), x.nbytes, x.ndim),
    "arithmetic of shapes": lambda x: (x.shape[0] * 2 + 1, x.shape[0] / 3, -x.shape[0] // 2 % 5),
    "extents as numbers": lambda x: x.sum() / x.shape[0] + x * x.shape[0] - (x.shape[0] + 0.5),
    "reshape": lambda x: (x.reshape(-1), x.reshape(x.shape[0], 2, 2), x.reshape(2, -1)),
    "creation": lambda x: df.ones((x.shape[0], 2)) * df.arange(x.shape[0])[:, None],
    "slices": lambda x: (x[1:], x[:-1] - x[1:], x[::2], x[-1], x[0], x[: x.shape[0] // 2]),
    "concat": lambda x: df.concat([x, x * 2.0, df.zeros((1, 4))]),
    "stack and transpose": lambda x: df.stack([x, -x]).transpose(2, 0, 1),
    "where": lambda x: df.where(x > 0, x, x.mean(axis=0)),
    "sort": lambda x: (df.sort(x, axis=0), df.argsort(x, axis=0)),
    "cumulative": lambda x: df.cumulative_sum(x, axis=0),
    "broadcasting": lambda x: x[:, None, :] - x[None, :, :],
    "gather": lambda x: x[df.argmax(x, axis=0)],
    "a gradient": lambda x: df.grad(lambda y: (df.tanh(y @ W) ** 2).mean())(x),
    "weights": lambda x: df.grad(lambda w: (df.tanh(x @ w) ** 2).mean())(W.read_value()),
    "text": lambda x: x * len(f"{x.shape[0]:04d} {x.shape}"),
    "a loop": lambda x: sum((x[k] for k in range(min(x.shape[0], 5))), df.zeros(4)),
    "even or odd": lambda x: x.reshape(2, -1) if x.shape[0] % 2 == 0 else x[1:].reshape(2, -1),
    "short or long": lambda x: x * 2.0 if x.shape[0] > 10 else x - 1.0,
    "by values": lambda x: x * 2.0 if x.sum() > 0 else -x,
    "rows": lambda x: df.stack([row * k for k, row in enumerate(x)][:3] * 2),
    "NumPy": lambda x: x * np.arange(x.shape[0], dtype=np.float32)[:, None],
    "a class": lambda x: x * (2.0 if isinstance(x.shape[0], int) else 3.0),
    "one hot": lambda x: df.eye(x.shape[0]) @ x,
    "losses": lambda x: df.nn.functional.cross_entropy(x, df.argmax(x, axis=-1)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_r5_programs_at_many_lengths(name):
    lengths = [1, 2, 3, 4, 5, 8, 17, 16, 33, 2, 4]
    check(PROGRAMS[name], [(rows(n),) for n in lengths], 100, max_traces=100)


@graphs_only
@pytest.mark.parametrize("name", ["elementwise", "sums", "a product", "a gradient", "reshape"])
def test_r5_lengths_1_to_64_are_three_traces(name):
    f = PROGRAMS[name] if name != "reshape" else lambda x: x.reshape(x.shape[0], 2, 2)
    g = check(f, [(rows(n),) for n in range(1, 65)], 3)
    assert (g.from_graph, len(g.graphs)) == (125, 3)


@graphs_only
def test_r5_the_last_short_batch_needs_one_trace():
    model = df.nn.Sequential(df.nn.Linear(4, 8), df.nn.ReLU(), df.nn.Linear(8, 2))
    optimizer = df.optim.Adam(model.parameters(), 0.01)
    x, t = rows(100), rows(100, 2)

    def step(x, t):
        optimizer.zero_grad()
        loss = ((model(x) - t) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    f = df.function(step, strict=True)
    traces = []
    for _ in range(4):
        for start in range(0, 100, 32):
            f(x[start : start + 32], t[start : start + 32])
        traces.append((len(f.entries), len(f.graphs)))
    assert traces == [(2, traces[0][1])] * 4


@graphs_only
def test_r5_training_is_bit_for_bit_as_eager():
    def program():
        w = df.Variable(np.ones((4, 2), np.float32), name="w")

        def step(x, t):
            with df.GradientTape() as tape:
                loss = ((df.tanh(x @ w) - t) ** 2).mean()
            w.assign_sub(0.1 * tape.gradient(loss, w))
            return loss

        return step, w

    calls = [(rows(n), rows(n, 2)) for n in (32, 32, 17, 32, 5, 2, 64, 3, 17)]
    f = agree(program, calls)
    assert len(f.entries) == 2


@graphs_only
def test_r5_gradients_from_outside_at_many_lengths():
    def f(x, w):
        return df.tanh(x @ w).mean(axis=0)

    g = df.function(f, strict=True)
    for n in (4, 6, 9, 2, 33, 6, 4):
        x, found = rows(n), []
        for call in (f, g):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = (call(x, W) ** 2).sum()
            found.append([bits(d) for d in tape.gradient(y, [x, W])])
        assert found[0] == found[1], n
    assert len(g.entries) == 2


@graphs_only
def test_r5_equal_extents_stay_equal_and_others_differ():
    f = check(lambda x, y: (x + y).sum(), [(rows(n), rows(n)) for n in (3, 5, 9, 4)], 2)
    assert "d1" not in str(f.graphs[-1])
    g = df.function(lambda x, y: x.sum() + y.mean(), strict=True)
    for n, m in ((3, 5), (4, 6), (7, 7), (9, 2), (3, 3), (2, 8), (5, 3), (8, 8)):
        assert outcome(g, (rows(n), rows(m))) == outcome(g.python, (rows(n), rows(m)))
    assert len(g.entries) == 2


def test_r5_extents_that_differ_after_all():
    def f(x, y):
        return x.sum() + y.sum() if x.shape[0] != y.shape[0] else (x * y).sum()

    pairs = [(3, 3), (5, 5), (9, 9), (3, 4), (5, 6), (4, 4), (7, 2)]
    check(f, [(rows(n), rows(m)) for n, m in pairs], 3)


def test_r5_extents_that_do_not_fit_raise_what_eager_raises():
    f = df.function(lambda x, y: x + y, strict=True)
    for n, m in ((3, 3), (4, 4), (5, 5), (5, 6), (6, 5), (4, 4), (1, 4), (4, 1), (7, 7)):
        args = rows(n), rows(m)
        assert outcome(f, args) == outcome(f.python, args)


def test_r10_an_error_at_another_length_is_no_reason_to_do_effects_twice():
    """An error may be there because extents vary: only a call that changed nothing runs again."""

    def program():
        log = []

        def f(x):
            log.append(len(log))
            return x if x else -x

        return f, log

    agree(program, [(vector(*range(n)),) for n in (2, 3, 4, 3, 2)], strict=False)


@pytest.mark.filterwarnings("ignore:.*runs in segments")
@pytest.mark.parametrize(
    "fails",
    [
        bool,
        lambda x: df.Variable(0.0).assign(x),
        lambda x: x.backward(),
        lambda x: x.reshape(5, 5),
        lambda x: print(repr(x)),
    ],
)
def test_r16_messages_tell_extents_that_vary_as_they_are(fails, capsys):
    """After an effect the error is that of the recording, in which extents are symbols."""
    log, told = [], []

    def f(x):
        log.append(1)
        return fails(x * 2.0)

    compiled = df.function(f)
    for n in (2, 3, 4):
        told.append([outcome(g, (vector(*range(n)),)) for g in (f, compiled)])
        told[-1].append(capsys.readouterr().out)
    assert all(eager == ours for eager, ours, _ in told)
    assert all(out == "" or out[: len(out) // 2] * 2 == out for *_, out in told)


@graphs_only
def test_r5_zero_and_one_stay_apart():
    f = check(lambda x: x.sum(axis=0) + x, [(rows(n),) for n in (0, 5, 1, 7, 0, 1, 9)], 4)
    assert len(f.entries) == 4


def test_r5_two_extents():
    sizes = [(3, 4), (5, 4), (5, 6), (7, 8), (2, 2), (8, 3)]
    check(lambda x: df.tanh(x).sum(axis=0), [(rows(n, m),) for n, m in sizes], 3)


def test_r5_numbers_and_extents_together():
    calls = [(rows(n), k) for n, k in ((3, 1), (3, 2), (4, 2), (5, 5), (9, 0), (3, 7), (2, 3))]
    check(lambda x, k: x * k / x.shape[0] + (x.shape[0] - k), calls, 3)


def test_r5_lists_of_tensors():
    def f(batch):
        return [x * 2.0 for x in batch["xs"]], batch["xs"][0].shape[0]

    check(f, [({"xs": [rows(n), rows(n, 2)]},) for n in (3, 4, 5, 9)], 2)


def test_r5_state_of_the_shape_of_an_argument():
    def program():
        v = df.Variable(np.zeros((4, 4), np.float32))

        def f(x):
            if x.shape[0] == v.shape[0]:
                v.assign(v + x)
            return v.sum() + x.sum()

        return f, v

    agree(program, [(rows(n),) for n in (4, 5, 4, 6, 4, 7, 4, 2, 4)])


@graphs_only
def test_r5_hot_extents_keep_code_of_their_own():
    f = df.function(lambda x: x * 2.0, strict=True)
    for n in (64, 17, 64, 64, 17, 17, 64, 64):
        f(rows(n))
    assert [t.hits for t in f.explain().traces] == [4, 2]


def test_r5_what_cannot_vary_has_a_trace_for_each_extent():
    def f(x):
        return df.sort(x.reshape(-1))[: len(x)] * df.ones(int(x.shape[0]))

    check(f, [(rows(n),) for n in (2, 3, 4, 5)], 10)


# ----- input_signature -----


@graphs_only
def test_an_input_signature_with_none_is_one_trace():
    spec = df.TensorSpec((None, 4))
    calls = [(rows(n),) for n in (5, 3, 64, 2)]
    check(lambda x: df.tanh(x).sum(axis=0), calls, 1, input_signature=[spec])
    f = df.function(lambda x, y: x.sum() + y.sum(), strict=True, input_signature=[spec, spec])
    for n, m in ((5, 5), (3, 4), (4, 3), (7, 7), (2, 9)):
        assert outcome(f, (rows(n), rows(m))) == outcome(f.python, (rows(n), rows(m)))
    assert (len(f.entries), f.from_graph) == (1, 4)


@graphs_only
def test_an_input_signature_with_names_is_one_trace():
    spec = df.TensorSpec(("n", 4))
    f = df.function(lambda x, y: x + y, strict=True, input_signature=[spec, spec])
    for n in (5, 3, 9):
        assert outcome(f, (rows(n), rows(n))) == outcome(f.python, (rows(n), rows(n)))
    assert len(f.entries) == 1
    assert "d1" not in str(f.graphs[0])


# ----- any sequence of calls -----

SHAPES = st.tuples(st.integers(0, 9), st.sampled_from([1, 2, 3, 4]))
STEPS = [
    lambda x, k: x * k,
    lambda x, k: df.tanh(x) + k,
    lambda x, k: x - x.mean(axis=0) if x.shape[0] else x,
    lambda x, k: x[1:] if x.shape[0] > 2 else x,
    lambda x, k: df.concat([x, x]),
    lambda x, k: x.T,
    lambda x, k: x * x.shape[0] + x.shape[-1] / 2,
    lambda x, k: x if x.sum() > k else -x,
    lambda x, k: x.reshape(-1, x.shape[0]) if x.size else x,
    lambda x, k: x @ x.T,
    lambda x, k: x / (x.shape[0] * k + 1) if k > 0 else x,
    lambda x, k: df.cumulative_sum(x, axis=0),
    lambda x, k: df.grad(lambda y: (y * y * k).sum())(x),
    lambda x, k: df.nn.functional.softmax(x, axis=-1) if x.size else x,
]


@pytest.mark.slow  # a minute in a process that holds many objects
@settings(max_examples=25)
@given(
    st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=4),
    st.lists(st.tuples(SHAPES, st.sampled_from([0, 1, 2, -3, 0.5, 2.5])), min_size=3, max_size=14),
)
def test_any_shapes_and_numbers_in_any_order(steps, calls):
    def f(x, k):
        for step in steps:
            x = STEPS[step](x, k)
        return x, x.shape

    g = df.function(f, strict=True, max_traces=1000, max_paths=1000)
    for shape, k in calls:
        x = rows(*shape)
        assert outcome(g, (x, k)) == outcome(f, (x, k)), (shape, k)
    kinds = {(min(n, 2), min(m, 2), type(k)) for (n, m), k in calls}
    assert len(g.entries) <= 8 * len(kinds)


def test_one_vector_stays_what_it_is():
    f = df.function(lambda x: x * 2.0)
    for n in (2, 3, 4):
        y = f(vector(*range(n)))
        assert (y.shape, type(y.shape[0]), y.size) == ((n,), int, n)


# ----- hyperparameters -----

OPTIMIZERS = {
    "SGD": lambda ps: df.optim.SGD(ps, 0.1),
    "SGD with momentum": lambda ps: df.optim.SGD(ps, 0.1, momentum=0.9),
    "Adam": lambda ps: df.optim.Adam(ps, 0.1),
    "AdamW": lambda ps: df.optim.AdamW(ps, 0.1),
}
SCHEDULES = {
    "steps": lambda optimizer: df.optim.StepLR(optimizer, 100),
    "cosine": lambda optimizer: df.optim.CosineAnnealingLR(optimizer, 1000),
    "lambda": lambda optimizer: df.optim.LambdaLR(optimizer, lambda k: 1.0 / (1.0 + k)),
}


@graphs_only
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_r4_a_thousand_steps_are_one_trace(optimizer, schedule):
    w = df.Variable([1.0, -2.0], name="w")
    updates = OPTIMIZERS[optimizer]([w])
    rates = SCHEDULES[schedule](updates)

    @df.function(strict=True)
    def step(x):
        updates.zero_grad()
        loss = ((w - x) ** 2).sum()
        loss.backward()
        updates.step()
        return loss

    for _ in range(1000):
        step(vector(3.0, 4.0))
        rates.step()
    assert len(step.entries) == 1
    assert step.from_graph >= 997


@graphs_only
def test_r4_a_learning_rate_that_is_an_argument_is_two_traces():
    def program():
        w = df.Variable([1.0, -2.0], name="w")

        def step(x, rate):
            with df.GradientTape() as tape:
                loss = ((w - x) ** 2).sum()
            w.assign_sub(rate * tape.gradient(loss, w))
            return loss

        return step, w

    f = agree(program, [(vector(3.0, 4.0), 0.1 / (1 + k)) for k in range(50)])
    assert (len(f.entries), f.from_graph) == (2, 48)


OUTSIDE = {
    "slices": lambda x: df.stack([x[1:][0], x[:-1][-1]]),
    "reshape": lambda x: df.tanh(x.reshape(-1))[: x.size // 2],
    "sort": lambda x: df.sort(x.reshape(-1)) * df.arange(x.size).astype("float32"),
    "a product": lambda x: df.tanh(x @ x.T) @ x / x.shape[0],
    "parts": lambda x: df.concat([x[1:] ** 2, x[:1] * x.shape[0]]).max(axis=0),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", OUTSIDE)
def test_r5_gradients_from_outside_of_programs(name, order):
    f = df.function(OUTSIDE[name], strict=True)

    def slope(call, x, order):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = call(x) if order == 1 else slope(call, x, order - 1)
            loss = (y * y).sum()
        return tape.gradient(loss, x)

    for n in (4, 6, 9, 2, 6, 4, 5):
        x = rows(n)
        wanted, found = (slope(call, x, order).numpy() for call in (f.python, f))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert len(f.entries) <= 4


def test_an_index_out_of_range_names_the_extent_that_came():
    agree(lambda: (lambda x, k: x[k] * 2, []), [(vector(*range(n)), 2) for n in (5, 4, 6, 2, 3, 1)])


def extreme(n):
    """Rows that end with what sums and comparisons must not lose: -0.0, infinities, NaN."""
    values = np.random.default_rng(n).normal(size=(5, n)).astype(np.float32)
    values[1] = -0.0
    values[2, -1], values[3, -1], values[4, -1] = np.inf, np.nan, -np.inf
    return df.asarray(values)


@graphs_only
@pytest.mark.parametrize(
    "f", [df.sum, df.prod, df.max, df.argmax, df.var, df.nn.functional.softmax]
)
def test_a_row_of_one_block_is_folded_as_one_of_many(f):
    lengths = (70, 33, 4095, 4096, 4097, 8193, 150_000, 2)
    along_rows = partial(f, axis=-1)
    check(lambda x: along_rows(x * 1.0), [(extreme(n),) for n in lengths], traces=2)


def softmax64(x):
    """Softmax of rows by NumPy."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("f", "exact"),
    [
        (lambda x: df.nn.functional.softmax(x, axis=-1), softmax64),
        (lambda x: x - df.mean(x, axis=-1, keepdims=True), lambda x: x - x.mean(-1, keepdims=True)),
        (lambda x: x - df.max(x, axis=-1, keepdims=True), lambda x: x - x.max(-1, keepdims=True)),
    ],
)
def test_all_blocks_of_a_row_count(f, exact):
    g = df.function(f)
    for n in (70, 33, 4096, 4097, 8193, 150_000):
        x = np.random.default_rng(n).normal(size=(3, n))
        x[:, -1] = 5.0  # the last block has the largest
        wanted = exact(x.astype(np.float32).astype(np.float64))
        for made in (f, g):
            found = made(df.asarray(x.astype(np.float32))).numpy()
            np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


@graphs_only
def test_steps_of_python_that_read_nothing_of_such_an_extent_leave_the_others_compiled():
    """A sum of rows is one of a kernel, whatever else is in the graph."""

    def f(x):
        waves = df.full((x.shape[0] + 1,), 1j) * 2.0
        return waves, df.sum(x * 1.1), df.tanh(x).sum(axis=0)

    g = check(f, [(rows(n, 7),) for n in (1000, 1001, 1003, 70)], traces=2)
    steps = {part.label for part in g.explain().host_steps}
    assert not steps & {"sum", "tanh"}, steps
