"""Graphs that were compiled before: no pass and no planner runs, and the bits are the same."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.core.define import composite
from dualflow.core.op import PACKAGE, Op, registry
from dualflow.core.registry import functions
from jit import launches, plans
from jit.config import configure
from jit.dims import recording_guesses, symbol
from jit.ir.call import Body, call
from jit.ir.graph import Graph
from jit.ir.op import JIT
from jit.passes import base
from jit.runtime.library import Library
from jit.types import TensorType, float32
from tests.jit.toy import same_bits
from tests.ops import laws

MATRIX = TensorType((6, 6), float32)
RULES = {"evaluate": lambda xp, x: x, "infer": lambda x: x, "lower": lambda form, x: x}


@pytest.fixture(autouse=True)
def _a_disk_of_its_own(tmp_path):
    with configure(cache=tmp_path, check=False):
        yield


@pytest.fixture
def ran(monkeypatch):
    """What was done to graphs from now on: the names of those that passes or the planner saw."""
    names = []
    run_passes, plan = base.run_passes, launches.plan

    def passing(graph, *args):
        names.append(f"passes {graph.name}")
        return run_passes(graph, *args)

    def planning(name, *args):
        names.append(f"plan {name}")
        return plan(name, *args)

    monkeypatch.setattr(base, "run_passes", passing)
    monkeypatch.setattr(launches, "plan", planning)
    return names


def added(graph, name, *values, source=None, **attrs):
    return graph.add(registry[name], values, attrs, source=source)[0]


def net(*, scale=2.0, by=0, name="net", source="nets.py:3"):
    """Two results, with a constant array, an attr and lines."""
    graph = Graph(name)
    x, w = graph.input(MATRIX, "x"), graph.input(MATRIX, "w")
    row = graph.constant(np.arange(6, dtype="float32") * scale)
    y = added(graph, "tanh", added(graph, "add", x, row, source=source))
    graph.outputs = [
        added(graph, "maximum", y, w),
        added(graph, "sum", y, axes=(by,), keepdims=False),
    ]
    return graph


def arrays_for(graph):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(x.type.shape).astype("float32") for x in graph.inputs]


def compiled(graph, **options):
    return jit.compile(graph, "cpu", ops=registry, **options)


def test_the_second_time_nothing_is_done(ran):
    first = compiled(net())
    assert ran == ["passes net", "plan net"]
    second = compiled(net())
    assert ran == ["passes net", "plan net"]
    arrays = arrays_for(net())
    wanted = first(list(arrays))
    assert same_bits(second(list(arrays)), wanted)
    assert same_bits(second.direct(arrays)(*arrays), wanted)
    assert second.kernels == first.kernels
    assert second.code.found["compiled"] == 0
    assert second.passes == ()


def test_who_looks_at_the_graph_sees_it_after_all_passes(ran):
    first, second = compiled(net()), compiled(net())
    assert str(second.graph) == str(first.graph)
    assert ran[2:] == ["passes net"]
    assert [each.name for each in second.passes] == [each.name for each in first.passes]
    programs = [x.code.plan.program for x in (first, second)]
    texts = [[str(launch.kernel) for launch in x.launches()] for x in programs]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "other",
    [
        lambda: compiled(net(scale=3.0)),
        lambda: compiled(net(by=1)),
        lambda: compiled(net(name="other")),
        lambda: compiled(net(source="nets.py:4")),
        lambda: compiled(net(), hurry=True),
        lambda: compiled(net(), fast=True),
        lambda: compiled(net(), donate=((0, 0),)),
        lambda: jit.compile(net(), "cpu"),
    ],
    ids=["constant", "attr", "name", "line", "hurry", "fast", "donated", "ops"],
)
def test_what_differs_is_compiled(other, ran):
    compiled(net())
    other()
    assert len(ran) == 4


def test_what_passes_are_left_out_counts(ran):
    compiled(net())
    with configure(passes_off=frozenset(["algebra"])):
        compiled(net())
    assert len(ran) == 4


def test_whoever_checks_or_looks_sees_all_stages(ran, tmp_path, capsys):
    compiled(net())
    for told in ({"check": True}, {"debug": 2}, {"dump": tmp_path / "dump"}):
        count = ran.count("passes net")
        with configure(**told):
            compiled(net())
        assert ran.count("passes net") == count + 1
    with configure(debug=1):
        compiled(net())
    assert "net: compiled, 5 nodes, " in capsys.readouterr().err


def test_other_sources_are_other_graphs(ran, monkeypatch):
    compiled(net())
    read = plans.sources_of
    monkeypatch.setattr(plans, "sources_of", lambda package: read(package) + package.name)
    compiled(net())
    assert len(ran) == 4


def test_sources_change_with_a_module(tmp_path):
    (tmp_path / "inner").mkdir()
    module = tmp_path / "inner" / "a.py"
    module.write_text("x = 1\n")
    read = plans.sources_of.__wrapped__
    before = read(tmp_path)
    assert read(tmp_path) == before
    module.write_text("x = 12\n")
    assert read(tmp_path) != before


def test_a_graph_without_the_code_of_its_kernels_is_compiled(ran, monkeypatch, tmp_path):
    wanted = compiled(net())(arrays_for(net()))
    for path in tmp_path.rglob("*"):
        if path.is_file() and b"ELF" in path.read_bytes():
            path.unlink()
    fresh = Library()
    monkeypatch.setattr(launches, "library", lambda: fresh)
    monkeypatch.setattr(plans, "library", lambda: fresh)
    assert same_bits(compiled(net())(arrays_for(net())), wanted)
    assert len(ran) == 4


def test_damaged_entries_are_compiled_again(ran, tmp_path):
    wanted = compiled(net())(arrays_for(net()))
    for path in tmp_path.rglob("*"):
        if path.is_file() and b"ELF" not in path.read_bytes():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 4
            path.write_bytes(data)
    assert same_bits(compiled(net())(arrays_for(net())), wanted)
    assert ran.count("passes net") == 2


def test_sizes_may_vary_and_all_guesses_are_told_again(ran):
    found = []
    for _ in range(2):
        n, m = symbol("n", hint=6), symbol("m", hint=6)
        graph = Graph("varying")
        x = graph.input(TensorType((n,), float32))
        y = graph.input(TensorType((m,), float32))
        with recording_guesses([]) as guesses:
            graph.outputs = [added(graph, "tanh", added(graph, "add", x, y))]
            made = compiled(graph)
        values = np.linspace(-1, 1, 9, dtype="float32")
        found.append((sorted(map(str, guesses)), made([values, values])[0].tobytes()))
    assert found[0] == found[1]
    assert len(ran) == 2


def test_what_passes_guess_is_kept(monkeypatch):
    n = symbol("n", hint=6)
    run_passes = base.run_passes

    def guessing(*args):
        assert n == 6
        return run_passes(*args)

    monkeypatch.setattr(base, "run_passes", guessing)
    told = []
    for _ in range(2):
        with recording_guesses([]) as guesses:
            compiled(net())
        told.append([str(guess) for guess in guesses])
    assert told == [["n == 6"], ["n == 6"]]


def test_what_only_python_computes_is_not_kept(ran):
    for _ in range(2):
        graph = Graph("host")
        x = graph.input(TensorType((8,), float32))
        graph.outputs = [added(graph, "argsort", x, axis=0)]
        made = compiled(graph)
    assert made.host_steps
    assert len(ran) == 4


# ----- whose rules an op has -----


def test_ops_of_this_package_are_told_by_its_sources():
    first, *_ = registry.values()  # its `__init__` was written for it
    assert first.package == registry["tanh"].package == registry["sum"].package == PACKAGE
    assert Graph("g").constant(1.0).node.op.package == JIT


@pytest.fixture
def _registered():
    """Takes ops out again that a test declares."""
    before = [(each, set(each)) for each in (registry, functions)]
    yield
    for each, names in before:
        for name in set(each) - names:
            del each[name]


@pytest.mark.usefixtures("_registered")
def test_ops_of_others_may_be_anything(ran):
    @composite()
    def of_somebody(x):
        return x * 2.0

    assert Op(name="of_everybody", **RULES).package is None
    assert registry["of_somebody"].package is None
    for _ in range(2):
        graph = Graph("theirs")
        graph.outputs = [added(graph, "of_somebody", graph.input(MATRIX))]
        compiled(graph)
    assert ran == ["passes theirs", "plan theirs", "passes theirs"]  # the forms are known


@pytest.mark.usefixtures("_registered")
def test_what_a_function_of_ours_declares_for_others_is_theirs():
    scope = {"__name__": "dualflow.declaring", "Op": Op, "rules": RULES}
    exec("def declare():\n    return Op(name='declared_late', **rules)", scope)
    assert scope["declare"]().package is None
    exec("made = Op(name='declared_at_import', **rules)", scope)
    assert scope["made"].package == PACKAGE


# ----- recorded programs -----


@pytest.mark.filterwarnings("ignore")
def test_recorded_programs_compute_the_same_bits(ran):
    from tests.jit.random_graphs import RandomProgram

    for seed in range(6):
        program = RandomProgram(seed)
        call = laws.recorded(program, [df.asarray(x) for x in program.arrays])
        arrays, count = [np.asarray(x) for x in call.inputs], len(ran)
        made = [compiled(call.graph) for _ in range(2)]
        assert same_bits(*(each(list(arrays)) for each in made))
        assert len(ran) == count + 2 or made[0].host_steps


# ----- graphs in graphs -----


def calling(factor=2.0, op="tanh", times=3):
    """A graph with several calls of one body."""
    inner = Graph("body")
    x = inner.input(MATRIX)
    inner.outputs = [added(inner, op, added(inner, "multiply", x, constant(inner, factor)))]
    body, graph = Body.of(inner), Graph("calling")
    y = graph.input(MATRIX)
    for _ in range(times):
        (y,) = graph.add(call, (y,), {"body": body})
    graph.outputs = [y]
    return graph


def constant(graph, value):
    return graph.constant(np.full((6, 6), value, "float32"))


def test_a_body_counts_and_is_written_once(ran, monkeypatch):
    written = []
    write = plans.format_graph

    def noted(graph, **options):
        written.append(graph.name)
        return write(graph, **options)

    monkeypatch.setattr(plans, "format_graph", noted)
    wanted = compiled(calling())(arrays_for(calling()))
    assert written == ["body", "calling"]
    assert same_bits(compiled(calling())(arrays_for(calling())), wanted)
    assert ran.count("passes calling") == 1
    for other in (calling(factor=3.0), calling(op="sin"), calling(times=2)):
        count = ran.count("passes calling")
        compiled(other)
        assert ran.count("passes calling") == count + 1


def test_what_nobody_can_tell_of_a_body_nobody_can_of_the_graph(ran):
    for _ in range(2):
        graph = calling()
        inner = graph.nodes[0].attrs["body"]
        inner.add(Op(name="of_any_body", **RULES), inner.inputs, {})
        del registry["of_any_body"]
        compiled(graph)
    assert ran.count("passes calling") == 2


def test_only_one_of_both_graphs_is_held():
    graph = net()
    gone = weakref.ref(graph)
    first = compiled(graph)
    second = compiled(net())
    del graph
    gc.collect()
    assert gone() is None
    assert str(second.graph) == str(first.graph)
