"""Later passes over a row compute again what is cheap, where there is no room for it: same bits."""

from __future__ import annotations

import pytest

from jit import planner
from jit.loops.gpu_rows import GpuRowNest
from jit.loops.ir import Let, Load
from jit.target import gpu
from tests.gpu.workloads import WORKLOADS, Workload, add, softmax
from tests.jit.stages import Stages, bits


def scores(form, x, weight):
    """A softmax of scaled rows, which is used twice."""
    made = softmax(form, form.pointwise("multiply", x, form.broadcast(weight, x.shape)))
    return add(form, made, form.pointwise("multiply", made, x))


def stages(work):
    return Stages(work.graph(large=False), gpu("sm_90"))


@pytest.mark.parametrize("work", [WORKLOADS["softmax"], Workload(scores, [(3, 96), (96,)], [])])
def test_exponentials_are_computed_in_both_passes(work, monkeypatch):
    arrays = work.arrays(large=False)
    wanted = stages(work).run("naive", arrays)
    found = {}
    for again in (False, True):
        monkeypatch.setattr(GpuRowNest, "_is_long", lambda nest, again=again: again)
        monkeypatch.setattr(planner, "_kernels", {})
        made = stages(work)
        for stage in ("naive", "scheduled"):
            results = made.run(stage, arrays)
            assert [bits(x) for x in results] == [bits(x) for x in wanted]
        every = [s for launch in made.plan.program.launches() for s in launch.kernel.statements()]
        exps = sum(isinstance(s, Let) and s.op == "exp" for s in every)
        loads = sum(isinstance(s, Load) and s.buffer.scope != "register" for s in every)
        found[again] = exps, loads
    assert found[True][0] == found[False][0] + 1
    assert found[True][1] < found[False][1] + 4


def shifted_twice(form, x):
    """exp((x - m) / m), where (x - m) / m is folded as well."""

    def spread(combine, y):
        return form.broadcast(form.reduce(combine, y, (1,), keepdims=True), x.shape)

    top = spread("max", x)
    shifted = form.pointwise("divide", form.pointwise("subtract", x, top), top)
    made = form.pointwise("exp", shifted)
    factor = form.pointwise("divide", spread("sum", shifted), spread("sum", made))
    return form.pointwise("multiply", made, factor)


def test_what_a_pass_reads_of_itself_is_computed_again_with_it(monkeypatch):
    """Else it would be stored for the later pass."""
    work = Workload(shifted_twice, [(3, 96)], [])
    arrays = work.arrays(large=False)
    wanted = stages(work).run("naive", arrays)
    monkeypatch.setattr(GpuRowNest, "_is_long", lambda nest: True)
    monkeypatch.setattr(GpuRowNest, "_most", lambda nest: 0)  # bytes of rooms
    monkeypatch.setattr(planner, "_kernels", {})
    made = stages(work)
    assert [bits(x) for x in made.run("scheduled", arrays)] == [bits(x) for x in wanted]
    (kernel,) = made.kernels
    assert len(kernel.buffers) == 2
