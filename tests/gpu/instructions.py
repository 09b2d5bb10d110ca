"""About how many instructions the warps of a launch issue: counted in its scheduled kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.loops.ir import (
    WARP,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Mma,
    Operand,
    Statement,
    Store,
    Sync,
)

# What an instruction of a kernel is of the machine's, for ordinary numbers; of others it is one.
PRICES = {
    "exp": 15,
    "log": 20,
    "tanh": 20,
    "erf": 25,
    "sqrt": 8,
    "divide": 6,
    "maximum": 3,
    "minimum": 3,
    "square": 1,
}
BARRIER = 20  # of threads that wait for each other
INTEGERS: dict[str, Any] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "quotient": lambda a, b: np.fix(a / b).astype(np.int64),
    "rest": np.fmod,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "where": np.where,
}
Known = dict[Operand, Any]


def instructions(kernel: Kernel) -> float:
    """Those of all warps together, of all items.

    Args:
        kernel: Scheduled; its grid is known. Its first item stands for all.
    """
    warps = -(-kernel.threads // WARP)
    known: Known = {kernel.item: np.zeros(warps, np.int64)}
    if kernel.thread is not None:
        known[kernel.thread] = np.arange(warps) * WARP
    assert isinstance(kernel.grid, int)
    return kernel.grid * float(_block(kernel.body, known, np.ones(warps)).sum())


def _block(body: Sequence[Statement], known: Known, runs: Any) -> Any:
    """How many each warp issues that runs a block so often."""
    total = np.zeros_like(runs)
    for s in body:
        match s:
            case For():
                total += _loop(s, known, runs)
            case If():
                holds = _value(s.condition, known)
                total += _block(s.body, known, runs if holds is None else runs * holds) + runs
            case Sync():
                total += BARRIER * runs
            case Let():
                _note(s, known)
                total += _price(s) * runs
            case Load() | Store():
                total += (s.buffer.scope != "register") * runs
            case Exchange() | Mma():
                total += runs
            case _:
                pass
    return total


def _loop(s: For, known: Known, runs: Any) -> Any:
    start, stop = _value(s.start, known), _value(s.stop, known)
    turns = 1 if start is None or stop is None else np.maximum(0, -(-(stop - start) // s.step))
    known[s.var] = start
    return _block(s.body, known, runs * turns) + 2 * runs * turns


def _price(s: Let) -> int:
    """Index arithmetic is part of addresses, mostly."""
    if s.var.type.dtype.kind in "iu":
        return 0
    return PRICES.get(s.op, 1) * s.var.type.lanes


def _value(x: Operand, known: Known) -> Any:
    """An integer or a truth of each warp's first thread; None: it is not known."""
    if isinstance(x, Lit):
        return x.value
    return known.get(x)


def _note(s: Let, known: Known) -> None:
    args = [_value(x, known) for x in s.args]
    kinds = {x.type.dtype.kind for x in s.args} | {s.var.type.dtype.kind}
    if s.op in INTEGERS and kinds <= {"i", "b"} and not any(x is None for x in args):
        known[s.var] = INTEGERS[s.op](*args)
