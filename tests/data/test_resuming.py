"""Loaders that work ahead, go on in the middle of an epoch, and tell what took the time."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df


def numbered(n):
    return df.data.TensorDataset(df.arange(n), df.arange(n) * 10)


def taken(loader):
    return [x.tolist() for x, _ in loader]


class Stream(df.data.IterableDataset):
    """Pairs in a row."""

    def __iter__(self):
        return iter([(k, -k) for k in range(13)])


def loader_of(kind, **options):
    sources = {
        "in order": lambda: df.data.DataLoader(numbered(13), 3, **options),
        "seed": lambda: df.data.DataLoader(numbered(13), 3, shuffle=True, seed=5, **options),
        "global seed": lambda: df.data.DataLoader(numbered(13), 3, shuffle=True, **options),
        "generator": lambda: df.data.DataLoader(
            numbered(13), 3, shuffle=True, generator=df.random.Generator(2), **options
        ),
        "weights": lambda: df.data.DataLoader(
            numbered(13),
            3,
            sampler=df.data.WeightedRandomSampler(range(13), 13, seed=1),
            **options,
        ),
        "list": lambda: df.data.DataLoader(numbered(13), 3, sampler=[3, 1, 2, 9, 4], **options),
        "batches": lambda: df.data.DataLoader(
            numbered(13),
            batch_sampler=df.data.BatchSampler(df.data.RandomSampler(range(13), seed=1), 4),
            **options,
        ),
        "stream": lambda: df.data.DataLoader(Stream(), 3, **options),
    }
    return sources[kind]()


KINDS = ["in order", "seed", "global seed", "generator", "weights", "list", "batches", "stream"]


@given(kind=st.sampled_from(KINDS), stop=st.integers(1, 9), workers=st.sampled_from([0, 2]))
def test_a_loader_goes_on_where_it_was(kind, stop, workers):
    df.random.seed(3)
    whole = loader_of(kind, num_workers=workers)
    wanted = [batch for _ in range(3) for batch in taken(whole)]
    df.random.seed(3)
    first = loader_of(kind, num_workers=workers)
    found, state, random = [], None, None
    while state is None:
        for x, _ in first:
            found.append(x.tolist())
            if len(found) == min(stop, len(wanted)):
                state, random = first.state_dict(), df.random.get_state()
                break
    df.random.seed(99)  # another process
    second = loader_of(kind, num_workers=workers)
    second.load_state_dict(state)
    df.random.set_state(random)
    while second.epoch < 3:
        found += taken(second)
    assert found == wanted


class Slow(df.data.Dataset):
    """Examples that take a while, the even ones longer, and draw a random number."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        time.sleep(0.004 if index % 2 == 0 else 0.0)
        return np.float32(index), np.random.rand(), os.getpid()


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_workers_keep_the_order(workers):
    loader = df.data.DataLoader(Slow(), 2, shuffle=True, seed=0, num_workers=2, workers=workers)
    alone = df.data.DataLoader(Slow(), 2, shuffle=True, seed=0)
    batches = list(loader)
    assert [x.tolist() for x, _, _ in batches] == [x.tolist() for x, _, _ in alone]
    if workers == "processes":
        assert os.getpid() not in {k for _, _, pids in batches for k in pids.tolist()}


@pytest.mark.slow
def test_what_processes_draw_does_not_depend_on_their_number():
    drawn = [
        [
            r.tolist()
            for _, r, _ in df.data.DataLoader(Slow(), 2, num_workers=n, workers="processes")
        ]
        for n in (1, 2)
    ]
    assert drawn[0] == drawn[1]


class Faulty(df.data.Dataset):
    """The seventh example cannot be made."""

    broken = True

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index == 6 and self.broken:
            raise ValueError(f"example {index} cannot be decoded")
        return index, index


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}])
def test_a_fault_ends_with_its_traceback_and_loses_nothing(options):
    dataset = Faulty()
    loader = df.data.DataLoader(dataset, 2, **options)
    found = []
    with pytest.raises(ValueError, match="example 6") as caught:
        found.extend(x.tolist() for x, _ in loader)
    for x in found:
        assert x == [x[0], x[0] + 1]
    frames = [entry.name for entry in caught.traceback]
    assert "__getitem__" in frames
    state = loader.state_dict()
    assert state["position"] == 3
    dataset.broken = False
    loader.load_state_dict(state)
    assert taken(loader) == [[6, 7], [8, 9], [10, 11]]


def test_a_fault_in_a_process_tells_where_it_was():
    loader = df.data.DataLoader(Faulty(), 2, num_workers=1, workers="processes")
    with pytest.raises(ValueError, match="example 6") as caught:
        list(loader)
    assert "in __getitem__" in str(caught.value.__cause__)


class Ends(df.data.Dataset):
    """A worker that is killed."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        os._exit(3)


@pytest.mark.slow
def test_a_process_that_ends_is_told():
    loader = df.data.DataLoader(Ends(), num_workers=1, workers="processes")
    with pytest.raises(RuntimeError, match="a worker process ended by itself"):
        list(loader)


def test_the_bottleneck_is_told():
    loader = df.data.DataLoader(Slow(), 4)
    assert loader.times is None
    for _ in loader:
        pass
    assert loader.times.batches == 3
    assert loader.times.bottleneck == "loader"
    assert "the loader is the bottleneck" in str(loader.times)
    fast = df.data.DataLoader(numbered(4))
    for _ in fast:
        time.sleep(0.005)
    assert fast.times.bottleneck == "model"


def test_mapped_arrays_are_read_when_asked_for(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20.0).reshape(10, 2))
    dataset = df.data.ArrayDataset(tmp_path / "x.npy", np.arange(10))
    assert isinstance(dataset.arrays[0], np.memmap)
    [(x, y)] = df.data.DataLoader(dataset, 3, sampler=[9, 0, 4])
    assert (x.tolist(), y.tolist()) == ([[18, 19], [0, 1], [8, 9]], [9, 0, 4])
    assert [x.shape for x, _ in df.data.DataLoader(dataset, 4)] == [(4, 2), (4, 2), (2, 2)]
    whole = df.data.in_memory(df.data.Subset(dataset, [1, 2]))
    assert whole.tensors[1].tolist() == [1, 2]


def test_samplers():
    assert sorted(df.data.SubsetRandomSampler([5, 7, 9], seed=0)) == [5, 7, 9]
    assert len(list(df.data.RandomSampler(range(9), 4, seed=0))) == 4
    assert list(df.data.SequentialSampler(range(3))) == [0, 1, 2]
    drawn = list(df.data.WeightedRandomSampler([1.0, 0.0, 3.0], 400, seed=0))
    assert 1 not in drawn
    assert 2 < drawn.count(2) / drawn.count(0) < 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": -1}, "num_workers=-1"),
        ({"workers": "fibers"}, "threads, processes"),
        ({"sampler": [0], "shuffle": True}, "without shuffle"),
    ],
)
def test_refused(options, words):
    with pytest.raises(ValueError, match=words):
        df.data.DataLoader(numbered(3), **options)


def test_refused_samplers_and_datasets():
    with pytest.raises(ValueError, match="not all zero"):
        df.data.WeightedRandomSampler([0.0, 0.0], 3)
    with pytest.raises(ValueError, match="an order of its own"):
        df.data.DataLoader(Stream(), shuffle=True)
    with pytest.raises(df.errors.ShapeError, match="rows"):
        df.data.ArrayDataset(np.ones(2), np.ones(3))
