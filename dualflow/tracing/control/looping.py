"""Loops of any length: `while_loop`.

In a recorded function ways join where the condition is asked, as they do at a `while` of the
user's: so this module's frames count among the user's there, and what they hold is handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.branches import any_example, asked, is_each_examples
from dualflow.tracing.control.nests import Nest, agreed

STEP = ("before a step", "after it")


def while_loop(cond_fn: Callable[[Any], Any], body_fn: Callable[[Any], Any], init: Any) -> Any:
    """What is left of `init` when `body_fn` was applied as long as `cond_fn` holds.

    Args:
        cond_fn: From the carry to a bool: a tensor of one element.
        body_fn: From the carry to the next one, which stays alike, as in `scan`.
        init: The first carry: a tensor or a tree of them.

    Returns:
        The carry for which `cond_fn` does not hold. Inside of `vmap` each example stops by itself.

    Raises:
        ShapeError: The carry changes its structure or a shape; the condition has several elements.
        DTypeError: The carry changes a dtype.

    Example:
        >>> import dualflow as df
        >>> df.while_loop(lambda x: x < 100, lambda x: x * 2, df.asarray(3)).item()
        192
    """
    carry = Nest.of(init, "carry")
    tensors = carry.tensors
    while True:
        before = carry.build(tensors)
        pred = asked("while_loop", "the condition", cond_fn(before))
        if not any_example(pred):
            return before
        after = agreed("while_loop", carry, body_fn(before), STEP)
        tensors = of_examples(pred, after, tensors) if is_each_examples(pred) else after


def of_examples(pred: Tensor, after: list[Tensor], before: list[Tensor]) -> list[Tensor]:
    """The next carry of the examples that go on, and the last one of those that do not."""
    where = functions["where"]
    return [where(pred, new, old) for new, old in zip(after, before, strict=True)]
