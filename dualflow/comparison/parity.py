"""`df.testing.parity`: both modes agree on arguments of many shapes, for a user's own tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dualflow.comparison.agreement import Agreement
from dualflow.comparison.bisection import bisect
from dualflow.comparison.both import Both, in_both
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from jit.types import as_dtype, kind

SIZES = (1, 2, 3, 7)  # 0 and 1 apart, sizes have one recording; 7 fills no vector

Shape = Sequence[int | str]


def parity(
    f: Callable[..., Any],
    shapes: Sequence[Shape],
    *,
    dtypes: Sequence[Any] = ("float32",),
    sizes: Sequence[int] = SIZES,
    gradients: bool | None = None,
    ulp: int = 0,
    seed: int = 0,
) -> None:
    """Checks that both modes of `f` agree: results, what they leave, and gradients.

    Args:
        f: A function, a Module, anything that can be called with tensors.
        shapes: The shape of each argument. A name, as in `("batch", 4)`, stands for all `sizes`,
            the same one wherever it occurs.
        dtypes: Of the arguments; floats are drawn from a normal distribution, integers below 8.
        sizes: What names stand for.
        gradients: As in `df.compare`.
        ulp: How many units of the last place results may differ by.
        seed: Of the arguments.

    Raises:
        AssertionError: They differ; the message tells the smallest shapes found for which they do,
            and which stage of compilation is at fault.

    Example:
        >>> import dualflow as df
        >>> df.testing.parity(df.nn.Linear(4, 2), shapes=[("batch", 4)], sizes=(1, 3))
    """
    names = sorted({extent for shape in shapes for extent in shape if isinstance(extent, str)})
    for dtype in map(as_dtype, dtypes):

        def given(binding: Mapping[str, int], dtype: Any = dtype) -> list[Tensor]:
            return arguments(shapes, binding, dtype, seed)

        def worst(binding: Mapping[str, int]) -> Agreement | str | None:
            return disagreement(f, given(binding), gradients, ulp)

        for binding in bindings(names, sizes):
            if worst(binding) is not None:
                smallest = shrunk(binding, lambda b: worst(b) is not None)
                args = given(smallest)
                raise AssertionError(told(f, args, worst(smallest)))


def bindings(names: Sequence[str], sizes: Sequence[int]) -> Iterator[dict[str, int]]:
    """Sizes for names: each name takes each of them, beside different ones of the others."""
    if not names:
        yield {}
        return
    for turn in range(len(sizes)):
        yield {name: sizes[(turn + k) % len(sizes)] for k, name in enumerate(names)}


def shrunk(
    binding: Mapping[str, int], fails: Callable[[Mapping[str, int]], bool]
) -> Mapping[str, int]:
    """The smallest sizes, one name after the other, with which it still fails."""
    best = dict(binding)
    for name in binding:
        for size in range(1, best[name]):
            if fails({**best, name: size}):
                best[name] = size
                break
    return best


def arguments(
    shapes: Sequence[Shape], binding: Mapping[str, int], dtype: Any, seed: int
) -> list[Tensor]:
    """Tensors of these shapes."""
    generator = np.random.default_rng(seed)
    found = []
    for shape in shapes:
        extents = [binding[x] if isinstance(x, str) else x for x in shape]
        if kind(dtype) in ("floating", "complex"):
            array = np.asarray(generator.normal(size=extents)).astype(dtype)
        else:
            array = generator.integers(0, 2 if kind(dtype) == "bool" else 8, extents).astype(dtype)
        found.append(as_tensor(array))
    return found


def disagreement(
    f: Callable[..., Any],
    args: Sequence[Tensor],
    gradients: bool | None,  # noqa: FBT001
    ulp: int,
) -> Agreement | str | None:
    """The output that agrees least, if that is not enough; None if all is well."""

    def look(both: Both) -> Agreement | str | None:
        answers = both.answers(gradients)
        structures = (answer.structure() for answer in answers)
        if (structure := next(filter(None, structures), None)) is not None:
            return structure
        outputs = list(itertools.chain.from_iterable(answer.outputs() for answer in answers))
        far = [x for x in outputs if x.ulp > ulp or (ulp == 0 and not x.identical)]
        return max(far, key=lambda output: output.ulp, default=None)

    return in_both(f, tuple(args), {}, look)


def told(f: Callable[..., Any], args: Sequence[Tensor], found: Agreement | str | None) -> str:
    """What differs, for which arguments, and why."""
    types = ", ".join(str(x.type) for x in args)
    what = found if isinstance(found, str) or found is None else f"{found.name}: {found.ulp:,} ULP"
    return f"parity: the modes differ for {types}: {what}\n{bisect(f, *args)}"
