"""Random programs give the same bits eagerly and compiled, on one thread and on two."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import dualflow as df
from dualflow.core import doors
from jit.loops.verify import verify
from jit.runtime import threads
from jit.runtime.cpu import host_target
from tests.jit.random_graphs import RandomProgram
from tests.jit.sharing import sharing
from tests.jit.stages import Stages, bits, verified
from tests.mutations import FUZZING
from tests.ops import laws

CHUNK = 25  # programs of a test
SHORT, LONG = 5, 40  # calls of a program whose seed is drawn
FEW, MANY = range(0, 100, CHUNK), range(100, 1000, CHUNK)


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


@settings(max_examples=10_000 if FUZZING else 10, phases=[Phase.generate])
@given(seed=st.integers(min_value=MANY.stop, max_value=2**40))
@pytest.mark.filterwarnings("ignore")
def test_compiled_is_interpreted_is_eager(seed):
    check(seed, "naive", steps=SHORT + seed % (LONG - SHORT + 1))


def check(seed, *stages, steps=10):
    """A program, eager and compiled; its kernels obey the rules before and after scheduling."""
    program = RandomProgram(seed, steps)
    with shared():
        arrays = [df.asarray(x) for x in program.arrays]
        wanted = [np.asarray(y.numpy()) for y in program(*arrays)]
        call = laws.recorded(program, arrays)
        made = Stages(call.graph)
        assert made.is_native
        for kernel in made.kernels:
            verify(verified(kernel, host_target()))
        for stage, count in [("native", 1), ("native", 2), *((stage, 1) for stage in stages)]:
            threads.set_num_threads(count)
            found = made.run(stage, call.inputs)
            for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
                assert bits(ours) == bits(theirs), said(
                    seed, number, f"{stage}, {count} threads", made
                )


@contextmanager
def shared():
    """Launches have many small items, and are shared out whatever they cost."""
    with pytest.MonkeyPatch.context() as patch, sharing(item=128):
        patch.setattr(doors, "_told", {"before"})  # the one warning about float64
        yield


def said(seed, number, stage, made):
    """What is needed to look at a program that fails."""
    return f"program {seed}, result {number}, {stage}:\n{made.given}\n{made.plan.program}"


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
