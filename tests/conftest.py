"""What all tests share: seeds, hypothesis profiles, golden files, and the two modes."""

from __future__ import annotations

import gc
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("JIT_CHECK", "1")  # every graph is verified around each pass
MEMORY = Path("/dev/shm")  # where Linux has files without a disk
ROOM = 2 << 30


def new_cache() -> str:
    """A folder in memory, where there is room: a run writes a hundred thousand small files."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None
    for left in place.glob("dualflow-tests-*") if place else ():  # by runs that were killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"dualflow-tests-{os.getpid()}-", dir=place)


# Compiled kernels are shared by the workers of one run, and never with the user's programs.
CACHE = None if "JIT_CACHE" in os.environ else new_cache()
os.environ.setdefault("JIT_CACHE", CACHE or "")
GOLDEN = Path(__file__).parent / "golden"

# A loaded machine is slow, not wrong: no deadlines, no health check on speed.
settings.register_profile(
    "default",
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", settings.get_profile("default"), max_examples=2000, derandomize=False, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    # Many tests record often on purpose. Not in pyproject.toml, which pytest reads before this
    # file: it would import dualflow before the variables above are set.
    config.addinivalue_line("filterwarnings", "ignore::dualflow.errors.RetraceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what does not hold in the mode of this run: see the marks in tests/modes.py."""
    mode = os.environ.get("DUALFLOW_MODE", "compiled")
    for item in items:
        for marker in item.iter_markers("modes"):
            if mode not in marker.args:
                reason = f"DUALFLOW_MODE={mode}; it is about {' and '.join(marker.args)} calls"
                item.add_marker(pytest.mark.skip(reason=reason))
                break


def pytest_unconfigure() -> None:
    if CACHE is not None:  # workers find the variable set: only who made the folder is here
        shutil.rmtree(CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the files of tests/golden anew instead of comparing with them",
    )


@pytest.fixture(autouse=True)
def seed() -> int:
    """The seed that every generator starts a test from."""
    random.seed(0)
    np.random.seed(0)
    # Tests of jit alone never import dualflow, and need none of its seeds.
    if (samplers := getattr(sys.modules.get("dualflow"), "random", None)) is not None:
        samplers.seed(0)
    return 0


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and collected tests stay: garbage is looked for in what tests make only.

    To visit all of them takes half a second each time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)  # it shall seldom run: most goes without it
        gc.enable()


thawed: list[bool] = []  # whether a test of this file has asked for referrers


def all_referrers(*things: object, find: Callable[..., list[Any]] = gc.get_referrers) -> list[Any]:
    """`gc.get_referrers`, which does not look into what is frozen."""
    thawed[:] = [True]
    gc.unfreeze()
    return find(*things)


referrers, gc.get_referrers = gc.get_referrers, all_referrers


@pytest.fixture(scope="module")
def own_holders() -> Iterator[None]:
    """What these tests keep, they keep in what they made: to look at all else takes longest."""
    gc.freeze()
    gc.get_referrers = referrers
    yield
    gc.get_referrers = all_referrers


FORGETTING = (
    "jit.planner",
    "dualflow.core.kernels",
    "dualflow.tracing.segments",
    "dualflow.tracing.sweeps",
    "tests.ops.compiled",
)


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Kernels of one file's tests do not outlive it: collecting garbage would visit them all."""
    yield
    for name in FORGETTING:
        if (module := sys.modules.get(name)) is not None:
            module.forget()
    if thawed:
        thawed.clear()
        gc.freeze()


GRAPHS = pytest.mark.modes("compiled", "audit")


@pytest.fixture(scope="session", params=["eager", pytest.param("compiled", marks=GRAPHS)])
def mode(request: pytest.FixtureRequest) -> str:
    """The word for one of the two modes: a test that asks for it runs once in each."""
    return request.param


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with tests/golden/<name>.txt, or write that file under --update-golden."""
    update = request.config.getoption("--update-golden")
    return lambda name, text: check_golden(GOLDEN / f"{name}.txt", text, update=update)


def check_golden(path: Path, text: str, *, update: bool) -> None:
    """Fail unless `path` holds `text`; a final newline does not count."""
    text = text.rstrip("\n") + "\n"
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    if not path.exists():
        pytest.fail(f"tests/golden/{path.name} is missing: run `make golden` and read the diff")
    expected = path.read_text(encoding="utf-8")
    assert text == expected, f"tests/golden/{path.name} differs; if that is right: `make golden`"
