"""`df.bisect`: which stage of compilation makes a call give another answer, and at which op.

A recorded call is taken through compilation stage by stage, and each is held against the eager
values. What is found is cut down to a few ops and written as a script that shows it.
"""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualflow.comparison.both import Answer, Both, in_both
from dualflow.comparison.reference import eager_values
from dualflow.core.op import registry
from dualflow.tracing.audit import difference
from jit.blame import Blame, Judge
from jit.compiler import pipeline
from jit.config import config
from jit.dataclass import dataclass
from jit.ir.graph import Graph
from jit.ir.text import parse
from jit.passes.fast import Fast
from jit.types import as_dtype

RECORDING, CALL = "recording", "call"
LINES = 20  # of a graph that a script shows as text

SCRIPT = '''\
"""{what}

Stage: {stage}. Op: {place}. Run it: it tells whether the difference is still there.
"""

from dualflow.comparison.bisection import check{more}

GRAPH = {graph}
INPUTS = [
{inputs}
]

if __name__ == "__main__":
    check(GRAPH, INPUTS, {stage!r})
'''


@dataclass(frozen=True)
class Bisection:
    """What makes a call differ between the modes.

    Attributes:
        name: Of the function.
        stage: The stage at fault: a pass by its name, "lowering", "fusion", "schedule",
            "elementary functions", "code generation", "memory plan"; "recording" where the recorded
            ops are not what Python does, "call" where the compiled graph is right. None where
            nothing differs.
        op: The op with which the difference begins.
        line: The user's line of that op.
        what: The difference, in words.
        repro: A script that shows it; empty where there is none.
    """

    name: str
    stage: str | None
    op: str | None = None
    line: str | None = None
    what: str = ""
    repro: str = ""

    def __bool__(self) -> bool:
        return self.stage is not None

    def save(self, path: str | Path) -> Path:
        """Writes the script.

        Args:
            path: Where to.

        Returns:
            The path.
        """
        path = Path(path)
        path.write_text(self.repro, encoding="utf-8")
        return path

    def __str__(self) -> str:
        if self.stage is None:
            return f"{self.name}: both modes give the same bits"
        place = f"{self.op} at {self.line}" if self.line else str(self.op)
        lines = [f"{self.name}: {self.stage}, {place}", f"  {self.what}"]
        if self.repro:
            lines.append("  a script that shows it: .repro, or .save(path)")
        return "\n".join(lines)


def bisect(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Bisection:
    """Finds the stage of compilation and the op behind a difference between the modes.

    State is put back, as by `df.compare`.

    Args:
        f: A function, decorated or not.
        *args: Arguments of a call that differs.
        **kwargs: Arguments of the call.

    Returns:
        A Bisection; print it, and `save` the script that shows the difference.

    Example:
        >>> import dualflow as df
        >>> print(df.bisect(lambda x: df.tanh(x).sum(), df.ones(3)))
        <lambda>: both modes give the same bits
    """
    return in_both(f, args, kwargs, look)


def look(both: Both) -> Bisection:
    """Looks at the results, and then at their gradients."""
    answer = both.answer(both.python)
    name = answer.function.name
    found = of_answer(name, answer)
    if found or both.snapshot.writes:
        return found
    answers = both.gradients()
    return of_answer(name, answers[0]) if answers else found


def of_answer(name: str, answer: Answer) -> Bisection:
    """The stage at fault for what a function gave in both modes."""
    graph, witness = answer.graph, answer.witness
    differing = [x for x in witness.pairs if difference(x.graph, x.python) is not None]
    if witness.structure is not None:
        return Bisection(name, RECORDING, what=witness.structure)
    if not differing:
        return Bisection(name, None)
    first = differing[0]
    what = f"{first.name}: {difference(first.graph, first.python)}"
    if graph is None:
        return of_stretches(name, answer, what)
    values = eager_values(graph, witness.arrays)
    for pair in differing:
        if pair.output is not None:
            value = graph.outputs[pair.output]
            if (told := difference(values[value], pair.python)) is not None:
                node = value.node
                place = (node.op.name, node.source) if node else (None, None)
                return Bisection(name, RECORDING, *place, f"{pair.name}: {told}")
    return of_stretches(name, answer, what)


def of_stretches(name: str, answer: Answer, what: str) -> Bisection:
    """The stage at fault in the first graph of a call that is compiled wrongly."""
    for graph, arrays in answer.stretches:
        blame = judge().blame(graph, arrays, passes(fast=answer.fast))
        if blame is not None:
            node = blame.node
            return Bisection(
                name, blame.stage, node.op.name, node.source, blame.what, script(blame)
            )
    return Bisection(name, CALL, what=what)


def judge() -> Judge:
    """Holds graphs against eager values."""
    return Judge(eager_values, difference)


def passes(*, fast: bool = False) -> list[Any]:
    """Those that run here and now."""
    off = config().passes_off
    return [each for each in pipeline(registry, native=True, fast=fast) if each.name not in off]


# ----- scripts -----


def script(blame: Blame) -> str:
    """A script of less than 40 lines that shows a difference."""
    node, text = blame.node, str(blame.graph)
    escaped = text.replace("\\", "\\\\")
    is_long = len(text.splitlines()) > LINES
    return SCRIPT.format(
        what=f"Eager and compiled differ: {blame.what}",
        stage=blame.stage,
        place=f"{node.op.name} at {node.source}" if node.source else node.op.name,
        more=", unzipped" if is_long else "",
        graph=f"unzipped({zipped(text.encode())!r})" if is_long else f'"""\n{escaped}\n"""',
        inputs="\n".join(f"    {packed(np.asarray(x))!r}," for x in blame.arrays),
    )


def zipped(data: bytes) -> str:
    """Bytes, compressed, as text."""
    return base64.b85encode(zlib.compress(data, 9)).decode()


def unzipped(text: str) -> str:
    """The text of a graph that `zipped` was given."""
    return zlib.decompress(base64.b85decode(text)).decode()


def packed(array: Any) -> tuple[str, tuple[int, ...], str]:
    """An array as plain values: dtype, shape, and its bytes as text."""
    return array.dtype.name, array.shape, zipped(array.tobytes())


def unpacked(dtype: str, shape: Sequence[int], data: str) -> Any:
    """The array that `packed` was given."""
    raw = zlib.decompress(base64.b85decode(data))
    return np.frombuffer(raw, as_dtype(dtype)).reshape(shape)


def check(graph: str, inputs: Sequence[tuple[str, Sequence[int], str]], stage: str) -> None:
    """Compiles a graph and tells whether it gives eager's results; the process ends with 1 if not.

    Args:
        graph: Its text.
        inputs: What `packed` gave for each input.
        stage: Which stage was at fault.
    """
    parsed: Graph = parse(graph, registry)
    arrays = [unpacked(*x) for x in inputs]
    found = judge().blame(parsed, arrays, passes(fast=stage == Fast.name))
    if found is None:
        sys.stdout.write(f"no difference any more; it was {stage}\n")
        return
    sys.stdout.write(f"still there: {found.stage}, {found.node.op.name}: {found.what}\n")
    sys.exit(1)
