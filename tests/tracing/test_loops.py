"""Unrolled loops of recorded functions: compiled as loops, with eager's bits."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.ir.loop import loop
from tests.modes import graphs_only

pytestmark = graphs_only  # of calls from graphs

FEW, MANY = 18, 26  # runs, both enough for a loop of the bodies here

rng = np.random.default_rng(0)


def random(*shape):
    return df.asarray(rng.standard_normal(shape).astype("float32") / 2)


def recurrent(x, w, u, b):
    """The states of an Elman network."""
    h, states = df.zeros(x.shape[1:]), []
    for t in range(len(x)):
        h = df.tanh(x[t] @ w + h @ u + b)
        h = h * 0.5 + df.tanh(h) * h
        states.append(h)
    return states


def last_state(*args):
    return recurrent(*args)[-1]


def with_gradients(x, *weights):
    with df.GradientTape() as tape:
        for w in weights:
            tape.watch(w)
        loss = (recurrent(x, *weights)[-1] ** 2).mean()
    return loss, *tape.gradient(loss, weights)


def with_views(x, w, u, b):
    """A tape looks in other shapes at what each step has read, and at parts of what it made."""
    with df.GradientTape() as tape:
        tape.watch((w, u))
        h = x[0, 0]
        for t in range(len(x)):
            both = df.concat([h @ u, x[t, 0] @ w]) + 1.0
            h = df.tanh(both[:5] * both[5:] + b)
        loss = (h * h).sum()
    return loss, *tape.gradient(loss, (w, u))


def training(x, w, u, b):
    """Gradient descent with a rate of its own in each step, all in one function."""
    for t in range(len(x)):
        with df.GradientTape() as tape:
            tape.watch(w)
            loss = ((df.tanh(x[0] @ w + b) @ u) ** 2).mean()
        w = w - 0.1 * 0.9**t * tape.gradient(loss, w)
    return w


def of_rows(x, w, u, b):
    """The gradient of what each step reads a row of."""
    with df.GradientTape() as tape:
        tape.watch(x)
        loss = (recurrent(x, w, u, b)[-1] ** 2).mean()
    return tape.gradient(loss, x)


def of_columns(x, w, u, b):
    """The same of an axis that is not the first, from its end."""
    x = x.reshape(2, 5, len(x))
    with df.GradientTape() as tape:
        tape.watch(x)
        h = b
        for t in reversed(range(x.shape[2])):
            h = df.tanh(x[0, :, t] * 0.5 + h * h)
            h = h * 0.5 + df.tanh(h) * h
        loss = (h * h).sum()
    return tape.gradient(loss, x)


def arguments(count):
    return random(count, 2, 5), random(5, 5), random(5, 5), random(5)


def same(a, b):
    flat = [x if isinstance(x, tuple | list) else [x] for x in (a, b)]
    for x, y in zip(*flat, strict=True):
        assert x.shape == y.shape
        assert x.dtype == y.dtype
        assert x.numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("work", [last_state, with_gradients, with_views, training])
def test_r23_how_often_a_loop_runs_changes_what_is_compiled_in_nothing(work):
    sizes = set()
    for count in (FEW, MANY):
        args, recorded = arguments(count), df.function(work)
        wanted = work(*args)
        same(recorded(*args), wanted)
        same(recorded(*args), wanted)
        (graph,) = recorded.graphs
        assert any(node.op is loop for node in graph.nodes)
        sizes.add((len(graph.nodes), len(recorded.explain().kernels)))
    assert len(sizes) == 1


@pytest.mark.parametrize("work", [of_rows, of_columns])
def test_r24_gradients_of_parts_are_added_up_behind_the_loop(work):
    args, recorded = arguments(FEW), df.function(work)
    wanted = work(*args)
    for _ in range(2):
        same(recorded(*args), wanted)
    (graph,) = recorded.graphs
    loops = [node for node in graph.nodes if node.op is loop]
    carries = [node.outputs[k].type.shape for node in loops for k in node.attrs["carried"]]
    assert wanted.shape not in carries
    assert "laid_out" in [node.op.name for node in graph.nodes]


def kept_for_the_way_back(y):
    """Bytes of memory that the records behind a result keep."""
    ranges, seen, waiting = [], set(), [y.record]
    while waiting:
        record = waiting.pop()
        record = getattr(record, "bundle", record)
        if record is None or id(record) in seen or getattr(record, "inputs", None) is None:
            continue
        seen.add(id(record))
        tensors = [x for x in record.inputs if isinstance(x, df.Tensor)]
        residuals = getattr(record.attrs.get("residuals"), "arrays", None) or ()
        for array in (*[x.raw for x in tensors], *residuals):
            ranges.append(np.lib.array_utils.byte_bounds(array))
        waiting += [x.record for x in tensors]
    total, reached = 0, 0
    for start, end in sorted(ranges):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def test_r24_gradients_through_a_loop_keep_no_more_for_each_step_than_eager_does():
    def work(x, u):
        h = x[0]
        for t in range(len(x)):
            h = df.tanh(h @ u + x[t])
        return (h * h).mean()

    recorded, bytes_of = df.function(work), {}
    for count in (FEW, MANY):
        args = random(count, 2, 5), random(5, 5)
        for name, f in (("eager", work), *[("compiled", recorded)] * 3):
            with df.GradientTape(persistent=True) as tape:
                tape.watch(args)
                y = f(*args)
            bytes_of[name, count] = kept_for_the_way_back(y)
            tape.gradient(y, args)  # from now on it is known what is asked of such calls
    assert recorded.from_graph == 4
    for_steps = {name: bytes_of[name, MANY] - bytes_of[name, FEW] for name in ("eager", "compiled")}
    assert 0 < for_steps["compiled"] <= for_steps["eager"]
