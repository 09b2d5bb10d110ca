"""The command line: its help, its output, its exit status, and what it writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import optree
import pytest

from dualflow.__main__ import main
from dualflow.bench import auto, calls, closing, folded, micro, varying
from dualflow.bench.measured import HEADER, Measured
from tests.comparison.pages import WIDTH, browser, drawn
from tests.modes import graphs_only

LIGHT = """
import sys
import dualflow.__main__
loaded = {"sklearn", "rich", "llvmlite", "cupy", "dualflow.nn", "dualflow.optim"} & set(sys.modules)
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""


def test_the_first_line_waits_for_nothing_heavy():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_help_names_all_there_is(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    words = "static digits dynamic micro kernels --batch --epochs --steps --quick --device --json"
    words += " --check"
    assert [word for word in words.split() if word not in text] == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["bench", "unknown"], "none of static, digits, dynamic, micro, kernels"),
        (["bench", "--batch", "0"], "not an integer from 1"),
        (["bench", "--steps", "few"], "not an integer from 1"),
        (["bench", "micro", "static"], "micro runs alone"),
        (["bench", "static", "kernels"], "kernels runs alone"),
    ],
)
def test_wrong_usage_is_explained(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@graphs_only
def test_a_program_from_start_to_end(tmp_path, capsys):
    path = tmp_path / "results" / "figures.json"
    assert main(["bench", "static", "--batch", "4", "--steps", "3", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    assert lines[0].startswith("dualflow bench: one program (static)")
    assert "compiled: " in text
    assert str(path) in text
    assert text.index("same answer?") < text.index("losses agree") < text.index("2 of 2 checks")
    assert len(text[text.index("Three things to try next:") :].splitlines()) == 4
    wide = [line for line in lines if len(line) > 80 and str(tmp_path) not in line]
    assert wide == []
    figures = json.loads(path.read_text())
    assert set(figures) == {"format", "when", "machine", "versions", "programs"}
    assert figures["machine"]["cores"] >= 1
    assert figures["versions"]["numpy"] != "missing"
    static = figures["programs"]["static"]
    assert len(static["losses"]["eager"]) == len(static["seconds"]["compiled"]) == 3
    assert [check["passed"] for check in static["checks"]] == [True, True]
    assert static["comparison"]["same"] is True


def test_a_failed_check_makes_the_exit_status_1(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(closing, "BOUND", -1.0)
    arguments = ["bench", "static", "--batch", "4", "--steps", "2"]
    assert main([*arguments, "--json", str(tmp_path / "figures.json")]) == 1
    assert "FAILED  static: losses of both modes" in capsys.readouterr().out


def test_a_device_that_is_not_there_is_named(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert main(["bench", "static", "--device", "abacus", "--json", str(path)]) == 2
    assert "abacus" in capsys.readouterr().out
    assert not path.exists()


# ----- micro -----

MET = Measured("add", "unrecorded", "µs", 0.8, 0.55, 0.5, 0.6)
MISSED = Measured("exp", "under a tape", "µs", 1.5, 1.75, 1.7, 1.9)
HEAVY = Measured("import", "a fresh process", "s", 0.25, 0.1, 0.1, 0.1, "it imports cupy")


def test_micro_prints_goal_value_spread_and_verdict(golden):
    golden("bench/micro", "\n".join([HEADER, str(MET), str(MISSED), str(HEAVY)]))
    assert [measured.passed for measured in (MET, MISSED, HEAVY)] == [True, False, False]


@pytest.mark.parametrize(
    ("figures", "check", "status"),
    [([MET], True, 0), ([MET, MISSED], True, 1), ([MET, MISSED], False, 0), ([HEAVY], True, 1)],
)
def test_micro_exits_with_1_under_check_when_a_goal_is_missed(figures, check, status, monkeypatch):
    monkeypatch.setattr(micro, "run", lambda: iter(figures))
    assert main(["bench", "micro", *(["--check"] if check else [])]) == status


def test_micro_measures_every_op_in_every_case(monkeypatch):
    monkeypatch.setattr(micro, "importing", lambda: HEAVY)
    monkeypatch.setattr(calls, "run", lambda repeats: iter([MET]))
    for module in (varying, folded):
        monkeypatch.setattr(module, "run", lambda repeats: iter([MET]))
    found = list(micro.run(repeats=2, number=2))
    assert len(found) == 1 + len(micro.OPS) * len(micro.CASES) + 3
    for measured in found[1:-3]:
        assert measured.lower <= measured.upper
        assert measured.goal == micro.CASES[measured.case]


def test_import_loads_neither_cupy_nor_llvmlite():
    measured = micro.importing(processes=1)
    assert measured.note == ""
    assert measured.value > 0


def test_micro_measures_calls_steps_and_compiling(monkeypatch):
    monkeypatch.setattr(calls, "first_call", lambda cache: 0.25)
    found = list(calls.run(repeats=2, processes=1, ops=20))
    kinds = [measured.what for measured in found]
    assert kinds == ["call"] * 6 + ["step"] * 4 + ["guards"] + ["compile"] * 3
    assert all(measured.value > 0 for measured in found if measured.what != "guards")
    assert [measured.passed for measured in found[-3:-1]] == [True, False]
    assert max(len(str(measured)) for measured in found) <= 80


@pytest.mark.parametrize("case", ["softmax, length", "product, K", "attention"])
def test_code_for_many_sizes_gives_what_code_for_one_does(case):
    special, general = varying.both(case)
    wanted = special().tolist()
    assert [special().tolist(), general().tolist(), general().tolist()] == [wanted] * 3


def test_micro_says_how_much_slower_code_is_where_sizes_vary(monkeypatch):
    case = "sum of rows"
    monkeypatch.setattr(varying, "CASES", {case: varying.CASES[case]})
    (measured,) = varying.run(repeats=2)
    assert (measured.what, measured.case, measured.goal) == ("varying", case, 1.2)
    assert 0 < measured.lower <= measured.upper
    assert len(str(measured)) <= 80


@graphs_only
@pytest.mark.parametrize("case", folded.CASES)
def test_r24_a_loop_written_out_gives_what_the_folded_one_does(case, monkeypatch):
    written_out, loop = folded.both(case)
    wanted = [x.tolist() for x in optree.tree_leaves(written_out())]
    for _ in range(3):
        assert [x.tolist() for x in optree.tree_leaves(loop())] == wanted
    monkeypatch.setattr(folded, "CASES", {case: folded.CASES[case]})
    (measured,) = folded.run(repeats=2)
    assert (measured.what, measured.case, measured.goal) == ("folded", case, 1.2)
    assert len(str(measured)) <= 80


@graphs_only
def test_r24_what_is_compared_is_a_graph_with_a_loop_and_one_without():
    python, arguments = folded.CASES["mean"]
    written_out, loop = folded.recordings(python, arguments())
    sizes = [len(f.graphs[0].nodes) for f in (written_out, loop)]
    assert sizes[0] > 3 * folded.STEPS > 3 * sizes[1]


def test_a_first_call_in_a_fresh_process_fills_the_disk_cache(tmp_path):
    assert calls.first_call(str(tmp_path)) > 0
    assert any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_page_has_pictures_of_what_was_measured(tmp_path, capsys):
    from dualflow.bench.page import by_batch as chart
    from dualflow.bench.programs import WORKLOADS
    from dualflow.bench.runner import by_batch

    path = tmp_path / "figures.json"
    drawings = tmp_path / "drawn"
    given = ["--batch", "4", "--steps", "6", "--json", str(path), "--pictures", str(drawings)]
    assert main(["bench", "static", *given]) == 0
    texts = {each.name: each.read_text() for each in drawings.iterdir()}
    assert set(texts) == {"static-total.svg", "static-loss.svg"}
    assert all(text.count("<polyline") == 2 for text in texts.values())
    assert "pictures in figures.html beside it" in capsys.readouterr().out
    page = path.with_suffix(".html").read_text()
    for words in (
        "Total time against number of calls",
        "as measured",
        "Loss of both modes",
        "losses agree",
    ):
        assert words in page
    measured = by_batch(WORKLOADS["static"], sizes=(1, 4), calls=2)
    assert "batch size" in str(chart(measured))
    if browser():
        found = drawn(page, tmp_path)
        assert (found.errors, found.wide <= WIDTH) == ([], True)


@pytest.mark.slow
@graphs_only
def test_auto_is_measured_beside_both_modes(capsys, monkeypatch):
    monkeypatch.setattr(auto, "PROGRAMS", ("tiny",))
    assert main(["bench", "auto", "--quick"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("tiny")]
    assert re.search(r"20 calls +5 % +-?[\d.]+ % .* eager [\d.]+ s, compiled [\d.]+ s, auto", line)
    assert auto.percent(2.0, 4.0, 2.1) == pytest.approx(5.0)
    assert auto.prepared("static", "auto")[0].options["mode"] == "auto"
