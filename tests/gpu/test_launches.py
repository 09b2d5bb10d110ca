"""How many launches a step of training is on a GPU: what is merged, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

import dualflow as df
from dualflow import nn
from dualflow.bench.gpu_workloads import lenet
from jit import arranged, launches
from jit.compiler import keeping
from jit.forms.native import lower_for_code
from jit.forms.placement import Placement
from jit.merging import merged
from jit.runtime.program import Launch, Repeat
from jit.target import gpu
from tests.modes import graphs_only

pytestmark = graphs_only
SM90 = gpu("sm_90")


class Found(Exception):  # noqa: N818 - it ends a compilation that is not needed
    """The launches of a step, and what may take the memory of its arguments."""


def mlp():
    """Two dense layers."""
    return nn.Sequential(nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 10))


def planned(monkeypatch, build, shape, result=(64, 10), *, show=lambda y: y):
    """The program of a step, planned for a GPU; nothing is compiled.

    Args:
        monkeypatch: Ends the compilation.
        build: Makes the model.
        shape: Of what it is given.
        result: The shape of what it should give.
        show: What of its result that is.
    """
    compiled = launches.for_gpu

    def for_gpu(name, forms, donate, *others):
        if name != "step":
            return compiled(name, forms, donate, *others)
        raise Found(launches.planned(name, forms, donate, SM90).program, donate)

    monkeypatch.setattr(launches, "for_gpu", for_gpu)
    model = build().to("gpu")
    optimizer = df.optim.Adam(model.parameters(), 1e-3)
    x, y = df.ones(shape, device="gpu"), df.ones(result, device="gpu")

    @df.function
    def step(x, y):
        optimizer.zero_grad()
        loss = ((show(model(x)) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(Found) as found:
        step(x, y)
    return found.value.args


@pytest.mark.parametrize(
    ("build", "shape", "most"),
    [
        (mlp, (1000,), 6),
        pytest.param(lenet, (1, 28, 28), 21, marks=pytest.mark.slow),
    ],
)
def test_launches_of_a_step(machine, monkeypatch, build, shape, most):
    program, donate = planned(monkeypatch, build, (64, *shape))
    before = [x for step in program.steps for x in program.writes(step)]
    steps = merged(program, donate, SM90)
    assert sorted(x for step in steps for x in program.writes(step)) == sorted(before)
    assert len(steps) <= most < len(program.steps) / 2
    in_place = {pair for step in steps if isinstance(step, Launch) for pair in step.in_place}
    for old, new in donate:  # the state is still updated where it lies, but for its gradients
        pair = program.inputs[old], program.outputs[new]
        was = any(pair in x.in_place for x in program.launches())
        assert pair in in_place or not was, pair


def test_a_turn_of_a_recurrent_net_is_few_launches(machine, monkeypatch):
    """One forward, the product with the cell; one back, the product with the cell before it."""
    shape = 12, 4, 8
    build = lambda: nn.LSTM(8, 8)  # noqa: E731
    program, donate = planned(monkeypatch, build, shape, shape, show=lambda found: found[0])
    steps = merged(program, donate, SM90)
    turns = [len(step.steps) for step in steps if isinstance(step, Repeat)]
    assert turns == [1, 1]
    assert len(steps) <= 20


def test_launches_of_a_loop_that_need_nothing_of_each_other_are_one(machine):
    """They are handed over in each turn, so that it pays many times."""

    def body(carry, row):
        a, b, c = carry
        return (a * row + 1.0, df.tanh(b) + row.sum(), c @ c), a.sum()

    def f(x, c):
        return df.scan(body, (x[0], x[1], c), x)

    x, c = df.sin(df.arange(24.0)).reshape(6, 4), df.cos(df.arange(9.0)).reshape(3, 3)
    compiled = df.function(f)
    given = x.to("gpu"), c.to("gpu")
    (carry, sums), (left, totals) = f(*given), compiled(*given)
    for _ in range(2):
        left, totals = compiled(*given)
    for a, b in zip((*carry, sums), (*left, totals), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    (path,) = next(iter(compiled.entries.values())).parts
    (repeat,) = [x for x in path.executable.code.plan.program.steps if isinstance(x, Repeat)]
    steps = merged(path.executable.code.plan.program, (), SM90)
    (inside,) = [x for x in steps if isinstance(x, Repeat)]
    assert len(inside.steps) < len(repeat.steps)


def test_parts_of_a_product_are_written_where_the_library_reads_them(monkeypatch):
    """Queries, keys and values of an attention: less a vector, once, and each in order."""

    def f(x, w, b):
        parts = df.split(df.reshape(x @ w - b, (2, 256, 3, 4, 64)), 3, axis=2)
        q, k, v = (df.reshape(part, (2, 256, 4, 64)).transpose(0, 2, 1, 3) for part in parts)
        return (q @ k.mT) @ v

    x, w, b = df.ones((512, 256)), df.ones((256, 768)), df.ones(768)
    with keeping() as kept:
        df.function(f)(x, w, b)
    graph = max(kept, key=lambda made: len(made.graph.nodes)).graph
    monkeypatch.setattr(arranged, "with_less_stored", lambda steps, placement: steps)
    for wholes in (1, 2):
        target = replace(SM90, products="tf32")
        program = launches.planned("f", lower_for_code(graph), (), target).program
        written = [x for step in program.steps for x in program.writes(step)]
        sizes = [prod(program.slots[x].type.shape) for x in written]
        assert sizes.count(512 * 768) == wholes
        monkeypatch.setattr(Placement, "_is_part", lambda *given: False)
