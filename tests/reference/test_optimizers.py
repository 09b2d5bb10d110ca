"""Every optimiser takes PyTorch's steps; compiled, the same to the bit and recorded once."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.config import configure
from tests.modes import graphs_only
from tests.reference.cases.optimizers import OPTIMIZERS, STEPS
from tests.reference.run import distance, reference

BOUND = 2e-5  # float32, and a different order of operations
# Two have their machine code compared by default; all of them under `slow`.
FAST = ("NAdam", "Lion")
BOUNDS = {"LBFGS": 2e-4}  # it divides by differences of gradients


def trained(name, settings, expected, mode):
    """The parameters after the last step, and the Function of a step."""
    params = [df.Variable(x) for key, x in expected.items() if key.startswith("in/")]
    optimizer = getattr(df.optim, name)(params, **settings)

    def closure():
        optimizer.zero_grad()
        loss = sum((p**4 / 4 + df.sin(p)).sum() for p in params)
        loss.backward()
        return loss

    step = df.function(lambda: optimizer.step(closure), mode=mode)
    for _ in range(STEPS):
        step()
    return [p.numpy() for p in params], step


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_steps_as_pytorch(name):
    with configure(target="interpreter"):
        for number, settings in enumerate(OPTIMIZERS[name]):
            expected = reference()[f"{name}/{number}"]
            found, _ = trained(name, settings, expected, "eager")
            for k, x in enumerate(found):
                gap = distance(x, expected[f"out/{k}"])
                assert gap <= BOUNDS.get(name, BOUND), (
                    f"{name}({settings}): parameter {k} differs by {gap:.1e}"
                )


def compared_in_both_modes(name, settings, expected):
    eager, _ = trained(name, settings, expected, "eager")
    compiled, step = trained(name, settings, expected, "compiled")
    for x, y in zip(compiled, eager, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=f"{name}({settings})")
    traces = step.explain().traces
    assert len(traces) == 1, f"{name}({settings})"
    assert sum(t.hits for t in traces) >= STEPS - 3  # L-BFGS may stop early: a path of its own


@graphs_only
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_graphs_are_the_same(name):
    with configure(target="interpreter"):
        for number, settings in enumerate(OPTIMIZERS[name]):
            compared_in_both_modes(name, settings, reference()[f"{name}/{number}"])


@graphs_only
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in OPTIMIZERS]
)
def test_machine_code_is_the_same(name):
    compared_in_both_modes(name, OPTIMIZERS[name][1], reference()[f"{name}/1"])
