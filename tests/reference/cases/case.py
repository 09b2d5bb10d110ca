"""Case: one layer or loss with its settings, and the arrays that it is called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# PyTorch's words for ours.
WORDS = {"axis": "dim", "keepdims": "keepdim", "start_axis": "start_dim", "end_axis": "end_dim"}


@dataclass(frozen=True)
class Case:
    """A call of a module.

    Attributes:
        inputs: Arrays, or nested tuples of them: the positional arguments of the call.
        args: Positional arguments of the constructor.
        kwargs: Its keyword arguments; arrays among them are class weights and the like.
        call: Keyword arguments of the call.
        training: Whether the module is in training.
        how: What is done around the call, a word that both sides know: "" (nothing), "lengths"
            (the last input holds lengths of padded sequences), "log_softmax" (of the first input).
    """

    inputs: tuple[Any, ...]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    training: bool = True
    how: str = ""

    def text(self) -> str:
        """The settings as a user would write them."""
        words = [*map(plain, self.args), *(f"{k}={plain(v)}" for k, v in self.kwargs.items())]
        called = [f"{k}={plain(v)}" for k, v in self.call.items()]
        mode = [] if self.training else ["eval()"]
        return ", ".join([*words, *(f"call: {c}" for c in called), *mode])


def plain(value: Any) -> str:
    """A setting; arrays by their shape."""
    return f"array{value.shape}" if isinstance(value, np.ndarray) else repr(value)


def case(*inputs: Any, **settings: Any) -> Case:
    """A case of these inputs."""
    return Case(inputs, **settings)


def translated(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments in PyTorch's words."""
    return {WORDS.get(name, name): value for name, value in kwargs.items()}


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values around 0."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values between 0.05 and 0.95."""
    return np.random.default_rng(seed).uniform(0.05, 0.95, size=shape).astype(np.float32)


def integers(*shape: int, high: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Int64 values from 0 to `high` - 1."""
    return np.random.default_rng(seed).integers(0, high, size=shape)


def bools(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Bools, both values."""
    return np.random.default_rng(seed).integers(0, 2, size=shape).astype(bool)


def signs(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values 1 and -1."""
    return np.where(bools(*shape, seed=seed), 1, -1).astype(np.float32)
