"""A loader that moves batches to a device, on a machine that stands in for one with GPUs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from dualflow.data.transfer import Transfer
from tests.gpu import standin


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_on_the_device(workers, machine):
    x, names = np.arange(10.0, dtype="float32"), [str(k) for k in range(10)]

    class Named(df.data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, k):
            return {"x": x[k], "name": names[k]}

    loader = df.data.DataLoader(Named(), 4, num_workers=workers, device="gpu:1")
    batches = list(loader)
    assert [b["x"].device for b in batches] == ["gpu:1"] * 3
    np.testing.assert_array_equal(np.concatenate([b["x"].numpy() for b in batches]), x)
    assert [name for b in batches for name in b["name"]] == names


def test_the_next_batch_is_moved_while_the_model_works(machine, monkeypatch):
    moved, done = [], threading.Event()
    send = Transfer.send

    def noted(transfer, batch):
        moved.append(threading.current_thread() is threading.main_thread())
        if len(moved) == 2:
            done.set()
        return send(transfer, batch)

    monkeypatch.setattr(Transfer, "send", noted)
    loader = df.data.DataLoader(df.data.TensorDataset(df.arange(8)), 2, device="gpu")
    for k, _ in enumerate(loader):
        if k == 0:
            assert done.wait(10)  # the second one moves, though nobody has asked for it
            state = loader.state_dict()
    assert moved == [False] * 4
    loader.load_state_dict(state)  # and counts as not taken
    assert [x.tolist() for (x,) in loader] == [[2, 3], [4, 5], [6, 7]]


def test_copies_run_beside_the_model_and_both_wait_where_they_must(machine):
    cuda = standin.cuda
    with cuda.Device(1):
        reader = cuda.Stream(non_blocking=True)
        with reader:
            transfer = Transfer("gpu:1", 1)
            machine.log.clear()
            sent = [transfer.send((df.arange(4), "name")) for _ in range(3)]
            batches = list(transfer.received(iter(sent)))
    assert [(x.tolist(), x.device, word) for x, word in batches] == [
        ([0, 1, 2, 3], "gpu:1", "name")
    ] * 3
    log, own = list(machine.log), transfer._stream
    copies = [k for k, (what, *_) in enumerate(log) if what == "copy"]
    assert {log[k][1] for k in copies} == {own}
    assert own is not reader
    for k, (_, arrival) in zip(copies, sent, strict=True):
        before, after = log[:k], log[k:]
        what, stream, event = before[-1]
        assert (what, stream) == ("wait", own)  # for what may still use the memory
        assert ("record", reader, event) in before
        assert after.index(("record", own, arrival)) < after.index(("wait", reader, arrival))
    done = [event for what, _, event in log if what == "synchronise"]
    assert done == [sent[0].arrival]  # pinned memory is kept until it was read
    assert machine.counts["pinned"] == 3


def test_a_device_of_the_processor_takes_batches_too():
    loader = df.data.DataLoader(df.data.TensorDataset(df.arange(6)), 2, device="cpu:1")
    assert [(x.device, x.tolist()) for (x,) in loader][1:] == [("cpu:1", [2, 3]), ("cpu:1", [4, 5])]
    with pytest.raises(ValueError, match="prefetch=0"):
        df.data.DataLoader(df.data.TensorDataset(df.arange(6)), 2, prefetch=0)


def test_a_loader_says_that_there_is_no_device():
    with pytest.raises(df.errors.DeviceError, match=r"GPU|device"):
        df.data.DataLoader(df.data.TensorDataset(df.arange(4)), 2, device="gpu:99")


def test_batches_that_stay_in_a_function(mode):
    loader = df.data.DataLoader(df.data.TensorDataset(df.arange(6.0)), 2, device="cpu")

    def total():
        return sum((x.sum() for (x,) in loader), df.asarray(0.0))

    assert df.function(total, mode=mode)().item() == 15.0
