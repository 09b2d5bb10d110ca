"""Runs a program in both modes, step by step, and compares all that can be seen after each."""

from __future__ import annotations

import ast
import collections
import contextlib
import contextvars
import enum
import functools
import importlib
import io
import itertools
import os
import random
import re
import signal
import sys
import threading
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
# Whether tensors, and what is both in the result and elsewhere, have to be the same objects.
IDENTITY = bool(os.environ.get("FUZZ_IDENTITY"))
SECONDS = 30  # of the processor that a program may take


class Hangs(BaseException):
    """A program takes too long; no handler of its own catches this."""


@dataclass
class Difference:
    """What is not the same in both modes.

    Attributes:
        step: The number of the step, from 0.
        text: Of the step.
        what: "result", "error", "output", "arguments", "state", or "hangs".
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
        self.scope.update(GIVEN, function=function, called=self._called)
        self.arguments: Any = None
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
        result = error = self.arguments = None
        with contextlib.redirect_stdout(io.StringIO()) as output:
            try:
                result = eval(code, self.scope)
            except Exception as raised:
                error = ADDRESS.sub("0x", f"{type(raised).__name__}: {raised}")
        self.state = df.random.get_state()
        seen = Describe()
        return {
            "result": seen(result) if IDENTITY else Describe(shared=False)(result),
            "error": error,
            "output": ADDRESS.sub("0x", output.getvalue()),
            "arguments": seen(self.arguments),
            "state": self.described(seen if IDENTITY else Describe()),
        }

    def _called(self, f: Any, *args: Any, **named: Any) -> Any:
        """A call, whose arguments are looked at after it."""
        self.arguments = args, named
        return f(*args, **named)

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
    """Makes plain data of values: equal data, equal values; one object is named once.

    Args:
        shared: Whether it is told what is one object; else only that something is in itself.
    """

    def __init__(self, *, shared: bool = True) -> None:
        self._shared = shared
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, df.Variable):
            return self._once(x, lambda: ("Variable", self._tensor(x), self(x.grad), x.trainable))
        if isinstance(x, df.Tensor):
            described = "Tensor", *self._tensor(x)
            return self._once(x, lambda: described) if IDENTITY else described
        if isinstance(x, np.ndarray | np.generic):
            return type(x).__name__, bits(x)
        if isinstance(x, enum.Enum) or x is None or isinstance(x, int | float | str | bytes):
            return type(x).__name__, repr(x)
        if isinstance(x, tuple) and not (IDENTITY and any(isinstance(y, df.Tensor) for y in x)):
            return type(x).__name__, *map(self, x)  # of plain values one is as good as another
        return self._once(x, lambda: self._object(x))

    def _tensor(self, x: Any) -> Any:
        return str(x.dtype), bits(x)

    def _once(self, x: Any, described: Callable[[], Any]) -> Any:
        if id(x) in self._known:
            return "seen", self._known[id(x)]
        self._known[id(x)] = len(self._known)
        self._kept.append(x)
        made = described()
        if not self._shared:
            del self._known[id(x)]
        return made

    def _object(self, x: Any) -> Any:
        x = getattr(x, "python", x) if isinstance(x, df.nn.Module | Callable) else x
        for kinds, described in KINDS:
            if isinstance(x, kinds):
                return type(x).__name__, described(self, x)
        if type(x).__module__ == MODULE:
            slots = [name for name in getattr(x, "__slots__", ()) if hasattr(x, name)]
            held = [(name, self(getattr(x, name))) for name in slots]
            return type(x).__name__, held, self(getattr(x, "__dict__", None))
        return type(x).__name__

    def function(self, x: Any) -> Any:
        """What a function holds."""
        cells = [self(cell.cell_contents) for cell in x.__closure__ or () if not is_empty(cell)]
        return x.__name__, self(vars(x)), self(x.__defaults__), self(x.__kwdefaults__), cells


def is_empty(cell: Any) -> bool:
    """Whether a variable of a closure has no value."""
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True


# What is described of an object, by its class.
KINDS: list[tuple[Any, Callable[[Describe, Any], Any]]] = [
    ((list, collections.deque, tuple), lambda to, x: [*map(to, x)]),
    (dict, lambda to, x: [(ADDRESS.sub("0x", repr(key)), to(held)) for key, held in x.items()]),
    ((set, frozenset), lambda to, x: sorted(map(repr, x))),
    (df.nn.Module, lambda to, x: (x.training, to(x.state_dict()))),
    ((df.optim.Optimizer, df.optim.Schedule), lambda to, x: to(x.state_dict())),
    (df.random.Generator, lambda to, x: [*map(to, vars(x).values())]),
    (types.FunctionType, lambda to, x: to.function(x)),
    (types.MethodType, lambda to, x: (x.__name__, to(x.__self__))),
    (types.GeneratorType, lambda to, x: [*map(to, itertools.islice(x, 5))]),
    (functools.partial, lambda to, x: (to(x.func), to(x.args), to(x.keywords))),
    (functools._lru_cache_wrapper, lambda to, x: x.cache_info().currsize),
    (threading.local, lambda to, x: to(vars(x))),
    (contextvars.ContextVar, lambda to, x: to(x.get())),
    (type, lambda to, x: to({k: v for k, v in vars(x).items() if isinstance(v, PLAIN)})),
]
PLAIN = int | float | list | dict


def bits(x: Any) -> Any:
    """Shape, type and bytes of an array; all NaNs are one."""
    array = np.array(x)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.shape, str(array.dtype), str(array.tolist()), array.tobytes().hex()


# ----- what programs are given -----

LIBRARY = """collections contextlib contextvars copy dataclasses enum functools heapq itertools math
    operator threading typing warnings""".split()


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
    **{name: importlib.import_module(name) for name in LIBRARY},
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
        warnings.filterwarnings("always", "at ")  # what programs warn of
        warnings.showwarning = lambda told, *_: print(repr(told))
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
    for what in ("error", "result", "output", "arguments", "state"):
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
        text = ast.unparse(statement)
        expression = isinstance(statement, ast.Expr)
        if expression and isinstance(call := statement.value, ast.Call):
            call.args.insert(0, call.func)
            call.func = ast.copy_location(ast.Name("called", ast.Load()), call.func)
        tree = ast.Expression(statement.value) if expression else ast.Module([statement], [])
        code = compile(tree, "program.py", "eval" if expression else "exec")
        steps.append((text, code))
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
