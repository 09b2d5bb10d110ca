"""The code of several kernels for a GPU is made side by side, and is that of each made alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jit.config import configure
from jit.errors import KernelError
from jit.plans import without_loops
from jit.progress import telling
from jit.runtime import cubin, gpu_code
from jit.target import gpu
from tests.gpu.workloads import WORKLOADS
from tests.jit.stages import Stages

SM90 = gpu("sm_90")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(gpu_code, "_codes", type(gpu_code._codes)())


@pytest.fixture(scope="module")
def kernels():
    names = ("add", "chain", "bias", "rows")
    return [k for name in names for k in Stages(WORKLOADS[name].graph(large=False), SM90).kernels]


def of(kernels):
    return [gpu_code.gpu_code(kernel, SM90) for kernel in kernels]


def test_the_same_code_side_by_side(kernels, tmp_path):
    with configure(cache="off"):
        alone = of(kernels)
        gpu_code._codes.clear()
        with configure(cache=tmp_path):
            gpu_code.prepare([*kernels, *kernels], SM90)
        assert of(kernels) == alone
        assert not gpu_code._making
    assert len([*tmp_path.iterdir()]) == len({code.symbol for code in alone})


def test_the_longest_come_first_and_few_at_a_time(kernels, monkeypatch):
    lengths, left, most = [], [], []
    written, described = gpu_code.written, gpu_code.described

    def begins(key, kernel, target):
        lengths.append(gpu_code.length(kernel))
        most.append(len(lengths) - len(left))
        return written(key, kernel, target)

    def ends(*given):
        left.append(given)
        return described(*given)

    monkeypatch.setattr(gpu_code, "written", begins)
    monkeypatch.setattr(gpu_code, "described", ends)
    monkeypatch.setattr(gpu_code, "AHEAD", 2)
    with configure(cache="off"):
        gpu_code.prepare(kernels, SM90)
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 2
    assert len(left) == len(lengths) == len({*kernels})
    assert max(most) <= 2


def test_nothing_is_made_that_is_on_the_disk(kernels, tmp_path, monkeypatch):
    with configure(cache=tmp_path):
        gpu_code.prepare(kernels, SM90)
        known = of(kernels)
        gpu_code._codes.clear()
        monkeypatch.setattr(cubin, "ptx", lambda *args: pytest.fail("it is on the disk"))
        gpu_code.prepare(kernels, SM90)
        assert of(kernels) == known


def test_code_is_known_by_its_key_alone(kernels, tmp_path, monkeypatch):
    """Of a kernel in a plan that was kept, little is left."""
    keys = {without_loops(kernel): gpu_code.content_key(kernel, SM90) for kernel in kernels}
    with configure(cache=tmp_path):
        assert gpu_code.known(keys) is None
        codes = of(kernels)
        monkeypatch.setattr(cubin, "ptx", lambda *args: pytest.fail("it is there"))
        assert list((gpu_code.known(keys) or {}).values()) == codes
        gpu_code._codes.clear()
        assert list((gpu_code.known(keys) or {}).values()) == codes
        gpu_code._codes.clear()
        (tmp_path / [*keys.values()][-1]).unlink()
        assert gpu_code.known(keys) is None


def test_an_error_is_told_and_nothing_stays(kernels, monkeypatch):
    def refuses(text, target):
        raise KernelError("no", "another one")

    with configure(cache="off"):
        with monkeypatch.context() as patch:
            patch.setattr(cubin, "ptx", refuses)
            with pytest.raises(KernelError, match="no"):
                gpu_code.prepare(kernels, SM90)
            with pytest.raises(KernelError, match="no"):
                of(kernels)
        assert not gpu_code._making
        assert of(kernels)


def test_threads_that_want_the_same_wait_for_one(kernels, monkeypatch):
    made, ptx = [], cubin.ptx
    gate = threading.Barrier(4)

    def counted(text, target):
        made.append(text)
        return ptx(text, target)

    def wanted(_):
        gate.wait()
        return of(kernels)

    monkeypatch.setattr(cubin, "ptx", counted)
    with configure(cache="off"), ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(wanted, range(4))
    assert all(other == first for other in others)
    assert len(made) == len(set(made)) == len({code.symbol for code in first})


def test_progress_is_told_kernel_by_kernel(kernels):
    told = []
    with configure(cache="off"), telling(lambda *item: told.append(item)):
        gpu_code.prepare(kernels, SM90)
    assert told == [("compiling kernels", k, len(kernels)) for k in range(len(kernels))]


def test_who_is_told_may_end_it(kernels):
    def ends(phase, done, count):
        if done == 1:
            raise KeyboardInterrupt

    with configure(cache="off"):
        with pytest.raises(KeyboardInterrupt), telling(ends):
            gpu_code.prepare(kernels, SM90)
        assert of(kernels)
