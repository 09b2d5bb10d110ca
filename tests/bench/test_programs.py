"""The programs of the main job at tiny sizes: both modes give the same losses, bit for bit."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest

import dualflow as df
from dualflow.bench.closing import checks, document, table
from dualflow.bench.programs import WORKLOADS, dynamic
from dualflow.bench.programs.workload import Training
from dualflow.bench.runner import Modes, describe, prepare, run
from dualflow.core.source import is_users
from dualflow.data import random_trees
from tests.modes import graphs_only

EPOCHS = 3
BATCH = {"static": 4, "digits": 600, "dynamic": 1}
STEPS = {"static": 1, "digits": 3, "dynamic": 3}  # in an epoch
TRACES = {"static": 1, "digits": 2, "dynamic": 3}  # the last batch of digits is short


@pytest.fixture(scope="module", params=WORKLOADS)
def result(request):
    """A program after a few epochs, and what it told of its progress."""
    workload = WORKLOADS[request.param]
    if workload.name == "dynamic":
        trees = random_trees(STEPS["dynamic"], leaves=(3, 6), width=dynamic.HIDDEN)
        few = [(tree, df.asarray([k])) for k, tree in enumerate(trees)]
        workload = replace(workload, data=lambda batch: few)
    batch, told = BATCH[workload.name], []
    data = prepare(workload, batch)
    done = run(workload, data, describe(workload, batch, "cpu"), EPOCHS, lambda *x: told.append(x))
    return done, told


def test_both_modes_give_the_same_losses_and_parameters(result):
    done, told = result
    assert done.losses["eager"] == done.losses["compiled"]
    assert done.comparison.identical, done.comparison.worst
    assert told == [(k, loss, loss) for k, loss in enumerate(done.losses["eager"], 1)]
    losses, steps = done.losses["eager"], done.first_epoch
    assert sum(losses[-steps:]) < sum(losses[:steps])


@graphs_only
def test_calls_run_from_the_graph_after_the_first_epoch(result):
    done, _ = result
    steps, traces = STEPS[done.workload.name], TRACES[done.workload.name]
    assert done.first_epoch == steps
    assert done.share_later == 1
    assert done.recorded == [True] * traces + [False] * (EPOCHS * steps - traces) or (
        done.workload.name == "digits" and sum(done.recorded) == traces
    )
    comparison = done.comparison
    assert (comparison.traces, comparison.first.recordings) == (traces, traces)
    assert (comparison.calls, comparison.from_graph) == (EPOCHS * steps, EPOCHS * steps - traces)


@graphs_only
def test_the_comparison_has_all_its_figures(result):
    done, _ = result
    comparison = done.comparison
    assert comparison.mode == "compiled"
    assert comparison.place.startswith(f"{done.workload.name}.py:")
    assert 0 < comparison.kernels <= comparison.ops
    assert comparison.first.tracing > 0
    assert comparison.first.compiling > 0
    assert min(comparison.eager_bytes, comparison.compiled_bytes) > 10_000
    assert comparison.eager.calls == comparison.compiled.calls == comparison.from_graph
    lines = {step.line.partition(":")[0] for step in comparison.steps}
    assert lines == {f"{done.workload.name}.py"}
    assert max(map(len, str(comparison).splitlines())) <= 80


def test_digits_are_read_alike(result):
    done, _ = result
    if done.workload.held_out:
        assert done.correct["eager"] == done.correct["compiled"] > 0.1 * done.workload.held_out
    else:
        assert done.correct == {}


@graphs_only
def test_checks_and_json(result):
    done, _ = result
    assert [check.passed for check in checks(done)] == [True, True]  # too few epochs for a third
    found = json.loads(document([done], {"when": "now"}), parse_constant=pytest.fail)
    assert (found["format"], found["when"]) == (1, "now")
    program = found["programs"][done.workload.name]
    assert program["losses"] == done.losses
    assert program["comparison"]["mode"] == "compiled"
    assert len(program["seconds"]["eager"]) == len(program["seconds"]["compiled"])
    assert max(map(len, table([done]).splitlines())) <= 80


@graphs_only
def test_a_warning_points_at_the_program_and_not_at_what_runs_it():
    def step(x):
        return (x * 2.0).sum()

    training = Training(step, {})
    modes = Modes(replace(WORKLOADS["static"], make=lambda: training))
    ranks = [(df.ones((2,) * rank),) for rank in range(4)]
    with pytest.warns(df.errors.RetraceWarning) as told:
        modes.train(ranks, 1, lambda *_: None)
    code = step.__code__
    assert {(w.filename, w.lineno) for w in told} == {(code.co_filename, code.co_firstlineno)}


def test_a_module_that_python_runs_by_name_is_known_by_it():
    scope = {"__name__": "__main__", "sys": sys}
    frame = eval("sys._getframe()", scope)
    assert is_users(frame)
    scope["__spec__"] = ModuleSpec("dualflow.__main__", None)
    assert not is_users(frame)
