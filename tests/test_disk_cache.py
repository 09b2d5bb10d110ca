"""Whatever happens to the disk cache, a program runs on and is right: seen from outside.

Each test starts processes that run one compiled function; what they print is the bits of its
result, and how many kernels were compiled and how many read from the disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jit.runtime.cache import TEMPORARY

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, os, resource, signal
import numpy as np
import dualflow as df
from jit.runtime.library import library

def run():
    f = df.function(lambda x: df.sum(df.tanh(x) * df.exp(-x * x), axis=1), strict=True)
    x = df.asarray(np.linspace(-2, 3, 3000, dtype=np.float32).reshape(30, 100))
    with df.set_mode("compiled"):
        bits = {f(x).numpy().tobytes().hex() for _ in range(3)}
    ways = {way: tally.count for way, tally in library().tallies.items()}
    print(json.dumps([*bits, ways["compiled"], ways["from disk"]]))
"""
RUN = PROGRAM + "run()"


def settings(cache, **environment):
    """The environment of a process that keeps its code in `cache`; None: where users have it."""
    chosen = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "JIT_CHECK": "0", **environment}
    if cache is None:
        return {k: v for k, v in chosen.items() if k not in ("JIT_CACHE", "XDG_CACHE_HOME")}
    return chosen | {"JIT_CACHE": str(cache)}


def start(script, cache, **environment):
    """A process with this script."""
    command = [sys.executable, "-c", script]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=settings(cache, **environment), **out)


def told(process):
    """What a process found: the bits of its result, kernels compiled, kernels read."""
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    bits, compiled, read = json.loads(out)
    return bits, compiled, read


def run(cache, script=RUN, **environment):
    """What one process found."""
    return told(start(script, cache, **environment))


@pytest.fixture(scope="module")
def wanted():
    """The bits, from a process without a cache; they are close to NumPy's."""
    bits, compiled, read = run("off")
    assert compiled > 0
    assert read == 0
    x = np.linspace(-2, 3, 3000, dtype=np.float32).astype(np.float64).reshape(30, 100)
    exact = (np.tanh(x) * np.exp(-x * x)).sum(axis=1)
    np.testing.assert_allclose(np.frombuffer(bytes.fromhex(bits), np.float32), exact, rtol=1e-5)
    return bits, compiled


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "kernels"


def entries(cache):
    """The files of a cache, but for what dead writers left."""
    return sorted(path for path in cache.iterdir() if not TEMPORARY.fullmatch(path.name))


def test_code_is_made_once(cache, wanted):
    bits, count = wanted
    assert run(cache) == (bits, count, 0)
    assert run(cache) == (bits, 0, count)


UNUSED = """
concurrent.futures logging queue llvmlite.binding jit.planner jit.passes.base jit.runtime.beside
jit.runtime.facts jit.loops.text dualflow.core.ulp dualflow.tracing.audit dualflow.tracing.auto
dualflow.tracing.gradient dualflow.tracing.pair dualflow.tracing.residuals
dualflow.tracing.joins.joined dualflow.tracing.joins.cut dualflow.tracing.control.called
""".split()


def test_a_first_call_with_code_on_the_disk_loads_what_it_needs(cache):
    call = "df.function(lambda x: df.sum(df.tanh(x)))(df.asarray(np.ones(3, np.float32)))"
    made = "library().tallies['compiled'].count"
    loaded = (
        f"import sys\n{call}\nprint(*[name for name in {UNUSED} if name in sys.modules], {made})"
    )
    script = PROGRAM.partition("def run")[0] + loaded
    for wanted in (None, "0\n"):
        out, error = start(script, cache, DUALFLOW_MODE="compiled").communicate(timeout=120)
        assert error == ""
        assert wanted in (out, None)


def test_two_processes_at_once(cache, wanted):
    bits, count = wanted
    for process in [start(RUN, cache) for _ in range(2)]:
        found, compiled, read = told(process)
        assert (found, compiled + read) == (bits, count)
    assert run(cache) == (bits, 0, count)


KILLED = (
    PROGRAM
    + """
write = os.write
def half(descriptor, data):
    write(descriptor, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = half
run()
"""
)


@pytest.mark.slow
def test_a_process_killed_while_it_writes(cache, wanted):
    bits, count = wanted
    process = start(KILLED, cache)
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == -signal.SIGKILL
    assert len(list(cache.iterdir())) == 1
    assert entries(cache) == []
    assert run(cache) == (bits, count, 0)
    assert run(cache) == (bits, 0, count)


@pytest.mark.slow
def test_a_disk_that_is_full(cache, wanted):
    """No file may grow at all, as on a full disk; what is there already is read."""
    bits, count = wanted
    full = PROGRAM + "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); run()"
    assert run(cache, full) == (bits, count, 0)
    assert list(cache.iterdir()) == []
    run(cache)
    assert run(cache, full) == (bits, 0, count)


@pytest.mark.slow
def test_a_folder_that_is_read_only(cache, wanted):
    bits, count = wanted
    cache.mkdir(mode=0o500)
    place = "/sys" if os.geteuid() == 0 else cache  # nothing of his own refuses root
    assert run(place) == (bits, count, 0)
    assert list(cache.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/proc/nobody", "file/home"])
def test_a_home_that_is_not_there(home, tmp_path, wanted):
    (tmp_path / "file").write_text("not a folder")
    bits, count = wanted
    assert run(None, HOME=str(tmp_path / home)) == (bits, count, 0)


@pytest.mark.slow
def test_a_byte_of_every_entry_is_another(cache, wanted):
    bits, count = wanted
    run(cache)
    rng = np.random.default_rng(0)
    for path in entries(cache):
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    assert run(cache) == (bits, count, 0)
    assert run(cache) == (bits, 0, count)
