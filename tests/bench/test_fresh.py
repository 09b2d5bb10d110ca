"""Processes that start as a program does whose packages were installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import jit
from dualflow.bench.fresh import UNWRITTEN, as_installed, write_bytecode

TOLD = "import sys, jit; print(sys.dont_write_bytecode, jit.__cached__)"


def test_a_process_finds_bytecode_and_leaves_it(monkeypatch, tmp_path):
    monkeypatch.setenv(UNWRITTEN, "1")
    environment = as_installed(PYTHONPYCACHEPREFIX=str(tmp_path), ANOTHER="1")
    assert UNWRITTEN not in environment
    assert environment["ANOTHER"] == "1"
    ran = subprocess.run(
        [sys.executable, "-c", TOLD], env=environment, capture_output=True, text=True, check=True
    )
    unwritten, cached = ran.stdout.split()
    assert unwritten == "False"
    assert Path(cached).is_relative_to(tmp_path)
    assert Path(cached).is_file()


def test_our_packages_are_compiled_before(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr("dualflow.bench.fresh.PACKAGES", [Path(jit.__file__).parent / "dims"])
    write_bytecode.__wrapped__()
    module = Path(jit.__file__).parent / "dims" / "ranges.py"
    assert Path(cache_from_source(str(module))).is_file()
