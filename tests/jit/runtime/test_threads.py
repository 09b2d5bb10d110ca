"""The pool of threads: every item once, whatever else happens to the process."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from jit.runtime import openblas, threads
from jit.runtime.program import HostStep, Launch
from jit.runtime.tables import address
from jit.runtime.threads_code import CHUNKS_PER_THREAD, SHARE
from tests.jit.runtime.small import chain, count_up, executable, floats

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="threads need Linux")
pytestmark = linux

FORKS = "ignore:This process:DeprecationWarning"  # Python 3.12 warns of threads at a fork
PRELUDE = """
import ctypes, os, signal, sys, threading, time
import numpy as np
from jit.runtime.program import Launch
from jit.runtime.threads import BUSY, num_threads, pool, set_num_threads
from tests.jit.runtime.small import chain, executable, floats, slow_sum

def thread_count():
    return len(os.listdir('/proc/self/task'))

def shared(x, size=64):
    return chain(3, size, cost=1.0)([x])[0]

x = np.arange(64, dtype=np.float32)
"""


def python(script, environment=(), timeout=60):
    """What a process with this script says; it must end well."""
    settings = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"} | dict(environment)
    ran = subprocess.run(
        [sys.executable, "-W", FORKS, "-c", PRELUDE + script],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stdout, ran.stderr)
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.fixture
def four_threads():
    before = threads.num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


def counting(items, launches):
    """How often each item was counted: `launches` times, if all is well."""
    steps = [HostStep(lambda a: [np.zeros(items, np.float32)], (0,), (1,))]
    steps += [Launch(count_up(items), (1,), cost=1.0)] * launches
    return executable([floats(1), floats(items)], [0], steps, [1])


@pytest.mark.parametrize("items", [1, 2, 3, 15, 16, 17, 1000])
@pytest.mark.usefixtures("four_threads")
def test_every_item_runs_once_in_each_launch(items):
    run = counting(items, 500)
    for _ in range(4):
        np.testing.assert_array_equal(run([np.zeros(1, np.float32)])[0], np.full(items, 500))


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("items", [2, 3, 7, 15, 16, 17, 24, 100, 1568])
@pytest.mark.usefixtures("four_threads")
def test_chunks_become_smaller_so_that_threads_end_at_once(items):
    pool, ranges = threads.pool(), list[tuple[int, int]]()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    record = kind(lambda slots, record, begin, end: ranges.append((begin, end)))
    launch = np.array([ctypes.cast(record, ctypes.c_void_p).value, 0, items, SHARE], np.int64)
    share = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    share(pool.parallel)(pool.block, address(launch), None)
    found, most = sorted(ranges), 4 * CHUNKS_PER_THREAD
    assert [begin for begin, _ in found] == [0, *[end for _, end in found[:-1]]]
    assert found[-1][1] == items
    sizes = [end - begin for begin, end in found]
    assert len(sizes) == min(items, most)
    if items <= most:
        assert sizes == [1] * items
    assert all(a >= b - 1 for a, b in pairwise(sizes))  # but for rounding
    assert sizes[0] <= items / 8 + 1  # half of what each of four threads does
    assert sizes[-1] <= items / most**2 + 1


def test_callers_at_once():
    run, results, start = counting(33, 10_000), [], threading.Barrier(5)

    def caller():
        start.wait()
        results.append(run([np.zeros(1, np.float32)])[0])

    callers = [threading.Thread(target=caller) for _ in range(5)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert len(results) == 5
    for result in results:
        np.testing.assert_array_equal(result, np.full(33, 10_000))


@pytest.mark.usefixtures("four_threads")
def test_the_number_of_threads_may_change_at_any_time():
    run = counting(50, 200)
    for count in (1, 6, 2, 5, 1, 3):
        threads.set_num_threads(count)
        assert threads.num_threads() == count
        np.testing.assert_array_equal(run([np.zeros(1, np.float32)])[0], np.full(50, 200))
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_num_threads(0)


def test_threads_start_with_the_first_launch_that_is_worth_it():
    script = """
at_start = thread_count()
chain(3, 64, cost=1e-12)([x]); few = thread_count()
shared(x); shared(x)
print(num_threads(), few - at_start, thread_count() - at_start)
"""
    assert python(script) == ["3", "0", "2"]


def test_one_thread_starts_none():
    script = "at_start = thread_count(); shared(x); print(num_threads(), thread_count() - at_start)"
    assert python(script, {"OMP_NUM_THREADS": "1"}) == ["1", "0"]


@pytest.mark.parametrize("pause", ["", "time.sleep(0.1)"], ids=["spinning", "parked"])
def test_the_process_ends_well(pause):
    for _ in range(5):
        assert python(f"print(shared(x)[-1]); {pause}") == ["69.0"]


def test_the_process_ends_well_in_the_middle_of_a_launch():
    script = """
run = executable([floats(64)] * 2, [0], [Launch(slow_sum(10**8, 64), (0, 1), cost=1.0)], [1])
threading.Thread(target=lambda: run([x]), daemon=True).start()
time.sleep(0.1)
print('done')
"""
    assert python(script) == ["done"]


def test_a_child_has_threads_of_its_own():
    script = """
shared(x)
child = os.fork()
if child == 0:
    alone = thread_count()
    good = (shared(x) == x + 6).all() and thread_count() == 3 and (shared(x) == x + 6).all()
    os._exit(0 if good and alone == 1 else 1)
print(os.waitpid(child, 0)[1], (shared(x) == x + 6).all(), thread_count())
"""
    assert python(script) == ["0", "True", "3"]


def test_a_child_of_a_process_that_is_computing():
    script = """
run = executable([floats(64)] * 2, [0], [Launch(slow_sum(10**6, 64), (0, 1), cost=1.0)], [1])
expected = run([x])[0]
over = False
def work():
    while not over:
        run([x])
worker = threading.Thread(target=work); worker.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        idle = ctypes.c_int32.from_address(pool().block + BUSY).value == 0
        os._exit(0 if idle and (run([x])[0] == expected).all() else 1)
    print(os.waitpid(child, 0)[1])
over = True; worker.join()
"""
    assert python(script) == ["0"] * 5


def test_an_interrupt_is_handled_after_the_call():
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run = executable([floats(64)] * 2, [0], [Launch(slow_sum(10**7, 64), (0, 1), cost=1.0)], [1])
run([x])
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(1000):
        run([x])
except KeyboardInterrupt:
    print('interrupted', (shared(x) == x + 6).all())
"""
    assert python(script) == ["interrupted", "True"]


def test_threads_take_no_signals():
    script = """
shared(x)
blocked = [line.split()[1] for task in os.listdir('/proc/self/task') if task != str(os.getpid())
           for line in open(f'/proc/self/task/{task}/status') if line.startswith('SigBlk')]
print(len(blocked), all(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in blocked))
print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert python(script) == ["2", "True", "False"]


def test_idle_threads_use_no_time():
    script = """
shared(x); time.sleep(0.05)
start = time.process_time(); time.sleep(0.5); print(time.process_time() - start < 0.02)
"""
    assert python(script) == ["True"]


def test_beside_a_busy_process():
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        run = counting(16, 100)
        for _ in range(5):
            np.testing.assert_array_equal(run([np.zeros(1, np.float32)])[0], np.full(16, 100))
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_results_do_not_depend_on_threads():
    x, run = np.arange(1000, dtype=np.float32), chain(3, 1000, cost=1.0)
    for _ in range(50):
        np.testing.assert_array_equal(run([x])[0], x + 6)


# ----- how many -----


@pytest.mark.parametrize(
    ("said", "count"), [("3", 3), ("5,2", 5), (" 2 ", 2), ("0", 7), ("many", 7), ("", 7)]
)
def test_the_environment_says_how_many(said, count, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    monkeypatch.setattr(threads, "quota", lambda: math.inf)
    assert threads.default_threads() == count


@pytest.mark.parametrize(("quota", "count"), [(0.5, 1), (1.5, 2), (3.0, 3), (99.0, 7)])
def test_a_quota_bounds_the_cores(quota, count, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    monkeypatch.setattr(threads, "quota", lambda: quota)
    assert threads.default_threads() == count


def grouped(tmp_path, members, **files):
    member = tmp_path / "cgroup"
    member.write_text(members)
    for name, text in files.items():
        place = tmp_path / "fs" / name.replace("__", "/").replace("cpu_max", "cpu.max")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return threads.quota(tmp_path / "fs", member)


def test_quotas_of_control_groups(tmp_path):
    assert grouped(tmp_path / "a", "0::/\n") == math.inf if (tmp_path / "a").mkdir() is None else 0
    places = [tmp_path / name for name in "bcd"]
    for place in places:
        place.mkdir()
    assert grouped(places[0], "0::/\n", cpu_max="max 100000\n") == math.inf
    assert grouped(places[0], "0::/\n", cpu_max="250000 100000\n") == 2.5
    nested = {"x__cpu_max": "300000 100000\n", "x__y__cpu_max": "400000 100000\n"}
    assert grouped(places[1], "0::/x/y\n", **nested) == 3
    version_1 = {"cpu__z__cpu.cfs_quota_us": "50000\n", "cpu__z__cpu.cfs_period_us": "100000\n"}
    assert grouped(places[2], "5:cpu,cpuacct:/z\n4:memory:/\n", **version_1) == 0.5


def test_openblas_is_found_and_limited():
    assert openblas.loaded(), "NumPy's wheels for Linux bring OpenBLAS"
    script = """
import ctypes
from jit.runtime import openblas
library = ctypes.CDLL(openblas.loaded()[0])
names = [name.replace('set', 'get') for name in openblas.SETTERS]
ask = next(getattr(library, name) for name in names if hasattr(library, name))
before = ask(); shared(x); print(before, ask())
"""
    assert python(script, {"OPENBLAS_NUM_THREADS": "2"}) == ["2", "1"]
