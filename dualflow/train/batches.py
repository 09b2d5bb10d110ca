"""What `fit` is given, as batches: arrays, datasets and loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dualflow.core import tree
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.data import DataLoader, Dataset
from dualflow.data.dataset import IterableDataset
from dualflow.nn.module import Module
from dualflow.ops.choice import where
from dualflow.ops.create import ones
from dualflow.train.inputs import Dtype, NestDataset, are_several, numbers_of, size_of
from jit.types import float32, kind

END = object()


def dtype_of(net: Module) -> Dtype:
    """What a net computes in: the dtype of its first parameter of floats."""
    floats = (p.dtype for p in net.parameters() if kind(p.dtype) == "floating")
    return next(floats, float32)


def batches_of(
    x: Any, y: Any, batch_size: int, dtype: Dtype, *, shuffle: bool, weight: Any = None
) -> Any:
    """An iterable of batches.

    Args:
        x: Inputs as a tensor, an array or nested lists, several in a list, tuple or dict; a
            dataset; or batches already.
        y: Targets, where `x` are inputs; without them, batches of inputs alone.
        batch_size: Examples in a batch, where `x` are no batches.
        dtype: What the net computes in.
        shuffle: A new order for each epoch, where `x` are no batches.
        weight: A weight for each example, where `x` are inputs.
    """
    if y is not None:
        parts = (x, y) if weight is None else (x, y, weight)
        dataset = NestDataset(tuple(numbers_of(part, dtype) for part in parts))
        return DataLoader(dataset, batch_size, shuffle=shuffle)
    if isinstance(x, IterableDataset):
        return DataLoader(x, batch_size)
    if isinstance(x, Dataset):
        return DataLoader(x, batch_size, shuffle=shuffle)
    numbers = isinstance(x, list) and not (x and isinstance(x[0], tuple | Mapping))
    if numbers or isinstance(x, Tensor) or hasattr(x, "__array__") or are_several(x):
        return DataLoader(NestDataset((numbers_of(x, dtype),)), batch_size, shuffle=shuffle)
    return x


def pair_of(data: Any, batch_size: int, dtype: Dtype) -> Any:
    """Batches for validation: of (x, y) or (x, y, weights), a dataset or a loader."""
    x, y, weight = (*data, None)[:3] if isinstance(data, tuple) else (data, None, None)
    return batches_of(x, y, batch_size, dtype, shuffle=False, weight=weight)


class Portions:
    """Batches of which each pass takes so many, and goes on where the last one ended.

    Args:
        batches: They; begun anew at their end.
        steps: How many.
    """

    def __init__(self, batches: Iterable[Any], steps: int) -> None:
        self.batches, self.steps = batches, steps
        self._left: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for step in range(self.steps):
            batch = next(self._left, END)
            if batch is END:
                self._left = iter(self.batches)
                batch = next(self._left, END)
            if batch is END:
                raise ValueError(f"the data ended after {step} of {self.steps} batches")
            yield batch


def in_steps(batches: Any, steps: int | None) -> Any:
    """All batches in each pass, or so many; None stays None."""
    return batches if steps is None or batches is None else Portions(batches, steps)


def some(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, of which there must be one.

    Raises:
        ValueError: There is none.
    """
    count = 0
    for count, batch in enumerate(batches, 1):  # noqa: B007 - read after the loop
        yield batch
    if not count:
        raise ValueError(
            "there are no batches: the data is empty, or a generator that gave all it had before; "
            "a list, a dataset or a DataLoader begins anew in each epoch"
        )


def weights_of(y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """A weight for each example, or None.

    Args:
        y: Targets; integer labels where classes have weights.
        sample_weight: Weights of examples, or None.
        class_weight: Weights of classes, 1 for those that are not there, or None.

    Raises:
        ValueError: There are no targets to weigh, or they are no labels.
    """
    if sample_weight is None and class_weight is None:
        return None
    if y is None:
        raise ValueError("weights go with arrays x and y; a loader gives batches (x, y, weights)")
    if class_weight is None:
        return as_tensor(sample_weight)
    labels = as_tensor(y)
    if kind(labels.dtype) != "integer" or labels.ndim != 1:
        raise ValueError(f"class_weight needs integer labels of shape (n,), not {labels.type}")
    weight = ones(labels.shape)
    for label, factor in class_weight.items():
        weight = where(labels == label, factor, weight)
    return weight if sample_weight is None else weight * as_tensor(sample_weight)


def held_out(
    x: Any, y: Any, weight: Any, share: float, dtype: Dtype
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Inputs, targets and weights in two parts, the second a share of the examples from the end.

    Raises:
        ValueError: There are no arrays to split, or the share leaves a part empty.
    """
    if y is None:
        raise ValueError("validation_split splits arrays x and y; a loader needs validation_data")
    inputs, targets = numbers_of(x, dtype), numbers_of(y, dtype)
    total = int(size_of(inputs))
    cut = int(total * (1 - share))
    if not 0 < cut < total:
        raise ValueError(f"validation_split={share} of {total} examples leaves a part empty")
    parts = (inputs, targets) if weight is None else (inputs, targets, as_tensor(weight))
    x, y, w = (*tree.tree_map(lambda rows: rows[:cut], parts), None)[:3]
    x_last, y_last, w_last = (*tree.tree_map(lambda rows: rows[cut:], parts), None)[:3]
    return (x, y, w), (x_last, y_last, w_last)


def length_of(batches: Any) -> int | None:
    """How many batches there are, where that is known."""
    try:
        return len(batches)
    except (TypeError, NotImplementedError):
        return None


def given(logs: dict[str, float], *, names: bool) -> Any:
    """Logs as Keras gives them: a dict with names; else the loss, in a list if there is more."""
    values = list(logs.values())
    return logs if names else values[0] if len(values) == 1 else values
