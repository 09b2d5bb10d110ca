"""`f.export`: files that run without the program they come from, in Python and in C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.errors import DTypeError, TraceError
from tests.modes import bits, graphs_only

pytestmark = graphs_only
ROOT = Path(__file__).parents[2]
x = df.asarray(np.linspace(-1, 2, 12, dtype="float32").reshape(3, 4))


@pytest.fixture(autouse=True)
def _compiled():
    with df.set_mode("compiled"):
        yield


def net():
    df.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    return df.function(lambda x: {"y": model(x), "n": (3, "three")}), model


LOAD = """
import sys, numpy as np, dualflow as df
f = df.load_function(sys.argv[1])
found = f(df.asarray(np.load(sys.argv[2])))
print(found["y"].numpy().tobytes().hex(), found["n"])
"""


def test_a_file_runs_in_another_process_without_the_program(tmp_path):
    f, _ = net()
    wanted = f(x)
    path = f.export(tmp_path / "net.dfx", x)
    np.save(tmp_path / "x.npy", x.numpy())
    command = [sys.executable, "-c", LOAD, str(path), str(tmp_path / "x.npy")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{wanted['y'].numpy().tobytes().hex()} (3, 'three')\n"
    names = set(zipfile.ZipFile(path).namelist())
    assert {"about.json", "graph0.txt"} <= names
    assert sum(name.startswith("state/") and name.endswith(".npy") for name in names) == 4
    assert all(name.endswith((".json", ".txt", ".npy", ".dtype")) for name in names)


def test_state_is_in_the_file_and_goes_on_from_there(tmp_path):
    v = df.Variable([1.0, 2.0], name="v")
    f = df.function(lambda x: v.assign_add(x) * 2.0)
    f(df.ones(2))
    loaded = df.load_function(f.export(tmp_path / "f.dfx", df.ones(2)))
    assert loaded(df.ones(2)).tolist() == [6.0, 8.0]
    assert loaded.state["v"].tolist() == [3.0, 4.0]
    assert v.tolist() == [2.0, 3.0]
    loaded.state["v"].assign([0.0, 0.0])
    assert loaded(df.ones(2)).tolist() == [2.0, 2.0]


def test_all_recorded_ways_are_in_it_and_others_are_told(tmp_path):
    @df.function
    def f(x, scale):
        if x.sum() > 0:
            return [x * scale]
        if x.sum() < -100:
            return [x]
        return [x - scale]

    up, down = df.ones(2), -df.ones(2)
    f(up, 3.0), f(down, 3.0)
    loaded = df.load_function(f.export(tmp_path / "f.dfx", up, 3.0))
    assert bits(loaded(up, 3.0)[0]) == bits(f(up, 3.0)[0])
    assert bits(loaded(down, 3.0)[0]) == bits(f(down, 3.0)[0])
    with pytest.raises(TraceError, match="a way that was not recorded"):
        loaded(down * 1000.0, 3.0)
    with pytest.raises(TraceError, match="other arguments"):
        loaded(up, 4.0)
    with pytest.raises(DTypeError):
        loaded(up.astype("float64"), 3.0)


def test_what_needs_python_is_refused_and_damaged_files_too(tmp_path):
    f = df.function(lambda x: print(x.sum()))
    with pytest.raises(TraceError, match="export: a call"):
        f.export(tmp_path / "f.dfx", x)
    g = df.function(lambda x: x * 2.0)
    path = g.export(tmp_path / "g.dfx", x)
    data = bytearray(path.read_bytes())
    for at in (0, len(data) // 3, len(data) // 2):
        broken = tmp_path / "broken.dfx"
        broken.write_bytes(bytes(data[:at]) + b"\0\1\2" + bytes(data[at + 3 :]))
        with pytest.raises(TraceError, match="is damaged"):
            df.load_function(broken)
    with pytest.raises(TraceError, match="no call to look at"):
        df.function(lambda x: x).export(tmp_path / "h.dfx")


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(void) {
  float x[12], y[6];
  for (int k = 0; k < 12; k++) if (scanf("%f", &x[k]) != 1) return 2;
  void *workspace = aligned_alloc(64, (NET_WORKSPACE + 63) / 64 * 64);
  if (net(x, y, workspace)) return 3;
  for (int k = 0; k < 6; k++) printf("%a\\n", y[k]);
  free(workspace);
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("way", ["object", "library"])
def test_a_program_in_c_gets_the_same_bits(tmp_path, way):
    _, model = net()
    f = df.function(lambda x: model(x))
    wanted = f(x).numpy()
    f.export(tmp_path / "net.h", x)
    (tmp_path / "main.c").write_text(MAIN)
    linked = ["net.o"] if way == "object" else ["-L.", "-l:net.so", "-Wl,-rpath,."]
    command = ["cc", "-Wall", "-Werror", "main.c", "-o", "main", *linked, "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C"})
    given = " ".join(float(v).hex() for v in x.numpy().ravel())
    ran = subprocess.run(["./main"], cwd=tmp_path, input=given, capture_output=True, text=True)
    assert ran.returncode == 0
    found = [float.fromhex(line) for line in ran.stdout.split()]
    assert np.float32(found).tobytes() == wanted.tobytes()
    assert "const float *x /* [3][4] */" in (tmp_path / "net.h").read_text()


def test_what_c_cannot_have_is_told(tmp_path):
    v = df.Variable([1.0, 2.0])
    f = df.function(lambda x: v.assign_add(x) * 2.0)
    with pytest.raises(TraceError, match="does more than to compute"):
        f.export(tmp_path / "f.h", df.ones(2))
    g = df.function(lambda x: df.sort(x))
    with pytest.raises(TraceError, match="its graph has steps that Python does"):
        g.export(tmp_path / "g.h", x)
    assert not (tmp_path / "g.h").exists()
