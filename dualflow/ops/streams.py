"""Generators made of generators, for parts of a program that draw independently of each other.

The seed of a new one is a word of Philox that no sampler ever draws: it stands at a number of the
call which is beyond all calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import stack
from dualflow.ops.create import zeros_like
from dualflow.ops.elementwise import astype
from dualflow.ops.philox import UINT64, random_bits
from dualflow.ops.random import Generator, default_generator
from jit.errors import DTypeError, ShapeError
from jit.types import kind

BEYOND = np.array([0, 2**63], np.uint64)  # no generator comes to so many calls


class Passing:
    """The state of a generator for one example of many that `vmap` computes: no Variable has it.

    Attributes:
        tensor: Which stands for the states of all examples.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.device = tensor.device

    def read_value(self) -> Tensor:
        """The state now."""
        return self.tensor

    def assign(self, tensor: Tensor) -> None:
        """Moves on."""
        self.tensor = tensor


def split(generator: Generator | None = None, num: int = 2) -> tuple[Generator, ...]:
    """Several generators, independent of each other and of what `generator` draws.

    Args:
        generator: The default one when None. It moves on by one call, so that splitting it again
            gives others.
        num: How many.

    Returns:
        Tuple of new generators.

    Raises:
        ValueError: `num` is negative.

    Example:
        >>> import dualflow as df
        >>> weights, noise = df.random.split(df.random.Generator(7))
        >>> df.random.normal(3, generator=noise).shape
        (3,)
    """
    if num < 0:
        raise ValueError(f"split: num={num} is negative")
    state = (default_generator if generator is None else generator).take()
    return tuple(_child(state, as_tensor(np.uint64(k))) for k in range(num))


def fold_in(generator: Generator | None, data: Any) -> Generator:
    """A generator for a number: of a step, a layer, an example.

    Args:
        generator: The default one when None. It stays where it is: the same number gives the same
            generator until somebody draws from it.
        data: A whole number, or an integer tensor of one element.

    Returns:
        A new generator, independent of what `generator` draws and of those for other numbers.

    Raises:
        DTypeError: `data` is not a whole number.
        ShapeError: `data` has several elements.

    Example:
        >>> import dualflow as df
        >>> g = df.random.Generator(7)
        >>> a = df.random.uniform((), generator=df.random.fold_in(g, 3))
        >>> b = df.random.uniform((), generator=df.random.fold_in(g, 3))
        >>> bool(a == b)
        True
    """
    state = (default_generator if generator is None else generator).state.read_value()
    return _child(state, _number(data), np.uint64(1))


def _number(data: Any) -> Tensor:
    """What is folded in, as a scalar of 64 bits."""
    x = as_tensor(np.uint64(data % 2**64) if isinstance(data, int) else data)
    if kind(x.dtype) != "integer":
        raise DTypeError(f"fold_in: data of dtype {x.dtype}", "a whole number", "int(data)")
    if x.size != 1:
        raise ShapeError(f"fold_in: data has shape {x.shape}", "one element", "df.vmap")
    return astype(x.reshape(()), UINT64)


def _child(state: Tensor, number: Tensor, way: Any = 0) -> Generator:
    """The generator of a number, with words of its own for each `way`."""
    apart = _word(state + as_tensor(BEYOND)) + as_tensor(np.uint64(way))
    seed = _word(stack([apart, number]))
    made, state = Generator.__new__(Generator), stack([seed, zeros_like(seed)])
    owner = getattr(state.symbol, "owner", None)
    if owner is None or owner is context.trace:
        made.state = Variable(state, trainable=False, name="random state")
    else:
        made.state = Passing(state)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _word(state: Tensor) -> Tensor:
    """The first 64 bits of a call."""
    high, low = (astype(random_bits(state, (2,))[k], UINT64) for k in (0, 1))
    return (high << 32) | low
