"""Memory that is used again: who keeps it, and when it goes back."""

from __future__ import annotations

import errno
import gc
import os
import random
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jit.runtime import blocks


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    """Each test has a pool of its own."""
    monkeypatch.setattr(blocks, "_pool", blocks.Pool())


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


def test_sizes_are_not_much_larger():
    for size in range(1 << 20, 3 << 20, 4099):
        assert size <= len(blocks.take(size)) <= size * 1.07


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 2 * SIZE)
    monkeypatch.setattr(blocks, "SHARE", blocks.physical())
    held = [blocks.take(SIZE) for _ in range(5)]
    held += [blocks.take(SIZE // 2) for _ in range(5)]
    kept = held[-1].address
    while held:
        del held[0]
        assert blocks.idle_bytes() <= 2 * SIZE + SIZE // 4
    assert blocks.take(SIZE // 2).address == kept


@pytest.fixture
def exact(monkeypatch):
    """Nothing may lie idle beyond what was in use at once."""
    monkeypatch.setattr(blocks, "KEPT", 0)
    monkeypatch.setattr(blocks, "GAPS", 1 << 40)
    monkeypatch.setattr(blocks, "DECAY", 1 << 40)


@pytest.mark.usefixtures("exact")
def test_no_more_is_held_than_was_in_use_at_once():
    first = [blocks.take(SIZE) for _ in range(6)]
    del first
    assert blocks.idle_bytes() == 6 * SIZE
    second = [blocks.take(7 * SIZE)]
    assert blocks.idle_bytes() == 0
    del second
    assert blocks.idle_bytes() == 7 * SIZE


@pytest.mark.usefixtures("exact")
def test_neighbours_are_one_for_whom_needs_more():
    held = [blocks.take(SIZE) for _ in range(5)]
    addresses = [block.address for block in held]
    assert addresses == [addresses[0] + SIZE * k for k in range(5)]
    del held[3], held[1], held[1]
    wide = blocks.take(3 * SIZE)
    assert wide.address == addresses[1]
    del wide
    assert blocks.take(2 * SIZE).address == addresses[1]
    assert blocks.idle_bytes() == 3 * SIZE


@pytest.mark.usefixtures("exact")
def test_what_grows_moves_into_what_lies_behind():
    block = blocks.take(SIZE)
    address = block.address
    del block
    assert blocks.take(5 * SIZE).address == address


def test_a_loop_finds_the_memory_of_the_step_before(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 0)

    def step():
        held = [blocks.take(SIZE + 4096 * k) for k in range(0, 400, 40)]
        return {block.address for block in held}

    step()
    assert step() == step() == step()


def test_a_large_use_is_forgotten(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 0)
    monkeypatch.setattr(blocks, "DECAY", 10)
    large = [blocks.take(SIZE) for _ in range(8)]
    del large
    for _ in range(40):
        blocks.take(SIZE)
    assert blocks.idle_bytes() <= SIZE + blocks.HUGE_PAGE


class Taking(RuleBasedStateMachine):
    """Blocks that are taken, written and left in any order stay apart, and the books are right."""

    def __init__(self):
        super().__init__()
        self.kept, blocks.KEPT = blocks.KEPT, 4 * SIZE
        self.before, blocks._pool = blocks._pool, blocks.Pool()
        self.held = []

    def teardown(self):
        self.held.clear()
        blocks.KEPT, blocks._pool = self.kept, self.before

    @rule(size=st.integers(1 << 20, 9 << 20), mark=st.integers(0, 255))
    def take(self, size, mark):
        block = blocks.take(size)
        block[:: blocks.GRAIN] = mark
        block[-1] = mark
        self.held.append((block, mark))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def leave(self, data):
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    @rule(limit=st.integers(0, 8 << 20))
    def trim(self, limit):
        blocks.trim(limit)
        assert blocks.idle_bytes() <= limit

    @invariant()
    def nobody_writes_into_another(self):
        for block, mark in self.held:
            assert (block[:: blocks.GRAIN] == mark).all()
            assert block[-1] == mark

    @invariant()
    def nothing_is_lost(self):
        pool = blocks._pool
        assert pool.used == sum(len(block) for block, _ in self.held)
        assert pool.idle == sum(pool._waiting.values())
        sizes = [(size, start) for size, same in pool._by_size.items() for start in same]
        assert sorted(sizes) == sorted((size, start) for start, size in pool._waiting.items())
        ranges = {**pool._waiting, **pool._fresh, **{b.address: len(b) for b, _ in self.held}}
        room = sum(len(x.mapping) for x in pool._regions)
        assert room - sum(ranges.values()) <= len(pool._regions) * 2 * blocks.HUGE_PAGE
        assert len(blocks.joined(ranges)) == len(pool._regions)


TestTaking = Taking.TestCase
TestTaking.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_threads_take_and_leave():
    def work(seed):
        draw = random.Random(seed)
        held = []
        for k in range(300):
            block = blocks.take(draw.randrange(1 << 20, 4 << 20))
            block[::4096] = k % 251
            held.append((block, k % 251))
            if len(held) > 5:
                left, mark = held.pop(draw.randrange(5))
                right.append((left[::4096] == mark).all())

    right: list[bool] = []
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert all(right)
    assert len(right) > 1000
    gc.collect()
    assert blocks._pool.used == 0


def test_a_block_may_end_while_another_is_taken(monkeypatch):
    """The collector finishes blocks at any time, in the very thread that is inside of the pool."""
    held = [blocks.take(SIZE) for _ in range(3)]
    cut = blocks.Pool._cut

    def collecting(self, size):
        if held:
            del held[0]
        return cut(self, size)

    monkeypatch.setattr(blocks.Pool, "_cut", collecting)
    others = [blocks.take(5 * SIZE) for _ in range(3)]
    assert blocks._pool.used == 15 * SIZE
    assert blocks.idle_bytes() == 3 * SIZE
    assert len({block.address for block in others}) == 3


def test_less_address_space(monkeypatch):
    """A system that does not give much at once is asked for less."""
    real = blocks.mmap.mmap

    def limited(number, length, **how):
        if length > 64 << 20:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(number, length, **how)

    monkeypatch.setattr(blocks.mmap, "mmap", limited)
    monkeypatch.setattr(blocks, "physical", lambda: 1 << 30)
    held = [blocks.take(20 << 20) for _ in range(4)]
    assert len({block.address for block in held}) == 4
    assert len(blocks._pool._regions) == 4
    with pytest.raises(OSError, match="Cannot allocate"):
        blocks.take(100 << 20)


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
