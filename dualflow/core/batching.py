"""How ops meet batches: for `vmap`, the rule of an op for arguments with one axis more, in front.

A rule is `(op, args, batched, attrs) -> result`; `batched` tells which arguments have the axis, and
every result has it, in front too. Records name one of the rules here, or bring their own. A
composite needs none, and what has none is applied to each example by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.op import Op, bind
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor

Flags = tuple[bool, ...]
Rule = Callable[[Op, tuple[Any, ...], Flags, dict[str, Any]], Any]


def count(args: tuple[Any, ...], batched: Flags) -> Any:
    """How many examples there are."""
    return next(x.shape[0] for x, flag in zip(args, batched, strict=True) if flag)


def spread(x: Any, flag: bool, n: Any) -> Any:  # noqa: FBT001 - one of the flags
    """`x` with the axis in front, repeated where it did not have it; numbers as they are."""
    return x if flag or not isinstance(x, Tensor) else repeated(x, n)


def repeated(x: Tensor, n: Any) -> Tensor:
    """`x`, `n` times along an axis in front."""
    return functions["broadcast_to"](x, (n, *x.shape))


def spread_all(args: tuple[Any, ...], batched: Flags) -> tuple[Any, ...]:
    """All arguments with the axis in front."""
    n = count(args, batched)
    return tuple(spread(x, flag, n) for x, flag in zip(args, batched, strict=True))


def aligned(core: int = 0) -> Rule:
    """The rule of ops that broadcast all but their last `core` dimensions."""

    def rule(op: Op, args: tuple[Any, ...], batched: Flags, attrs: dict[str, Any]) -> Any:
        pairs = list(zip(args, batched, strict=True))
        rank = max(x.ndim - flag for x, flag in pairs if isinstance(x, Tensor))
        moved = [front_aligned(x, rank) if flag else x for x, flag in pairs]
        return bind(op, tuple(moved), attrs)

    return rule


def front_aligned(x: Tensor, rank: int) -> Tensor:
    """A batch of tensors as a batch of tensors of `rank` dimensions, the new ones in front."""
    missing = rank - (x.ndim - 1)
    if missing == 0:
        return x
    return functions["reshape"](x, (x.shape[0], *(1,) * missing, *x.shape[1:]))


def leading(op: Op, args: tuple[Any, ...], batched: Flags, attrs: dict[str, Any]) -> Any:
    """The rule of ops that act on the last dimensions, whatever stands in front."""
    return bind(op, spread_all(args, batched), attrs)


def along_axes(op: Op, args: tuple[Any, ...], batched: Flags, attrs: dict[str, Any]) -> Any:
    """The rule of ops that name axes, as `axis` or `axes`, from the front."""
    later = {name: one_later(attrs[name]) for name in ("axis", "axes") if name in attrs}
    return bind(op, spread_all(args, batched), {**attrs, **later})


def one_later(axis: Any) -> Any:
    """An axis, or a tuple of them, counted with one more in front."""
    return axis + 1 if isinstance(axis, int) else tuple(k + 1 for k in axis)


def of_shapes(op: Op, args: tuple[Any, ...], batched: Flags, attrs: dict[str, Any]) -> Any:
    """The rule of ops whose attrs speak of each dimension: `shape`, `starts`, `steps`."""
    n = count(args, batched)
    first = {"shape": n, "starts": 0, "steps": 1}
    whole = {name: (first[name], *attrs[name]) for name in first if name in attrs}
    return bind(op, spread_all(args, batched), {**attrs, **whole})


def one_by_one(op: Op, args: tuple[Any, ...], batched: Flags, attrs: dict[str, Any]) -> Any:
    """What any op can do: each example by itself."""
    results = [
        bind(op, tuple(x[k] if flag else x for x, flag in zip(args, batched, strict=True)), attrs)
        for k in range(int(count(args, batched)))
    ]
    if isinstance(results[0], tuple):
        return tuple(functions["stack"](list(parts)) for parts in zip(*results, strict=True))
    return functions["stack"](results)
