"""Plans on the disk: what is found again computes the same bits, without a planner."""

from __future__ import annotations

import io
import os
import pickle
import subprocess

import numpy as np
import pytest

import dualflow as df
import jit
from jit import keys, launches, native, plans
from jit.config import configure
from jit.dims import recording_guesses, symbol
from jit.ir.graph import Graph
from jit.native import NativeCode
from jit.runtime.cache import disk_cache
from jit.runtime.library import Library
from jit.types import TensorType, bfloat16, float32
from tests.jit.random_graphs import RandomProgram
from tests.jit.toy import OPS, apply, same_bits
from tests.ops import laws

MATRIX = TensorType((6, 6), float32)


@pytest.fixture(autouse=True)
def _a_disk_of_its_own(tmp_path):
    with configure(cache=tmp_path):
        yield


def net(scale=2.0, name="net"):
    """Products, a constant array, and a sum; its kernels are several."""
    graph = Graph(name)
    x, w = graph.input(MATRIX, "x"), graph.input(MATRIX, "w")
    row = graph.constant(np.arange(6, dtype="float32") * scale)
    y = apply(graph, "tanh", apply(graph, "add", x, row, source="nets.py:3"), source="nets.py:4")
    z = apply(graph, "multiply", apply(graph, "maximum", y, w), graph.constant(float32.type(scale)))
    graph.outputs = [z, apply(graph, "subtract", y, w)]
    return graph


def arrays_for(graph):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(x.type.shape).astype("float32") for x in graph.inputs]


@pytest.fixture
def planned(monkeypatch):
    """The graphs that are planned from now on."""
    names = []
    plan = launches.plan

    def noted(name, *args):
        names.append(name)
        return plan(name, *args)

    monkeypatch.setattr(launches, "plan", noted)
    return names


def test_the_second_time_nothing_is_planned(planned):
    graph = net()
    first, second = jit.compile(graph, "cpu"), jit.compile(net(), "cpu")
    assert planned == ["net"]
    arrays = arrays_for(graph)
    wanted = first(list(arrays))
    assert same_bits(second(list(arrays)), wanted)
    assert same_bits(second.direct(arrays)(*arrays), wanted)
    assert second.kernels == first.kernels
    assert second.foreign_calls == first.foreign_calls == 1
    assert second.code.found["compiled"] == 0


def test_who_looks_at_the_plan_sees_whole_kernels(planned):
    first, second = jit.compile(net(), "cpu"), jit.compile(net(), "cpu")
    assert isinstance(second.code, NativeCode)
    programs = [x.code.plan.program for x in (first, second)]
    texts = [[str(launch.kernel) for launch in x.launches()] for x in programs]
    assert texts[0] == texts[1]
    assert "tanh" in texts[0][0]
    assert str(programs[0]) == str(programs[1])


@pytest.mark.parametrize(
    "other",
    [
        lambda: jit.compile(net(scale=3.0), "cpu"),
        lambda: jit.compile(net(), "cpu", hurry=True),
        lambda: jit.compile(net(), "cpu", donate=((0, 0),)),
    ],
    ids=["a constant", "in a hurry", "donated"],
)
def test_what_differs_is_planned(other, planned):
    jit.compile(net(), "cpu")
    other()
    assert len(planned) == 2


def test_other_sources_of_the_compiler_are_another_plan(planned, monkeypatch):
    jit.compile(net(), "cpu")
    monkeypatch.setattr(keys, "sources", lambda: "another")
    jit.compile(net(), "cpu")
    assert len(planned) == 2


def test_a_plan_without_the_code_of_its_kernels_is_nothing(planned, monkeypatch, tmp_path):
    graph = net()
    wanted = jit.compile(graph, "cpu")(arrays_for(graph))
    entries = sorted(tmp_path.rglob("*"), key=lambda path: path.stat().st_size)
    for path in entries:
        if path.is_file() and b"ELF" in path.read_bytes():
            path.unlink()
    fresh = Library()
    for module in (launches, native, plans):
        monkeypatch.setattr(module, "library", lambda: fresh)
    made = jit.compile(graph, "cpu")
    assert same_bits(made(arrays_for(graph)), wanted)
    assert len(planned) == 2
    assert made.code.found["compiled"] == len(made.kernels)


def test_what_only_the_host_can_do_is_planned(planned):
    for _ in range(2):
        graph = Graph("host")
        graph.outputs = [*graph.add(OPS["extremes"], [graph.input(MATRIX)], {})]
        jit.compile(graph, "cpu")
    assert len(planned) == 2


def test_all_stages_are_shown_even_so(planned, tmp_path):
    jit.compile(net(), "cpu")
    with configure(dump=tmp_path / "dump"):
        jit.compile(net(), "cpu")
    assert len(planned) == 2


def test_sizes_may_vary_and_what_was_guessed_of_them_is_told_again(planned):
    found = []
    for _ in range(2):
        n, m = symbol("n", hint=6), symbol("m", hint=6)
        graph = Graph("varying")
        x = graph.input(TensorType((n,), float32))
        y = graph.input(TensorType((m,), float32))
        with recording_guesses([]) as guesses:
            graph.outputs = [apply(graph, "tanh", apply(graph, "add", x, y))]
            made = jit.compile(graph, "cpu")
        found.append(sorted(map(str, guesses)))
        values = np.linspace(-1, 1, 9, dtype="float32")
        found.append(made([values, values])[0].tobytes())
    assert found[:2] == found[2:]
    assert len(planned) == 1


def test_what_planning_guesses_is_kept(monkeypatch):
    """A guess that the planner makes holds for who finds its plan."""
    n = symbol("n", hint=6)

    def guessing_plan(name, forms, target):
        assert n == 6
        return plan(name, forms, target)

    plan = launches.plan
    monkeypatch.setattr(launches, "plan", guessing_plan)
    told = []
    for _ in range(2):
        with recording_guesses([]) as guesses:
            jit.compile(net(), "cpu")
        told.append([str(guess) for guess in guesses])
    assert told == [["n == 6"], ["n == 6"]]


def test_dtypes_are_those_of_the_process(planned):
    graph = Graph("cast")
    x = graph.input(TensorType((4,), bfloat16))
    graph.outputs = [apply(graph, "add", x, x)]
    for _ in range(2):
        made = jit.compile(graph, "cpu")
        values = np.arange(4).astype(bfloat16)
        assert made([values])[0].tobytes() == (values + values).tobytes()
        assert made([values])[0].dtype is not None
    assert len(planned) == 1


@pytest.mark.filterwarnings("ignore")
def test_random_programs_compute_the_same_bits(planned):
    for seed in range(8):
        program = RandomProgram(seed)
        call = laws.recorded(program, [df.asarray(x) for x in program.arrays])
        arrays, count = [np.asarray(x) for x in call.inputs], len(planned)
        made = [jit.compile(call.graph, "cpu") for _ in range(2)]
        assert same_bits(*(each(list(arrays)) for each in made))
        assert len(planned) <= count + 1 or made[0].host_steps  # no text tells what Python does


def test_nothing_is_kept_without_a_disk(planned):
    with configure(cache="off"):
        assert disk_cache() is None
        for _ in range(2):
            jit.compile(net(), "cpu")
    assert len(planned) == 2


def test_an_entry_that_names_anything_else_is_refused():
    for harmful in (print, os.system, subprocess.run, eval, np.load, jit.compile):
        with pytest.raises(pickle.UnpicklingError, match="no part of a plan"):
            plans.Reader(io.BytesIO(pickle.dumps(harmful))).load()
