"""Loops of known length: `scan`, and `map` and `fori_loop`, which are made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dualflow.core.backend import device_of
from dualflow.core.context import using
from dualflow.core.number import extent_of
from dualflow.core.record import clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.rows import end_row, rows
from dualflow.tracing.control.branches import batch_of
from dualflow.tracing.control.looping import STEP, while_loop
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.rolling import Deeds, Roll, recording
from dualflow.tracing.trace import Trace
from jit.dims import Dim, Extent, same
from jit.errors import DTypeError, ShapeError, TraceError
from jit.ir.loop import counter
from jit.types import TensorType, format_extent

Pair = tuple[Any, Any]


def scan(
    f: Callable[[Any, Any], Pair],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> Pair:
    """Calls `f` for each row of `xs`, and hands on what it returns to the next call.

    Args:
        f: `(carry, x) -> (carry, y)`. The carry it returns has the structure, shapes and dtypes of
            the one it is given; `x` is a row of `xs`, in a tree like it; `y` is any tree.
        init: The carry of the first call: a tensor or a tree of them, numbers and None included.
        xs: A tree of tensors, with as many rows each along their first axis; None: `f` is given
            None, `length` times.
        length: How many steps; found out from `xs` where there is one.
        reverse: Whether to begin with the last row. Its `y` is still the last row of the result.
        unroll: How many steps are taken together, where that many are left. It changes how fast a
            recorded loop runs and how long compiling takes, and the order in which gradients of
            what all steps share are summed. Then the number of steps is part of a recording.

    Returns:
        `(carry, ys)`: the last carry, and the `y` of all calls on top of each other.

    Raises:
        ShapeError: The carry changes its structure or a shape; the leaves of `xs` have different
            lengths; there is no step, and `f` asks for values before it tells what a `y` is.
        DTypeError: The carry changes a dtype, or `f` does not return a pair.

    Example:
        >>> import dualflow as df
        >>> def add(total, x):
        ...     return total + x, total
        >>> total, before = df.scan(add, 0, df.asarray([1, 2, 3]))
        >>> total.item(), before.tolist()
        (6, [0, 1, 3])
    """
    carry, given = Nest.of(init, "carry"), Nest.of(xs, "xs")
    count = known_on_gpu(steps_of(given, length), [*carry.tensors, *given.tensors])
    given = replace(given, tensors=[of_length(x, count) for x in given.tensors])
    if count == 0:
        return carry.build(carry.tensors), no_rows(f, carry, given)
    if unroll > 1 and count >= 2 * unroll:
        return in_blocks(f, init, given, int(count), unroll, reverse=reverse)
    return Steps(f, carry, given, count, reverse=reverse).run()


def no_rows(f: Callable[[Any, Any], Pair], carry: Nest, given: Nest) -> Any:
    """What is stacked of no step: `f` tells the types, of tensors without values.

    Raises:
        ShapeError: It asks for values.
    """
    trace = Trace("no step", closed=True)
    try:
        state = [trace.placeholder(x.type, None) for x in carry.tensors]
        row = [trace.placeholder(TensorType(x.shape[1:], x.dtype), None) for x in given.tensors]
        with using(trace=trace):
            _, y = f(carry.build(state), given.build(row))
            nest = Nest.of(y, "y")
        types = [x.type for x in nest.tensors]
    except TraceError as error:
        raise ShapeError(
            f"scan: there are no steps, and f cannot tell what a y is: {error.what}",
            "at least one row",
            "if length: ... around it",
        ) from error
    finally:
        trace.restore()
        trace.release()
    return nest.build([functions["zeros"]((0, *t.shape), dtype=t.dtype) for t in types])


class Steps:
    """The steps of a scan.

    Args:
        f: The user's function.
        carry: What it is given first.
        xs: What its rows are of.
        count: How many steps.
        reverse: Whether the last row comes first.
        user: What may do more than compute: `f`, or what it calls.
    """

    def __init__(
        self,
        f: Callable[[Any, Any], Pair],
        carry: Nest,
        xs: Nest,
        count: Extent,
        *,
        reverse: bool,
        user: Any = None,
    ) -> None:
        self._f, self._carry, self._xs, self._count = f, carry, xs, count
        self._turn = -1 if reverse else 1
        self._user = f if user is None else user
        self._y: Nest | None = None

    def run(self) -> Pair:
        """The result: of a batch of examples all at once."""
        batch = batch_of([*self._carry.tensors, *self._xs.tensors])
        return self._run() if batch is None else self._of_examples(batch)

    def _of_examples(self, batch: Any) -> Pair:
        """The steps of all examples together: rows and carries of all of them go through each."""
        moveaxis = functions["moveaxis"]
        each = [batch.owns(x) for x in self._xs.tensors]

        def step(carry: list[Tensor], xs: list[Tensor]) -> Pair:
            row = [batch.example(x) if flag else x for x, flag in zip(xs, each, strict=True)]
            made = self._step([batch.example(x) for x in carry], row)
            return [batch.whole(x) for x in made[0]], [batch.whole(x) for x in made[1]]

        carry = [batch.whole(x) for x in self._carry.tensors]
        pairs = zip(self._xs.tensors, each, strict=True)
        xs = [moveaxis(batch.whole(x), 1, 0) if flag else x for x, flag in pairs]
        steps = Steps(
            step,
            Nest.of(carry, "carry"),
            Nest.of(xs, "xs"),
            self._count,
            reverse=self._turn < 0,
            user=self._user,
        )
        carry, ys = steps.run()
        ys = [batch.example(moveaxis(y, 0, 1)) for y in ys]
        return self._result([batch.example(x) for x in carry], ys)

    def _run(self) -> Pair:
        """As a node where that can be, else step by step."""
        trace = recording()
        # What arrives at a carry goes into what it was before as one sum, in both modes.
        carry = [x if x.record is None else functions["identity"](x) for x in self._carry.tensors]
        ys: list[list[Tensor]] = []
        left, turn = self._xs.tensors, self._turn
        if trace is not None and self._count > 1:
            roll, deeds = Roll(trace, len(trace.graph.nodes)), Deeds(trace, self._user)
            ends = [end_row(x, last=turn < 0) for x in left]
            carry, y = roll.step(self._step, carry, [row for row, _ in ends])
            made = roll.loop(self._stacks(), self._count) if deeds.nothing_since() else None
            if made is not None:
                return self._of_loop(made)
            ys.append(y)
            left = [rest for _, rest in ends]
        lines = [rows(x)[::turn] for x in left]
        for at in range(int(self._count) - len(ys)):
            carry, y = self._step(carry, [line[at] for line in lines])
            ys.append(y)
        columns = list(zip(*ys, strict=True))
        turned = [x[::turn] for x in columns]
        return self._result(carry, [functions["stack"](list(x)) for x in turned])

    def _step(self, carry: list[Tensor], row: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """One step: the next carry, and its y, which must be like those before."""
        start = next(clock)
        made = self._f(self._carry.build(carry), self._xs.build(row))
        if not isinstance(made, tuple) or len(made) != 2:
            raise DTypeError(
                f"scan: the function returned a {type(made).__name__}",
                "a pair (carry, y)",
                "return carry, None where there is no y",
            )
        after = agreed("scan", self._carry, made[0], STEP)
        first = self._y
        if first is None:
            first = self._y = Nest.of(made[1], "y")
            y = first.tensors
        else:
            y = agreed("scan", first, made[1], ("after one step", "after another"))
        return [own(x, start) for x in after], [own(x, start) for x in y]

    def _stacks(self) -> list[tuple[Tensor, Extent]]:
        """What the rows are of, and which row it is in each step."""
        step = counter(self._count)
        at = step if self._turn > 0 else self._count - 1 - step
        return [(x, at) for x in self._xs.tensors]

    def _of_loop(self, made: list[Tensor]) -> Pair:
        """The result that a node gives."""
        size = len(self._carry.tensors)
        ys = made[2 * size :]
        if self._turn < 0:
            ys = [functions["flip"](y, axis=0) for y in ys]
        return self._result(made[size : 2 * size], ys)

    def _result(self, carry: list[Tensor], ys: list[Tensor]) -> Pair:
        assert self._y is not None
        return self._carry.build(carry), self._y.build(ys)


def own(x: Tensor, start: int) -> Tensor:
    """A result of a step: what it only passes on gets a record of the step.

    Then gradients meet what comes from outside once in each step, in both modes.
    """
    passed = x.record is not None and x.record.tick < start
    return functions["identity"](x) if passed else x


def known_on_gpu(count: Extent, tensors: Sequence[Tensor]) -> Extent:
    """How many steps there are; a number on a GPU, whose table of launches has a row for each."""
    devices = {device_of(x.raw) for x in tensors if x.raw is not None}
    return count if devices <= {"cpu"} else int(count)


def of_length(x: Tensor, count: Extent) -> Tensor:
    """`x`, of which now is known that it has so many rows, whose extents vary from call to call."""
    return x if same(x.shape[0], count) else x[:count]


def in_blocks(
    f: Callable[[Any, Any], Pair], init: Any, given: Nest, count: int, size: int, *, reverse: bool
) -> Pair:
    """A scan of which each step is `size` steps; those that are left come last."""
    left = count % size
    cut = left if reverse else count - left
    parts = [(x[:cut], x[cut:count]) for x in given.tensors]
    rest, whole = ([p[k] for p in parts] for k in ((0, 1) if reverse else (1, 0)))
    blocks = [functions["reshape"](x, (count // size, size, *x.shape[1:])) for x in whole]

    def block(carry: Any, x: Any) -> Pair:
        return scan(f, carry, x, size, reverse=reverse)

    carry, ys = scan(block, init, given.build(blocks), count // size, reverse=reverse)
    ends = Nest.of(ys, "y")
    flat = [functions["reshape"](y, (count - left, *y.shape[2:])) for y in ends.tensors]
    if not left:
        return carry, ends.build(flat)
    carry, last = scan(f, carry, given.build(rest), left, reverse=reverse)
    tails = agreed("scan", Nest.of(ends.build([y[:left] for y in flat]), "y"), last, STEP)
    pairs = [(b, a) if reverse else (a, b) for a, b in zip(flat, tails, strict=True)]
    return carry, ends.build([functions["concat"](list(both)) for both in pairs])


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`f` of each row of `xs`, one after the other, and the results on top of each other.

    `vmap` computes all rows at once; this takes the memory of one.

    Args:
        f: Takes a row of `xs`, in a tree like it, and returns any tree.
        xs: A tensor or a tree of them, with as many rows each.

    Returns:
        What `f` returns, with one dimension more in front.

    Example:
        >>> import dualflow as df
        >>> df.map(lambda row: row.sum(), df.asarray([[1, 2], [3, 4]])).tolist()
        [3, 7]
    """
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


def fori_loop(lower: Any, upper: Any, body_fn: Callable[[Any, Any], Any], init: Any) -> Any:
    """What is left of `init` when `body_fn` was applied for each number of a range.

    Args:
        lower: The first number.
        upper: The one behind the last. Where one of both is a tensor, a recorded function runs
            such loops of all lengths; where both are numbers the loop is one node of its graph.
        body_fn: `(i, carry) -> carry`; `i` is a tensor, the carry stays alike, as in `scan`.
        init: The first carry.

    Example:
        >>> import dualflow as df
        >>> df.fori_loop(1, 5, lambda i, product: product * i, 1).item()
        24
    """
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        start = functions["asarray"](lower, dtype="int64")
        return while_loop(
            lambda state: state[0] < upper,
            lambda state: (state[0] + 1, body_fn(*state)),
            (start, init),
        )[1]
    lower, upper = extent_of(lower), extent_of(upper)
    if upper <= lower:
        return Nest.of(init, "carry").build(Nest.of(init, "carry").tensors)
    numbers = functions["arange"](lower, upper)
    return scan(lambda carry, i: (body_fn(i, carry), None), init, numbers)[0]


def steps_of(xs: Nest, length: Any) -> Extent:
    """How many rows there are, the same in all leaves."""
    found: dict[str, Any] = {}
    for path, x in zip(xs.paths, xs.tensors, strict=True):
        if not x.ndim:
            raise ShapeError(f"scan: {path} has no dimensions", "one row for each step")
        found[path] = x.shape[0]
    if length is not None:
        found["length"] = extent_of(length)
    if not found:
        raise ShapeError("scan: nothing tells how many steps there are", "xs, or length=")
    first = next(iter(found))
    for path, extent in found.items():
        if extent != found[first]:
            raise ShapeError(
                f"scan: {first} has {format_extent(found[first])} steps, "
                f"{path} {format_extent(extent)}",
                "as many rows in all leaves of xs",
            )
    return min(
        found.values(), key=lambda extent: isinstance(extent, Dim)
    )  # a number, if there is one
