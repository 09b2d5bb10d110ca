"""The contest with other frameworks: processes in turn, who is found out, what is written."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dualflow.__main__ import main
from dualflow.bench import contest, dots, peers, ranking
from dualflow.bench.contest import Contestant, ContestantError, Framework, Result, deviation
from dualflow.bench.contestants import of_dualflow, of_numpy, workloads
from dualflow.bench.contestants.serve import Server, digest
from dualflow.bench.contestants.workloads import BY_NAME

LIMITS = {"flops": 1e11, "bytes": 1e10}
WORKLOAD = "W1"
CHEATS = f"""
import copy, os
from contestants import of_numpy

VERSION = "1.0"
MODES = {{{WORKLOAD!r}: ["honest", "lazy", "raising", "dying"], "W2": ["eager", "keeping"]}}

def build(workload, mode, data):
    print("talking where answers go")
    if mode == "dying":
        os._exit(3)
    if mode == "raising":
        raise ValueError("no such thing here")
    if mode == "keeping":
        with open(os.environ["JIT_CACHE"] + "/starts", "a") as file:
            file.write("one ")
        workload, mode = "W2", "honest"
    if mode == "honest":
        return of_numpy.build(workload, "eager", data)
    return lambda: of_numpy.build(workload, "eager", copy.deepcopy(data))()
"""


@pytest.fixture
def cheats(tmp_path, monkeypatch):
    """A framework that does its work in one mode only."""
    (tmp_path / "cheats.py").write_text(CHEATS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Framework("cheats", sys.executable, "cheats")


# ----- the work -----


@cache
def of_reference(name):
    step = of_numpy.build(name, "reference", BY_NAME[name].data())
    return [digest(step()) for _ in range(2)]


def does_the_work(module, name, mode):
    step = module.build(name, mode, BY_NAME[name].data())
    found = [digest(step()) for _ in range(2)]
    return deviation(found, of_reference(name)) <= BY_NAME[name].bound


@pytest.mark.parametrize("name", ["W1", "W2", "W4", "W5-gradient-1M", "W7", "W12-parameters"])
def test_gradients_by_hand_are_those_of_the_tape(name):
    assert does_the_work(of_dualflow, name, "eager")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in BY_NAME if not n.startswith(("W9", "W13")) and "16M" not in n]
)
def test_every_mode_does_the_work(name):
    assert does_the_work(of_dualflow, name, "eager")
    assert does_the_work(of_dualflow, name, "compiled")
    assert does_the_work(of_numpy, name, "eager")


@pytest.mark.parametrize("name", ["W9-training", "W9-inference"])
def test_the_large_net_on_small_images(name):
    def data():
        draw, channels, params = workloads.Draw(0), 3, []
        for _ in range(13):
            params += [draw.normal(4, channels, 3, 3, scale=0.45), draw.normal(4, scale=0.45)]
            channels = 4
        for fan, out in ((4, 6), (6, 6), (6, 5)):
            params += [draw.normal(fan, out, scale=0.45), draw.normal(out, scale=0.45)]
        return {"x": draw.normal(2, 3, 32, 32), "labels": draw.below(5, 2), "params": params}

    by_hand = of_numpy.build(name, "reference", data())
    expected = [digest(by_hand()) for _ in range(2)]
    for mode in ("eager", "fast"):
        step = of_dualflow.build(name, mode, data())
        found = [digest(step()) for _ in range(2)]
        assert (
            deviation(found, expected) <= 1e-3
        )  # the second loss of training is half of the first


def test_a_digest_sees_signs_and_missing_results():
    x = np.array([1.0, -2.0, 3.0])
    assert deviation([digest(x)], [digest(x)]) == 0
    assert deviation([digest(-x)], [digest(x)]) == pytest.approx(4 / 6)
    assert deviation([digest((x, x))], [digest(x)]) == float("inf")
    assert not deviation([digest(x * np.nan)], [digest(x)]) <= 1


# ----- processes -----


def test_a_contestant_stands_still_until_it_is_asked(cheats):
    with Contestant(cheats, "honest") as contestant:
        assert contestant.ask("about")["version"] == "1.0"
        assert state(contestant) == "T"
        contestant.ask("build", workload=WORKLOAD, mode="honest", steps=1)
        assert len(contestant.ask("run", seconds=0.01)["seconds"]) >= 1
        assert state(contestant) == "T"
    assert contestant.process.poll() is not None


def state(contestant):
    """`T` for a stopped process; the signal may take a moment."""
    path = Path(f"/proc/{contestant.process.pid}/stat")
    for _ in range(1000):
        found = path.read_text().rpartition(")")[2].split()[0]
        if found == "T":
            break
    return found


def test_who_is_not_there_is_missing():
    assert contest.about(Framework("numpy", module="nowhere_at_all")) == {
        "missing": "nowhere_at_all"
    }
    assert "No such file" in contest.about(Framework("torch", "/no/python"))["missing"]


def test_an_answer_may_not_take_for_ever(cheats, monkeypatch):
    monkeypatch.setattr(contest, "PATIENCE", 0.0)
    with Contestant(cheats, "honest") as contestant, pytest.raises(ContestantError, match="in 0"):
        contestant.ask("about")


def test_checking_results_counts_as_nobodys_memory():
    result = np.ones(4 << 20, np.float32)  # double, twice: 64 MB
    server = Server(SimpleNamespace(build=lambda *_: lambda: result + 1))
    answer = server.build("W1", "eager", 2)
    assert answer["bytes"] is None or answer["bytes"] < 40 << 20


# ----- the command -----


def test_a_contest_from_start_to_end(cheats, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers, "limits", lambda before: LIMITS)
    path = tmp_path / "results" / "peers.json"
    entered = [Framework("dualflow"), Framework("numpy"), Framework("torch", "/no/python"), cheats]
    assert peers.main(peers.chosen([WORKLOAD]), entered, path=path, rounds=2, quick=True) == 0
    out = capsys.readouterr().out
    document = json.loads(path.read_text())
    record = document["workloads"][WORKLOAD]
    rows = {ranking.who(row): row for row in record["contestants"]}
    assert {name for name, row in rows.items() if not row["wrong"]} == {
        "dualflow eager",
        "dualflow compiled",
        "numpy eager",
        "cheats honest",
    }
    assert rows["cheats lazy"]["note"] == "other results than NumPy's"
    assert rows["cheats raising"]["note"] == "ValueError: no such thing here"
    assert rows["cheats dying"]["wrong"]
    assert all(len(row["rounds"]) == 2 for row in rows.values() if not row["wrong"])
    memory = [(row["bytes"], row["process"]) for row in rows.values() if not row["wrong"]]
    assert all(grown is None or 0 < grown < process for grown, process in memory)
    assert set(record["ratios"]) == {"eager", "compiled"}
    assert "torch missing" in out
    page, text = path.with_suffix(".html").read_text(), path.with_suffix(".md").read_text()
    assert page.count("<svg") == 1
    for words in ("dualflow compiled", "WRONG  other results than NumPy's (error ", "x ("):
        assert all(words in told for told in (out, text, page.replace("&#x27;", "'")))
    wide = [line for line in out.splitlines() if len(line) > 80 and str(tmp_path) not in line]
    assert wide == []


def test_first_steps_are_made_by_new_processes_that_share_a_cache(cheats):
    (workload,) = peers.chosen(["W13-W2"])
    found = {"cheats": {"modes": {"W2": ["eager", "keeping"]}}}
    ((framework, mode),) = entries = peers.entered(workload, [cheats], found)
    assert (framework, mode) == (cheats, "keeping")  # nothing is compiled in the other mode
    (row,) = contest.contest(workload, entries, 2, 0.01)
    assert not row.wrong, row.note
    assert (len(row.rounds), row.first > 0) == (2, True)


def test_a_picture_has_a_dot_for_each_contestant_in_the_order_of_their_times():
    times = [("one", 1e-3), ("two", 2e-3), ("three", 5.0)]
    svg = dots.picture("W2", [dots.Dot(name, t, 0.9 * t, 1.2 * t, "") for name, t in times])
    places = [float(x) for x in re.findall(r"<circle cx='([\d.]+)'", svg)]
    assert places == sorted(places)
    assert all(dots.LEFT < x < dots.WIDTH - dots.RIGHT for x in places)
    assert all(f">{name}</text>" in svg for name, _ in times)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["peers", "W99"], "'W99' is no workload; there are W1"),
        (["peers", "--peers-python", "torch"], "takes NAME=PATH"),
        (["peers", "--peers-python", "abacus=/bin/true"], "one of numpy, torch"),
        (["static", "peers"], "peers runs alone"),
        (["diff", "one.json"], "takes two files"),
    ],
)
def test_wrong_usage_is_explained(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_names_of_workloads():
    assert [w.name for w in peers.chosen(["w2", "W5-value-1M"])] == ["W2", "W5-value-1M"]
    assert len(peers.chosen(["W5"])) == 4
    assert [w.name for w in peers.chosen([])] == list(BY_NAME)


# ----- ranking, and two runs -----


def result(framework, mode, seconds, *, wrong=False):
    rounds = [] if wrong else [[0.9 * seconds], [seconds], [1.1 * seconds]]
    return Result(framework, mode, 1e-7, wrong, "" * wrong, 0.5, 1000, rounds)


def measured(ours, *, when="2026-01-01T10:00"):
    results = [
        result("torch", "whole", 2e-3),
        result("torch", "eager", 4e-3),
        result("jax", "compiled", 1e-3, wrong=True),
        result("dualflow", "compiled", ours),
        result("dualflow", "eager", 2e-3),
    ]
    return {
        "format": 1,
        "when": when,
        "commit": "abc",
        "machine": {"processor": "a processor", "threads": 2},
        "frameworks": {"torch": {"version": "2"}, "jax": {"missing": "jax"}},
        "limits": LIMITS,
        "workloads": {"W2": ranking.record(BY_NAME["W2"], results)},
    }


def test_eager_is_held_against_eager_and_compiled_against_all():
    record = measured(1e-3)["workloads"]["W2"]
    assert [row["wrong"] for row in record["contestants"]] == [False] * 4 + [True]
    assert ranking.who(record["contestants"][0]) == "dualflow compiled"
    compiled, eager = record["ratios"]["compiled"], record["ratios"]["eager"]
    assert (compiled["peer"], compiled["ratio"]) == ("torch whole", pytest.approx(2))
    assert (eager["peer"], eager["ratio"]) == ("torch eager", pytest.approx(2))


def test_diff_tells_what_changed(tmp_path, capsys, golden):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, ours in zip(paths, (1e-3, 0.5e-3)):
        path.write_text(json.dumps(measured(ours)))
    assert main(["bench", "diff", *map(str, paths)]) == 0
    golden("bench/diff", capsys.readouterr().out.rstrip())


def test_diff_refuses_other_files(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text('{"programs": {}}')
    assert main(["bench", "diff", str(path), str(path)]) == 2
    assert "not written by bench peers" in capsys.readouterr().out
