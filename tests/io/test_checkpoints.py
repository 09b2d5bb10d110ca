"""Whole runs: saved, killed at any moment, and gone on with as if nothing had been."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.io.nests import load_nest, save_nest
from tests.modes import bits

ROOT = Path(__file__).parents[2]
STEPS = 21  # of a whole run


def start(folder, **environment):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.io.run_to_kill", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})


def losses(folder):
    """The last loss that was written for each step; a line cut off by the kill does not count."""
    path = folder / "losses.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [line.split() for line in lines if line.count(" ") == 1]
    return {int(step): loss for step, loss in whole}, "end" in lines


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, kills):
    wanted = start(tmp_path / "whole")
    killed = tmp_path / "killed"
    chance = random.Random(time.time_ns())  # another moment in each run of the tests
    for _ in range(kills):
        before = len(losses(killed)[0])
        process = start(killed, PAUSE="0.02", LAST=str(before + STEPS // (kills + 1)))
        while process.poll() is None and len(losses(killed)[0]) == before:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.1)
        process.kill()
        process.wait()
        assert not losses(killed)[1]
        assert len(losses(killed)[0]) > before
    assert start(killed).wait() == 0
    assert wanted.wait() == 0
    assert losses(killed) == losses(tmp_path / "whole")
    assert losses(killed)[1]
    assert len(losses(killed)[0]) == STEPS
    names = sorted(path.name for path in (killed / "run").iterdir())
    assert names == ["step-19.ckpt", "step-20.ckpt", "step-21.ckpt"]


NESTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda x: (
        st.lists(x, max_size=3)
        | st.lists(x, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), x, max_size=3)
    ),
    max_leaves=12,
)


@given(nest=NESTS)
def test_nests_come_back(tmp_path_factory, nest):
    path = tmp_path_factory.getbasetemp() / "nest.ckpt"
    save_nest(path, nest)
    assert repr(load_nest(path)) == repr(nest)


def test_only_data_is_saved(tmp_path):
    with pytest.raises(TypeError, match=r"/a/0: a function cannot be saved"):
        save_nest(tmp_path / "nest.ckpt", {"a": [len, (lambda: 1)][1:]})
    assert list(tmp_path.iterdir()) == []


def run_of(folder, **options):
    net = df.nn.Linear(2, 1)
    return net, df.io.Checkpoints(folder, net=net, **options)


def test_the_newest_stay_and_any_of_them_comes_back(tmp_path):
    net, run = run_of(tmp_path, keep=2)
    assert run.restore() is None
    values = {}
    for step in (1, 2, 10):
        net.weight.assign(df.ones((1, 2)) * step)
        run.save(step, note=f"step {step}")
        values[step] = (bits(df.random.get_state()), np.random.rand(), random.random())
        df.random.seed(step)
    assert run.steps() == [2, 10]
    assert run.load(2)["extra"] == {"note": "step 2"}
    assert run.restore(2) == 2
    assert net.weight.tolist() == [[2.0, 2.0]]
    assert values[2] == (bits(df.random.get_state()), np.random.rand(), random.random())
    assert run.restore() == 10
    assert net.weight.tolist() == [[10.0, 10.0]]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    _, run = run_of(tmp_path)
    run.save(1)
    run.path(2).write_bytes(run.path(1).read_bytes()[:-3])
    with pytest.warns(UserWarning, match="passed over a damaged file"):
        assert run.restore() == 1
    with pytest.raises(df.errors.FileError):
        run.restore(2)
    run.path(1).unlink()
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(df.errors.FileError):
        run.restore()


def test_a_failing_save_leaves_the_old_file(tmp_path, monkeypatch):
    _, run = run_of(tmp_path)
    path = run.save(1)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.save(1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_parts_must_fit(tmp_path):
    _, run = run_of(tmp_path)
    run.save(1)
    with pytest.raises(df.errors.FileError, match="the checkpoint has net"):
        df.io.Checkpoints(tmp_path, model=df.nn.Linear(2, 1)).restore()
    with pytest.raises(TypeError, match="net is a int"):
        df.io.Checkpoints(tmp_path, net=1)
    with pytest.raises(ValueError, match="keep=0"):
        df.io.Checkpoints(tmp_path, keep=0)
