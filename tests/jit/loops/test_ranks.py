"""Scatters to the ranks of marks: what is marked is brought together, block by block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from jit.dims import symbol
from jit.forms import ranks
from jit.runtime.program import Launch
from jit.types import TensorType, bool_, dtypes, float32, int64
from tests.jit.loops.whole import bits, compiled, interpreted, reference, type_of


def brought_together(wide=int64):
    """Updates at the ranks of marks."""

    def build(form, into, updates, marks):
        ones = form.pointwise("astype", marks, dtype=wide)
        rank = form.scan("sum", ones, 0, exclusive=True)
        return form.scatter("set", into, updates, lambda i: (form.load(rank, i),), dropped=True)

    return build


def launches(code):
    """The kernels of a program."""
    return [step.kernel for step in code.plan.program.steps if isinstance(step, Launch)]


def run(build, arrays):
    """What the machine gives, which the naive kernels give, too."""
    code = compiled(build, [type_of(x) for x in arrays])
    found = code(arrays)
    assert list(map(bits, found)) == list(map(bits, interpreted(code, arrays)))
    return found[0]


@given(
    size=st.integers(1, 90),
    room=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    block=st.sampled_from([8, 11, 32, 4096]),
    seed=st.integers(0, 99),
)
def test_any_marks_are_as_the_reference_has_them(size, room, share, block, seed):
    rng = np.random.default_rng(seed)
    into, updates = rng.normal(size=room), rng.normal(size=size)
    arrays = [into, updates, rng.random(size) < share]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "BLOCK", block)
        found = run(brought_together(), arrays)
    assert bits(found) == bits(reference(brought_together(), arrays)[0])


@pytest.mark.parametrize("wide", ["int32", "int64"])
def test_no_rank_lies_in_memory(monkeypatch, wide):
    monkeypatch.setattr(ranks, "BLOCK", 16)
    types = [TensorType((40,), float32), TensorType((80,), float32), TensorType((80,), bool_)]
    code = compiled(brought_together(dtypes[wide]), types)
    assert [kernel.grid for kernel in launches(code)][-1] == 5
    program = code.plan.program
    made = {*range(len(program.slots))} - {*program.inputs, *program.outputs}
    assert sum(program.slots[k].type.size for k in made) < 80


def test_counts_that_would_wrap_are_summed_as_they_are(monkeypatch):
    monkeypatch.setattr(ranks, "BLOCK", 64)
    build = brought_together(dtypes["int8"])
    arrays = [np.zeros(300), np.arange(200.0), np.ones(200, bool)]
    found = run(build, arrays)
    assert bits(found) == bits(reference(build, arrays)[0])
    assert found[150] == 0  # ranks above 127 are negative, and dropped


def test_ranks_that_others_read_are_there():
    def build(form, into, updates, marks):
        ones = form.pointwise("astype", marks, dtype=dtypes["int32"])
        rank = form.scan("sum", ones, 0, exclusive=True)
        at = lambda i: (form.load(rank, i),)  # noqa: E731
        return form.scatter("set", into, updates, at, dropped=True), rank

    arrays = [np.zeros(3), np.arange(6.0), np.array([0, 1, 1, 0, 1, 0], bool)]
    code = compiled(build, [type_of(x) for x in arrays])
    packed, rank = code(arrays)
    assert packed.tolist() == [1, 2, 4]
    assert rank.tolist() == [0, 0, 1, 2, 2, 3]


def test_sizes_that_vary(monkeypatch):
    monkeypatch.setattr(ranks, "BLOCK", 16)
    n, m = symbol("n", hint=30, lo=0), symbol("m", hint=30, lo=1)
    types = [TensorType((n,), float32), TensorType((m,), float32), TensorType((m,), bool_)]
    code = compiled(brought_together(), types)
    rng = np.random.default_rng(4)
    for room, size in [(3, 8), (5, 16), (9, 17), (50, 200), (0, 40), (7, 1)]:
        into, updates = (rng.normal(size=k).astype(np.float32) for k in (room, size))
        arrays = [into, updates, rng.random(size) < 0.4]
        assert bits(code(arrays)[0]) == bits(reference(brought_together(), arrays)[0])
    assert len(launches(code)) == 3  # counts of blocks, where they start, what they write


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_nonzero_over_several_blocks(share):
    x = np.random.default_rng(0).random(3 * ranks.BLOCK + 5) < share
    places = df.function(lambda v: df.nonzero(v)[0])
    for _ in range(2):  # recorded, and from the graph
        assert places(df.asarray(x)).tolist() == np.flatnonzero(x).tolist()
