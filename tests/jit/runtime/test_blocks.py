"""Memory that is used again: who keeps it, and when it goes back."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from jit.runtime import blocks


@pytest.fixture(autouse=True)
def nothing_idle():
    gc.collect()
    blocks.trim()
    yield
    blocks.trim()


SIZE = 3 << 20


def test_memory_is_used_again():
    block = blocks.take(SIZE)
    address = block.address
    assert block.address == block.ctypes.data
    block[:] = 7
    del block
    assert blocks.idle_bytes() >= SIZE
    again = blocks.take(SIZE - 1000)
    assert again.address == address
    assert blocks.idle_bytes() == 0


def test_an_array_keeps_its_block():
    x = blocks.take_array((SIZE,), np.dtype(np.uint8))
    assert type(x) is np.ndarray
    view = x[5:].reshape(-1)
    address = x.ctypes.data
    del x
    other = blocks.take(SIZE)
    assert other.address != address
    del view
    assert blocks.take(SIZE).address == address


@pytest.mark.parametrize("shape", [(), (0, 5), (1000, 3), (600_000,)])
def test_arrays(shape):
    x = blocks.take_array(shape, np.dtype(np.float64))
    assert x.shape == shape
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert x.ctypes.data % 4096 == 0
    x[...] = 1


def test_sizes_are_few_and_not_much_larger():
    sizes = [len(blocks.take(size)) for size in range(1 << 20, 3 << 20, 4096)]
    assert len(set(sizes)) <= 16
    for size, got in zip(range(1 << 20, 3 << 20, 4096), sizes, strict=True):
        assert size <= got <= size * 1.25


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 2 * SIZE)
    held = [blocks.take(SIZE) for _ in range(5)]
    held += [blocks.take(SIZE // 2) for _ in range(5)]
    kept = held[-1].address
    while held:
        del held[0]
        assert blocks.idle_bytes() <= 2 * SIZE + SIZE // 4
    assert blocks.take(SIZE // 2).address == kept


def test_idle_memory_goes_back_to_the_system():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    block = blocks.take(200 << 20)
    block[::4096] = 1
    assert resident() > before + (150 << 20)
    del block
    assert blocks.idle_bytes() >= 200 << 20
    blocks.trim()
    assert resident() < before + (50 << 20)


def test_a_child_has_memory_of_its_own():
    x = blocks.take_array((SIZE,), np.dtype(np.uint8))
    x[:] = 1
    child = os.fork()
    if child == 0:
        x[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (x == 1).all()
