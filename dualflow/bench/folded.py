"""What a step of a loop that was folded takes beside one of the same loop written out.

Both are recordings of one loop of Python's, whose ops stand in the graph again and again. In one of
them what repeats has become a loop of the graph, as it does unless it is short.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import dualflow as df
from dualflow.bench.measured import Measured, best, ratio
from jit.passes import stretches

SLOWER = 1.2  # times the time of the loop written out, at most
STEPS = 100


def last_state(x: Any, w: Any, u: Any) -> Any:
    """A recurrent net over the rows of `x`."""
    state = df.zeros((x.shape[1], len(u)))
    for k in range(len(x)):
        state = df.tanh(x[k] @ w + state @ u)
    return state


def gradients(x: Any, w: Any, u: Any) -> Any:
    """Those of its weights."""
    with df.GradientTape() as tape:
        tape.watch([w, u])
        loss = (last_state(x, w, u) ** 2).mean()
    return tape.gradient(loss, [w, u])


def mean(x: Any) -> Any:
    """One that forgets what is long ago."""
    found = df.zeros(x.shape[1:])
    for k in range(len(x)):
        found = found * 0.9 + x[k] * 0.1
    return found


def net(batch: int, width: int) -> tuple[Any, ...]:
    """Rows and the weights of a net."""
    weights = [df.random.normal((width, width)) / width for _ in range(2)]
    return df.random.normal((STEPS, batch, width)), *weights


CASES: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "net, narrow": (last_state, partial(net, 1, 32)),
    "net": (last_state, partial(net, 8, 64)),
    "gradient, narrow": (gradients, partial(net, 1, 32)),
    "gradient": (gradients, partial(net, 8, 64)),
    "mean": (mean, lambda: net(8, 64)[:1]),
}


def run(*, repeats: int = 60) -> Iterator[Measured]:
    """Measures each case.

    Args:
        repeats: Blocks of calls.
    """
    for case in CASES:
        yield best(partial(beside, case, repeats))


def recordings(python: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, Any]:
    """Two functions that were called: the loop is written out in the one, folded in the other."""
    functions = df.function(python), df.function(python)
    for f, spared in zip(functions, (sys.maxsize, stretches.SPARED), strict=True):
        with patch.object(stretches, "SPARED", spared):
            for _ in range(3):  # recorded, compiled, asked for what it was asked for
                f(*given)
    return functions


def both(case: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same call from a graph in which the loop is written out, and from one with a loop."""
    python, arguments = CASES[case]
    given = arguments()
    written_out, folded = recordings(python, given)
    return lambda: written_out(*given), lambda: folded(*given)


def beside(case: str, repeats: int) -> Measured:
    """The times of both, which take turns."""
    return ratio("folded", case, SLOWER, both(case), repeats)
