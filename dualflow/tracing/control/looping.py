"""Loops of any length: `while_loop`.

In a recorded function a loop becomes a node. Where it cannot, ways join where the condition is
asked, as they do at a `while` of the user's: so this module's frames count among the user's there,
and what they hold is handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.branches import any_example, asked, batch_of, is_each_examples
from dualflow.tracing.control.first import entered, forget, left
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.unknown import is_unknown, rolled

STEP = ("before a step", "after it")
Tensors = list[Tensor]


def while_loop(
    cond_fn: Callable[[Any], Any],
    body_fn: Callable[[Any], Any],
    init: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """What is left of `init` when `body_fn` was applied as long as `cond_fn` holds.

    Args:
        cond_fn: From the carry to a bool: a tensor of one element.
        body_fn: From the carry to the next one, which stays alike, as in `scan`.
        init: The first carry: a tensor or a tree of them.
        maximum_iterations: After how many steps it ends in any case. A recorded loop through which
            gradients flow is one node of its graph only where this is given.

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

    def pred_of(tensors: Tensors) -> Tensor:
        return asked("while_loop", "the condition", cond_fn(carry.build(tensors)))

    def step(tensors: Tensors) -> Tensors:
        return agreed("while_loop", carry, body_fn(carry.build(tensors)), STEP)

    return carry.build(run(pred_of, step, carry.tensors, maximum_iterations, (cond_fn, body_fn)))


def run(
    pred_of: Callable[[Tensors], Tensor],
    step: Callable[[Tensors], Tensors],
    tensors: Tensors,
    most: int | None,
    user: Any,
) -> Tensors:
    """The same with lists for trees; `user` is what may do more than compute."""
    if batch_of(tensors) is not None:
        return of_batch(pred_of, step, tensors, most, user)
    if most is not None:
        return counted(pred_of, step, tensors, most, user)
    return repeated(pred_of, step, tensors, None, user)


def repeated(
    pred_of: Callable[[Tensors], Tensor],
    step: Callable[[Tensors], Tensors],
    tensors: Tensors,
    most: int | None,
    user: Any,
) -> Tensors:
    """The same for one example."""
    key = pred_of, step
    try:
        pred = pred_of(tensors)
        while True:
            if is_unknown(pred):
                return rolled(pred_of, step, tensors, most, pred.symbol.owner)
            if not any_example(pred):
                return tensors
            tensors = entered(key, pred, tensors, most, user)
            after = step(tensors)
            tensors = of_examples(pred, after, tensors) if is_each_examples(pred) else after
            pred = pred_of(tensors)
            if (made := left(key, pred, tensors)) is not None:
                return made
    finally:
        forget(key)


def counted(
    pred_of: Callable[[Tensors], Tensor],
    step: Callable[[Tensors], Tensors],
    tensors: Tensors,
    most: int,
    user: Any,
) -> Tensors:
    """The same, at most so many times: the first carry says how often it was."""

    def is_going(state: Tensors) -> Tensor:
        pred = functions["astype"](pred_of(state[1:]), "bool")
        return functions["logical_and"](pred, state[0] < most)

    def next_step(state: Tensors) -> Tensors:
        return [state[0] + 1, *step(state[1:])]

    start = functions["zeros"]((), dtype="int64")
    return repeated(is_going, next_step, [start, *tensors], most, user)[1:]


def of_batch(
    pred_of: Callable[[Tensors], Tensor],
    step: Callable[[Tensors], Tensors],
    tensors: Tensors,
    most: int | None,
    user: Any,
) -> Tensors:
    """The same for all examples together, until none goes on: the first carry says which do."""
    batch: Any = batch_of(tensors)

    def going(examples: Tensors) -> Tensor:
        return batch.whole(functions["astype"](pred_of(examples), "bool"))

    def any_is(state: Tensors) -> Tensor:
        return functions["any"](state[0])

    def next_step(state: Tensors) -> Tensors:
        pred, *examples = [batch.example(x) for x in state]
        after = of_examples(pred, step(examples), examples)
        return [going(after), *[batch.whole(x) for x in after]]

    first = going(tensors)
    made = run(any_is, next_step, [first, *[batch.whole(x) for x in tensors]], most, user)
    return [batch.example(x) for x in made[1:]]


def of_examples(pred: Tensor, after: Tensors, before: Tensors) -> Tensors:
    """The next carry of the examples that go on, and the last one of those that do not."""
    where = functions["where"]
    return [where(pred, new, old) for new, old in zip(after, before, strict=True)]
