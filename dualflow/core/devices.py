"""Where new tensors lie: the device in force, and blocks that change it."""

from __future__ import annotations

from functools import wraps
from typing import Any

from numpy import ndarray

from dualflow.core.backend import ON_CPU, canonical_device
from dualflow.core.context import context, using
from dualflow.core.tensor import Tensor


class device:  # noqa: N801 - reads as a statement
    """Context manager and decorator inside which new tensors lie on a device.

    It moves nothing: ops compute where their tensors lie.

    Args:
        name: `"cpu"`, `"gpu"` or `"gpu:1"`.

    Raises:
        DeviceError: There is no such device.

    Example:
        >>> import dualflow as df
        >>> with df.device("cpu"):
        ...     df.zeros(3).device
        'cpu'
    """

    def __init__(self, name: str) -> None:
        self.name = canonical_device(name)
        self._before: list[str] = []  # a stack, so that one instance may be entered again

    def __enter__(self) -> device:
        self._before.append(context.device)
        context.device = self.name
        return self

    def __exit__(self, *exc: object) -> None:
        context.device = self._before.pop()

    def __call__(self, function: Any) -> Any:
        """`function`, run with this device in force."""

        @wraps(function)
        def on_device(*args: Any, **kwargs: Any) -> Any:
            with device(self.name):
                return function(*args, **kwargs)

        return on_device

    def __repr__(self) -> str:
        return f"device({self.name!r})"


def placed(function: Any) -> Any:
    """Decorator: tensors that a function makes lie where the first tensor among its arguments does.

    It is for functions that combine what they are given with what they make.
    """

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with beside(*args):
            return function(*args, **kwargs)

    return run


def beside(*values: Any) -> Any:
    """A `with` block inside which new tensors lie where the first tensor among `values` does."""
    for x in values:
        if isinstance(x, Tensor):
            if context.device == "cpu" and context.trace is None and x.raw.__class__ is ndarray:
                return ON_CPU
            place = x.device
            return ON_CPU if place == context.device else using(device=place)
    return ON_CPU
