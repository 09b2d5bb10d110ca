"""Random programs over the public ops: any shapes, dtypes and order, values used several times.

A program is its seed: `RandomProgram(seed)` makes the same calls whenever it runs, eagerly or
inside of a recording. Which calls come next depends on shapes and dtypes only, never on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np

import dualflow as df
from jit.types import kind
from tests.jit.loops.whole import numbers
from tests.ops.laws import tensors_of
from tests.samples import SAMPLES

Array = np.ndarray[Any, Any]
EXTENTS = [1, 1, 2, 3, 4, 5, 8, 9, 17, 33, 70]
DTYPES = ["float32"] * 6 + ["float64"] * 2 + ["float16", "bfloat16", "int64", "int32", "bool"]
MOST = 40_000  # elements of a value
HALVES = ("float16", "bfloat16")
BINARY = [
    *"add subtract multiply divide maximum minimum atan2 hypot logaddexp pow".split(),
    *"floor_divide remainder less less_equal equal not_equal greater nextafter".split(),
    *"logical_and logical_xor bitwise_and bitwise_or bitwise_xor".split(),
]
REDUCTIONS = [
    *"sum mean max min prod any all argmax argmin var std logsumexp count_nonzero".split(),
]
# Results without values, shapes that depend on values, signs that NaN has by chance.
UNSUITED = ("empty_like", "nonzero", "signbit")
ALONG = "softmax log_softmax cumulative_sum cumulative_prod sort argsort flip".split()


def unary_names() -> list[str]:
    """The functions that have a sample of just one array of floats."""
    single = [name for name, samples in SAMPLES.items() if any(map(is_single, samples))]
    return sorted(x for x in single if lookup(x) is not None and x not in (*ALONG, *UNSUITED))


def is_single(sample: Any) -> bool:
    """Whether a sample has one argument, an array of floats."""
    (x, *others) = sample.args or (None,)
    return isinstance(x, np.ndarray) and x.dtype == np.float32 and not others and not sample.kwargs


def meet(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two shapes broadcast."""
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b)))


def lookup(name: str) -> Callable[..., Any] | None:
    """A public function by its name."""
    places = (df, df.nn.functional)  # `df.fft` is a module, no function
    found = (getattr(place, name, None) for place in places)
    return next((each for each in found if callable(each)), None)


class RandomProgram:
    """A random program.

    Args:
        seed: Which one.
        steps: How many calls it makes.
    """

    def __init__(self, seed: int, steps: int = 10) -> None:
        self.seed, self.steps = seed, steps
        rng, random = np.random.default_rng(seed), Random(seed)
        self.arrays = [self._input(random, rng) for _ in range(random.randint(1, 4))]

    @staticmethod
    def _input(random: Random, rng: np.random.Generator) -> Array:
        dtype = getattr(df, random.choice(DTYPES))
        shape = [random.choice(EXTENTS) for _ in range(random.randint(0, 3))]
        return np.asarray(numbers(np.dtype(dtype), shape, rng))

    def __call__(self, *xs: df.Tensor) -> list[df.Tensor]:
        """The results: the last value, and some of the others."""
        run = Run(Random(self.seed + 1), list(xs))
        while len(run.made) < self.steps and run.tries < 20 * self.steps:
            run.step()
        random = Random(self.seed + 2)
        others = random.sample(run.made, min(len(run.made), random.randint(0, 3)))
        return [*run.made[-1:], *others]


class Run:
    """A program while it runs.

    Attributes:
        values: What calls may take.
        made: The results so far.
        tries: How many calls were chosen, those included that nothing came of.
    """

    def __init__(self, random: Random, values: list[df.Tensor]) -> None:
        self.random, self.values = random, values
        self.made: list[df.Tensor] = []
        self.tries = 0

    def step(self) -> None:
        """One more call; nothing if the function does not take what was chosen."""
        self.tries += 1
        call = self.random.choice(CALLS)
        with suppress(df.errors.DualflowError):
            for y in tensors_of(call(self)):
                if 0 < y.size <= MOST and kind(y.dtype) != "complex":
                    self.made.append(y)
                    self.values.append(y)

    # ----- choices -----

    def value(self, *kinds: str) -> df.Tensor:
        """A value of the program, mostly a recent one; of these kinds of dtype, if there is one."""
        fitting = [x for x in self.values if not kinds or kind(x.dtype) in kinds] or self.values
        recent = fitting[-3:] if self.random.random() < 0.6 else fitting
        return self.random.choice(recent)

    def array(self, *kinds: str) -> df.Tensor:
        """The same, with an axis at least."""
        x = self.value(*kinds)
        return x if x.ndim else df.reshape(x, (1,))

    def beside(self, a: df.Tensor) -> df.Tensor:
        """A value that `a` can meet, in its dtype and mostly of its shape."""
        alike = [x for x in self.values if x.dtype == a.dtype and meet(x.shape, a.shape)]
        same = [x for x in alike if x.shape == a.shape]
        return self.random.choice(same if same and self.random.random() < 0.6 else alike or [a])

    def axis(self, x: df.Tensor) -> int:
        """An axis of `x`."""
        return self.random.randrange(-x.ndim, x.ndim) if x.ndim else 0

    def axes(self, x: df.Tensor) -> Any:
        """Some axes, or None for all."""
        some = [k for k in range(x.ndim) if self.random.random() < 0.5]
        return tuple(some) if some and self.random.random() < 0.8 else None

    def order(self, x: df.Tensor) -> tuple[int, ...]:
        """The axes of `x`, shuffled."""
        return tuple(self.random.sample(range(x.ndim), x.ndim))

    # ----- calls -----

    def unary(self) -> Any:
        function = lookup(self.random.choice(UNARY))
        return function(self.value("floating"))

    def binary(self) -> Any:
        a, function = self.value(), lookup(self.random.choice(BINARY))
        b = self.beside(a)
        return function(a, b) if self.random.random() < 0.5 else function(b, a)

    def number(self) -> Any:
        function = lookup(self.random.choice(["add", "multiply", "subtract", "divide", "maximum"]))
        return function(self.value(), self.random.choice([0, 1, 2, -1, 3]))

    def choose(self) -> Any:
        a = self.value()
        b = self.beside(a)
        return df.where(self.value("bool") if self.random.random() < 0.5 else a > b, a, b)

    def reduce(self) -> Any:
        name, x = self.random.choice(REDUCTIONS), self.value()
        if name in ("argmax", "argmin"):
            return lookup(name)(x, axis=self.axis(x) if x.ndim else None)
        return lookup(name)(x, axis=self.axes(x), keepdims=self.random.random() < 0.4)

    def along(self) -> Any:
        x = self.value()
        return lookup(self.random.choice(ALONG))(x, axis=self.axis(x))

    def normalised(self) -> Any:
        x = self.value("floating")
        centred = x - df.mean(x, axis=-1, keepdims=True)
        return centred / df.sqrt(df.mean(df.square(centred), axis=-1, keepdims=True) + 1e-3)

    def cast(self) -> Any:
        x, dtype = self.value(), self.random.choice(DTYPES)
        if kind(x.dtype) == "floating" and kind(getattr(df, dtype)) == "integer":
            x = df.where(df.isfinite(x), df.clip(x, -99, 99), df.zeros_like(x))
        return df.astype(x, getattr(df, dtype))

    def product(self) -> Any:
        a = self.array("floating")
        b = self.beside(a)
        ways = [
            lambda: a @ b,
            lambda: a @ df.matrix_transpose(b),
            lambda: df.matrix_transpose(a) @ b,
        ]
        return self.random.choice(ways)()

    def gram(self) -> Any:
        x = self.value("floating")
        return df.einsum(
            self.random.choice(["ij,kj->ik", "ij,ik->jk", "ij,ij->i", "ij,ij->j"]), x, x
        )

    def move(self) -> Any:
        x = self.value()
        ways = [
            lambda: df.permute_dims(x, self.order(x)),
            lambda: df.reshape(x, (-1,)),
            lambda: df.reshape(x, tuple(reversed(x.shape))),
            lambda: df.expand_dims(x, axis=self.random.randint(0, x.ndim)),
            lambda: df.roll(x, self.random.randint(-3, 3), axis=self.axis(x)),
            lambda: df.broadcast_to(x, (self.random.randint(1, 4), *x.shape)),
            lambda: df.concat([x, self.beside(x)], axis=self.axis(x)),
            lambda: df.stack([x, x * 2], axis=self.random.randint(0, x.ndim)),
            lambda: df.pad(x, [(self.random.randint(0, 2), self.random.randint(0, 2))] * x.ndim),
            lambda: df.tile(x, (self.random.randint(1, 3),) * x.ndim),
        ]
        return self.random.choice(ways)()

    def cut(self) -> Any:
        x = self.array()
        return x[tuple([self._slice(extent) for extent in x.shape])]

    def _slice(self, extent: int) -> Any:
        start, step = self.random.randrange(extent), self.random.choice([1, 1, 2, -1, -2])
        ways = [slice(None), slice(start, None, step), slice(None, start + 1), start, -1 - start]
        return self.random.choice(ways)

    def take(self) -> Any:
        x, count = self.array(), self.random.choice(EXTENTS)
        axis = self.axis(x)
        at = [self.random.randrange(-x.shape[axis], x.shape[axis]) for _ in range(count)]
        return df.take(x, df.asarray(at), axis=axis)

    def computed_indices(self) -> Any:
        x, y = self.array(), self.array("floating")
        at = df.argmax(y, axis=-1) % x.shape[0]
        return df.take(x, df.reshape(at, (-1,)), axis=0)

    def update(self) -> Any:
        x, rows = self.array(), self.random.randint(1, 5)
        at = df.asarray([self.random.randrange(x.shape[0]) for _ in range(rows)])
        way = self.random.choice(["add", "set", "max", "min"])
        if x.dtype == df.bool:
            way = "set"
        return getattr(x.at[at], way)(df.astype(self.value(), x.dtype))


UNARY = unary_names()
CALLS = [
    *[Run.unary] * 5,
    *[Run.binary] * 5,
    *[Run.reduce] * 4,
    *[Run.move] * 4,
    *[Run.product] * 2,
    *[Run.cut] * 2,
    Run.number,
    Run.choose,
    Run.along,
    Run.normalised,
    Run.cast,
    Run.gram,
    Run.take,
    Run.computed_indices,
    Run.update,
]


def seeds(count: int, start: int = 0) -> Sequence[int]:
    """Which programs a test looks at."""
    return range(start, start + count)
