"""`df.bisect`: planted faults of the compiler, each found with its stage and its op."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dualflow as df
import jit.codegen.llvm
import jit.forms.merge
import jit.launches
import jit.loops.expand
import jit.planner
import jit.runtime.tables
from dualflow.core.op import registry
from jit.config import configure
from jit.ir.loop import loop
from jit.loops import heuristics
from jit.loops.ir import Kernel, Let
from jit.passes import algebra, cleanup, fold, reroll
from jit.passes.algebra import FLOATING, X, Y
from jit.passes.rewrite import Rule, call
from jit.runtime.library import Library
from jit.runtime.memory import Layout
from tests.modes import graphs_only

pytestmark = graphs_only
ROOT = Path(__file__).parents[2]
x = df.asarray(np.linspace(-2, 3, 24, dtype="float32").reshape(4, 6))
square = df.asarray(np.linspace(-1, 1, 16, dtype="float32").reshape(4, 4))


# ----- programs, and the line at which each fault shows -----


def chain(x):
    h = df.tanh(x) * 2.0
    h = df.maximum(h, x - 0.5)  # here: line 2
    return df.exp(h).sum(axis=1)


def constants(x):
    return x * (df.full((2, 1, 1), 2.0) + 1.0)


def sums(x):
    return x.sum(axis=0) - x.sum(axis=1)


def several(x):
    return x * 2.0, x * 3.0


def distances(x):
    return df.sqrt(df.abs(x) + 1.0)


def loop_of_many(x):
    h = x
    for _ in range(40):
        h = 3.9 * h * (1.0 - h)  # chaos: one round less shows
    return h


def products(x):
    a = x @ square
    b = square @ x
    return a @ b - b @ a


def shifted(x):
    h = x * 2.0
    return (h - 0.5).sum(axis=1)


def elementary(x):
    return df.exp(x) - df.tanh(x)


# ----- faults -----


def spoiled(kernel: Kernel, op: str, other: str) -> Kernel:
    """A kernel that does something else."""

    def change(body):
        made = []
        for s in body:
            if isinstance(s, Let) and s.op == op:
                s = replace(s, op=other)
            made.append(replace(s, body=change(s.body)) if hasattr(s, "body") else s)
        return tuple(made)

    return replace(kernel, body=change(kernel.body))


def wrong_fold(patch):
    results = fold.FoldConstants._results

    def changed(self, node, known):
        arrays = results(self, node, known)
        return arrays and [a + a.dtype.type(1) if node.inputs else a for a in arrays]

    patch.setattr(fold.FoldConstants, "_results", changed)


def wrong_cse(patch):
    key = cleanup._key
    patch.setattr(cleanup, "_key", lambda node, numbers: key(node, numbers)[:2])


def wrong_dead_code(patch):
    run = cleanup.DeadCode.run

    def changed(self, graph):
        new, _ = run(self, graph).copy()  # it may be the graph that was given
        new.outputs = [new.outputs[0] for _ in new.outputs]
        return new

    patch.setattr(cleanup.DeadCode, "run", changed)


def wrong_rule(patch):
    rule = Rule(call("abs", X), X, FLOATING)
    patch.setattr(algebra, "TABLE", (*algebra.TABLE, rule))


def other_wrong_rule(patch):
    rule = Rule(call("maximum", X, Y), X, FLOATING)
    patch.setattr(algebra, "TABLE", (*algebra.TABLE, rule))


def wrong_reroll(patch):
    run = reroll.Reroll.run

    def changed(self, graph):
        new = run(self, graph)
        for node in new.nodes:
            if node.op is loop:
                node.attrs["count"] -= 1
        return new

    patch.setattr(reroll.Reroll, "run", changed)


def wrong_lowering(patch):
    op = registry["maximum"]
    lower = op.lower
    patch.callback(lambda: object.__setattr__(op, "lower", lower))
    object.__setattr__(op, "lower", registry["minimum"].lower)


def wrong_merge(patch):
    patch.setattr(jit.forms.merge, "key_of", lambda form: (type(form), form.inputs, form.types))


def wrong_fusion(patch):
    nest = jit.planner.Planner._nest

    def changed(self, group, stored, label):
        naive = nest(self, group, stored, label)
        if len(group.tasks) == 1:
            return naive
        return replace(naive, kernel=spoiled(naive.kernel, "maximum", "minimum"))

    patch.setattr(jit.planner.Planner, "_nest", changed)


def wrong_schedule(patch):
    hoist = heuristics.hoist
    patch.setattr(heuristics, "hoist", lambda k: spoiled(hoist(k), "maximum", "minimum"))


def wrong_function(patch):
    formula = jit.loops.expand.formula

    def changed(op, *rest):
        return formula("expm1" if op == "exp" else op, *rest)

    patch.setattr(jit.loops.expand, "formula", changed)


def wrong_code(patch):
    emit = jit.codegen.llvm.emit

    def changed(kernel, target):
        return emit(kernel, target).replace("fsub", "fadd")

    patch.setattr(jit.codegen.llvm, "emit", changed)


def wrong_layout(patch):
    layout = jit.runtime.tables.layout

    def changed(times, sizes):
        made = layout(times, sizes)
        return Layout(dict.fromkeys(made.offsets, 0), made.size)

    patch.setattr(jit.runtime.tables, "layout", changed)


PLANTED = [
    (wrong_fold, constants, x, "fold", "add", 1),
    (wrong_cse, sums, square, "common_subexpressions", "sum", 1),
    (wrong_dead_code, several, x, "dead_code", "multiply", 1),
    (wrong_rule, distances, x, "algebra", "abs", 1),
    (other_wrong_rule, chain, x, "algebra", "maximum", 2),
    (wrong_reroll, loop_of_many, df.abs(square) * 0.9, "reroll", "multiply", 3),
    (wrong_lowering, chain, x, "lowering", "maximum", 2),
    (wrong_merge, elementary, x, "merging", "tanh", 1),
    (wrong_fusion, chain, x, "fusion", "maximum", 2),
    (wrong_schedule, chain, x, "schedule", "maximum", 2),
    (wrong_function, elementary, x, "elementary functions", "exp", 1),
    (wrong_code, shifted, x, "code generation", "subtract", 2),
    (wrong_layout, products, square, "memory plan", "subtract", 3),
]


class Patch:
    """`monkeypatch`, and whatever else has to be undone."""

    def __init__(self, monkeypatch, request):
        self.setattr, self.callback = monkeypatch.setattr, request.addfinalizer


@pytest.fixture
def fresh(monkeypatch):
    """No kernel of before is known to graphs, nor kept for later tests."""
    codes = Library()
    monkeypatch.setattr(jit.launches, "library", lambda: codes)
    monkeypatch.setattr("jit.apart.library", lambda: codes)
    monkeypatch.setattr(jit.planner, "_kernels", {})
    monkeypatch.setattr("jit.passes.stretches.SPARED", 30)  # short loops become loops
    with configure(cache="off", check=False):
        yield


@pytest.mark.parametrize(
    ("plant", "f", "given", "stage", "op", "offset"),
    PLANTED,
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_a_planted_fault_is_named(plant, f, given, stage, op, offset, fresh, monkeypatch, request):
    assert not df.bisect(f, given)  # and eager's own kernels are there now, which are right
    codes = Library()
    monkeypatch.setattr(jit.launches, "library", lambda: codes)
    monkeypatch.setattr("jit.apart.library", lambda: codes)
    jit.planner._kernels.clear()
    plant(Patch(monkeypatch, request))
    found = df.bisect(f, given)
    assert (found.stage, found.op) == (stage, op), str(found)
    assert found.line == f"test_bisection.py:{f.__code__.co_firstlineno + offset}"
    assert len(found.repro.splitlines()) < 40
    compile(found.repro, "repro.py", "exec")


def test_twelve_kinds_of_faults_are_planted():
    assert len(PLANTED) >= 12
    assert len({stage for *_, stage, _, _ in PLANTED}) >= 11


def test_a_repro_runs_and_tells_whether_the_difference_is_still_there(fresh, monkeypatch, tmp_path):
    assert not df.bisect(distances, x)
    wrong_rule(monkeypatch)
    path = df.bisect(distances, x).save(tmp_path / "repro.py")
    command = [sys.executable, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "no difference any more; it was algebra\n"
    told = []
    monkeypatch.setattr(sys, "stdout", type("Out", (), {"write": staticmethod(told.append)}))
    names = {"__name__": "__main__"}
    with pytest.raises(SystemExit):
        exec(compile(path.read_text(), "repro.py", "exec"), names)
    assert "still there: algebra, abs" in "".join(told)


def test_nothing_is_found_where_nothing_differs():
    assert str(df.bisect(chain, x)) == "chain: both modes give the same bits"


def test_parity_holds_for_shapes_and_dtypes_and_finds_the_smallest_shape(fresh, monkeypatch):
    def f(a, b):
        return df.abs(a @ b).sum(axis=0)

    df.testing.parity(f, [("n", 3), (3, "m")], dtypes=("float32", "float64"), sizes=(1, 4))
    df.testing.parity(df.nn.Linear(3, 2), [("n", 3)], sizes=(2,))
    wrong_rule(monkeypatch)
    with pytest.raises(AssertionError) as told:
        df.testing.parity(f, [("n", 3), (3, "m")], sizes=(4, 5))
    assert "differ for float32[2,3], float32[3,1]: result: " in str(told.value)
    assert "algebra, abs at test_bisection.py" in str(told.value)
