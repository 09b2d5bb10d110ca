"""The price of exactness: what a call would take if its graph might round elsewhere than Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dualflow.comparison.agreement import Agreement
from dualflow.comparison.timing import Timing, interleaved
from dualflow.tracing.function import Function
from jit.dataclass import dataclass

if TYPE_CHECKING:
    from dualflow.comparison.both import Both


@dataclass(frozen=True)
class Price:
    """A function with `exact=True`, beside the same with `fast=True`.

    Attributes:
        ways: How many ways through the function were checked, bit by bit.
        exact: What its calls take.
        fast: What they take where they may round elsewhere.
        outputs: How far results are apart then.
    """

    ways: int
    exact: Timing
    fast: Timing
    outputs: tuple[Agreement, ...]

    @property
    def share(self) -> float:
        """What exactness adds to a call, as a part of it; negative where it adds nothing."""
        return self.exact.median / self.fast.median - 1

    @property
    def worst(self) -> Agreement | None:
        """The output that differs most; None if none does."""
        apart = [x for x in self.outputs if not x.identical]
        return max(apart, key=lambda x: x.relative, default=None)


def price(both: Both, function: Function, calls: int) -> Price | None:
    """What exactness costs a function; None if it is not asked for.

    Args:
        both: The call.
        function: Decorated as the user did; it has served such calls.
        calls: How many are measured of each.
    """
    if function.exact is None:
        return None
    options = {**both.options, "exact": False, "fast": True}
    fast = both.answer(both.python, options)
    both.settle(function)
    taken = interleaved([runs(both, function), runs(both, fast.function)], max(1, calls))
    outputs = tuple(fast.outputs())
    return Price(len(function.exact.checked), Timing.of(taken[0]), Timing.of(taken[1]), outputs)


def runs(both: Both, function: Callable[..., Any]) -> Callable[[], None]:
    """A call of a function, without arguments."""

    def run() -> None:
        both.run(function)

    return run
