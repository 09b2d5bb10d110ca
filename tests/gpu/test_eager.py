"""Tensors on a device: where they are made, what moves them, what is refused, who may read them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.core import backend, gpu_kernels
from dualflow.errors import DeviceError
from dualflow.optim import together
from dualflow.tracing import sweeps
from jit.runtime import cuda
from tests.gpu import cupy_names, standin
from tests.modes import bits


def test_a_device_holds_for_a_block_and_for_a_function(machine):
    with df.device("gpu"):
        assert df.zeros(2).device == df.asarray([1.0]).device == df.arange(3).device == "gpu:0"
        with df.device("gpu:1"):
            assert df.randn(2).device == "gpu:1"
        assert df.Variable([1.0]).device == "gpu:0"
        assert df.asarray(np.ones(2)).device == "gpu:0"
    assert df.zeros(2).device == "cpu"

    @df.device("gpu:1")
    def made():
        return df.eye(2)

    assert made().device == "gpu:1"
    assert made.__name__ == "made"


def test_each_creation_function_takes_a_device(machine):
    x = df.ones(2)
    made = [df.full((2,), 1.0, device="cuda:1"), df.zeros_like(x, device="gpu:1")]
    assert {y.device for y in made} == {"gpu:1"}
    assert df.zeros_like(made[0]).device == "gpu:1"
    assert df.asarray([1.0], device="cpu").device == "cpu"


def moved(machine):
    return machine.counts["to host"], machine.counts["to device"]


def test_only_what_is_asked_for_moves(machine):
    x = df.asarray([[1.0, 2.0], [3.0, 4.0]]).to("gpu")
    assert x.to("gpu:0") is x
    for _ in range(2):  # numbers move once
        before = moved(machine)
        y = df.tanh(x @ x.T + 1.0).sum(axis=0)
    assert moved(machine) == before
    assert y.to("cpu").device == "cpu"
    assert moved(machine) == (before[0] + 1, before[1])


@pytest.mark.parametrize("other", ["cpu", "gpu:1"])
def test_two_devices_do_not_meet(other, machine):
    x, y = df.ones((2, 3)).to("gpu:0"), df.ones(3).to(other)
    with pytest.raises(DeviceError) as told:
        x + y
    message = str(told.value)
    assert f"add: argument 1, float32[2,3], lies on gpu:0; argument 2, float32[3], lies on {other}"
    assert "argument 1, float32[2,3], lies on gpu:0" in message
    assert f"argument 2, float32[3], lies on {other}" in message
    assert 'x.to("gpu:' in message


def test_numbers_go_anywhere_and_arrays_do_not(machine):
    x = df.ones(3, device="gpu")
    assert (x * 2 + 1.5).tolist() == [3.5] * 3
    assert df.where(x > 0, 1.0, 2.0).device == "gpu:0"
    assert x[[0, 2]].device == x.at[1].set(5.0).device == "gpu:0"
    with pytest.raises(DeviceError):
        x + np.ones(3, np.float32)


def test_assigning_does_not_move(machine):
    w = df.Variable([1.0, 2.0], name="w")
    with pytest.raises(DeviceError, match="Variable 'w' lies on cpu, the value on gpu:0"):
        w.assign(df.zeros(2, device="gpu"))
    v = df.Variable(df.zeros(2, device="gpu"))
    assert v.assign([3.0, 4.0]).device == v.assign(np.ones(2, np.float32)).device == "gpu:0"


def test_values_come_out(machine):
    x = df.asarray([[1.5, 2.0]], device="gpu")
    assert x.tolist() == [[1.5, 2.0]]
    assert type(x.numpy()) is np.ndarray
    assert x[0, 0].item() == float(x[0, 0]) == 1.5
    assert bool(x[0, 1] == 2.0)
    assert int(x.sum()) == 3
    assert "device=gpu:0" in repr(x)
    assert np.array(x).tolist() == x.tolist()
    assert f"{x[0, 0]:.2f}" == "1.50"
    assert (x == df.ones((1, 2), device="gpu")).tolist() == [[False, False]]


def test_pickles_are_read_anywhere(machine):
    v = df.Variable(df.ones(2, device="gpu"), name="v")
    tensor, variable = pickle.loads(pickle.dumps((v + 1.0, v)))
    assert (tensor.device, variable.device, variable.name) == ("cpu", "cpu", "v")
    assert tensor.tolist() == [2.0, 2.0]


def test_memory_is_shared_with_other_libraries(machine):
    theirs = standin.module.asarray(np.arange(3, dtype=np.float32))
    shared, copied = df.asarray(theirs, copy=False), df.asarray(theirs)
    theirs.set(np.array([7.0, 8.0, 9.0]))
    assert shared.tolist() == [7.0, 8.0, 9.0]
    assert copied.tolist() == [0.0, 1.0, 2.0]
    assert shared.__cuda_array_interface__["data"][0] == theirs.data.ptr
    assert shared.__dlpack_device__() == (2, 0)
    assert standin.module.from_dlpack(theirs).data.ptr == theirs.data.ptr
    assert not hasattr(df.ones(2), "__cuda_array_interface__")


def test_gradients_go_back_where_values_came_from(machine):
    w = df.Variable([1.0, 2.0])
    with df.GradientTape() as tape:
        loss = (w.to("gpu") ** 2).sum()
    g = tape.gradient(loss, w)
    assert (loss.device, g.device, g.tolist()) == ("gpu:0", "cpu", [2.0, 4.0])
    v = df.Variable(df.ones(2, device="gpu"))
    (v * 3.0).sum().backward()
    assert (v.grad.device, v.grad.tolist()) == ("gpu:0", [3.0, 3.0])


def test_a_model_moves_and_learns(machine):
    def losses(device):
        df.random.seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 3))
        model.to(device)
        optimizer = df.optim.Adam(model.parameters(), 1e-2)
        x, y = df.ones((5, 4), device=device), df.zeros(5, dtype=df.int64, device=device)
        told = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            told.append(loss.item())
        assert {v.device for v in model.parameters()} == {backend.canonical_device(device)}
        return told

    assert losses("gpu") == pytest.approx(losses("cpu"), rel=1e-5)


def test_random_numbers_are_those_of_the_cpu(machine):
    df.random.seed(5)
    wanted = [df.random.uniform(7).tolist(), df.random.normal(5).tolist()]
    for device in ("gpu:0", "gpu:1"):
        df.random.seed(5)
        with df.device(device):
            assert df.random.uniform(7).tolist() == wanted[0]
        assert df.random.normal(5).tolist() == wanted[1]  # the stream goes on, wherever it is asked
    df.random.set_state(df.random.get_state().to("gpu:1"))


def test_devices_that_are_not_there(machine):
    with pytest.raises(DeviceError, match=r"gpu:0 to gpu:1"):
        df.device("gpu:2")


def test_a_driver_that_is_too_old(machine, monkeypatch):
    def count():
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(standin.cuda.runtime, "getDeviceCount", count)
    monkeypatch.setattr(standin.cuda.runtime, "driverGetVersion", lambda: 12020)
    monkeypatch.setattr(cuda, "_ready", None)
    with pytest.raises(DeviceError, match=r"knows CUDA up to 12\.2, CuPy is made for CUDA 13\.0"):
        df.device("gpu")


def test_the_names_that_the_stand_in_has_are_those_of_cupy():
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    listed = cupy_names.listed(cupy)
    if listed.split("\n")[0] == cupy_names.FILE.read_text(encoding="utf-8").split("\n")[0]:
        assert listed == cupy_names.FILE.read_text(encoding="utf-8")


LAYERS = {
    "norm": lambda: (nn.BatchNorm1d(4), (5, 4)),
    "conv": lambda: (nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)), (2, 2, 6, 6)),
    "recurrent": lambda: (nn.LSTM(4, 3), (5, 2, 4)),
    "cell": lambda: (nn.GRUCell(4, 3), (2, 4)),
    "attention": lambda: (nn.TransformerEncoderLayer(4, 2, 8), (3, 2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_where_their_input_lies(name, by_cupy):
    df.random.seed(0)
    layer, shape = LAYERS[name]()
    x = df.randn(*shape)
    layer.to("gpu:1")
    y = layer(x.to("gpu:1"))
    y = y[0] if isinstance(y, tuple) else y
    y.sum().backward()
    assert y.device == "gpu:1"
    assert all(p.grad.device == "gpu:1" for p in layer.parameters())


OPTIMIZERS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_update_where_parameters_lie(name, by_cupy):
    w = df.Variable(df.ones(3, device="gpu:1"))
    optimizer = getattr(df.optim, name)([w], lr=0.1)
    schedule = df.optim.ExponentialLR(optimizer, 0.5)
    for _ in range(2):
        (w * w).sum().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    assert w.device == "gpu:1"
    assert w.tolist() != [1.0] * 3
    optimizer.to("cpu")
    assert float(optimizer.lr) == pytest.approx(0.025)


@pytest.mark.parametrize("device", ["gpu:0", "gpu:1"])
def test_sweeps_and_updates_that_keep_coming_are_one_call_each(device, machine, monkeypatch):
    def train(seconds):
        monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", seconds)
        monkeypatch.setattr(together, "SECONDS_A_PARAMETER", seconds)
        sweeps.forget()
        df.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to(device)
        optimizer = df.optim.Adam(model.parameters(), 0.01)
        x = df.randn(4, 6).to(device)
        for _ in range(4):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()
        forms = [*sweeps.forms.values(), *together._forms[optimizer].values()]
        return [p.numpy() for p in model.parameters()], [form.compiled for form in forms]

    (ours, compiled), (theirs, not_compiled) = train(0.0), train(np.inf)
    sweeps.forget()
    assert [x is not None for x in compiled + not_compiled] == [True, True, False, False]
    for a, b in zip(ours, theirs, strict=True):
        assert a.tobytes() == b.tobytes()


VIEWS = {
    "matmul": lambda x, y: x.T @ y,
    "both": lambda x, y: df.tanh(x.T) * y.T,
    "one": lambda x, y: x.T + y.reshape(3, 5) * 2.0,
    "sum": lambda x, y: df.sum(x.T, axis=0) + df.sum(y, axis=1),
    "stretched": lambda x, y: df.broadcast_to(x[0], (5, 3)) * y,
    "stretched and turned": lambda x, y: df.broadcast_to(y[:1], (5, 3)).T - x.T,
    "all stretched": lambda x, y: df.broadcast_to(y[0, 0], (5, 3)) + x,
}


@pytest.mark.parametrize("name", VIEWS)
def test_transposed_and_stretched_arrays_are_read_as_they_are(name, machine):
    given = [np.random.default_rng(k).normal(size=(5, 3)).astype(np.float32) for k in range(2)]
    wanted = VIEWS[name](*map(df.asarray, given)).numpy()
    x, y = [df.asarray(a, device="gpu:1") for a in given]
    VIEWS[name](x, y)
    machine.counts.clear()
    found = VIEWS[name](x, y)
    assert machine.counts["allocated"] == machine.counts["launched"]
    assert found.numpy().tobytes() == wanted.tobytes()


def test_arrays_with_gaps_or_at_odd_addresses_are_copied(machine):
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    x = df.asarray(a, device="gpu")
    for part in (np.s_[:, 1:4], np.s_[1:, :2], np.s_[::2], np.s_[:, ::-1]):
        for _ in range(2):
            assert (
                df.exp(x[part]).numpy().tobytes() == df.exp(df.asarray(a)[part]).numpy().tobytes()
            )
    flat = x.reshape(24)
    for _ in range(2):
        assert (flat[1:] * 2.0).tolist() == (2 * a.reshape(24)[1:]).tolist()


def test_an_op_that_has_run_is_refused_what_it_would_be_refused_at_first(machine):
    x, y = df.ones((2, 3), device="gpu"), df.ones((2, 3), device="gpu:1")
    for _ in range(2):
        x + x, y + y, x.reshape(6), x.T
    with pytest.raises(DeviceError):
        x + y
    with pytest.raises(DeviceError):
        x + df.ones((2, 3))
    with pytest.raises(df.errors.ShapeError):
        x + df.ones((2, 2), device="gpu")
    with pytest.raises(df.errors.ShapeError):
        x.reshape(5)


@pytest.mark.parametrize("number", [0.5, -0.0, 3])
def test_numbers_beside_half_precision_are_moved_to_a_gpu_once(number, machine):
    x = df.asarray([1.5, -2.0, 0.0]).astype("bfloat16")
    there = x.to("gpu")
    wanted = bits((x * number).astype("float32").numpy())
    there * number
    machine.counts.clear()
    found = there * number
    assert (machine.counts["to device"], machine.counts["to host"]) == (0, 0)
    assert bits(found.astype("float32").numpy()) == wanted


GAPS = {
    "columns": (lambda x: df.exp(x[:, 8:20]), (6, 24)),
    "with itself": (lambda x: x[:, :4] * x[:, 8:12] + x[:, 4:8], (6, 12)),
    "turned": (lambda x: df.exp(df.permute_dims(x[:, :, 4:8], (2, 0, 1))), (3, 5, 12)),
    "heads": (lambda x: heads(x), (2, 6, 24)),
    "sum": (lambda x: df.sum(x[1:4, :, 4:], axis=1), (5, 3, 8)),
    "product": (lambda x: x[:, :4] @ x[:4, 4:], (6, 12)),
    "stretched": (lambda x: df.broadcast_to(x[:, :1, :4], (5, 3, 4)) + x[:, :, 4:], (5, 3, 8)),
    "beside a number": (lambda x: x[:, 4:8] * 2.0 - 1.0, (6, 12)),
}


def heads(x):
    """Attention of two heads, whose queries, keys and values lie side by side."""
    parts = [df.reshape(part, (2, 6, 2, 4)) for part in df.split(x, 3, axis=-1)]
    q, k, v = (df.permute_dims(part, (0, 2, 1, 3)) for part in parts)
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize("name", GAPS)
def test_arrays_with_gaps_that_come_often_are_read_as_they_are(name, machine, monkeypatch):
    for known in ("calls", "gapped"):
        monkeypatch.setattr(gpu_kernels, known, type(getattr(gpu_kernels, known))())
    copies = []
    one_piece = gpu_kernels.in_one_piece
    monkeypatch.setattr(gpu_kernels, "in_one_piece", lambda x: note(copies, x, one_piece(x)))
    call, shape = GAPS[name]
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    wanted, x = bits(call(df.asarray(a)).numpy()), df.asarray(a, device="gpu:1")
    for _ in range(gpu_kernels.OFTEN + 1):
        assert bits(call(x).numpy()) == wanted
    assert copies
    copies.clear()
    for _ in range(3):
        assert bits(call(x).numpy()) == wanted
    assert not copies
    b = a[..., ::-1].copy()  # another array of this form
    assert bits(call(df.asarray(b, device="gpu:1")).numpy()) == bits(call(df.asarray(b)).numpy())


def note(copies, x, made):
    if made is not x:
        copies.append(x)
    return made


def test_kernels_for_arrays_with_gaps_are_few(machine, monkeypatch):
    monkeypatch.setattr(gpu_kernels, "gapped", type(gpu_kernels.gapped)())
    monkeypatch.setattr(gpu_kernels, "OFTEN", 1)
    x = df.asarray(np.arange(960, dtype=np.float32).reshape(8, 120), device="gpu")
    for width in range(4, 104, 4):
        df.exp(x[:, :width])
    assert [*gpu_kernels.gapped.values()] == [gpu_kernels.OWN]


MOVES = {
    "padded": (lambda x: df.pad(x, ((1, 2), (0, 3))), 0),
    "padded with a number": (lambda x: df.pad(x, ((1, 2), (0, 3)), constant_values=-0.0), 1),
    "flipped": (lambda x: df.flip(x, 1), 0),
    "a part": (lambda x: df.flip(x, 0)[1:, ::2], 0),
    "rolled": (lambda x: df.roll(x, 1, axis=0), 0),
    "repeated": (lambda x: df.broadcast_to(x, (2, 4, 6)), 0),
}


@pytest.mark.parametrize("name", MOVES)
def test_half_precision_is_moved_on_the_gpu(name, machine):
    call, trips = MOVES[name]
    x = df.asarray(np.arange(-11.5, 12.0, dtype=np.float32).reshape(4, 6)).astype("bfloat16")
    there, wanted = x.to("gpu:1"), bits(call(x).astype("float32").numpy())
    for _ in range(2):
        machine.counts.clear()
        found = call(there)
        assert machine.counts["to host"] == trips
        assert found.device == "gpu:1"
        assert bits(found.astype("float32").numpy()) == wanted
