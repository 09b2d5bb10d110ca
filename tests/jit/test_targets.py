"""Kernels for given machines: code is made without errors, and has the bits of this machine.

Where the machine is one that this code runs on, its code runs; for others the interpreter tells
from their schedules what it would compute.
"""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from jit.codegen.llvm import emit
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.runtime.cpu import assemble, assembly, binding, host_target
from jit.runtime.library import library
from jit.target import LEVELS, Target
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import Stages, bits, cost
from tests.ops import laws
from tests.samples import SAMPLES

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
TARGETS = {name: Target(X86, cpu, "", *sizes) for name, (cpu, *sizes) in LEVELS.items()}
TARGETS["aarch64"] = Target(ARM, "generic", "", 16, 32)
FEATURES = {
    "avx2": "avx2 bmi bmi2 f16c fma",
    "avx512": "avx512f avx512bw avx512cd avx512dq avx512vl",
    "aarch64": "",
}
REGISTERS = {"avx2": "ymm", "avx512": "zmm", "aarch64": ".4s"}
INTERPRETED = 2_000  # additions, about
by_target = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def runs_here(name):
    """Whether this machine runs the code of a target."""
    if host_target().triple != TARGETS[name].triple:
        return False
    features = binding().get_host_cpu_features() if FEATURES[name] else {}
    return all(map(features.get, FEATURES[name].split()))


def check(call, name):
    """Every kernel becomes code, and gives the bits that this machine's own code gives."""
    target = TARGETS[name]
    made = Stages(call.graph, target)
    for kernel in made.kernels:
        assert assemble(emit(expand(scheduled(kernel, target)), target), target)
    here = runs_here(name)
    if here or cost(made) <= INTERPRETED:
        found = made.run("machine" if here else "scheduled", call.inputs)
        assert list(map(bits, found)) == list(map(bits, made.run("native", call.inputs)))


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.slow)])
@by_target
@pytest.mark.parametrize("program", EXAMPLES)
def test_examples(program, name, large):
    check(example(program, large=large), name)


@by_target
def test_products_that_turn_blocks(name):
    rng = np.random.default_rng(0)
    a, b = (df.asarray(rng.normal(size=shape).astype("f")) for shape in ((2, 10), (19, 10)))
    check(laws.recorded(lambda a, b: a @ b.T, [a, b]), name)


@pytest.mark.slow
@by_target
@pytest.mark.parametrize("op", sorted(SAMPLES))
def test_samples(op, name):
    for case in laws.cases(op, None, *laws.HALVES):
        check(laws.traced(op, case.number, case.dtype), name)


@by_target
def test_code_uses_the_vectors_of_its_target(name):
    target = TARGETS[name]
    for kernel in Stages(example("product", large=True).graph, target).kernels:
        text = assembly(emit(expand(scheduled(kernel, target)), target), target)
        assert REGISTERS[name] in text


def test_the_code_of_a_target_is_what_runs(monkeypatch):
    asked = []

    class Watched:
        def address(self, kernel, target):
            asked.append(target)
            return library().address(kernel, host_target())

    monkeypatch.setattr("tests.jit.stages.library", Watched)
    Stages(example("softmax").graph, TARGETS["avx2"]).run("machine", example("softmax").inputs)
    assert asked == [TARGETS["avx2"]]
