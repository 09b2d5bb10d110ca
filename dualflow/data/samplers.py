"""Samplers: the order in which a loader takes the examples of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.random import Generator, permutation, uniform

Source = np.random.Generator | Generator | None


class Sampler:
    """Base of samplers. A subclass says the order of an epoch.

    Args:
        seed: Of the orders; without, they come from `df.random`.
        generator: Draws instead of a seed: NumPy's, or a `df.random.Generator`.
    """

    def __init__(self, *, seed: int | None = None, generator: Source = None) -> None:
        if seed is not None and generator is not None:
            raise ValueError("a seed and a generator were given; one of them draws the order")
        self.generator = generator if seed is None else np.random.default_rng(seed)

    def order(self) -> Tensor | None:
        """The examples of the next epoch by number; None: all as they come."""
        raise NotImplementedError(f"{type(self).__name__} defines no order")

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        return iter(range(len(self)) if order is None else order.tolist())

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__")

    def state_dict(self) -> dict[str, Any]:
        """The state of a generator of its own."""
        if isinstance(self.generator, np.random.Generator):
            return {"numpy": dict(self.generator.bit_generator.state)}
        if self.generator is not None:
            return {"dualflow": self.generator.state.read_value()}
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        if isinstance(self.generator, np.random.Generator):
            self.generator.bit_generator.state = plain(state["numpy"])
        elif self.generator is not None:
            self.generator.state.assign(state["dualflow"])


class SequentialSampler(Sampler):
    """All examples as they come.

    Args:
        dataset: Whose examples.
    """

    def __init__(self, dataset: Any) -> None:
        super().__init__()
        self.dataset = dataset

    def order(self) -> None:
        """As they come."""
        return None

    def __len__(self) -> int:
        return len(self.dataset)


class RandomSampler(Sampler):
    """All examples in a new random order for each epoch.

    Args:
        dataset: Whose examples.
        num_samples: How many of them make an epoch; all by default.
        seed: Of the orders; without, they come from `df.random`.
        generator: Draws instead of a seed.

    Example:
        >>> import dualflow as df
        >>> sorted(df.data.RandomSampler(range(4), seed=0))
        [0, 1, 2, 3]
    """

    def __init__(
        self,
        dataset: Any,
        num_samples: int | None = None,
        *,
        seed: int | None = None,
        generator: Source = None,
    ) -> None:
        super().__init__(seed=seed, generator=generator)
        self.dataset, self.num_samples = dataset, num_samples

    def order(self) -> Tensor:
        """A permutation, or the beginning of one."""
        total = len(self.dataset)
        if isinstance(self.generator, np.random.Generator):
            order = as_tensor(self.generator.permutation(total))
        else:
            order = permutation(total, generator=self.generator)
        return order if self.num_samples is None else order[: self.num_samples]

    def __len__(self) -> int:
        total = len(self.dataset)
        return total if self.num_samples is None else min(total, self.num_samples)


class SubsetRandomSampler(RandomSampler):
    """Some examples, in a new random order for each epoch.

    Args:
        indices: Which ones.
        seed: Of the orders; without, they come from `df.random`.
        generator: Draws instead of a seed.
    """

    def __init__(
        self, indices: Sequence[int], *, seed: int | None = None, generator: Source = None
    ) -> None:
        super().__init__(indices, seed=seed, generator=generator)

    def order(self) -> Tensor:
        """The chosen ones in another order."""
        return as_tensor(np.asarray(self.dataset, np.int64))[super().order()]


class WeightedRandomSampler(Sampler):
    """Examples drawn with given chances, again and again the same ones where these are high.

    Args:
        weights: How often each example comes, relative to the others.
        num_samples: How many make an epoch.
        seed: Of the draws; without, they come from `df.random`.
        generator: Draws instead of a seed.

    Example:
        >>> import dualflow as df
        >>> list(df.data.WeightedRandomSampler([0.0, 1.0], 3, seed=0))
        [1, 1, 1]
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        *,
        seed: int | None = None,
        generator: Source = None,
    ) -> None:
        super().__init__(seed=seed, generator=generator)
        chances = np.asarray(weights, np.float64)
        if chances.ndim != 1 or not (chances >= 0).all() or not chances.sum() > 0:
            raise ValueError("WeightedRandomSampler: weights are numbers >= 0, and not all zero")
        self._bounds = np.cumsum(chances) / chances.sum()
        self.num_samples = num_samples

    def order(self) -> Tensor:
        """Numbers of examples; some may come twice, some never."""
        if isinstance(self.generator, np.random.Generator):
            drawn = self.generator.random(self.num_samples)
        else:
            drawn = uniform(self.num_samples, dtype="float64", generator=self.generator).numpy()
        last = len(self._bounds) - 1
        return as_tensor(np.minimum(np.searchsorted(self._bounds, drawn, side="right"), last))

    def __len__(self) -> int:
        return self.num_samples


class Listed(Sampler):
    """What a user's own iterable of numbers gives.

    Args:
        indices: Iterated anew for each epoch.
    """

    def __init__(self, indices: Any) -> None:
        super().__init__()
        self.indices = indices

    def order(self) -> Tensor:
        """The numbers of one pass."""
        return as_tensor(np.asarray(list(self.indices), np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def state_dict(self) -> dict[str, Any]:
        """The state of the iterable, if it has one."""
        return self.indices.state_dict() if hasattr(self.indices, "state_dict") else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        if hasattr(self.indices, "load_state_dict"):
            self.indices.load_state_dict(state)


class BatchSampler:
    """The order of a sampler, cut into batches.

    Args:
        sampler: A `Sampler`, or an iterable of numbers.
        batch_size: Examples in a batch; the last one may be short.
        drop_last: Leave a short last batch out.

    Example:
        >>> import dualflow as df
        >>> list(df.data.BatchSampler(df.data.SequentialSampler(range(5)), 2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        sampler: Sampler | Iterable[int],
        batch_size: int,
        drop_last: bool = False,  # noqa: FBT001, FBT002 - PyTorch's order
    ) -> None:
        if batch_size < 1:
            raise ValueError(
                f"BatchSampler: batch_size={batch_size}; at least one example makes a batch"
            )
        self.sampler = sampler if isinstance(sampler, Sampler) else Listed(sampler)
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.sampler.load_state_dict(state)


class Grouped(Listed):
    """What a user's own iterable of batches gives, each a list of numbers.

    Attributes:
        ends: Where each batch of the epoch ends in its order, from 0 on.
    """

    ends: Sequence[int] = (0,)

    def order(self) -> Tensor:
        """The numbers of all batches of one pass."""
        batches = [list(batch) for batch in self.indices]
        self.ends = [*accumulate(map(len, batches), initial=0)]
        return as_tensor(np.asarray([k for batch in batches for k in batch], np.int64))

    def batches(self, order: Tensor, start: int) -> Iterator[Tensor]:
        """The batches of an epoch, from number `start` on."""
        for first, last in islice(pairwise(self.ends), start, None):
            yield order[first:last]

    def state_dict(self) -> dict[str, Any]:
        """The state of the iterable, and where batches end."""
        return {"own": super().state_dict(), "ends": list(self.ends)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.ends = state["ends"]
        super().load_state_dict(state["own"])


def plain(state: Any) -> Any:
    """A state as NumPy takes it: arrays where a checkpoint gave tensors."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    return state.numpy() if isinstance(state, Tensor) else state
