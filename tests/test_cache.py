"""`df.cache`: why kernels were compiled, asked of a function; in processes of their own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

import dualflow as df
from dualflow.errors import FileError, TraceError
from tests.modes import graphs_only

ROOT = Path(__file__).parents[1]
PROGRAM = """
import dualflow as df
f = df.function(lambda x: df.tanh(x) * df.exp(x.sum(axis=1, keepdims=True)))
x = df.ones({shape}, dtype="{dtype}")
with df.set_mode("compiled"):
    f(x)
    print(df.cache.why(f, x))
"""


def told(cache, shape=(3, 40), dtype="float32", line=""):
    environment = {**os.environ, "JIT_CACHE": str(cache), "JIT_CHECK": "0"}
    program = line + PROGRAM.format(shape=shape, dtype=dtype)
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.stdout


def test_r31_a_miss_names_what_differs_and_another_line_is_a_hit(tmp_path):
    first = told(tmp_path)
    assert "no kernel of these ops was compiled before" in first
    assert f"the cache is {tmp_path}" in first
    assert " 0 compiled," in told(tmp_path, line="\n\n# other line numbers\n")
    assert "dtypes differ from what was compiled before" in told(tmp_path, dtype="float64")


@graphs_only
def test_a_call_that_was_never_made_is_told():
    f = df.function(lambda x: x * 2.0)
    with pytest.raises(TraceError, match="no call of <lambda> like this was compiled"):
        df.cache.why(f, df.ones(2))
    with pytest.raises(TypeError, match="not decorated"):
        df.cache.why(len, [])


BUNDLED = """
import sys
import dualflow as df
f = df.function(lambda x: df.tanh(x) * df.exp(x.sum(axis=1, keepdims=True)))
x = df.ones((3, 40))
with df.set_mode("compiled"):
    if sys.argv[1] == "load":
        df.cache.load(sys.argv[2])
    f(x)
    (entry,) = f.entries.values()
    print(entry.last.executable.code.found)
    if sys.argv[1] == "bundle":
        df.cache.bundle(sys.argv[2], f)
"""


@pytest.mark.slow
def test_a_bundle_opened_in_a_new_process_gives_no_compiles_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "nb.dfcache"

    def run(what):
        environment = {**os.environ, "JIT_CACHE": "off", "JIT_CHECK": "0"}
        command = [sys.executable, "-c", BUNDLED, what, str(path)]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ran.stderr == ""
        return ast.literal_eval(ran.stdout)

    assert run("bundle")["compiled"] > 0
    found = run("load")
    assert found["compiled"] == 0
    assert found["in memory"] > 0
    names = zipfile.ZipFile(path).namelist()
    assert all(name.endswith(".txt") for name in names)
    data = path.read_bytes()
    for at in range(0, len(data), len(data) // 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with suppress(FileError):  # a byte that nobody reads may be another
            df.cache.load(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match="a whole bundle file"):
        df.cache.load(path)


@graphs_only
def test_r37_status_and_repr_tell_whether_compilation_is_on():
    f = df.function(lambda x: x * 2.0)
    off = df.function(lambda x: x * 2.0, mode="eager")
    with df.set_mode("compiled"):
        for _ in range(3):
            f(df.ones(2)), off(df.ones(2))
        lines = df.status().splitlines()
        assert repr(f) == "<Function <lambda>: compiled, 1 trace, 3 calls>"
        (line,) = [line for line in lines if line.startswith(repr(f))]
        assert line.endswith(" s to record")
        assert "<Function <lambda>: eager (asked for), 0 traces, 3 calls>" in lines
