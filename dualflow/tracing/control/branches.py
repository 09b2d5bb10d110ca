"""Choices: `cond` and `switch`. Python decides, except where each example of a batch has its own.

In a recorded function a choice is a node, if all that the branches can do is to compute; else the
answer is a guard like that of `if`. Where nobody has values, all branches are recorded. Inside of
`vmap` all branches are computed for all examples, and each example takes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.choices import told
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.unknown import is_unknown, recorded
from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, kind


def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any
) -> Any:
    """`true_fn(*operands)` where `pred` holds, else `false_fn(*operands)`.

    Args:
        pred: A bool, or a tensor of one element.
        true_fn: Takes the operands, returns a tensor or a tree of them.
        false_fn: Likewise.
        *operands: What both are given.

    Returns:
        What the branch returns that was taken; only this one is called. Inside of `vmap`, with a
        `pred` of each example, both are called, and must return alike; so they are where `pred` has
        no value yet, as in a graph that is built by hand.

    Raises:
        ShapeError: `pred` has several elements.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray(-3.0)
        >>> df.cond(x > 0, lambda x: x, lambda x: -x, x).item()
        3.0
    """
    pred = asked("cond", "pred", pred)
    if is_each_examples(pred):
        pred = functions["astype"](pred, "bool")
        return chosen("cond", pred, true_fn(*operands), false_fn(*operands))
    if is_unknown(pred):
        holds = functions["astype"](pred, "bool")
        both = [holds, functions["logical_not"](holds)]
        return recorded("cond", pred.symbol.owner, (true_fn, false_fn), both, operands)
    branches, taken = (false_fn, true_fn), int(bool(pred))
    choice = told(pred, branches, operands)
    if choice is None:
        return branches[taken](*operands)
    holds = functions["astype"](pred, "bool")
    return choice.of(taken, lambda: [functions["logical_not"](holds), holds])


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`; an index beyond either end means the last one there.

    Args:
        index: An int, or a tensor of one integer.
        branches: Functions of the operands, at least one.
        *operands: What they are given.

    Returns:
        What the branch returns that was taken, as with `cond`.

    Raises:
        ShapeError: `index` has several elements, or there is no branch.
        DTypeError: `index` is no integer.

    Example:
        >>> import dualflow as df
        >>> branches = [lambda x: x + 1, lambda x: x * 10, lambda x: -x]
        >>> [df.switch(k, branches, df.asarray(2)).item() for k in (0, 1, 9)]
        [3, 20, -2]
    """
    index = asked("switch", "index", index)
    if kind(index.dtype) != "integer":
        raise DTypeError(f"switch: index is {index.dtype}", "an integer", "df.cond takes bools")
    if not branches:
        raise ShapeError("switch: there are no branches", "at least one function")
    last = len(branches) - 1
    if not last:
        return branches[0](*operands)
    if is_unknown(index):
        holds = [is_number(index, k, last) for k in range(last + 1)]
        return recorded("switch", index.symbol.owner, branches, holds, operands)
    if not is_each_examples(index):
        taken = min(max(int(index), 0), last)
        choice = told(index, branches, operands)
        if choice is None:
            return branches[taken](*operands)
        return choice.of(taken, lambda: [is_number(index, k, last) for k in range(last + 1)])
    result = branches[last](*operands)
    for k in reversed(range(last)):
        result = chosen("switch", index <= k, branches[k](*operands), result)
    return result


def is_number(index: Tensor, k: int, last: int) -> Tensor:
    """Whether an index means branch `k`."""
    if k in (0, last):
        return index >= last if k else index <= 0
    return index == k


def asked(what: str, name: str, x: Any) -> Tensor:
    """What Python is to decide by, as a tensor without dimensions."""
    x = as_tensor(x)
    if x.size != 1:
        raise ShapeError(
            f"{what}: {name} has shape {format_shape(x.shape)}",
            "one element",
            f"df.all(...) or df.any(...) of it; for a {name} of each element, df.where",
        )
    return functions["reshape"](x, ()) if x.ndim else x


def is_each_examples(x: Tensor) -> bool:
    """Whether a value of each example of a batch is meant, which Python cannot be told."""
    return x.raw is None and hasattr(x.symbol.owner, "example")


def batch_of(tensors: Sequence[Tensor]) -> Any:
    """The innermost batch that tensors stand for examples of, where no tape looks at examples."""
    owners = [x.symbol.owner for x in tensors if is_each_examples(x)]
    if not owners:
        return None
    batch = max(owners, key=lambda owner: owner.level)
    outside = [getattr(tape, "born", batch.level + 1) < batch.level for tape in context.tapes]
    return batch if all(outside) else None


def chosen(what: str, pred: Tensor, yes: Any, no: Any) -> Any:
    """The one tree or the other, for each example by itself."""
    first = Nest.of(yes, "the result")
    others = agreed(what, first, no, ("of one branch", "of another"))
    where = functions["where"]
    return first.build([where(pred, a, b) for a, b in zip(first.tensors, others, strict=True)])


def any_example(x: Tensor) -> Any:
    """Whether a bool holds for any of the examples, of batches in batches too."""
    while is_each_examples(x):
        x = functions["any"](x.symbol.value)
    return x
