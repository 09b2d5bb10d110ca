"""Runs a program in both modes, step by step, and compares all that can be seen after each."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import random
import re
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dualflow as df
from tests.tracing.fuzz.writer import CALLS

ADDRESS = re.compile("0x[0-9a-f]+")  # of an object, in its text
MODULE = "users_module"
SECONDS = 30  # of the processor that a program may take


class Hangs(BaseException):
    """A program takes too long; no handler of its own catches this."""


@dataclass
class Difference:
    """What is not the same in both modes.

    Attributes:
        step: The number of the step, from 0.
        text: Of the step.
        what: "result", "error", "output", "state", or "hangs".
        eager: How it is without the decorator.
        compiled: How it is with it.
    """

    step: int
    text: str
    what: str
    eager: Any
    compiled: Any

    def __str__(self) -> str:
        return (
            f"step {self.step}, {self.text!r}: another {self.what}\n"
            f"  eager:    {self.eager!r:.2000}\n  compiled: {self.compiled!r:.2000}"
        )


@dataclass
class Report:
    """How a program ran.

    Attributes:
        difference: The first one; None if there is none.
        functions: All Functions that were made.
    """

    difference: Difference | None = None
    functions: list[Any] = field(default_factory=list)
    raised: int = 0

    def counts(self) -> dict[str, int]:
        """Calls, and how they were served."""
        return {
            "calls": sum(f.calls for f in self.functions),
            "from a graph": sum(f.from_graph for f in self.functions),
            "recordings": sum(f.recordings for f in self.functions),
            "raised": self.raised,
            "programs in segments": any("segments" in f.mode for f in self.functions),
        }


class Side:
    """A program in one mode.

    Args:
        definitions: Compiled code.
        function: The decorator.
    """

    def __init__(self, definitions: Any, function: Callable[..., Any]) -> None:
        self.module = types.ModuleType(MODULE)
        self.scope = self.module.__dict__
        self.scope.update(GIVEN, function=function)
        self.hidden = {*self.scope, "__builtins__"}
        self.state = None
        self.failed = self.step(definitions)["error"]
        self.state = df.random.get_state()

    def step(self, code: Any) -> dict[str, Any]:
        """What a step does, as far as it can be seen."""
        sys.modules[MODULE] = self.module
        if self.state is None:
            df.random.seed(0)
        else:
            df.random.set_state(self.state)
        random.seed(1)
        np.random.seed(1)
        result = error = None
        with contextlib.redirect_stdout(io.StringIO()) as output:
            try:
                result = eval(code, self.scope)
            except Exception as raised:
                error = ADDRESS.sub("0x", f"{type(raised).__name__}: {raised}")
        self.state = df.random.get_state()
        seen = Describe()
        return {
            "result": seen(result),
            "error": error,
            "output": ADDRESS.sub("0x", output.getvalue()),
            "state": self.described(seen),
        }

    def described(self, seen: Describe) -> dict[str, Any]:
        """All that the program holds, random numbers to come among it."""
        state = {
            name: seen(x)
            for name, x in self.scope.items()
            if name not in self.hidden and name[:2] != "__"
        }
        state["random"] = seen(self.state), hash(random.getstate()), np.random.rand()
        return state


class Describe:
    """Makes plain data of values: equal data, equal values; one object is named once."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, df.Variable):
            return self._once(x, lambda: ("Variable", self._tensor(x), self(x.grad), x.trainable))
        if isinstance(x, df.Tensor):
            return "Tensor", *self._tensor(x)
        if isinstance(x, np.ndarray | np.generic):
            return type(x).__name__, bits(x)
        if x is None or isinstance(x, int | float | str | bytes):
            return type(x).__name__, repr(x)
        if isinstance(x, tuple):
            return tuple(map(self, x))
        return self._once(x, lambda: self._object(x))

    def _tensor(self, x: Any) -> Any:
        return str(x.dtype), bits(x)

    def _once(self, x: Any, described: Callable[[], Any]) -> Any:
        if id(x) in self._known:
            return "seen", self._known[id(x)]
        self._known[id(x)] = len(self._known)
        self._kept.append(x)
        return described()

    def _object(self, x: Any) -> Any:
        if isinstance(x, list):
            return list(map(self, x))
        if isinstance(x, dict):
            return {repr(key): self(value) for key, value in x.items()}
        if isinstance(x, df.nn.Module):
            return self(x.training), self(x.state_dict())
        if isinstance(x, df.optim.Optimizer):
            return self(x.state_dict())
        x = getattr(x, "python", x)
        if isinstance(x, types.FunctionType):
            cells = [self(cell.cell_contents) for cell in x.__closure__ or ()]
            return x.__name__, self(vars(x)), self(x.__defaults__), cells
        if isinstance(x, type):
            held = {k: v for k, v in vars(x).items() if isinstance(v, int | float | list | dict)}
            return x.__name__, self(held)
        if type(x).__module__ == MODULE:
            return type(x).__name__, self(vars(x))
        return type(x).__name__


def bits(x: Any) -> Any:
    """Shape, type and bytes of an array; all NaNs are one."""
    array = np.array(x)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.shape, str(array.dtype), str(array.tolist()), array.tobytes().hex()


# ----- what programs are given -----


def t(*values: float, dtype: Any = df.float32) -> df.Tensor:
    """A tensor with one axis."""
    return df.asarray(list(values), dtype=dtype)


def total(y: Any) -> Any:
    """The sum of all tensors in a result that a gradient can go back from."""
    leaves = [x for x in df.tree.flatten(y)[0] if isinstance(x, df.Tensor)]
    return sum((x.sum() for x in leaves if x.dtype.kind == "f"), df.asarray(0.0))


def slopes(f: Any, x: Any, *more: Any, **named: Any) -> Any:
    """A call, and the gradients through it."""
    with df.GradientTape() as tape:
        tape.watch(x)
        y = f(x, *more, **named)
        loss = total(y)
    return y, tape.gradient(loss, [x, *tape.watched_variables()], unconnected_gradients="none")


def backward(f: Any, x: Any, *more: Any, **named: Any) -> Any:
    """A call, and `backward()` from its result."""
    y = f(x, *more, **named)
    total(y).backward()
    return y


def silent(f: Any, x: Any, *more: Any, **named: Any) -> Any:
    """A call inside `no_grad`."""
    with df.no_grad():
        return f(x, *more, **named)


GIVEN = {
    "df": df,
    "np": np,
    "sys": sys,
    "random": random,
    "functools": functools,
    "t": t,
    "slopes": slopes,
    "backward": backward,
    "silent": silent,
}


# ----- both sides -----


def run(text: str, seconds: float = SECONDS) -> Report:
    """Runs a program in both modes."""
    report = Report()
    definitions, steps = parse(text)

    def function(python: Any) -> Any:
        report.functions.append(df.function(python))
        return report.functions[-1]

    with quiet(), limit(seconds), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", ".*the graph failed where Python did not")
        k, text = -1, "definitions"
        try:
            eager, compiled = Side(definitions, lambda f: f), Side(definitions, function)
            for k, (text, code) in enumerate(steps):
                if (wanted := finished(eager, code)) is None:
                    break  # a loop without an end, in Python too
                found = compiled.step(code)
                report.raised += wanted["error"] is not None
                if (difference := compare(k, text, wanted, found)) is not None:
                    report.difference = difference
                    break
        except Hangs:
            report.difference = Difference(k, text, "hangs", None, None)
    return report


def finished(side: Side, code: Any) -> dict[str, Any] | None:
    """What a step does; None, where it takes longer than a program may."""
    try:
        return side.step(code)
    except Hangs:
        return None


def compare(k: int, text: str, wanted: Any, found: Any) -> Difference | None:
    """The first difference between what a step did in two modes."""
    for what in ("error", "result", "output", "state"):
        if wanted[what] == found[what]:
            continue
        a, b = wanted[what], found[what]
        if what == "state":
            names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
            a, b = [{name: x.get(name) for name in names} for x in (a, b)]
        return Difference(k, text, what, a, b)
    return None


def parse(text: str) -> tuple[Any, list[tuple[str, Any]]]:
    """Definitions and steps of a program as code."""
    above, _, below = text.partition(CALLS)
    steps = []
    for statement in ast.parse(below).body:
        expression = isinstance(statement, ast.Expr)
        tree = ast.Expression(statement.value) if expression else ast.Module([statement], [])
        code = compile(tree, "program.py", "eval" if expression else "exec")
        steps.append((ast.unparse(statement), code))
    return compile(above, "program.py", "exec"), steps


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises Hangs in the block when it has taken that much of the processor."""

    def stop(*_: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leaves no trace of the program's module and of random numbers."""
    state, states, numpys = df.random.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        sys.modules.pop(MODULE, None)
        df.random.set_state(state)
        random.setstate(states)
        np.random.set_state(numpys)
