"""What an eager op costs over the NumPy call inside it, and other small figures.

Eight floats are too few to hide anything: the difference of both times is the price of types,
records and doors. Blocks of both are timed in turn. The value is the difference of the best blocks,
as other work on the machine only ever adds; the spread, quartiles of the differences of neighbours,
shows how much it did add.
"""

from __future__ import annotations

import subprocess
import sys
import timeit
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

import dualflow as df
from dualflow.bench import calls, folded, varying
from dualflow.bench.fresh import as_installed
from dualflow.bench.measured import HEADER, Measured, best
from dualflow.comparison.timing import interleaved

OPS = {
    "add": ("np.add(a, b)", "df.add(x, y)"),
    "multiply": ("np.multiply(a, b)", "df.multiply(x, y)"),
    "exp": ("np.exp(a)", "df.exp(x)"),
    "matmul": ("np.matmul(m, n)", "df.matmul(X, Y)"),
    "sum": ("np.sum(a)", "df.sum(x)"),
    "reshape": ("np.reshape(a, (2, 4))", "df.reshape(x, (2, 4))"),
    "x[1:5]": ("a[1:5]", "x[1:5]"),
}
UNRECORDED, RECORDED = 0.8, 1.5  # goals, in microseconds over NumPy
CASES = {"unrecorded": UNRECORDED, "under a tape": RECORDED, "a Variable": RECORDED}
IMPORT = 0.25  # seconds
LAZY = ("cupy", "llvmlite")  # heavy, and imported by nobody who does not use them
IMPORTING = f"""
import sys, time
start = time.perf_counter()
import dualflow
print(time.perf_counter() - start, *[name for name in {LAZY} if name in sys.modules])
"""


def run(*, repeats: int = 60, number: int = 1000) -> Iterator[Measured]:
    """Measures everything, one figure after the other.

    Args:
        repeats: Blocks of calls of each op.
        number: Calls in a block.
    """
    yield best(importing)
    tape = df.GradientTape(persistent=True)
    for case, goal in CASES.items():
        operands = arguments(case)
        watching = tape if case == "under a tape" else nullcontext()
        for op, statements in OPS.items():
            measure = partial(overhead, op, case, goal, statements, operands, repeats, number)
            with watching:
                if watching is tape:
                    tape.watch([operands["x"], operands["X"]])
                yield best(measure)
    yield from calls.run(repeats=repeats)
    yield from varying.run(repeats=repeats)
    yield from folded.run(repeats=repeats)


def arguments(case: str) -> dict[str, Any]:
    """The names in the statements: NumPy's arrays, and the same as tensors."""
    a = np.arange(1, 9, dtype=np.float32)
    b, m, n = a + 1, a.reshape(2, 4), a.reshape(4, 2)
    first = df.Variable if case == "a Variable" else df.asarray
    tensors = {"x": first(a), "y": df.asarray(b), "X": first(m), "Y": df.asarray(n)}
    return {"df": df, "np": np, "a": a, "b": b, "m": m, "n": n, **tensors}


def overhead(
    op: str,
    case: str,
    goal: float,
    statements: tuple[str, str],
    operands: dict[str, Any],
    repeats: int,
    number: int,
) -> Measured:
    """What one op takes over NumPy's call, in microseconds."""
    timers = [timeit.Timer(statement, globals=operands) for statement in statements]
    blocks = [lambda t=timer: t.timeit(number) for timer in timers]
    interleaved(blocks, 3)
    theirs, ours = (np.array(seconds) * (1e6 / number) for seconds in interleaved(blocks, repeats))
    lower, upper = (float(q) for q in np.quantile(ours - theirs, (0.25, 0.75)))
    return Measured(op, case, "µs", goal, float(ours.min() - theirs.min()), lower, upper)


def importing(processes: int = 5) -> Measured:
    """What `import dualflow` takes in a fresh process, and whether it loads what it should not."""
    seconds, loaded = [], set()
    for _ in range(processes):
        ran = subprocess.run(
            [sys.executable, "-c", IMPORTING],
            capture_output=True,
            text=True,
            check=True,
            env=as_installed(),
        )
        first, *names = ran.stdout.split()
        seconds.append(float(first))
        loaded.update(names)
    lower, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.75)))
    note = f"it imports {' and '.join(sorted(loaded))}" if loaded else ""
    return Measured("import", "a fresh process", "s", IMPORT, min(seconds), lower, upper, note)


def main(*, check: bool) -> int:
    """Prints every figure as soon as it is there.

    Args:
        check: A goal that is missed makes the exit status 1.
    """
    print("What an eager op on 8 floats takes over the raw NumPy call, what calls from a graph")
    print("take (small ones, steps of training), what compiling takes, and how much slower code is")
    print(
        "where sizes vary. It writes to temporary folders only and takes a minute or two; measure"
    )
    print("on an idle machine.\n")
    print(HEADER, flush=True)
    missed = 0
    for measured in run():
        print(measured, flush=True)
        missed += not measured.passed
    print(f"\n{missed} of the goals are missed." if missed else "\nAll goals are met.")
    return int(bool(missed) and check)
