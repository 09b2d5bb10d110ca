"""`df.profile` on a GPU: the device's own times, what it could do at most, tracks of both."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.comparison import kernels
from dualflow.comparison.profiling import Slice
from jit.runtime import cubin, cuda, gpu_clock
from jit.runtime.gpu_clock import Limits
from jit.target import gpu

TRACKS = ["eager, CPU", "eager, GPU", "compiled, CPU", "compiled, GPU"]


def training():
    df.random.seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).to("gpu:0")
    optimizer = df.optim.SGD(net.parameters(), 0.1)
    x, y = df.randn(4, 6).to("gpu:0"), df.randn(4, 2).to("gpu:0")

    def step(x, y):
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return net, step, x, y


def test_a_step_in_both_modes(machine, tmp_path):
    net, step, x, y = training()
    before = [p.numpy() for p in net.parameters()]
    found = df.profile(step, x, y, repeats=2)
    for a, p in zip(before, net.parameters(), strict=True):
        assert np.array_equal(a, p.numpy())  # state is put back
    for mode in ("eager", "compiled"):
        assert sum(found.share(row, mode) for row in found.rows) == pytest.approx(1)
    assert list(found.tracks) == TRACKS
    assert found.limits == Limits(2 * 1.98e9 * 128 * 132, 2 * 2.619e9 * 5120 / 8)
    events = json.loads(found.save_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert names == TRACKS
    on_gpu = [e for e in events if e.get("tid") == 2 and e["ph"] == "X"]
    ops = [op for e in on_gpu for op in e["args"]["ops"]]
    assert "relu" in ops or "matmul" in ops
    assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-6 for a, b in itertools.pairwise(on_gpu))


def test_kernels_stand_beside_what_is_possible(machine):
    _, step, x, y = training()
    found = df.profile(step, x, y, repeats=1)
    told = found.kernels()
    assert told == sorted(told, key=lambda kernel: -kernel.seconds)
    assert sum(kernel.count for kernel in told) == len(found.slices["compiled"])
    assert all("test_profile.py" in kernel.line for kernel in told)
    assert all(kernel.share is not None and 0 < kernel.share <= 1 for kernel in told)
    assert "of max" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80
    assert "Kernels on the GPU" in found.to_html()


def test_on_the_processor_nothing_is_said_of_a_gpu():
    found = df.profile(lambda x: df.tanh(x @ x), df.ones((8, 8)), repeats=1)
    assert list(found.tracks) == ["eager", "compiled"]
    assert found.limits is None
    assert "of max" not in str(found)


def test_launches_of_one_kernel_are_one_row():
    limits = Limits(operations=1e12, bytes=1e11)
    line = ("a.py:1",)
    slices = [
        Slice("copy", line, ("copy",), 0.0, 1e-3, 5 * 10**7),
        Slice("copy", line, ("copy",), 1e-3, 3e-3, 5 * 10**7),
        Slice("matmul", line, ("matmul",), 4e-3, 1e-2, 1, 10**9),
        Slice("half", line, ("matmul",), 4e-3, 1e-3, 1, 10**10),
        Slice("nothing", line, ("view",), 5e-3, 0.0, 0),
    ]
    product, copy, half, nothing = kernels.of(slices, limits)
    assert product.cells() == ["matmul", "a.py:1", "1", "10.0 ms", "0", "100", "10%"]
    assert (copy.count, copy.bytes) == (2, 10**8)
    assert copy.share == pytest.approx(0.25)
    assert half.share is None  # faster than float32 can be
    assert nothing.cells()[-3:] == ["", "", "0%"]
    many = [Slice(f"k{k}", line, ("op",), 0.0, 1e-3, 1) for k in range(14)]
    assert kernels.text(kernels.of(many, None))[-1] == "2 others take 2.00 ms"


# ----- the device's clock -----


def test_the_clock_starts_when_the_device_is_busy(machine):
    stream = cuda.cupy().cuda.get_current_stream()
    machine.log.clear()
    watch = gpu_clock.Watch(stream)
    watch.stop()
    assert [what for what, *_ in machine.log] == ["launch", "record", "record"]
    assert watch.seconds() > 0


def test_limits_that_the_driver_does_not_tell(machine, monkeypatch):
    def refuses(number, device):
        raise RuntimeError("cudaErrorInvalidValue")

    runtime = cuda.cupy().cuda.runtime
    monkeypatch.setattr(runtime, "deviceGetAttribute", refuses)
    assert gpu_clock.limits(0) is None
    monkeypatch.setattr(runtime, "deviceGetAttribute", lambda number, device: 0)
    assert gpu_clock.limits(0) is None


@pytest.mark.skipif(cubin.linker() is None, reason="nvidia-nvjitlink is not installed")
def test_what_keeps_the_device_busy_is_machine_code():
    for name in ("sm_75", "sm_90", "sm_120"):
        assert cubin.cubin(gpu_clock.SPIN, gpu(name)).startswith(b"\x7fELF")
