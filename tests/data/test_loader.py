"""Datasets and loaders: which examples come, in which order, in which form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.data import loader as loader_module
from tests.modes import graphs_only


def numbered(n):
    return df.data.TensorDataset(df.arange(n), df.arange(n) * 10)


@given(
    n=st.integers(0, 20),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_every_example_comes_once(n, batch_size, shuffle, drop_last):
    loader = df.data.DataLoader(
        numbered(n), batch_size, shuffle=shuffle, drop_last=drop_last, seed=0
    )
    batches = list(loader)
    sizes = [x.shape[0] for x, _ in batches]
    expected = [batch_size] * (n // batch_size)
    if n % batch_size and not drop_last:
        expected.append(n % batch_size)
    assert sizes == expected
    assert len(loader) == len(batches)
    seen = [k for x, _ in batches for k in x.tolist()]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(n))
    if not shuffle:
        assert seen == list(range(sum(sizes)))
    assert all(y.tolist() == [10 * k for k in x.tolist()] for x, y in batches)


def epoch(loader):
    return [k for x, _ in loader for k in x.tolist()]


@pytest.mark.parametrize(
    "make", [lambda: {"seed": 3}, lambda: {"generator": np.random.default_rng(3)}]
)
def test_orders_follow_from_the_seed(make):
    one = df.data.DataLoader(numbered(50), 8, shuffle=True, **make())
    other = df.data.DataLoader(numbered(50), 5, shuffle=True, **make())
    first, second = epoch(one), epoch(one)
    assert first != second
    assert [epoch(other), epoch(other)] == [first, second]


def test_orders_follow_from_the_global_seed():
    loader = df.data.DataLoader(numbered(50), 8, shuffle=True)
    df.random.seed(1)
    first, second = epoch(loader), epoch(loader)
    df.random.seed(1)
    assert [epoch(loader), epoch(loader)] == [first, second]
    assert first != second


class Pair(NamedTuple):
    image: object
    label: object


class Examples(df.data.Dataset):
    """Nests of everything that becomes a tensor, and a text."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        pair = Pair(df.ones((2, 2)) * index, index)
        return {"pair": pair, "array": np.full(3, index, "float32"), "name": f"n{index}"}


@pytest.mark.parametrize("shuffle", [False, True])
def test_nests_of_examples_become_batches_of_the_same_nest(shuffle):
    loader = df.data.DataLoader(Examples(), batch_size=2, shuffle=shuffle, seed=0)
    names = []
    for batch in loader:
        labels = batch["pair"].label
        assert isinstance(batch["pair"], Pair)
        assert labels.dtype == df.int64
        assert batch["pair"].image.shape == (*labels.shape, 2, 2)
        assert batch["array"].dtype == df.float32
        assert batch["array"].numpy()[:, 0].tolist() == labels.tolist()
        assert batch["name"] == [f"n{k}" for k in labels.tolist()]
        names += batch["name"]
    assert sorted(names) == [f"n{k}" for k in range(5)]


def test_a_collate_function_of_ones_own():
    loader = df.data.DataLoader(numbered(3), batch_size=2, collate_fn=len)
    assert list(loader) == [2, 1]


def test_a_loader_over_a_subset():
    subset = df.data.Subset(numbered(10), [7, 3, 5])
    [(x, y)] = df.data.DataLoader(subset, batch_size=4)
    assert (x.tolist(), y.tolist()) == ([7, 3, 5], [70, 30, 50])


@given(n=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_parts_share_no_example(n, share, seed):
    parts = df.data.random_split(numbered(n), [share, 1 - share], seed)
    indices = [part.indices for part in parts]
    assert sorted(indices[0] + indices[1]) == list(range(n))
    assert abs(len(parts[0]) - share * n) <= 1
    assert [
        p.indices for p in df.data.random_split(numbered(n), [share, 1 - share], seed)
    ] == indices


def test_tensor_dataset():
    dataset = df.data.TensorDataset(np.arange(6.0).reshape(3, 2), df.arange(3))
    assert len(dataset) == 3
    x, y = dataset[-1]
    assert (x.tolist(), y.item()) == ([4.0, 5.0], 2)
    assert dataset.tensors[0].dtype == df.float64
    with pytest.raises(IndexError, match="example 3 of 3"):
        dataset[3]
    assert [y.item() for _, y in dataset] == [0, 1, 2]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: df.data.TensorDataset(), df.errors.ShapeError, "no tensors have no common"),
        (
            lambda: df.data.TensorDataset(df.ones(3), df.ones(4)),
            df.errors.ShapeError,
            "\\(3,\\), \\(4,\\)",
        ),
        (lambda: df.data.TensorDataset(df.asarray(1.0)), df.errors.ShapeError, "first extent"),
        (lambda: df.data.DataLoader(numbered(3), 0), ValueError, "batch_size=0"),
        (
            lambda: df.data.DataLoader(numbered(3), seed=0, generator=np.random.default_rng(0)),
            ValueError,
            "a seed and a generator",
        ),
        (lambda: df.data.BatchSampler([1], 0), ValueError, "batch_size=0"),
        (
            lambda: df.data.DataLoader(numbered(3), 2, batch_sampler=[[0], [1]]),
            ValueError,
            "by itself which examples make each batch",
        ),
        (lambda: df.data.random_split(numbered(3), [1, 1]), ValueError, "do not sum to 3"),
        (lambda: df.data.random_split(numbered(3), [0.5, 0.2]), ValueError, "sum to 0.7"),
        (lambda: len(df.data.Dataset()), NotImplementedError, "defines no __len__"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_batch_sampler_is_what_its_parts_are(drop_last):
    sampler = df.data.RandomSampler(range(7), seed=4)
    batches = df.data.BatchSampler(sampler, 3, drop_last)
    ours = df.data.DataLoader(numbered(7), batch_sampler=batches)
    parts = df.data.DataLoader(numbered(7), 3, shuffle=True, seed=4, drop_last=drop_last)
    assert [len(batches), len(ours)] == [len(parts)] * 2
    for _ in range(2):
        assert [x.tolist() for x, _ in ours] == [x.tolist() for x, _ in parts]
    of_list = df.data.BatchSampler([4, 2, 0, 1], batch_size=3, drop_last=drop_last)
    assert list(of_list) == [[4, 2, 0], [1]][: 1 if drop_last else 2]


class ByLength:
    """Batches of a user's own, in another order for each epoch."""

    epochs = 0

    def __iter__(self):
        self.epochs += 1
        return iter([[0, 3, 1], (2,), np.asarray([4, 5])][:: (-1) ** self.epochs])

    def __len__(self):
        return 3

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_ones_own(workers):
    loader = df.data.DataLoader(numbered(6), batch_sampler=ByLength(), num_workers=workers)
    backward = [[4, 5], [2], [0, 3, 1]]
    assert len(loader) == 3
    assert [x.tolist() for x, _ in loader] == backward
    assert [x.tolist() for x, _ in loader] == backward[::-1]
    for _ in loader:
        state = loader.state_dict()
        break
    again = df.data.DataLoader(numbered(6), batch_sampler=ByLength(), num_workers=workers)
    again.load_state_dict(state)
    assert [x.tolist() for x, _ in again] == backward[1:]
    assert [x.tolist() for x, _ in again] == backward[::-1]


def test_workers_begin_by_a_function_of_ones_own():
    begun = []
    loader = df.data.DataLoader(numbered(9), 2, num_workers=2, worker_init_fn=begun.append)
    assert len(list(loader)) == 5
    assert sorted(begun) in ([0], [0, 1])  # a quick worker leaves nothing to the other

    def fail(number):
        raise KeyError(f"worker {number}")

    with pytest.raises(KeyError, match="worker 0"):
        list(df.data.DataLoader(numbered(9), 2, num_workers=1, worker_init_fn=fail))


def test_pinned_memory_without_a_gpu(monkeypatch):
    """It is said to do nothing; where there is one, batches are copies in such memory."""
    monkeypatch.setattr(loader_module, "pins", lambda: False)
    with pytest.warns(UserWarning, match="there is no GPU"):
        loader = df.data.DataLoader(numbered(3), 2, pin_memory=True)
    assert [x.tolist() for x, _ in loader] == [[0, 1], [2]]
    copied = []
    monkeypatch.setattr(loader_module, "pins", lambda: True)
    monkeypatch.setattr(loader_module, "pinned", lambda x: copied.append(x) or x.copy())
    loader = df.data.DataLoader(numbered(3), 2, pin_memory=True)
    assert [x.tolist() for x, _ in loader] == [[0, 1], [2]]
    assert [x.tolist() for x in copied] == [[0, 1], [0, 10], [2], [20]]


@graphs_only
@pytest.mark.parametrize(
    "make",
    [
        lambda: df.data.DataLoader(numbered(10), 4, shuffle=True),
        lambda: df.data.DataLoader(
            numbered(10), batch_sampler=df.data.BatchSampler(df.data.RandomSampler(range(10)), 4)
        ),
    ],
    ids=["shuffled", "batch sampler"],
)
def test_an_epoch_inside_a_function(make):
    loader = make()

    @df.function
    def total():
        weighted = df.asarray(0)
        for k, (x, y) in enumerate(loader):
            weighted = weighted + (k + 1) * (x + y).sum()
        return weighted

    df.random.seed(5)
    compiled = [total().item() for _ in range(4)]
    df.random.seed(5)
    with df.set_mode("eager"):
        assert [total().item() for _ in range(4)] == compiled
    assert len(set(compiled)) > 1
    assert total.explain().from_graph == 3
