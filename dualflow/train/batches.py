"""What `fit` is given, as batches: arrays, datasets and loaders."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.data import DataLoader, Dataset, TensorDataset
from dualflow.data.dataset import IterableDataset


def batches_of(x: Any, y: Any, batch_size: int, *, shuffle: bool) -> Any:
    """An iterable of batches.

    Args:
        x: Inputs as a tensor, an array or nested lists; a dataset; or batches already.
        y: Targets, where `x` are inputs; without them, batches of inputs alone.
        batch_size: Examples in a batch, where `x` are no batches.
        shuffle: A new order for each epoch, where `x` are no batches.
    """
    if y is not None:
        return DataLoader(TensorDataset(x, y), batch_size, shuffle=shuffle)
    if isinstance(x, IterableDataset):
        return DataLoader(x, batch_size)
    if isinstance(x, Dataset):
        return DataLoader(x, batch_size, shuffle=shuffle)
    numbers = isinstance(x, list) and not (x and isinstance(x[0], tuple))
    if numbers or isinstance(x, Tensor) or hasattr(x, "__array__"):
        return DataLoader(TensorDataset(x), batch_size, shuffle=shuffle)
    return x


def pair_of(data: Any, batch_size: int) -> Any:
    """Batches for validation: of a pair (x, y), a dataset or a loader."""
    x, y = data if isinstance(data, tuple) else (data, None)
    return batches_of(x, y, batch_size, shuffle=False)


def held_out(x: Any, y: Any, share: float) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Inputs and targets in two parts, the second with a share of the examples from the end.

    Raises:
        ValueError: There are no arrays to split, or the share leaves a part empty.
    """
    if y is None:
        raise ValueError("validation_split splits arrays x and y; a loader needs validation_data")
    inputs, targets = as_tensor(x), as_tensor(y)
    cut = int(len(inputs) * (1 - share))
    if not 0 < cut < len(inputs):
        raise ValueError(f"validation_split={share} of {len(inputs)} examples leaves a part empty")
    return (inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])


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
