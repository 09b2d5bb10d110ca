"""Recurrent nets on a GPU: the turns of their steps have the bits of the processor's code."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from jit.compiler import can_repeat
from jit.ir.loop import loop
from jit.passes.rotate import Rotate
from jit.target import gpu
from tests.jit.stages import Stages, bits
from tests.jit.test_programs import watching

SM90 = gpu("sm_90")
LENGTH, BATCH, WIDTH = 11, 2, 4
# How many launches a turn is, forward and back. A GRU's product has three parts, and two in turn.
LAUNCHES = {"RNN": (1, 2), "LSTM": (1, 2), "GRU": (3, 3)}


def recorded(kind):
    """The graph of a step, and what it was given."""
    model = getattr(nn, kind)(WIDTH, WIDTH)
    optimizer = df.optim.SGD(model.parameters(), 1e-2)
    rng = np.random.default_rng(0)
    x, y = (df.asarray(rng.standard_normal((LENGTH, BATCH, WIDTH), np.float32)) for _ in range(2))

    def step(x, y):
        optimizer.zero_grad()
        loss = ((model(x)[0] - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step = df.function(step)
    with watching() as found:
        for _ in range(2):
            step(x, y)
    largest = max(found, key=lambda each: len(each.graph.nodes))
    return largest.graph, largest.inputs


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAUNCHES)
def test_the_turns_of_a_step(kind):
    graph, inputs = recorded(kind)
    made = Stages(graph)
    rotated = Rotate(can_repeat).run(made.graph)
    assert (rotated is made.graph) == (kind == "GRU")  # which has more than a product between
    on_gpu = Stages(rotated, SM90)
    turns = [each for each in on_gpu.plan.program.steps if hasattr(each, "count")]
    assert tuple([len(each.steps) for each in turns]) == LAUNCHES[kind]
    counts = [each.attrs["count"] for each in rotated.nodes if each.op is loop]
    assert max(counts) == LENGTH
    wanted = made.run("native", inputs)
    assert list(map(bits, on_gpu.run("scheduled", inputs))) == list(map(bits, wanted))
