"""Divided: a graph on several devices, as code of each device's own and copies between them.

Where its inputs lie is seen at the first call, for which the parts are compiled; later calls must
bring theirs from the same devices. Guards are asked in program order, as soon as their answers are
there, and nothing outside is written before the last of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol

from jit.dataclass import dataclass
from jit.errors import DeviceError, GuardMiss
from jit.ir.graph import Graph, Value
from jit.ir.placing import Copy, Placement, Stage
from jit.report import Cost, Part, Recomputed
from jit.runtime.hosts import bare, copied, is_host, lying_on, place_of

Held = dict[Value, Any]


class Code(Protocol):
    """What runs a part: an executable."""

    @property
    def kernels(self) -> Sequence[Part]:
        """What a call launches."""
        ...

    @property
    def host_steps(self) -> Sequence[Part]:
        """What a call leaves to Python."""
        ...

    @property
    def foreign_calls(self) -> int:
        """How many calls into native code a call makes."""
        ...

    @property
    def recomputed(self) -> Sequence[Recomputed]:
        """What a limit of memory has led to."""
        ...

    def __call__(self, arrays: list[Any]) -> list[Any]:
        """The outputs."""
        ...

    def timed(self, arrays: list[Any]) -> tuple[list[Any], list[Cost]]:
        """The outputs, and what each part of the call cost."""
        ...


@dataclass(frozen=True, eq=False)
class Placed:
    """A stage or a copy, for people.

    Attributes:
        place: The device that computes, or that the value comes to.
        what: The ops with how often they come, or what is copied from where.
        line: The user's line of a copy; that of the first op.
        is_copy: Whether it is a copy.
    """

    place: str
    what: str
    line: str | None
    is_copy: bool = False

    def __str__(self) -> str:
        return f"{self.place:<6}  {self.what:<60}  {self.line or ''}".rstrip()


class Divided:
    """Code of a graph on several devices; it has the interface of `jit.native.NativeCode`.

    Args:
        graph: What to run.
        devices: Those that are known, the first of which takes results that have no place.
        compile: Makes the code of a part for a device.
    """

    def __init__(
        self, graph: Graph, devices: Sequence[str], compile: Callable[[Graph, str], Code]
    ) -> None:
        self.graph, self.devices, self._compile = graph, tuple(devices), compile
        self.placement: Placement | None = None
        self._given: list[str | None] = []
        self._codes: dict[Stage, Code] = {}
        self._last: dict[Stage | Copy, list[Value]] = {}
        self._making = Lock()

    # ----- what it consists of -----

    @property
    def kernels(self) -> list[Part]:
        """What a call launches; nothing is known before the first one."""
        return [part for code in self._codes.values() for part in code.kernels]

    @property
    def host_steps(self) -> list[Part]:
        """What a call leaves to Python: copies, and what its parts do."""
        steps = [part for code in self._codes.values() for part in code.host_steps]
        copies = [step for step in self._steps if isinstance(step, Copy)]
        told = [Part(f"copy from {x.start} to {x.place}", x.node.source) for x in copies]
        return [*told, *steps]

    @property
    def foreign_calls(self) -> int:
        """How many calls into native code a call makes."""
        return sum(code.foreign_calls for code in self._codes.values())

    @property
    def found(self) -> dict[str, int]:
        """Kernels are counted where the parts are compiled."""
        return {}

    @property
    def recomputed(self) -> list[Recomputed]:
        """What a limit of memory has led to; nothing is known before the first call."""
        return [each for code in self._codes.values() for each in code.recomputed]

    @property
    def _steps(self) -> Sequence[Stage | Copy]:
        return () if self.placement is None else self.placement.steps

    def placed(self) -> list[Placed]:
        """What runs where, in order; nothing is known before the first call."""
        return [told(step) for step in self._steps]

    # ----- running -----

    def direct(self, arrays: Sequence[Any], *shapes: Any) -> None:
        """There is no quicker way than to call it."""

    def __call__(self, arrays: Sequence[Any], donate: object = ()) -> list[Any]:
        """The outputs of the graph; memory that is given away is not used.

        Raises:
            GuardMiss: A guard saw another answer than the one it expects.
            DeviceError: An array comes from another device than at the first call.
            DualflowError: From an op, at the user's line.
        """
        return self._run(arrays, None)

    def timed(self, arrays: list[Any]) -> tuple[list[Any], list[Cost]]:
        """The outputs, and what each kernel and copy cost."""
        costs: list[Cost] = []
        return self._run(arrays, costs), costs

    def _run(self, arrays: Sequence[Any], costs: list[Cost] | None) -> list[Any]:
        placement = self._placement_for(arrays)
        held: Held = dict(zip(self.graph.inputs, map(bare, arrays), strict=True))
        guards = list(enumerate(placement.guards))
        self._ask(guards, held)
        for step in placement.steps:
            if isinstance(step, Copy):
                self._copy(step, held, costs)
            else:
                self._compute(step, held, costs)
                self._ask(guards, held)
            for value in self._last.get(step, ()):
                del held[value]
        return [self._result(x, arrays, held[x]) for x in self.graph.outputs]

    def _placement_for(self, arrays: Sequence[Any]) -> Placement:
        given = [place_of(array) for array in arrays]
        with self._making:
            if self.placement is None:
                placement = Placement(self.graph, given, self.devices[0])
                for step in placement.steps:
                    if isinstance(step, Stage):
                        self._codes[step] = self._compile(step.graph, step.place)
                self._last, self._given, self.placement = last_reads(placement), given, placement
        if given != self._given:
            pairs = zip(given, self._given, strict=True)
            number, (now, before) = next((k, x) for k, x in enumerate(pairs) if x[0] != x[1])
            raise DeviceError(
                f"argument {number} of {self.graph.name} lies on {now}",
                f"{before}, where it lay when the code was made",
                f'x.to("{before}")',
            )
        return self.placement

    def _copy(self, step: Copy, held: Held, costs: list[Cost] | None) -> None:
        start = time.perf_counter()
        source = held[step.node.inputs[0]]
        array = held[step.node.outputs[0]] = bare(copied(source, step.place))
        if costs is not None:
            part = Part(f"copy to {step.place}", step.node.source)
            costs.append(Cost(part, time.perf_counter() - start, bytes=2 * array.nbytes))

    def _compute(self, stage: Stage, held: Held, costs: list[Cost] | None) -> None:
        code, given = self._codes[stage], [held[x] for x in stage.inputs]
        if costs is None:
            made = code(given)
        else:
            made, spent = code.timed(given)
            costs += spent
        held.update(zip(stage.outputs, made, strict=True))

    def _ask(self, guards: list[tuple[int, tuple[Value, Any]]], held: Held) -> None:
        """Asks the guards whose answers are there, as far as those before them are."""
        while guards and guards[0][1][0] in held:
            index, (value, expected) = guards.pop(0)
            actual = type(expected)(held[value].item())
            if actual != expected:
                raise GuardMiss(index, actual)

    def _result(self, value: Value, arrays: Sequence[Any], array: Any) -> Any:
        """An output as an array of its device; an input comes back as it was given."""
        if value.node is None:
            return arrays[self.graph.inputs.index(value)]
        assert self.placement is not None
        place = self.placement.places[value] or self.devices[0]
        return lying_on(array, place) if is_host(place) and place != "cpu" else array


def last_reads(placement: Placement) -> dict[Stage | Copy, list[Value]]:
    """For each step the values that nobody reads after it."""
    kept = {*placement.graph.outputs, *[asked for asked, _ in placement.guards]}
    last: dict[Value, Stage | Copy] = {}
    for step in placement.steps:
        read = step.inputs if isinstance(step, Stage) else [step.node.inputs[0]]
        last.update(dict.fromkeys(read, step))
    found: dict[Stage | Copy, list[Value]] = {}
    for value, step in last.items():
        if value not in kept:
            found.setdefault(step, []).append(value)
    return found


def told(step: Stage | Copy) -> Placed:
    """What people are told of a step."""
    if isinstance(step, Copy):
        what = f"{step.node.outputs[0].type} from {step.start}"
        return Placed(step.place, what, step.node.source, is_copy=True)
    names = Counter([node.op.name for node in step.nodes if not node.op.moves])
    ops = ", ".join([f"{count} {name}" if count > 1 else name for name, count in names.items()])
    return Placed(step.place, ops, next((x.source for x in step.nodes if x.source), None))
