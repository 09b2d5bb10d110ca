"""What an eager op costs over the NumPy call inside it, and what `import dualflow` takes.

Eight floats are too few to hide anything: the difference of both times is the price of types,
records and doors. Blocks of both are timed in turn. The value is the difference of the best blocks,
as other work on the machine only ever adds; the spread, quartiles of the differences of neighbours,
shows how much it did add.
"""

from __future__ import annotations

import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import dualflow as df
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
AGAIN = 2  # times that a goal may be missed by a slow spell of the machine
IMPORT = 0.25  # seconds
LAZY = ("cupy", "llvmlite")  # heavy, and imported by nobody who does not use them
IMPORTING = f"""
import sys, time
start = time.perf_counter()
import dualflow
print(time.perf_counter() - start, *[name for name in {LAZY} if name in sys.modules])
"""
HEADER = f"{'':<10}{'case':<18}{'goal':>8}{'value':>11}   {'quartiles':<18}pass"


@dataclass(frozen=True)
class Measured:
    """One figure and its goal.

    Attributes:
        what: The op, or what else was measured.
        case: Under which circumstances.
        unit: Of the figures.
        goal: At most this.
        value: What was measured.
        lower: Lower quartile of the measurements.
        upper: Upper quartile.
        note: What else is to be said; a note on its own fails.
    """

    what: str
    case: str
    unit: str
    goal: float
    value: float
    lower: float
    upper: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the goal is met."""
        return self.value <= self.goal and not self.note

    def __str__(self) -> str:
        value = f"{self.value:.2f} {self.unit}"
        goal = f"{self.goal:g} {self.unit}"
        spread = f"{self.lower:.2f} to {self.upper:.2f}"
        verdict = "yes" if self.passed else f"NO {self.note}".rstrip()
        return f"{self.what:<10}{self.case:<18}{goal:>8}{value:>11}   {spread:<18}{verdict}"


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


def arguments(case: str) -> dict[str, Any]:
    """The names in the statements: NumPy's arrays, and the same as tensors."""
    a = np.arange(1, 9, dtype=np.float32)
    b, m, n = a + 1, a.reshape(2, 4), a.reshape(4, 2)
    first = df.Variable if case == "a Variable" else df.asarray
    tensors = {"x": first(a), "y": df.asarray(b), "X": first(m), "Y": df.asarray(n)}
    return {"df": df, "np": np, "a": a, "b": b, "m": m, "n": n, **tensors}


def best(measure: Callable[[], Measured]) -> Measured:
    """What is measured; anew where it misses its goal, as a slow spell outlasts a block."""
    found = measure()
    for _ in range(AGAIN):
        if found.passed:
            break
        found = min(found, measure(), key=lambda measured: measured.value)
    return found


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
            [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=True
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
    print("What an eager op on 8 floats takes over the raw NumPy call, and `import dualflow`.")
    print("It writes nothing and takes about half a minute; measure on an idle machine.\n")
    print(HEADER, flush=True)
    missed = 0
    for measured in run():
        print(measured, flush=True)
        missed += not measured.passed
    print(f"\n{missed} of the goals are missed." if missed else "\nAll goals are met.")
    return int(bool(missed) and check)
