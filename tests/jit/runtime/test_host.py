"""This machine, remembered: who finds its code on the disk does not load LLVM."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jit.config import configure
from jit.runtime import cpu, host
from jit.runtime.host import Host, known_host, largest_cache
from jit.target import Target

SAID = Host(Target("x86_64-linux", "some", "+avx2", 32, 16), "llvmlite 1 LLVM 2")
PROGRAM = """
import sys
import numpy as np
import dualflow as df

@df.function
def f(x):
    return df.tanh(x @ x) * 2.0

x = df.asarray(np.ones((40, 40), "float32"))
print(f(x).numpy().tobytes() == f(x).numpy().tobytes(), "llvmlite.binding" in sys.modules)
print("jit.planner" in sys.modules, "jit.passes.algebra" in sys.modules)
"""


@pytest.fixture(autouse=True)
def _a_disk_of_its_own(tmp_path):
    with configure(cache=tmp_path / "cache"):
        yield


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Files that describe a machine, and the file of its LLVM."""
    start, processors, library = (tmp_path / name for name in ("start", "processors", "library"))
    start.write_text("one\n")
    processors.write_text("model\t: 7\ncpu MHz : 1000\nflags\t: avx2 fma\n\nmodel\t: 8\n")
    library.write_text("LLVM")
    monkeypatch.setattr(host, "START", start)
    monkeypatch.setattr(host, "PROCESSORS", processors)
    return start, processors, library


def asked(library):
    """What is known of the machine, and how often LLVM was asked for it."""
    times = []

    def ask():
        times.append(1)
        return SAID

    assert known_host(ask, [library]) == SAID
    return len(times)


def test_llvm_is_asked_once(machine):
    *_, library = machine
    assert [asked(library) for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda start, processors, library: start.write_text("two\n"),
        lambda start, processors, library: processors.write_text("model\t: 7\nflags\t: avx2\n"),
        lambda start, processors, library: library.write_text("LLVM of later"),
    ],
    ids=["another start", "another processor", "another LLVM"],
)
def test_what_differs_is_asked_for(machine, change):
    *_, library = machine
    assert asked(library) == 1
    change(*machine)
    assert [asked(library), asked(library)] == [1, 0]


def test_how_fast_it_runs_now_does_not_matter(machine):
    _, processors, library = machine
    assert asked(library) == 1
    processors.write_text(processors.read_text().replace("1000", "3000"))
    assert asked(library) == 0


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_machine_that_cannot_be_told_is_asked_each_time(machine, which):
    machine[which].unlink()
    assert [asked(machine[2]), asked(machine[2])] == [1, 1]


def test_nothing_is_remembered_without_a_disk(machine):
    with configure(cache="off"):
        assert [asked(machine[2]), asked(machine[2])] == [1, 1]


def test_a_damaged_entry_is_asked_for(machine, tmp_path):
    assert asked(machine[2]) == 1
    (entry,) = [x for x in (tmp_path / "cache").rglob("*") if x.is_file()]
    data = bytearray(entry.read_bytes())
    data[-3] ^= 1
    entry.write_bytes(data)
    assert asked(machine[2]) == 1


def test_what_is_remembered_is_what_llvm_says():
    assert known_host(cpu.asked_host, [host.Path(cpu.__file__)]) == cpu.asked_host()
    assert known_host(cpu.asked_host, [host.Path(cpu.__file__)]) == cpu.asked_host()


@pytest.mark.skipif(not host.START.exists(), reason="no word of this machine's start")
def test_a_second_process_loads_neither_llvm_nor_the_compiler(tmp_path):
    environment = {**os.environ, "JIT_CACHE": str(tmp_path / "other"), "JIT_CHECK": "0"}
    command = [sys.executable, "-c", PROGRAM]
    told = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert told[0].split() == ["True", "True", "True", "True"]
    assert told[1].split() == ["True", "False", "False", "False"]


def test_the_largest_cache_that_a_core_stores_to(tmp_path):
    assert largest_cache(tmp_path / "missing") == 0
    caches = [("48K", "Data"), ("64M", "Instruction"), ("1024K", "Unified"), ("32768K", "Unified")]
    for number, (size, kind) in enumerate(caches):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "size").write_text(f"{size}\n")
        (folder / "type").write_text(f"{kind}\n")
    assert largest_cache(tmp_path) == 32 << 20
    for odd in ("", "many", "12", "7Q"):
        (tmp_path / "index3" / "size").write_text(odd)
        assert largest_cache(tmp_path) == 1 << 20
