"""The graphs of whole programs give the same at every stage: training steps, way back included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.bench.programs import WORKLOADS, dynamic, static
from dualflow.bench.runner import seeded
from dualflow.data import random_trees
from jit.ir.graph import Graph
from tests.jit.agreement import check
from tests.jit.stages import Stages, cost
from tests.programs import test_dynamic, test_tape, test_two_layer

MODULES = test_dynamic, test_tape, test_two_layer
LARGE = 30_000  # about so many additions are interpreted
STEPS = 4  # so that no path is new
MOST = 12  # graphs of a program
SINGLE = ("test_one_step_written_out",)  # no call of these comes twice, so none runs from a graph


@dataclass(eq=False)
class Watched:
    """The code of a graph, and the arrays that it was first called with.

    Attributes:
        graph: As it was recorded.
        code: What runs.
        inputs: Copies, as calls may write into what they are given; None before the first.
    """

    graph: Graph
    code: Callable[..., list[Any]]
    inputs: list[np.ndarray[Any, Any]] | None = None

    def __call__(self, arrays: list[Any], donate: Any = ()) -> list[Any]:
        if self.inputs is None:
            self.inputs = [np.array(x) for x in arrays]
        return self.code(arrays, donate)


@contextmanager
def watching() -> Iterator[list[Watched]]:
    """All graphs that functions are compiled from inside, by calls that go through Python."""
    found, compiled = list[Watched](), jit.compile

    def compile(graph: Graph, *args: Any, **options: Any) -> Any:
        made = compiled(graph, *args, **options)
        if "ops" not in options:  # a kernel of eager execution
            return made
        found.append(Watched(graph, made.code))
        return replace(made, run=found[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "compile", compile)
        yield found


def check_all(found: list[Watched]) -> int:
    """All stages of some graphs that were called, all different; how many were interpreted."""
    different = {str(each.graph): each for each in found if each.inputs is not None}
    assert different
    count = 0
    for each in list(different.values())[:MOST]:
        made = Stages(each.graph)
        few = cost(made) <= LARGE
        check(made, each.inputs or [], each.graph.name, interpreted=few)
        count += few
    return count


def few_images() -> Any:
    """Two batches, the second one short."""
    x, y = next(iter(WORKLOADS["digits"].data(5)))
    return [(x[:3], y[:3]), (x[3:], y[3:])]


def small_trees() -> Any:
    """Trees of few leaves and short vectors."""
    trees = random_trees(2, leaves=(2, 3), width=dynamic.HIDDEN)
    return [(tree, df.asarray([k])) for k, tree in enumerate(trees)]


DATA = {"static": lambda: static.data(4), "digits": few_images, "dynamic": small_trees}
SMALL = [(static, "INPUTS", 6), (static, "HIDDEN", 5), (static, "OUTPUTS", 3)]
SMALL += [(dynamic, "HIDDEN", 3)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_programs_of_the_main_job(name, monkeypatch):
    for module, size, value in SMALL:
        monkeypatch.setattr(module, size, value)
    training, data = seeded(WORKLOADS[name].make), DATA[name]()
    with watching() as found:
        step = df.function(training.step, strict=True)
        for _ in range(STEPS):
            for arguments in data:
                step(*arguments)
    interpreted = check_all(found)
    assert interpreted or name == "digits"  # whose convolutions have no small size


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        x
        for module in MODULES
        for name, x in vars(module).items()
        if name.startswith("test_") and name not in SINGLE
    ],
    ids=lambda program: program.__name__,
)
def test_programs_of_the_notes(program):
    with watching() as found:
        program()
    check_all(found)
