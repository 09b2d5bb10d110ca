"""`df.compare`: one call of a function in both modes: answers, times, memory, and what ran."""

from __future__ import annotations

import gc
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any, TypeVar

from dualflow.autodiff.tape import GradientTape
from dualflow.comparison.accuracy import Accuracy, accuracy, worst
from dualflow.comparison.agreement import Agreement, agreement
from dualflow.comparison.divergence import Place, first_divergence
from dualflow.comparison.memory import peak_bytes
from dualflow.comparison.price import price
from dualflow.comparison.report import Comparison, count, size
from dualflow.comparison.snapshot import Snapshot
from dualflow.comparison.steps import Step, step_times
from dualflow.comparison.timing import FirstCall, Timing, interleaved
from dualflow.comparison.witness import Witness
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.decorator import function as decorate
from dualflow.tracing.explain import all_functions
from dualflow.tracing.function import Function
from dualflow.tracing.modes import set_mode
from dualflow.tracing.parameters import defined_at, describe, leaf_names
from dualflow.tracing.signature import take_apart
from jit.compiler import keeping
from jit.dataclass import dataclass
from jit.ir.graph import Graph
from jit.runtime.threads import num_threads
from jit.types import kind

BOUND = 1e-4  # relative difference up to which the answers count as the same
CALLS, SECONDS = 200, 1.5  # calls that are measured of each mode, and what that may take
LEAST = 5
SLIGHT = 1 << 16  # bytes of memory that are no difference
SETTLING = 4  # calls before the first that is looked at: recordings that create state, paths
GRADIENT = re.compile(r"result\['(grad .*)'\]")  # as `gradients_of` returns them
Found = TypeVar("Found")
MOVED = {"mode", "audit", "background"}  # options that would hide a mode


def compare(
    f: Callable[..., Any],
    *args: Any,
    calls: int = CALLS,
    gradients: bool | None = None,
    bound: float = BOUND,
    **kwargs: Any,
) -> Comparison:
    """Runs a call of `f` eagerly and from its graph, and tells how they agree and what they cost.

    Both start from the same state, which is put back in the end: Variables, their gradients,
    optimisers, random generators, and what else of Python's the function can reach. What it prints
    meanwhile is not shown.

    Args:
        f: A function, decorated or not. Of a decorated one its options hold; its own recordings are
            left alone.
        *args: Arguments of the call.
        calls: How many calls of each mode are measured; fewer if that takes more than a second.
        gradients: Whether to compare the gradients of the results, summed, by the floating
            arguments and by the parameters; None: unless the function changes parameters itself.
        bound: The relative difference up to which the answers count as the same.
        **kwargs: Arguments of the call.

    Returns:
        A Comparison; print it, or look at it in a notebook.

    Example:
        >>> import dualflow as df
        >>> found = df.compare(lambda x: df.tanh(x @ x).sum(), df.ones((8, 8)), calls=5)
        >>> found.same
        True
    """
    return in_both(f, args, kwargs, lambda both: both.comparison(calls, gradients, bound))


def in_both(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    look: Callable[[Both], Found],
) -> Found:
    """Looks at a call in both modes; state is put back, and nothing is printed.

    Args:
        f: A function, decorated or not.
        args: Of the call.
        kwargs: Of the call.
        look: Is given the call.

    Returns:
        What `look` returned.
    """
    python, options = f, {}
    if isinstance(f, Function):
        python = f.python
        options = {name: x for name, x in f.options.items() if name not in MOVED}
    quiet = redirect_stdout(io.StringIO())
    with using(trace=None, checker=None), set_mode("compiled"), quiet:
        both = Both(python, options, args, kwargs)
        try:
            return look(both)
        finally:
            both.snapshot.put_back()


@dataclass(frozen=True)
class Answer:
    """What a function gave in both modes.

    Attributes:
        function: The decorated one.
        witness: The call.
        graph: What was recorded of it; None where no single graph served it.
        stretches: The graphs that served it, one after the other, each with what it was given.
    """

    function: Function
    witness: Witness
    graph: Graph | None
    stretches: list[tuple[Graph, list[Any]]]

    def outputs(self) -> list[Agreement]:
        """How well its arrays and numbers agree."""
        return [
            agreement(GRADIENT.sub(r"\1", pair.name), pair.python, pair.graph)
            for pair in self.witness.pairs
            if pair.is_numeric
        ]

    def structure(self) -> str | None:
        """How the results differ, besides in their numbers."""
        others = (pair.difference() for pair in self.witness.pairs if not pair.is_numeric)
        return self.witness.structure or next(filter(None, others), None)

    def first_difference(self) -> Place | None:
        """The first op whose values differ, if results do."""
        if all(output.identical for output in self.outputs()):
            return None
        places = (first_divergence(*each, fast=self.fast) for each in self.stretches)
        return next((place for place in places if place is not None), None)

    @property
    def fast(self) -> bool:
        """Whether graphs may be rounded elsewhere than Python."""
        return self.function.options["fast"]

    def accuracy(self) -> Accuracy | None:
        """How far both modes are from float64."""
        return accuracy(self.witness, self.graph)


@dataclass(frozen=True)
class Times:
    """What calls took.

    Attributes:
        eager: In Python.
        compiled: Of the decorated function.
        calls: How many of those there were.
        from_graph: And how many of them ran from a graph.
    """

    eager: Timing
    compiled: Timing
    calls: int
    from_graph: int


class Both:
    """One call of a function, in both modes.

    Args:
        python: The function, undecorated.
        options: How it is decorated.
        args: Of the call.
        kwargs: Of the call.
    """

    def __init__(
        self,
        python: Callable[..., Any],
        options: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.python, self.options = python, options
        self.call = take_apart(args, kwargs)
        self.names = leaf_names(python, self.call)
        self.snapshot = Snapshot(python, self.call)

    def comparison(self, calls: int, gradients: bool | None, bound: float) -> Comparison:  # noqa: FBT001
        """Everything that is to be told."""
        answers = self.answers(gradients)
        outputs = [output for answer in answers for output in answer.outputs()]
        places = (answer.first_difference() for answer in answers)
        first = next((place for place in places if place is not None), None)
        effects, lost = self.effects(answers[0].function)
        facts = self.costs(answers[0].function, calls)
        facts |= self.what_ran(answers[0], facts["compiled"].median)
        if facts["compiled_bytes"] > facts["eager_bytes"] + SLIGHT:
            facts["more"] = self.what_takes_more()
        facts["price"] = price(self, answers[0].function, facts["compiled"].calls)
        return Comparison(
            name=answers[0].function.name,
            place=defined_at(self.python),
            what=(describe(self.call, self.names), where(self.call.tensors)),
            compared=compared(outputs, len(answers[0].outputs())),
            outputs=tuple(outputs),
            bound=bound,
            structure=next(filter(None, (answer.structure() for answer in answers)), None),
            accuracy=worst([answer.accuracy() for answer in answers]),
            first_difference=first and str(first),
            effects=effects,
            lost=lost,
            trial=True,
            **facts,
        )

    # ----- the same answer? -----

    def decorated(
        self, python: Callable[..., Any], options: dict[str, Any] | None = None
    ) -> Function:
        """A new decorated function, with the user's options by default."""
        made = decorate(**(self.options if options is None else options))(python)
        assert isinstance(made, Function)
        all_functions.pop(id(made), None)  # `df.status` and bundles are about the user's own
        return made

    def run(self, function: Callable[..., Any]) -> Any:
        """Calls a function with the arguments."""
        args, kwargs = self.call.given
        return function(*args, **kwargs)

    def settle(self, function: Function) -> None:
        """Calls a function from the same state until it is served by a graph, if it ever is."""
        for _ in range(SETTLING):
            self.snapshot.start()
            before = function.from_graph
            self.run(function)
            if function.from_graph > before:
                break
        self.snapshot.start()

    def answers(self, gradients: bool | None = None) -> list[Answer]:  # noqa: FBT001
        """What the function gives in both modes, and its gradients, unless it changes parameters.

        Args:
            gradients: Whether they are wanted in any case, or in none.
        """
        wanted = not self.snapshot.writes if gradients is None else gradients
        return [self.answer(self.python), *(self.gradients() if wanted else ())]

    def answer(self, python: Callable[..., Any], options: dict[str, Any] | None = None) -> Answer:
        """What a function gives in both modes."""
        function = self.decorated(python, options)
        with keeping() as graphs:
            self.settle(function)
        witness = Witness(function, self.call)
        witness.serve()
        found = [(graphs.get(path.executable), arrays) for path, arrays in witness.stretches]
        stretches = [(graph, arrays) for graph, arrays in found if graph is not None]
        graph = stretches[0][0] if witness.path is not None and stretches else None
        return Answer(function, witness, graph, stretches)

    def gradients(self) -> list[Answer]:
        """The same for the gradients of the results; nothing where there are none."""
        parameters = {n: v for n, v in self.snapshot.variables.items() if v.trainable}
        sources = floating_leaves(self.names, self.call.leaves) | parameters
        results = tree.flatten(self.snapshot.result)[0]
        if not sources or not any(map(is_floating, results)):
            return []
        return [self.answer(gradients_of(self.python, self.names, parameters))]

    def effects(self, function: Function) -> tuple[int, int]:
        """How many lines a call prints in Python, and how many a call from a graph lacks."""
        printed = []
        for python in (self.python, function):
            self.snapshot.start()
            with redirect_stdout(io.StringIO()) as out:
                self.run(python)
            printed.append(Counter(out.getvalue().splitlines()))
        eager, compiled = printed
        return eager.total(), (eager - compiled).total()

    # ----- what it costs -----

    def costs(self, function: Function, calls: int) -> dict[str, Any]:
        """Times and memory of both modes."""
        times = self.times(function, calls)
        paths = [path for entry in function.entries.values() for path in entry.parts]
        seconds = sum(entry.info.seconds for entry in function.entries.values())
        compiling = sum(sum(path.executable.seconds.values()) for path in paths)
        return {
            "eager": times.eager,
            "compiled": times.compiled,
            "calls": times.calls,
            "from_graph": times.from_graph,
            "first": FirstCall(max(0.0, seconds - compiling), compiling, function.recordings),
            "found": found(path.executable.code for path in paths),
            "eager_bytes": self.peak(lambda: self.python),
            "compiled_bytes": self.peak(lambda: self.decorated(self.python)),
        }

    def times(self, function: Function, calls: int) -> Times:
        """What calls take in both modes, in turn; state goes on from call to call."""
        self.snapshot.start()

        def eager() -> None:
            with set_mode("eager"):
                self.run(self.python)

        def compiled() -> None:
            self.run(function)

        once = sum(min(seconds) for seconds in interleaved([eager, compiled], 2))
        affordable = max(LEAST, int(SECONDS / max(once, 1e-9)))
        made, served = function.calls, function.from_graph
        gc.collect()
        taken = interleaved([eager, compiled], min(calls, affordable))
        return Times(
            *map(Timing.of, taken),
            calls=function.calls - made,
            from_graph=function.from_graph - served,
        )

    def peak(self, make: Callable[[], Callable[..., Any]]) -> int:
        """Peak memory of a call, with what it is given and the state that it works on."""
        self.snapshot.start()

        def build() -> Callable[[], Any]:
            function = make()
            return lambda: self.run(function)

        given = [x.raw for x in (*self.call.tensors, *self.snapshot.only_read)]
        return peak_bytes(build) + sum(x.nbytes for x in given)

    def what_takes_more(self) -> str | None:
        """Why a call from the graph takes more memory: the line that holds most at its peak."""
        from dualflow.comparison.usage import looked  # which looks at calls in both modes, too

        found = looked(self)
        if found.compiled is None:
            return "it goes through several graphs, each with memory of its own"
        eager = found.eager.by_line()
        more = {line: n - eager.get(line, 0) for line, n in found.compiled.by_line().items()}
        line = max(more, key=more.__getitem__)
        held = size(found.compiled.by_line()[line]), size(eager.get(line, 0))
        return f"at its peak {held[0]} of {line} are there, eagerly {held[1]}"

    def what_ran(self, answer: Answer, seconds: float) -> dict[str, Any]:
        """Traces, ops and kernels, and where a call from the graph spends its `seconds`."""
        function, witness = answer.function, answer.witness
        paths = [path for entry in function.entries.values() for path in entry.parts]
        kernels = [part for path in paths for part in path.executable.kernels]
        steps: tuple[Step, ...] = ()
        if witness.path is not None:
            gc.collect()
            # the clock at each step slows a call down: the shares are of what it takes without
            timed = step_times(witness.path.executable, witness.arrays)
            steps = tuple(replace(step, seconds=step.share * seconds) for step in timed)
        return {
            "mode": function.mode,
            "traces": len(function.entries),
            "ops": sum(path.ops for path in paths),
            "kernels": len(kernels),
            "groups": tuple(kernels),
            "host_steps": sum(len(path.executable.host_steps) for path in paths),
            "steps": steps,
        }


def gradients_of(
    python: Callable[..., Any], names: list[str], parameters: dict[str, Variable]
) -> Callable[..., Any]:
    """A function of the same arguments that returns the gradients of the results by their names."""

    def gradients(*args: Any, **kwargs: Any) -> dict[str, Any]:
        leaves, spec = tree.flatten((args, kwargs))
        # tensors of its own: a watched one stays so, and these are the caller's
        leaves = [x.detach() if is_floating_tensor(x) else x for x in leaves]
        sources: dict[str, Tensor] = dict(floating_leaves(names, leaves))
        with GradientTape() as tape:
            tape.watch(list(sources.values()))
            args, kwargs = tree.unflatten(spec, leaves)
            result = python(*args, **kwargs)
        targets = [x for x in tree.flatten(result)[0] if is_floating(x)]
        sources |= parameters
        found = tape.gradient(targets, list(sources.values()), unconnected_gradients="none")
        return {f"grad {n}": g for n, g in zip(sources, found, strict=True) if g is not None}

    gradients.__name__ = f"gradients of {getattr(python, '__name__', 'f')}"
    return gradients


def floating_leaves(names: list[str], leaves: list[Any]) -> dict[str, Tensor]:
    """The floating tensors among the leaves of arguments, without Variables, by their names."""
    return {name: x for name, x in zip(names, leaves, strict=False) if is_floating_tensor(x)}


def is_floating_tensor(x: Any) -> bool:
    """Whether something is a tensor of floats, and no Variable."""
    return not isinstance(x, Variable) and is_floating(x)


def is_floating(x: Any) -> bool:
    """Whether something is a tensor of floats."""
    return isinstance(x, Tensor) and kind(x.dtype) == "floating"


def compared(outputs: list[Agreement], results: int) -> str:
    """What is held against each other, in words; the first `results` are not gradients."""
    left = sum(x.name.endswith(" after the call") for x in outputs)
    numbers = {
        "output": results - left,
        "Variable": left,
        "gradient": len(outputs) - results,
    }
    parts = [count(number, noun) for noun, number in numbers.items() if number]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:]))) or "nothing"


def found(codes: Iterable[Any]) -> dict[str, int]:
    """How many kernels were compiled, read from the disk, or known."""
    total: Counter[str] = Counter()
    for code in codes:
        total.update(getattr(code, "found", {}))
    return dict(total)


def where(tensors: Iterable[Tensor]) -> str:
    """Where a call with these tensors computes, in a few words."""
    place = next((x.device for x in tensors), context.device)
    if place != "cpu":
        return place
    return f"cpu, {count(num_threads(), 'thread')}"
