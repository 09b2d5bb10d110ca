"""Random programs give the same bits eagerly and compiled, on one thread and on two."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from jit.loops.verify import verify
from jit.runtime import threads
from jit.runtime.cpu import host_target
from tests.jit.random_graphs import RandomProgram
from tests.jit.sharing import sharing
from tests.jit.stages import Stages, bits, verified
from tests.ops import laws

CHUNK = 25  # programs of a test
FEW, MANY = range(0, 100, CHUNK), range(100, 1000, CHUNK)


@pytest.fixture(autouse=True)
def _shared(monkeypatch):
    """Launches have many small items, and are shared out whatever they cost."""
    monkeypatch.setattr(doors, "_told", {"before"})  # the one warning about float64
    with sharing(item=128):
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", FEW)
def test_compiled_is_eager(start):
    for seed in range(start, start + CHUNK):
        check(seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", MANY)
def test_compiled_is_eager_for_many(start):
    for seed in range(start, start + CHUNK):
        check(seed)


def check(seed):
    """A program, eager and compiled; its kernels obey the rules before and after scheduling."""
    program = RandomProgram(seed)
    arrays = [df.asarray(x) for x in program.arrays]
    wanted = [np.asarray(y.numpy()) for y in program(*arrays)]
    call = laws.recorded(program, arrays)
    made = Stages(call.graph)
    assert made.is_native
    for kernel in made.kernels:
        verify(verified(kernel, host_target()))
    for count in (1, 2):
        threads.set_num_threads(count)
        found = made.run("native", call.inputs)
        for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert bits(ours) == bits(theirs), said(seed, number, count, made)


def said(seed, number, count, made):
    """What is needed to look at a program that fails."""
    return f"program {seed}, result {number}, {count} threads:\n{made.given}\n{made.plan.program}"


def test_programs_use_many_ops_and_share_values():
    """The programs are worth their time."""
    ops, shared, dtypes = set(), 0, set()
    for seed in range(CHUNK):
        program = RandomProgram(seed)
        with np.errstate(all="ignore"):
            graph = laws.recorded(program, [df.asarray(x) for x in program.arrays]).graph
        ops.update(node.op.name for node in graph.nodes)
        readers = [x for node in graph.nodes for x in set(node.inputs)]
        shared += len(readers) > len(set(readers))
        dtypes.update(str(x.type.dtype) for node in graph.nodes for x in node.outputs)
    assert len(ops) > 40
    assert shared > CHUNK // 2
    assert len(dtypes) >= 6
