"""Tuning: which of several schedules is taken, what is remembered, and that no bit changes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

import dualflow as df
from jit import keys, planner, tuning
from jit.config import configure
from jit.dims import symbol
from jit.forms.contraction import Contraction
from jit.loops import tiles
from jit.runtime import threads
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host_target as host
from jit.runtime.library import library
from jit.runtime.tuned import tuning as key_part
from jit.types import TensorType, float32
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits
from tests.modes import graphs_only


@pytest.fixture(autouse=True)
def _anew(tmp_path):
    """Nothing was chosen before, in memory or on the disk."""
    tuning.forget()
    planner.forget()
    with configure(cache=tmp_path / "cache", autotune=True):
        yield
    tuning.forget()
    planner.forget()


def matmul(form, x, y):
    return form.contract("ik,kj->ij", x, y)


def product(rows=40, inner=60, columns=70):
    """A product of matrices, which was not tuned yet."""
    types = [TensorType((rows, inner), float32), TensorType((inner, columns), float32)]
    with configure(autotune=False):
        return Stages(graph_of(matmul, types))


def candidates(made, monkeypatch):
    """The kernels of a product by their tilings, as the planner offers them."""
    offered = []
    planner.forget()
    monkeypatch.setattr(planner, "fastest", lambda every, _: offered.append(every) or first(every))
    assert made.plan
    (every,) = offered
    return every


def first(every):
    return next(iter(every.values()))


class Clock:
    """Tells as much time for a run of each candidate as it is given.

    Args:
        costs: Seconds of each, the first one's first.
    """

    def __init__(self, *costs: float) -> None:
        self.costs, self.calls, self.now = costs, count(), 0.0

    def __call__(self) -> float:
        number = next(self.calls)
        if number % 2:  # the end of a turn: at first one of the first candidate, to see how long
            self.now += self.costs[max(0, number // 2 - 1) % len(self.costs) if number > 1 else 0]
        return self.now


def timeless() -> float:
    raise AssertionError("it is timed again")


# ----- what is taken -----


@pytest.mark.parametrize(
    ("costs", "taken"),
    [((5.0, 4.0, 3.0), 2), ((5.0, 4.9, 4.88), 0), ((5.0, 6.0, 7.0), 0), ((5.0, 1.0, 3.0), 1)],
)
def test_what_is_clearly_faster_is_taken(monkeypatch, costs, taken):
    every = dict([*candidates(product(), monkeypatch).items()][:3])
    found = tuning.fastest(every, host(), Clock(*costs))
    assert found is [*every.values()][taken]


def test_a_choice_is_remembered_in_the_process_and_on_the_disk(monkeypatch):
    every = dict([*candidates(product(), monkeypatch).items()][:3])
    found = tuning.fastest(every, host(), Clock(5.0, 1.0, 3.0))
    assert tuning.fastest(every, host(), timeless) is found
    tuning.forget()
    compiled = library().tallies["compiled"].count
    assert tuning.fastest(every, host(), timeless) is found
    assert library().tallies["compiled"].count == compiled


@pytest.mark.parametrize("entry", [b"", b"\xff\xfe", b"0" * 64, b"stale 1"])
def test_an_entry_that_is_none_of_the_candidates_is_replaced(monkeypatch, entry):
    every = dict([*candidates(product(), monkeypatch).items()][:3])
    disk = disk_cache()
    put = {}
    monkeypatch.setattr(type(disk), "put", lambda self, key, data: put.setdefault(key, data))
    found = tuning.fastest(every, host(), Clock(5.0, 1.0, 3.0))
    key = next(key for key, data in put.items() if data == tuning.identity(found, host()).encode())
    monkeypatch.undo()
    with configure(cache=disk.folder, autotune=True):
        tuning.forget()
        disk.put(key, entry)
        assert tuning.fastest(every, host(), Clock(5.0, 1.0, 3.0)) is found
        tuning.forget()
        assert tuning.fastest(every, host(), timeless) is found


def test_another_number_of_threads_is_timed_again(monkeypatch):
    every = dict([*candidates(product(), monkeypatch).items()][:2])
    before = threads.num_threads()
    tuning.fastest(every, host(), Clock(5.0, 1.0))
    try:
        threads.set_num_threads(before + 1)
        assert tuning.fastest(every, host(), Clock(1.0, 5.0)) is first(every)
    finally:
        threads.set_num_threads(before)


def test_without_two_kernels_there_is_nothing_to_time(monkeypatch):
    name, naive = next(iter(candidates(product(), monkeypatch).items()))
    assert tuning.fastest({name: naive, "again": naive}, host(), timeless) is naive


def test_nothing_is_timed_for_other_machines_or_in_a_hurry(monkeypatch):
    every = candidates(product(), monkeypatch)
    for target in (replace(host(), cpu="other"), replace(host(), hurry=True)):
        assert tuning.fastest(every, target, timeless) is first(every)


def test_sizes_that_vary_are_not_timed(monkeypatch):
    every = candidates(product(rows=symbol("n", hint=40)), monkeypatch)
    assert tuning.fastest(every, host(), timeless) is first(every)


def test_what_was_tried_is_told(monkeypatch, capsys):
    every = dict([*candidates(product(), monkeypatch).items()][:2])
    with configure(debug=1):
        tuning.fastest(every, host(), Clock(5e-3, 1e-3))
    names = [*every]
    said = f"tuned, {names[0]} 5000.0 us, {names[1]} 1000.0 us; taken: {names[1]}\n"
    assert said in capsys.readouterr().err


# ----- what depends on it -----


def test_no_bit_depends_on_the_choice(monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((40, 1100), (1100, 70))]
    made = product(40, 1100, 70)
    every = candidates(made, monkeypatch)
    assert len({tuning.identity(naive, host()) for naive in every.values()}) > 3
    found = set()
    for name in every:
        planner.forget()
        monkeypatch.setattr(planner, "fastest", lambda offered, _, name=name: offered[name])
        again = product(40, 1100, 70)
        (out,) = again.run("machine", arrays)
        found.add(bits(out))
    assert len(found) == 1


def test_the_first_candidate_is_what_is_taken_untuned(monkeypatch):
    tuned = first(candidates(product(), monkeypatch))
    planner.forget()
    with configure(autotune=False):
        (kernel,) = product().kernels
    assert str(tuned.kernel) == str(kernel)


def test_keys_of_plans_tell_whether_it_is_tuned():
    made = product()
    found = set()
    for autotune in (False, True):
        with configure(autotune=autotune):
            found.add(keys.plan_key(made.forms, (), host(), None))
            assert key_part() == (f"tuned {threads.num_threads()}" if autotune else "")
    assert len(found) == 2
    assert None not in found


@graphs_only
def test_compiled_functions_give_the_same_bits_and_are_timed_once(monkeypatch):
    rng = np.random.default_rng(1)
    x, w = (df.asarray(rng.normal(size=s).astype(np.float32)) for s in ((33, 65), (65, 50)))
    timed = []
    times = tuning.times
    monkeypatch.setattr(tuning, "times", lambda *given: timed.append(1) or times(*given))

    def build():
        return df.function(lambda x, w: df.tanh(x @ w) + 1.0)

    tuned = build()(x, w)
    assert timed
    timed.clear()
    tuning.forget()
    planner.forget()
    assert build()(x, w).numpy().tobytes() == tuned.numpy().tobytes()
    assert not timed
    with configure(autotune=False):
        assert build()(x, w).numpy().tobytes() == tuned.numpy().tobytes()


def test_the_best_tilings_differ_and_come_in_the_order_of_their_cost(monkeypatch):
    seen: list[Contraction] = []
    monkeypatch.setattr(planner, "best", lambda c, *rest: seen.append(c) or tiles.best(c, *rest))
    candidates(product(), monkeypatch)
    for number in (1, 3, 8):
        found = tiles.best(seen[0], host(), number)
        costs = [tiling.cost for tiling in found.values()]
        assert len(found) == number
        assert costs == sorted(costs)
    assert first(found) == tiles.choose(seen[0], host())
    assert len(tiles.best(seen[0], host(), math.inf)) == len(  # type: ignore[arg-type]
        {(t.row_operand, t.height, t.width, t.packs) for t in tiles.candidates(seen[0], host())}
    )
