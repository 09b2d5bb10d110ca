"""On a real GPU: ops and programs give what the CPU gives, eagerly and compiled.

Each result is held against the CPU's: the same bits, two units in the last place, or as near as
sums in another order are. `python -m tests.gpu.run` runs all of it, and counts which.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.core import doors
from dualflow.core.ulp import ulp_distance
from dualflow.errors import IndexError
from jit.errors import DeviceError
from jit.runtime import cuda
from tests.ops import laws
from tests.ops.laws import same_bits
from tests.samples import SAMPLES

pytestmark = pytest.mark.gpu
DEVICE = "gpu:0"
MOST = 6  # samples of a function
LEAST = np.array([1e-2])  # below it rounding counts as if it were so large
LOG = os.environ.get("DUALFLOW_GPU_LOG")


@pytest.fixture(autouse=True)
def device(monkeypatch):
    if (why := missing()) is not None:
        pytest.skip(why)
    monkeypatch.setattr(doors, "_told", {"before"})


@functools.cache
def missing():
    """Why there is no GPU here; None if there is one."""
    try:
        cuda.cupy()
    except DeviceError as error:
        return error.what
    return None


def nearness(a, b):
    """How near two arrays are."""
    if same_bits(a, b):
        return "same bits"
    alike = laws.kind(a.dtype) == "floating" and (a.shape, a.dtype) == (b.shape, b.dtype)
    return "within 2 ulp" if alike and ulp_distance(a, b).max(initial=0) <= 2 else "near"


def check(ours, theirs, case, what, rtol=64):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.device == DEVICE, case
        a, b = a.numpy(), b.numpy()
        near = nearness(a, b)
        if LOG:
            with open(LOG, "a") as log:
                log.write(json.dumps([str(case), what, near]) + "\n")
        if near != "near":
            continue
        assert laws.kind(a.dtype) not in ("bool", "integer"), f"{case}, {what}: {a} not {b}"
        inner = [x.dtype for x in case.arrays if laws.kind(x.dtype) in ("floating", "complex")]
        rounding = max(map(laws.rounding, (a.dtype, *inner)))
        laws.assert_close(a, b, rtol * rounding, f"{case}, {what}", [LEAST.astype(b.dtype)])


def on(device, case, wrap=lambda f: f, times=1):
    """The results of a case whose arrays lie on a device; those without arrays are made there."""
    call = wrap(case.call)
    for _ in range(times):
        laws.seed()
        tensors = [x.to(device) for x in case.tensors()]
        with df.device(device):
            found = laws.tensors_of(call(*tensors))
    return found


def cases(name):
    for dtype, count in ((None, MOST), ("float64", 1), *((other, 1) for other in laws.OTHERS)):
        yield from list(laws.cases(name, dtype))[:count]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_eager(name):
    for case in cases(name):
        check(on(DEVICE, case), on("cpu", case), case, "eager")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_compiled(name):
    for case in cases(name):
        found = on(DEVICE, case, df.function, 2)
        check(found, on("cpu", case), case, "compiled")
        for a, b in zip(found, on(DEVICE, case), strict=True):
            assert same_bits(a.numpy(), b.numpy()), f"{case}: {a} compiled, {b} eager"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_gradients(name):
    for case in list(laws.differentiable(name, None))[:2]:
        check(derived(DEVICE, case), derived("cpu", case), case, "gradients", 1e3)


def derived(device, case):
    """Cotangents and the tangent of a case, computed on a device."""
    primals = [x.to(device) for x in case.primals()]

    def function(*wanted):
        values = [x.to(device) for x in case.tensors()]
        for k, x in zip(case.wanted, wanted, strict=True):
            values[k] = x
        laws.seed()
        return laws.flat(case.call(*values))

    with df.device(device):
        pull = df.vjp(function, *primals)[1]
        tangents = [df.ones_like(x) for x in primals]
        cotangents = pull(laws.cotangent(case).to(device))
        return [*cotangents, df.jvp(function, primals, tangents)[1]]


# ----- programs -----


def mlp():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 10)), (20,)


def convolutions():
    layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * 14 * 14, 10)), (1, 28, 28)


def normalised():
    return nn.Sequential(nn.Linear(20, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 10)), (20,)


def losses(build, device, wrap, steps=12):
    df.random.seed(3)
    model, shape = build()
    model.to(device)
    optimizer = df.optim.Adam(model.parameters(), 1e-2)
    generator = np.random.default_rng(0)
    x = df.asarray(generator.normal(size=(16, *shape)).astype(np.float32), device=device)
    y = df.asarray(generator.integers(0, 10, 16), device=device)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = wrap(step)
    return [step(x, y).item() for _ in range(steps)], step


@pytest.mark.parametrize("build", [mlp, convolutions, normalised])
def test_training(build):
    wanted = losses(build, "cpu", lambda f: f)[0]
    eager = losses(build, DEVICE, lambda f: f)[0]
    compiled, step = losses(build, DEVICE, df.function)
    assert eager == pytest.approx(wanted, rel=2e-4)
    assert compiled == pytest.approx(eager, rel=1e-5)
    assert step.mode == "compiled"


def test_a_bad_index_is_an_error_at_its_line():
    x, index = df.ones((4, 2), device=DEVICE), df.asarray([0, 9], device=DEVICE)
    with pytest.raises(IndexError):
        df.take(x, index, axis=0)
    f = df.function(lambda x, index: df.take(x, index, axis=0).sum())
    assert f(x, df.asarray([0, 1], device=DEVICE)).item() == 4.0
    for _ in range(2):
        with pytest.raises(IndexError, match="test_device"):
            f(x, index)
    assert f(x, df.asarray([0, 1], device=DEVICE)).item() == 4.0


def test_guards_loops_and_host_steps():
    def f(x):
        y = (x * 2.0).sum()
        for _ in range(9):
            x = df.tanh(x * 1.5) + 0.25
        x = df.sort(x, axis=-1)
        return x + 1.0 if y > 0 else x - 1.0

    g = df.function(f)
    for k in range(6):
        x = df.linspace(-1.0, 2.0, 12) * (1.0 if k % 2 else -1.0)
        np.testing.assert_allclose(g(x.to(DEVICE)).numpy(), f(x).numpy(), rtol=1e-5, atol=1e-6)


def test_replays_read_and_write_where_they_should():
    w = df.Variable(df.zeros(70_000, device=DEVICE), trainable=False)

    @df.function
    def step(x):
        w.assign_add(x * 2.0)
        return df.tanh(x * 0.5), (w * x).sum()

    kept = []
    for k in range(12):
        y, s = step(df.full((70_000,), float(k), device=DEVICE))
        kept.append((y, s, float(k)))
    total = 0.0
    for y, s, k in kept:
        total += 2.0 * k
        assert y[5].item() == pytest.approx(np.tanh(0.5 * k), rel=1e-6)
        assert s.item() == pytest.approx(70_000 * total * k, rel=1e-5)
    assert w[3].item() == total


def test_random_numbers_are_those_of_the_cpu():
    df.random.seed(5)
    wanted = [df.random.uniform((100,)).numpy(), df.random.normal((100,)).numpy()]
    df.random.seed(5)
    with df.device(DEVICE):
        found = [df.random.uniform((100,)).numpy(), df.random.normal((100,)).numpy()]
    assert np.array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-6)


def test_threads():
    f = df.function(lambda x: (df.tanh(x @ x) @ x).sum(axis=0))
    inputs = [df.asarray(np.eye(32, dtype=np.float32) * k, device=DEVICE) for k in range(4)]
    wanted = [f(x).numpy() for x in inputs]
    wrong = []

    def work(k):
        for _ in range(50):
            if not np.array_equal(f(inputs[k]).numpy(), wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_another_stream():
    cupy = cuda.cupy()
    f = df.function(lambda x: (df.tanh(x @ x) @ x).sum(axis=0))
    x = df.asarray(np.eye(64, dtype=np.float32), device=DEVICE)
    for _ in range(3):
        wanted = f(x).numpy()
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        found = f(x).raw
        stream.synchronize()
    assert np.array_equal(found.get(), wanted)


def test_out_of_memory_leaves_all_usable():
    x = df.ones((1000,), device=DEVICE)
    with pytest.raises(df.errors.OutOfMemoryError, match="tensors hold"):
        df.tanh(df.reshape(x, (1000, 1)) + df.zeros((1, 10**9), device=DEVICE))
    assert df.tanh(x).sum().item() == pytest.approx(1000 * np.tanh(1.0), rel=1e-5)


def test_interchange_with_cupy():
    cupy = cuda.cupy()
    theirs = cupy.arange(6, dtype=cupy.float32)
    ours = df.asarray(theirs, copy=False)
    theirs += 1
    assert ours.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    back = cupy.from_dlpack(ours)
    assert back.data.ptr == theirs.data.ptr
    assert cupy.asarray(ours).data.ptr == theirs.data.ptr


def test_interchange_with_torch():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    theirs = torch.arange(4, dtype=torch.float32, device="cuda")
    ours = df.asarray(theirs, copy=False)
    assert ours.device == DEVICE
    theirs += 1
    torch.cuda.synchronize()
    assert ours.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert torch.from_dlpack(ours).data_ptr() == theirs.data_ptr()


def test_interchange_with_jax(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = pytest.importorskip("jax", exc_type=ImportError)
    theirs = jax.device_put(np.arange(4, dtype=np.float32), jax.devices()[0]).block_until_ready()
    ours = df.asarray(theirs, copy=False)
    assert (ours.device, ours.tolist()) == (DEVICE, [0.0, 1.0, 2.0, 3.0])
    assert ours.raw.data.ptr == theirs.unsafe_buffer_pointer()
    made = df.tanh(ours) + 1.0
    back = jax.dlpack.from_dlpack(made)
    assert back.unsafe_buffer_pointer() == made.raw.data.ptr
    np.testing.assert_array_equal(np.asarray(back), made.numpy())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_brings_batches_while_a_model_computes(workers):
    x = np.arange(4096 * 64, dtype=np.float32).reshape(4096, 64)
    data = df.data.TensorDataset(df.asarray(x), df.arange(4096))
    loader = df.data.DataLoader(data, 256, num_workers=workers, device="gpu")
    step = df.function(lambda x: (df.tanh(x * 1e-3) @ x.mT).sum() * 0.0 + x.sum())
    for _ in range(3):
        sums, places = [], []
        for rows, numbers in loader:
            sums.append(step(rows))
            places.append(numbers)
        assert [p.device for p in places] == [DEVICE] * 16
        assert np.concatenate([p.numpy() for p in places]).tolist() == [*range(4096)]
        wanted = [x[k : k + 256].sum(dtype=np.float64) for k in range(0, 4096, 256)]
        np.testing.assert_allclose([s.item() for s in sums], wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_a_table_are_summed_in_order(dtype):
    rng = np.random.default_rng(0)
    table = df.asarray(rng.normal(size=(700, 192)).astype(np.float32)).astype(dtype)
    g = df.asarray(rng.normal(size=(900, 192)).astype(np.float32)).astype(dtype)
    words = df.asarray(rng.integers(0, 700, 900) // 3)

    def slope(table, words, g):
        return df.vjp(lambda table: df.take(table, words, axis=0), table)[1](g)[0]

    wanted, f = slope(table, words, g), df.function(slope)
    for x in (slope, f, f, f):
        found = x(*[y.to(DEVICE) for y in (table, words, g)])
        assert same_bits(found.numpy(), wanted.numpy())


@pytest.mark.parametrize("width", [1, 3, 5, 8])
def test_rows_of_a_stack_begin_anywhere(width):
    def body(carry, row):
        carry = df.tanh(carry + row)
        return carry, (carry * 2.0, row.sum())

    x = df.sin(df.arange(7.0 * width)).reshape(7, width)
    f = df.function(lambda x: df.scan(body, x[0], x))
    for _ in range(3):
        carry, (rows, sums) = f(x.to(DEVICE))
    wanted, (others, totals) = df.scan(body, x.to(DEVICE)[0], x.to(DEVICE))
    for a, b in ((carry, wanted), (rows, others), (sums, totals)):
        assert a.numpy().tobytes() == b.numpy().tobytes()


# ----- what spoils a process, in processes of their own -----


def said_by(script, folder, **environment):
    """What a script writes; its first line is here."""
    path = folder / "script.py"
    path.write_text("import os, cupy, numpy as np, dualflow as df\n" + script)
    ran = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    lines = (ran.stdout + ran.stderr).splitlines()
    return " | ".join([x for x in lines if not x.startswith("#")])


def test_a_forked_process_is_told(tmp_path):
    out = said_by(
        "df.ones(3, device='gpu').sum().item()\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        df.ones(3, device='gpu')\n"
        "    except df.errors.DeviceError as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(df.ones(3, device='gpu').sum().item())\n",
        tmp_path,
    )
    assert "was forked from one that uses the GPU" in out, out
    assert "spawn" in out, out
    assert "3.0" in out.split(" | "), out


BROKEN = """
memory = cupy.cuda.UnownedMemory(1 << 44, 4096, None, 0)
nowhere = cupy.ndarray((1024,), "f", cupy.cuda.MemoryPointer(memory, 0))
x = df.asarray(nowhere, copy=False)

def f(x):
    y = df.ones((4, 1024), device="gpu") * 2.0
    return (df.tanh(x * y)).sum()

try:
    WAY(f)(x).item()
except df.errors.DeviceError as error:
    print("told:", error, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("way", ["", "df.function"])
def test_an_error_of_the_gpu_is_told_at_its_line(way, tmp_path):
    blocking = {"JIT_DEBUG": "2", "CUDA_LAUNCH_BLOCKING": "1"}
    out = said_by(BROKEN.replace("WAY", way), tmp_path, **blocking)
    assert "told:" in out, out
    assert "illegal" in out.lower() or "IllegalAddress" in out, out
    assert "script.py:9" in out, out
