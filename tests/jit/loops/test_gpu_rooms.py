"""Rooms of a row on a GPU: plans cost least, and with any rooms the bits are the same."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jit import planner
from jit.forms.expression import Access, Apply, walk
from jit.forms.nodes import Source
from jit.loops import folds, gpu_rows
from jit.loops import gpu as schedules
from jit.loops.gpu_plans import RowPlan
from jit.loops.gpu_rooms import Pass, Rooms
from jit.loops.gpu_rows import GpuRowNest
from jit.loops.ir import Let, Load, Store
from jit.target import gpu
from jit.types import TensorType, float32
from tests.gpu.workloads import WORKLOADS, Workload, add, softmax
from tests.jit.stages import Stages, bits

# ----- plans -----


def value():
    return Access(Source((), (TensorType((8,), float32),)).outputs[0], (), ())


@st.composite
def programs(draw):
    """Passes over expressions that are made of two loads and of each other."""
    made = [value(), value()]
    for name in draw(st.lists(st.sampled_from(["exp", "add", "divide"]), min_size=1, max_size=4)):
        count = 1 if name == "exp" else 2
        parts = st.lists(st.sampled_from(made), min_size=count, max_size=count)
        made.append(Apply(name, tuple(draw(parts)), float32))
    some = st.lists(st.sampled_from(made), max_size=2, unique_by=id)
    passes = [Pass(draw(some), draw(some), []) for _ in range(draw(st.integers(1, 3)))]
    since = {x: draw(st.integers(0, 1)) if k < 2 else 0 for k, x in enumerate(made)}
    for x in made[2:]:
        since[x] = max(since[part] for part in x.children)
    return passes, since


PRICES = {"exp": 10, "divide": 4, "add": 1}


def price(x):
    return 6 if isinstance(x, Access) else PRICES[x.name]


@given(programs(), st.booleans())
def test_no_other_contents_of_a_room_cost_less(program, apart):
    passes, since = program
    rooms = Rooms(passes, since.__getitem__, price, apart=apart)
    (found,) = [rooms.planned(1, rooms.every)]
    inside = rooms.worth(range(len(rooms.every)))

    def total(track):
        pairs = pairwise(track)
        return sum(rooms.cost(k, {before}, {after}) for k, (before, after) in enumerate(pairs))

    def is_known(track):
        last = len(passes) - 1
        return all(
            after in (None, before) or (rooms.since[after] <= k and (apart or k < last))
            for k, (before, after) in enumerate(pairwise(track))
        )

    tracks = product([None, *inside], repeat=len(passes))
    least = min(total((None, *x)) for x in tracks if is_known((None, *x)))
    numbers = [rooms.number.get(content.held.get(0)) for content in found]
    assert total([*numbers, rooms.number.get(found[-1].after.get(0))]) == least
    for k, content in enumerate(found):
        assert all(since[x] <= k for x in content.filled.values())


@given(programs(), st.booleans())
def test_no_two_rooms_hold_the_same(program, apart):
    passes, since = program
    rooms = Rooms(passes, since.__getitem__, price, apart=apart)
    for contents in rooms.planned(3, rooms.every):
        for held in (contents.held, contents.after):
            assert len({*held.values()}) == len(held)


def test_what_has_one_reader_that_is_as_well_known_gives_way_to_it():
    x = value()
    inner = Apply("exp", (x,), float32)
    outer = Apply("add", (inner, inner), float32)
    rooms = Rooms([Pass([outer], [], []), Pass([outer], [], [])], lambda _: 0, price, apart=False)
    first, second = rooms.planned(1, [x, inner, outer])
    assert first.filled == {0: outer}
    assert second.held == {0: outer}
    assert rooms.again(inner, 1, second.held.values()) == 0
    assert rooms.again(inner, 1, []) == 16


# ----- kernels -----


def scores(form, x, weight):
    """A softmax of scaled rows, which is used twice."""
    made = softmax(form, form.pointwise("multiply", x, form.broadcast(weight, x.shape)))
    return add(form, made, form.pointwise("multiply", made, x))


def shifted_twice(form, x):
    """exp((x - m) / m), where (x - m) / m is folded as well."""

    def spread(combine, y):
        return form.broadcast(form.reduce(combine, y, (1,), keepdims=True), x.shape)

    top = spread("max", x)
    shifted = form.pointwise("divide", form.pointwise("subtract", x, top), top)
    made = form.pointwise("exp", shifted)
    factor = form.pointwise("divide", spread("sum", shifted), spread("sum", made))
    return form.pointwise("multiply", made, factor)


def dear(form, x):
    """A sum and a maximum of what takes long, and what is left of it."""

    def spread(combine, y):
        return form.broadcast(form.reduce(combine, y, (1,), keepdims=True), x.shape)

    y = form.pointwise("erf", form.pointwise("tanh", form.pointwise("exp", x)))
    low = form.pointwise("subtract", y, spread("max", y))
    return form.pointwise("multiply", low, spread("sum", low))


def weighted(form, x, weight, other):
    """Two sums of scaled and stored rows, and what is left of these."""

    def spread(y):
        return form.broadcast(form.reduce("sum", y, (1,), keepdims=True), x.shape)

    scaled = form.pointwise("multiply", x, form.broadcast(weight, x.shape))
    low = form.pointwise("subtract", scaled, spread(scaled))
    share = form.pointwise("multiply", other, spread(form.pointwise("multiply", scaled, other)))
    return form.pointwise("exp", x), form.pointwise("subtract", low, share)


def of_short_blocks(monkeypatch):
    """Rows of more than 32 elements have several blocks."""
    for module in (folds, gpu_rows):
        monkeypatch.setattr(module, "BLOCK", 32)
    monkeypatch.setattr(schedules, "WARPS", 2)


BUILDS = {
    "weighted": Workload(weighted, [(3, 160), (160,), (3, 160)], []),
    "softmax": WORKLOADS["softmax"],
    "normed": WORKLOADS["normed"],
    "scores": Workload(scores, [(3, 96), (96,)], []),
    "shifted_twice": Workload(shifted_twice, [(3, 96)], []),
    "dear": Workload(dear, [(2, 40)], []),
}


def stages(work, monkeypatch, rooms):
    """With so many rooms."""
    monkeypatch.setattr(GpuRowNest, "_most", lambda nest: rooms * nest.length * 4)
    monkeypatch.setattr(planner, "_kernels", {})
    made = Stages(work.graph(large=False), gpu("sm_90"))
    assert made.plan.program.launches()
    return made


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", BUILDS)
def test_any_rooms_give_the_same_bits(name, apart, monkeypatch):
    """In the order of rows of one block, or of several, which all threads prepare."""
    if apart:
        of_short_blocks(monkeypatch)
    work = BUILDS[name]
    arrays = work.arrays(large=False)
    wanted = stages(work, monkeypatch, 0).run("naive", arrays)
    if not apart:
        native = Stages(work.graph(large=False)).run("native", arrays)
        assert [bits(x) for x in native] == [bits(x) for x in wanted]
    for rooms in range(4):
        made = stages(work, monkeypatch, rooms)
        for stage in ("naive", "scheduled", "direct"):
            results = made.run(stage, arrays)
            assert [bits(x) for x in results] == [bits(x) for x in wanted]


UNARY = "exp", "square", "tanh"
BINARY = "add", "subtract", "multiply", "divide"
FOLDS = "sum", "max"


@st.composite
def rows_of(draw):
    """A program over rows: maps, folds that are spread again, and what of it is needed."""
    steps = []
    for count in range(3, 3 + draw(st.integers(3, 9))):
        names = draw(st.sampled_from([UNARY, BINARY, FOLDS]))
        at = [draw(st.integers(0, count - 1)) for _ in range(2 if names is BINARY else 1)]
        steps.append((draw(st.sampled_from(names)), at))
    last = 2 + len(steps)
    needed = draw(st.sets(st.integers(3, last), max_size=2)) | {last}

    def build(form, x, weight, other):
        values = [x, form.broadcast(weight, x.shape), other]
        for name, at in steps:
            given = [values[k] for k in at]
            made = form.reduce(name, *given, (1,), keepdims=True) if name in FOLDS else None
            spread = made is not None and form.broadcast(made, x.shape)
            values.append(spread or form.pointwise(name, *given))
        return tuple(values[k] for k in sorted(needed))

    return build


@settings(max_examples=10)
@given(rows_of(), st.booleans(), st.sampled_from([24, 132, 160]))
def test_programs_over_rows_give_the_same_bits_with_any_rooms(build, apart, width):
    work = Workload(build, [(2, width), (width,), (2, width)], [])
    arrays, found = work.arrays(large=False), []
    with pytest.MonkeyPatch.context() as patch:
        if apart:
            of_short_blocks(patch)
        for rooms in range(4):
            results = stages(work, patch, rooms).run("naive", arrays)
            found.append([bits(x) for x in results])
    assert found == found[:1] * 4


def count(made, kind, **wanted):
    every = [s for launch in made.plan.program.launches() for s in launch.kernel.statements()]
    found = [s for s in every if isinstance(s, kind)]
    return sum(all(getattr(s, key) == x for key, x in wanted.items()) for s in found)


def memory(made, kind):
    every = [s for launch in made.plan.program.launches() for s in launch.kernel.statements()]
    return sum(isinstance(s, kind) and s.buffer.scope == "param" for s in every)


def test_rooms_hold_what_lies_between_two_maps(monkeypatch):
    """Of exp(x - m) / s, where x - m and its exponential are nobody's values in memory."""
    none, one = (stages(BUILDS["scores"], monkeypatch, rooms) for rooms in (0, 1))
    assert count(none, Let, op="exp") == 2
    assert count(one, Let, op="exp") == 1
    assert memory(one, Store) == memory(none, Store) == 1
    assert memory(one, Load) < memory(none, Load)


def test_what_takes_long_is_stored_where_there_is_no_room(monkeypatch):
    none, one = (stages(BUILDS["dear"], monkeypatch, rooms) for rooms in (0, 1))
    assert [len(made.kernels[0].buffers) for made in (none, one)] == [3, 2]


def test_no_pass_reads_what_another_one_dropped(monkeypatch):
    plans = []
    begin = RowPlan.begin
    monkeypatch.setattr(
        RowPlan, "begin", lambda plan, level: plans.append(plan) or begin(plan, level)
    )
    for rooms in (0, 1):
        stages(BUILDS["shifted_twice"], monkeypatch, rooms)
    dropped = {value for plan in plans for task in plan.dropped for value in task.outputs}
    read = {
        x.value
        for plan in plans
        for task in plan.roots
        for x in walk(*plan.nest.elements[task])
        if isinstance(x, Access)
    }
    assert dropped
    assert dropped.isdisjoint(read)
    assert np.isin([len(plan.contents) for plan in plans], [3, 4]).all()
