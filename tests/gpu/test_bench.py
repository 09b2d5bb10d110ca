"""`bench gpu`: what it measures, who takes part, and its page; on the stand-in, without peers."""

from __future__ import annotations

import io
import json
import sys
import time
import warnings

import pytest

from dualflow.bench import command, gpu_contest, gpu_data, gpu_page, gpu_peers
from dualflow.bench.gpu_contest import Contestant, Made, Process, Server
from dualflow.core import doors
from tests.gpu import standin_kernels

FEW = ["layer norm, loss 8192"]
OTHERS = ["MLP", "LeNet", "LSTM", "GPT", "elementwise", "4096"]


def bench(capsys, *words):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = parser.parse_args(["gpu", *words])
    status = arguments.handler(arguments)
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [FEW, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["few", "others"]
)
def test_both_modes_run_and_learn_the_same(names, machine, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doors, "_told", {"before"})
    path = tmp_path / "gpu.json"
    only = [word for name in names for word in ("--only", name)]
    with standin_kernels.installed(), warnings.catch_warnings():
        warnings.simplefilter("error")
        status, out = bench(capsys, "--quick", "--json", str(path), *only)
    assert status == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["who"] for row in rows] == ["dualflow compiled", "dualflow eager"] * (
        len(rows) // 2
    )
    assert {row["workload"] for row in rows} == {w.name for w in gpu_data.chosen(names)}
    for compiled, eager in zip(rows[::2], rows[1::2], strict=True):
        assert compiled["losses"] == pytest.approx(eager["losses"], rel=1e-6)
        assert len(compiled["losses"]) == (0 if "elementwise" in compiled["workload"] else 3)
        assert compiled["first_s"] > 0 < compiled["sync_ms"]
    assert "| dualflow compiled |" in path.with_suffix(".md").read_text()
    assert out.count("dualflow eager") == len(rows) // 2


def test_a_workload_fails_alone(machine, monkeypatch, capsys):
    from dualflow.bench import gpu

    def fails(*args, **kwargs):
        raise ValueError("of this one")

    monkeypatch.setattr(gpu, "step_of", fails)
    monkeypatch.setattr(gpu, "peers", lambda compiled: {})
    status, out = bench(capsys, "--quick", "--only", "MLP")
    assert status == 0
    assert out.count("ValueError: of this one") == 4  # an MLP in two precisions, in two modes
    status, out = bench(capsys, "--only", "MLP", "--seconds", "1")
    assert status == 0


def test_names_that_are_in_no_workload_are_told(capsys):
    with pytest.raises(SystemExit):
        bench(capsys, "--only", "nothing")
    assert "there are MLP 64x1000-100-10" in capsys.readouterr().err


def test_parameters_are_those_of_the_nets():
    for work in gpu_data.WORKS:
        entries = gpu_data.entries(work, quick=True)
        assert bool(entries) == (work.kind not in ("value", "slope"))
    (mini,) = [w for w in gpu_data.WORKS if w.name == "GPT-mini, AdamW"]
    sizes = [x.shape for x in gpu_data.entries(mini, quick=False)]
    assert len(sizes) == 2 + 4 * 12 + 2
    first, second = (gpu_data.parameters(mini, quick=True) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert first[2].tolist() == [1.0] * 16
    assert abs(first[0].std() - 0.02) < 0.005


# ----- who takes part -----


class Loss:
    """A result as frameworks have it."""

    def __init__(self, value, ndim=0):
        self.value, self.ndim, self.size = value, ndim, 1

    def item(self):
        return self.value


def made(log):
    def step():
        log.append("step")
        return (Loss(float(len(log))), Loss(9.0, 2))

    return Made(step, lambda: log.append("wait"), lambda: 12)


def test_first_calls_and_turns():
    log = []
    server = Server(lambda work, who, quick: made(log))
    contestant = Contestant("somebody", server.ask)
    contestant.begin("a work", quick=True)
    assert contestant.told["losses"] == [1.0, 3.0, 4.0]
    assert contestant.told["bytes"] == 12
    assert log[:2] == ["step", "wait"]
    contestant.measure(1e-4)
    (told,) = contestant.rounds
    assert len(told["alone"]) >= 3
    assert told["together"] > 0
    contestant.drop()
    contestant.measure(1e-4)
    assert "KeyError" in contestant.told["error"]


def test_a_process_serves_orders():
    orders = [
        {"do": "make", "work": gpu_data.WORKS[0].name, "who": "x", "quick": True},
        {"do": "measure", "who": "x", "seconds": 1e-4},
        {"do": "measure", "who": "y", "seconds": 1e-4},
    ]
    out = io.StringIO()

    def of(work, who, *, quick):
        assert work is gpu_data.WORKS[0]
        return made([])

    server = Server(lambda *given: gpu_peers.make(of, *given))
    server.serve(map(json.dumps, orders), out)
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert first["losses"] == [1.0, 3.0, 4.0]
    assert second["together"] > 0
    assert third == {"error": "KeyError: 'y'"}


SERVING = """
import json, sys, time
print("noise")
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "end":
        sys.exit()
    if order["do"] == "sleep":
        time.sleep(60)
    answer = {"error": "no"} if order["do"] == "fail" else {"did": order["do"]}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize("last", ["end", "sleep"])
def test_a_process_that_ends_or_takes_too_long_is_an_error(last):
    process = Process(["-c", SERVING], time.perf_counter() + 20, {})
    try:
        assert process.ask({"do": "this"}) == {"did": "this"}
        with pytest.raises(RuntimeError, match=r"^no$"):
            process.ask({"do": "fail"})
        process.until = time.perf_counter() + (0.2 if last == "sleep" else 20)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no answer in time"):
                process.ask({"do": last})
    finally:
        process.close()


def test_peers_are_those_that_are_installed(monkeypatch):
    from dualflow.bench import gpu

    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: name == "torch")
    assert gpu.peers(compiled=False) == {"torch": ("torch graph", "torch eager")}
    assert gpu.peers(compiled=True)["torch"][-1] == "torch compile"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu_contest.number("no loss") is None


# ----- the page -----

ROW = {"sync_ms": 2.0, "first_s": 0.5, "bytes": 2_500_000, "losses": [1.0, 0.5]}
ROWS = [
    {"workload": "w", "who": "dualflow compiled", "pipe_ms": 1.0, **ROW},
    {"workload": "w", "who": "dualflow eager", "error": "ValueError: no"},
    {"workload": "w", "who": "torch graph", "pipe_ms": 2.0, **ROW, "bytes": None},
    {"workload": "w", "who": "jax.jit", "pipe_ms": 4.0, **ROW, "losses": []},
    {"workload": "v", "who": "dualflow eager", "pipe_ms": 4.0, **ROW},
]


def test_the_page():
    told = {"device": "a GPU", "date": "today", "commit": "abc", "rows": ROWS}
    page = gpu_page.markdown(told).splitlines()
    assert "| w | dualflow compiled | 2.0000 | 1.0000 | 0.50 | 2.5 | 1.00000 0.50000 |" in page
    assert "| w | dualflow eager | ValueError: no |  |  |  |  |" in page
    assert page[-1] == "| w | 0.50 |  | torch graph, 2.0000 ms |"
    assert gpu_page.line(ROWS[1]).endswith("  ValueError: no")
    assert gpu_page.line(ROWS[0]).split()[-4:] == ["0.50", "2.5", "1.00000", "0.50000"]
