"""What users must be able to rely on: no compiler is needed, modes are told as they are."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import dualflow as df
from dualflow.errors import FunctionWarning
from jit.config import configure
from tests.modes import graphs_only

ROOT = Path(__file__).parents[2]
ALONE = """
import subprocess, os

def refuse(*args, **kwargs):
    raise AssertionError(f"a program was started: {args}")

subprocess.Popen = os.system = os.posix_spawn = refuse
import dualflow as df
f = df.function(lambda x: df.tanh(x @ x).sum(), strict=True)
x = df.ones((40, 40)) * 0.01
with df.set_mode("compiled"):
    assert f(x).item() == f(x).item()
    (entry,) = f.entries.values()
    found = entry.last.executable.code.found
    print(f.mode, found["compiled"] > 0, found["from disk"] > 0)
"""


def alone(cache):
    environment = {"PATH": "", "JIT_CACHE": str(cache), "HOME": str(cache)}
    command = [sys.executable, "-c", ALONE]
    kept = {k: v for k, v in os.environ.items() if k.startswith(("LD_", "PYTHON"))}
    ran = subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    return ran.stdout.split()


def test_r34_r30_no_program_of_the_system_is_needed_and_the_next_process_compiles_nothing(tmp_path):
    assert alone(tmp_path) == ["compiled", "True", "False"]
    assert alone(tmp_path) == ["compiled", "False", "True"]


@graphs_only
def test_r35_a_function_that_is_not_compiled_says_so():
    def f(x):
        return x * 2.0

    def leaves(x):
        return x * float(x.sum())

    x = df.ones(3)
    with df.set_mode("compiled"):
        plain, segments, off = df.function(f), df.function(leaves), df.function(f, mode="eager")
        assert plain.mode == "not called yet"
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for function in (plain, segments, off):
                function(x), function(x)
        assert plain.mode == "compiled"
        assert segments.mode.startswith("segments (a value leaves for Python through float()")
        assert [w.category for w in told] == [FunctionWarning]
        assert off.mode == "eager (asked for)"
        with configure(target="interpreter"):
            other = df.function(f)
            other(x)
            assert other.mode == "interpreted"
    with df.set_mode("eager"):
        assert plain.mode == "eager (asked for)"
