"""DataLoader: a dataset in batches, in order or shuffled anew for each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from dualflow.core import tree
from dualflow.core.backend import canonical_device, pinned, pins
from dualflow.core.context import context
from dualflow.core.convert import SCALARS, as_tensor
from dualflow.core.source import warn_user
from dualflow.core.tensor import Tensor
from dualflow.data.dataset import IterableDataset
from dualflow.data.epoch import EpochTimes
from dualflow.data.samplers import (
    BatchSampler,
    Grouped,
    Listed,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Source,
)
from dualflow.data.transfer import Transfer
from dualflow.data.workers import KINDS, ahead
from dualflow.ops.arrange import stack
from jit.runtime.hosts import is_host


class DataLoader:
    """Iterates over a dataset in batches.

    Each `for` over the loader is an epoch, with an order of its own when shuffling. With a seed the
    epochs of two loaders are the same, one by one; without, the order comes from `df.random`.
    `state_dict` tells where the loader is, also in the middle of an epoch: after `load_state_dict`
    the next `for` gives the batches that were still to come.

    Args:
        dataset: Something with `len` and examples by index, such as `TensorDataset`, or an
            `IterableDataset`.
        batch_size: Examples in a batch; the last one may be short.
        shuffle: A new random order for each epoch.
        sampler: Says the order instead: a `Sampler`, or an iterable of numbers.
        batch_sampler: Says which examples make each batch: a `BatchSampler`, or an iterable of
            lists of numbers. It takes the place of `batch_size`, `shuffle`, `sampler`, `drop_last`.
        drop_last: Leave a short last batch out.
        seed: Of the orders.
        generator: Draws the orders instead of a seed: NumPy's, or a `df.random.Generator`.
        collate_fn: Makes a batch of a list of examples; `collate` by default.
        num_workers: How many workers make batches while the model works; 0: none.
        workers: What they are: "threads", or "processes" where making an example takes Python long.
        prefetch_factor: Batches that a worker is ahead.
        worker_init_fn: Called in each worker, before its first batch, with the worker's number.
            What batches draw at random follows from the seed nevertheless.
        pin_memory: Batches lie in memory that a GPU reads by itself, which moves them faster. On a
            computer without a GPU it does nothing, and a warning says so.
        device: Where batches go, such as `"gpu"`: from pinned memory, on a stream of their own,
            while the model works. They stay where they are made when None.
        prefetch: Batches that are on their way to the device, or wait there.

    Attributes:
        epoch: How many epochs were finished.
        times: Where the time of the last one went, an `EpochTimes`; None before.

    Example:
        >>> import dualflow as df
        >>> dataset = df.data.TensorDataset(df.zeros((10, 3)), df.ones(10))
        >>> loader = df.data.DataLoader(dataset, batch_size=4, shuffle=True, seed=0)
        >>> [x.shape for x, y in loader]
        [(4, 3), (4, 3), (2, 3)]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        drop_last: bool = False,
        seed: int | None = None,
        generator: Source = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        workers: str = "threads",
        prefetch_factor: int = 2,
        worker_init_fn: Callable[[int], Any] | None = None,
        pin_memory: bool = False,
        device: str | None = None,
        prefetch: int = 2,
    ) -> None:
        if batch_sampler is not None:
            check_alone(batch_size != 1, shuffle, sampler is not None, drop_last)
        if isinstance(batch_sampler, BatchSampler):
            batch_size, drop_last = batch_sampler.batch_size, batch_sampler.drop_last
            sampler = batch_sampler.sampler
        elif batch_sampler is not None:
            sampler = Grouped(batch_sampler)
        check_numbers(batch_size, num_workers, prefetch_factor, workers, prefetch)
        check_order(dataset, sampler, seed, generator, shuffle=shuffle)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn, self.worker_init_fn = collate_fn, worker_init_fn
        self.num_workers, self.workers, self.prefetch_factor = num_workers, workers, prefetch_factor
        self.pin_memory = pin_memory and can_pin()
        self.device = None if device is None else canonical_device(device)
        self.prefetch = prefetch
        self.epoch = 0
        self.times: EpochTimes | None = None
        self.sampler = self._sampler(sampler, seed, generator)
        self._seed = 0 if seed is None else seed
        self._position = 0  # batches of the epoch that were handed out
        self._current: Tensor | None = None  # the order of the epoch
        self._resumes = False

    def _sampler(self, given: Any, seed: int | None, generator: Source) -> Sampler:
        if isinstance(given, Sampler):
            return given
        if given is not None:
            return Listed(given)
        if self.shuffle:
            return RandomSampler(self.dataset, seed=seed, generator=generator)
        return SequentialSampler(self.dataset)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        if isinstance(self.sampler, Grouped):
            return len(self.sampler)
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if context.trace is not None:  # recorded with all that follows; it has no place to go on
            made = map(self._fetcher(), self._tasks(self.sampler.order(), 0))
            return map(self._moved, made) if self._moves else made
        if not self._resumes:
            self._position, self._current = 0, self.sampler.order()
        self._resumes = False
        return self._epoch(self._current, self._position)

    def _epoch(self, order: Tensor | None, start: int) -> Iterator[Any]:
        """The batches from `start` on, while the loader keeps count."""
        batches = self._batches(order, start)
        waiting = working = 0.0
        asked = time.perf_counter()
        for number, batch in enumerate(batches, start + 1):
            self._position = number
            ready = time.perf_counter()
            waiting += ready - asked
            yield batch
            asked = time.perf_counter()
            working += asked - ready
        self.times = EpochTimes(self._position - start, waiting, working)
        self.epoch += 1
        self._position, self._current = 0, None

    def _batches(self, order: Tensor | None, start: int) -> Iterator[Any]:
        fetch, tasks = self._fetcher(), self._tasks(order, start)
        made = map(fetch, tasks)
        if self.num_workers:
            made = ahead(
                fetch,
                tasks,
                workers=self.num_workers,
                kind=self.workers,
                window=self.num_workers * self.prefetch_factor,
                seeds=[self._seed, self.epoch, start],
                begin=self.worker_init_fn,
            )
        if not self._moves:
            return made
        to_gpu = None
        if self.device is not None and not is_host(self.device):
            to_gpu = Transfer(self.device, self.prefetch)
        move, window = to_gpu.send if to_gpu else self._moved, self.prefetch
        moved = ahead(move, made, workers=1, kind="threads", window=window, seeds=[])
        return to_gpu.received(moved) if to_gpu else moved

    @property
    def _moves(self) -> bool:
        """Whether batches go somewhere else than where they are made."""
        return self.pin_memory or self.device not in (None, "cpu")

    def _moved(self, batch: Any) -> Any:
        """A batch on the device, or in pinned memory on its way there."""

        def moved(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            if self.pin_memory and x.device == "cpu":
                x = Tensor(pinned(x.numpy()))
            return x if self.device is None else x.to(self.device)

        return tree.tree_map(moved, batch)

    def _tasks(self, order: Tensor | None, start: int) -> Iterator[Any]:
        """Which examples make each batch: a slice, numbers, or the examples themselves."""
        size = self.batch_size
        if isinstance(self.dataset, IterableDataset):
            examples = iter(self.dataset)
            if start:  # what was taken before is made once more, and left
                next(islice(examples, start * size - 1, None), None)
            while batch := list(islice(examples, size)):
                if len(batch) == size or not self.drop_last:
                    yield batch
            return
        if isinstance(self.sampler, Grouped) and order is not None:
            yield from self.sampler.batches(order, start)
            return
        total = len(self.sampler)
        for first in range(start * size, len(self) * size, size):
            last = min(first + size, total)
            yield slice(first, last) if order is None else order[first:last]

    def _fetcher(self) -> Fetcher:
        return Fetcher(self.dataset, self.collate_fn)

    # ----- where it is -----

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: the epoch, its order, the batches taken, and how orders are drawn.

        In the body of a `for`, the batch of this round counts as taken.
        """
        return {
            "epoch": self.epoch,
            "position": self._position,
            "order": self._current,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken, at the next `for`."""
        self.epoch, self._position = state["epoch"], state["position"]
        self._current = None if state["order"] is None else as_tensor(state["order"])
        self._resumes = self._position > 0
        self.sampler.load_state_dict(state["sampler"])


def check_alone(*others: bool) -> None:
    """Raises ValueError where a batch sampler is given with what it says by itself."""
    if any(others):
        raise ValueError(
            "DataLoader: a batch_sampler says by itself which examples make each batch, without "
            "batch_size, shuffle, sampler, drop_last"
        )


def check_numbers(
    batch_size: int, num_workers: int, prefetch_factor: int, workers: str, prefetch: int
) -> None:
    """Raises ValueError for numbers that no loader works with."""
    if batch_size < 1:
        raise ValueError(f"DataLoader: batch_size={batch_size}; at least one example makes a batch")
    if prefetch < 1:
        raise ValueError(f"DataLoader: prefetch={prefetch}; at least one batch is on its way")
    if num_workers < 0 or prefetch_factor < 1 or workers not in KINDS:
        raise ValueError(
            f"DataLoader: num_workers={num_workers}, prefetch_factor={prefetch_factor}, "
            f"workers={workers!r}; expected at least 0, at least 1, one of {', '.join(KINDS)}"
        )


def check_order(
    dataset: Any, sampler: Any, seed: int | None, generator: Source, *, shuffle: bool
) -> None:
    """Raises ValueError where the order is said twice."""
    if seed is not None and generator is not None:
        raise ValueError(
            "DataLoader: a seed and a generator were given; one of them draws the order"
        )
    if sampler is not None and (shuffle or seed is not None or generator is not None):
        raise ValueError(
            "DataLoader: a sampler says the order by itself, without shuffle, seed, generator"
        )
    if isinstance(dataset, IterableDataset) and (shuffle or sampler is not None):
        raise ValueError("DataLoader: an IterableDataset has an order of its own")


def can_pin() -> bool:
    """Whether there is a GPU that memory can be pinned for; a warning where there is none."""
    if pins():
        return True
    warn_user("DataLoader: pin_memory=True does nothing here: there is no GPU", UserWarning)
    return False


class Fetcher:
    """Makes batches of a dataset.

    Args:
        dataset: Where the examples are.
        collate_fn: Makes a batch of a list of examples; None: `collate`, or the dataset's own way.
    """

    def __init__(self, dataset: Any, collate_fn: Callable[[list[Any]], Any] | None) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn

    def __call__(self, task: Any) -> Any:
        """The batch of some examples: a slice, a tensor of numbers, or the examples themselves."""
        combine = self.collate_fn or collate
        if isinstance(task, list):
            return combine(task)
        rows = getattr(self.dataset, "rows", None) if self.collate_fn is None else None
        if rows is not None:
            return rows(task)
        chosen = range(task.start, task.stop) if isinstance(task, slice) else task.tolist()
        return combine([self.dataset[k] for k in chosen])


def collate(examples: list[Any]) -> Any:
    """A batch of examples: corresponding leaves are stacked along a new first axis.

    Args:
        examples: Tensors, NumPy arrays, numbers, or nests of them, all of one structure; other
            leaves, such as strings, are gathered in a list.

    Returns:
        The structure of one example, with stacked tensors as leaves.

    Raises:
        ValueError: The examples differ in structure, or in the shape of a leaf.
    """

    def stacked(*leaves: Any) -> Any:
        if not isinstance(leaves[0], SCALARS) and not hasattr(leaves[0], "__array__"):
            return list(leaves)
        return stack([as_tensor(x) for x in leaves])

    return tree.tree_map(stacked, *examples)
