"""The library: one piece of code for one content, from memory, from the disk, or made."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jit.codegen.llvm import emit
from jit.config import configure
from jit.loops.ir import INDEX, Buffer, Kernel, Lit, Var, VType
from jit.loops.writer import Writer
from jit.runtime import library as module
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host_target as host
from jit.runtime.library import Library, content_key, library, toolchain
from jit.target import LEVELS
from jit.types import float32

ROOT = Path(__file__).parents[3]
ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)


def plus(number: float, name: str = "plus", hint: str = "x") -> Kernel:
    """x[i] += number."""
    write, item = Writer(), Var(INDEX, "i")
    x = Buffer(hint, float32, access="inout")
    y = write.let("add", write.load(x, item), Lit(number, VType(float32)))
    write.store(x, item, y)
    return Kernel(name, (x,), (), 100, item, tuple(write.body))


def run(address: int, values: list[float]) -> list[float]:
    """What the code at `address` makes of one buffer."""
    x = np.array(values, np.float32)
    slots = (ctypes.c_int64 * 2)(0, x.ctypes.data)
    record = (ctypes.c_int64 * 1)(1)
    ENTRY(address)(ctypes.addressof(slots), ctypes.addressof(record), 0, len(x))
    return x.tolist()


def counts(books: Library) -> dict[str, int]:
    return {way: tally.count for way, tally in books.tallies.items()}


def traffic(memory: int = 0, disk: int = 0, compiled: int = 0) -> dict[str, int]:
    linked = disk + compiled
    return {"in memory": memory, "from disk": disk, "compiled": compiled, "linked": linked}


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """A disk cache for each test."""
    with configure(cache=tmp_path / "kernels", debug=0, dump=None):
        yield tmp_path / "kernels"


@pytest.fixture
def books() -> Library:
    return Library(emit)


# ----- finding -----


def test_code_is_made_once_then_found_in_memory_then_on_the_disk(books):
    address = books.address(plus(1), host())
    assert run(address, [1, 2, 3]) == [2, 3, 4]
    assert counts(books) == traffic(compiled=1)
    assert books.address(plus(1), host()) == address
    assert counts(books) == traffic(memory=1, compiled=1)

    later = Library(None)  # whatever it has to compile is an error
    assert run(later.address(plus(1), host()), [1, 2, 3]) == [2, 3, 4]
    assert counts(later) == traffic(disk=1)
    assert all(tally.seconds > 0 for tally in books.tallies.values() if tally.count)


def test_several_at_once_in_their_order(books):
    first = books.address(plus(2), host())
    wanted = [plus(3), plus(1), plus(2), plus(3), plus(4)]
    addresses = books.addresses(wanted, host())
    assert [run(address, [0]) for address in addresses] == [[3], [1], [2], [3], [4]]
    assert addresses[2] == first
    assert addresses[0] == addresses[3]
    assert len(books) == 4
    assert counts(books) == traffic(memory=1, compiled=4)
    assert books.addresses([], host()) == []


def test_names_make_no_difference(books):
    address = books.address(plus(1), host())
    assert books.address(plus(1, name="other", hint="y"), host()) == address
    assert len(books) == 1


def test_content_target_and_tools_do(monkeypatch):
    levels = [replace(host(), cpu=cpu, vector_bytes=width) for cpu, width, _ in LEVELS.values()]
    kernels = [plus(1), plus(2), plus(0.0), plus(-0.0), plus(float("nan")), plus(float("inf"))]
    keys = {content_key(kernel, target) for kernel in kernels for target in levels}
    assert len(keys) == len(kernels) * len(levels)
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)
    before = content_key(plus(1), host())
    assert content_key(plus(1), host()) == before
    monkeypatch.setattr(module, "toolchain", lambda: "another")
    assert content_key(plus(1), host()) != before


def test_the_tools_are_their_versions_and_their_source(monkeypatch):
    import llvmlite

    import jit

    for version in (jit.__version__, llvmlite.__version__):
        assert version in toolchain()
    before = toolchain()
    monkeypatch.setattr(module, "SOURCES", (*module.SOURCES, "types.py"))
    assert toolchain.__wrapped__() != before
    for pattern in module.SOURCES:
        assert list((ROOT / "jit").glob(pattern)), pattern


def test_two_hundred_rebuilds_leave_one_piece_of_code(books):
    for _ in range(200):
        books.addresses([plus(1), plus(2)], host())
    assert len(books) == 2
    assert counts(books) == traffic(memory=398, compiled=2)
    assert books.tallies["linked"].count == 2


def test_code_that_nobody_uses_is_unloaded(books, monkeypatch):
    monkeypatch.setattr(module, "RECENT", 1)
    kept = books.address(plus(1), host())
    for k in range(2, 9):
        assert run(books.address(plus(k), host()), [1]) == [1 + k]
    gc.collect()
    assert len(books) == 2  # what is held, and the last one
    assert 0 < books.bytes < 20_000
    assert run(kept, [1]) == [2]
    assert run(books.address(plus(3), host()), [1]) == [4]


# ----- trouble -----


def test_without_a_disk_cache_code_is_made(books):
    with configure(cache="off"):
        assert run(books.address(plus(1), host()), [1]) == [2]
        assert run(Library(emit).address(plus(1), host()), [1]) == [2]
    assert counts(books) == traffic(compiled=1)


def test_a_damaged_entry_is_made_anew(books, folder):
    books.addresses([plus(1), plus(2)], host())
    damaged = folder / content_key(plus(1), host())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    later = Library(emit)
    assert [run(at, [1]) for at in later.addresses([plus(1), plus(2)], host())] == [[2], [3]]
    assert counts(later) == traffic(disk=1, compiled=1)
    last = Library(None)
    last.addresses([plus(1), plus(2)], host())
    assert counts(last) == traffic(disk=2)


@pytest.mark.parametrize("junk", [b"", b"no object file", None], ids=["empty", "junk", "stranger"])
def test_an_entry_that_does_not_link_is_made_anew(books, junk):
    books.address(plus(2), host())
    key, other = content_key(plus(1), host()), content_key(plus(2), host())
    disk_cache().put(key, disk_cache().get(other) if junk is None else junk)
    later = Library(emit)
    addresses = later.addresses([plus(1), plus(2), plus(3)], host())
    assert [run(at, [1]) for at in addresses] == [[2], [3], [4]]
    last = Library(None)
    last.addresses([plus(1), plus(2), plus(3)], host())
    assert counts(last) == traffic(disk=3)


def test_an_error_of_the_compiler_is_raised_and_leaves_the_library_as_it_was(books):
    def broken(kernel, target):
        raise ValueError("no such instruction")

    with pytest.raises(ValueError, match="no such instruction"):
        Library(broken).address(plus(1), host())
    with pytest.raises(RuntimeError, match="expected"):
        Library(lambda kernel, target: "nonsense").address(plus(1), host())
    assert run(books.address(plus(1), host()), [1]) == [2]


def test_threads_that_want_the_same_code_make_it_once(books):
    found, start = [], threading.Barrier(4)

    def ask():
        with configure(cache="off"):
            start.wait()
            found.append(books.addresses([plus(1), plus(2), plus(3)], host()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(addresses) for addresses in found}) == 1
    assert books.tallies["compiled"].count == 3
    assert books.tallies["linked"].count == 3


class Slow:
    """A compiler that waits at a kernel until it may go on; then it fails, or does not."""

    def __init__(self, *, fails: bool = False) -> None:
        self.begun, self.go_on, self.fails = threading.Event(), threading.Event(), fails

    def __call__(self, kernel, target):
        if kernel.name == "slow" and not self.begun.is_set():
            self.begun.set()
            assert self.go_on.wait(20)
            if self.fails:
                raise KeyError(kernel.name)
        return emit(kernel, target)


def asking(books, kernels, found):
    """A thread that asks for code, and finds it or an error."""

    def ask():
        with configure(cache="off"):
            try:
                found.append(books.addresses(kernels, host()))
            except KeyError as error:
                found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_thread_gets_its_code_while_another_is_at_something_long():
    slow, found = Slow(), []
    books = Library(slow)
    thread = asking(books, [plus(1, name="slow"), plus(2)], found)
    assert slow.begun.wait(20)
    with configure(cache="off"):
        assert run(books.address(plus(3), host()), [1]) == [4]
    assert found == []  # the other one goes on only now
    slow.go_on.set()
    thread.join()
    assert [run(at, [1]) for at in found[0]] == [[2], [3]]
    assert counts(books)["compiled"] == 3


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_for_the_code_of_another_makes_it_where_that_one_gave_up(fails):
    slow, found = Slow(fails=fails), []
    books = Library(slow)
    first = asking(books, [plus(1, name="slow")], found)
    assert slow.begun.wait(20)
    second = asking(books, [plus(1), plus(2)], found)
    with configure(cache="off"):
        while not books.tallies["compiled"].count:  # plus(2), which nobody else is at
            threading.Event().wait(0.001)
    slow.go_on.set()
    first.join()
    second.join()
    addresses = [x for x in found if not isinstance(x, KeyError)]
    assert len(addresses) == (1 if fails else 2)
    assert all(run(at[0], [1]) == [2] for at in addresses)
    assert counts(books)["compiled"] == 2


def test_a_fork_waits_for_the_code_that_is_being_made(monkeypatch):
    script = """
import os, threading, time
from jit.codegen.llvm import emit
from jit.runtime.cpu import host_target as host
from jit.runtime.library import library
from tests.jit.runtime.test_library import plus, run
def slowly(kernel, target):
    begun.set()
    time.sleep(0.3)
    return emit(kernel, target)
begun, books = threading.Event(), library()
books._compiler = slowly
threading.Thread(target=books.address, args=(plus(1), host())).start()
begun.wait()
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    assert len(books) == 1
    books._compiler = emit
    assert run(books.address(plus(2), host()), [1]) == [3]
    os._exit(0)
"""
    environment = os.environ | {"JIT_CACHE": "off"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60)


def test_the_process_has_one_that_makes_code_of_any_instruction():
    assert library() is library()
    write, item = Writer(), Var(INDEX, "i")
    x = Buffer("x", float32, access="inout")
    write.store(x, item, write.let("sign", write.load(x, item)))
    kernel = Kernel("sign", (x,), (), 100, item, tuple(write.body))
    assert run(library().address(kernel, host()), [-3, 0, 5]) == [-1, 0, 1]


# ----- the ladder -----


STAGES = ["kernel", "schedule", "LLVM IR", "assembly"]


def lines(capsys) -> list[str]:
    return re.sub(r"[\d.]+ ms", "T ms", capsys.readouterr().err).splitlines()


def test_level_1_tells_of_code_that_is_made_and_level_2_of_code_that_is_read(books, capsys):
    with configure(debug=1):
        books.addresses([plus(1), plus(2, name="second")], host())
        books.address(plus(1), host())
        assert lines(capsys) == [
            "# kernel plus: compiled, T ms",
            "# kernel second: compiled, T ms",
        ]
        Library(emit).address(plus(1), host())
        assert lines(capsys) == []
    with configure(debug=2):
        Library(emit).address(plus(1), host())
        assert lines(capsys) == ["# kernel plus: from disk, T ms"]


@pytest.mark.parametrize("level", [3, 4, 5, 6])
def test_levels_4_to_6_show_the_stages(books, capsys, level):
    with configure(debug=level):
        books.address(plus(1), host())
    said = capsys.readouterr().err
    headings = re.findall("# kernel plus: (kernel|schedule|LLVM IR|assembly)\n", said)
    assert headings == STAGES[: (0, 2, 3, 4)[level - 3]]
    assert (str(plus(1)) in said) == (level >= 4)
    assert ("define void @k_" in said) == (level >= 5)
    assert ("retq" in said or "\tret" in said) == (level >= 6)


def test_the_stages_are_shown_wherever_the_code_comes_from(books, capsys):
    books.address(plus(1), host())
    for each in (books, Library(emit)):
        with configure(debug=5):
            each.address(plus(1), host())
        assert "LLVM IR\n" in capsys.readouterr().err


def test_dump_writes_each_stage_into_a_folder_of_the_kernel(books, tmp_path, capsys):
    with configure(dump=tmp_path / "dump"):
        books.addresses([plus(1, name="a/b"), plus(2)], host())
        books.address(plus(1, name="a/b"), host())
    assert capsys.readouterr().err == ""
    files = sorted(tmp_path.glob("dump/kernels/*/*"))
    assert [re.sub("-[0-9a-f]{8}/", "/", str(file.relative_to(tmp_path))) for file in files] == [
        f"dump/kernels/{name}/{file}"
        for name in ("a_b", "plus")
        for file in ("00-kernel.txt", "01-schedule.txt", "02-llvm.ll", "03-assembly.s")
    ]
    assert files[4].read_text() == f"{plus(2)}\n"
