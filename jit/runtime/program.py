"""Program: what a compiled graph does, as data: launches of kernels, host steps, guards.

Values live in numbered slots. Each owns contiguous memory in row-major order, so no two slots
overlap unless a launch works in place. Inputs are never written, unless the caller gives one away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Extent, evaluate
from jit.ir.convolution import Convolution
from jit.ir.graph import Node
from jit.loops.ir import Kernel
from jit.types import TensorType

Array: TypeAlias = "np.ndarray[Any, Any]"
USED = "temporary"  # the role of a slot that a step writes
UNKNOWN = 64  # how often something runs of which nobody knows it
MOVING = "moving"  # and of one that shows memory of others, here and there


@dataclass(frozen=True, eq=False)
class Slot:
    """A place for a value.

    Attributes:
        type: Shape, which may hold symbols, and dtype.
        role: "input", "constant", "temporary", "moving"; outputs of the program are temporaries.
        value: Of a constant.
    """

    type: TensorType
    role: str = USED
    value: Array | None = None


@dataclass(frozen=True)
class Operand:
    """A matrix for each of a batch, without gaps, in a buffer of a launch.

    Attributes:
        buffer: The number of the buffer.
        offset: Of the first element.
        turned: It lies transposed.
        shared: There is one for the whole batch.
    """

    buffer: int
    offset: int
    turned: bool
    shared: bool


@dataclass(frozen=True)
class Epilogue:
    """What becomes of each element of a product before it is stored.

    Attributes:
        relu: Where it is negative, 0 is stored.
        bias: The number of the buffer of what is added first, an element for each column.
    """

    relu: bool
    bias: int


@dataclass(frozen=True)
class Matrices:
    """What a launch computes, as products of matrices: [rows, inner] times [inner, columns].

    Attributes:
        sizes: How many products, rows, columns, inner indices.
        operands: The two of each.
        result: The number of the buffer of the results, which lie as they are.
        dtype: Of all elements.
        precision: In which elements of float32 are multiplied.
        epilogue: What is stored in place of the products; None: these.
    """

    sizes: tuple[Extent, Extent, Extent, Extent]
    operands: tuple[Operand, Operand]
    result: int
    dtype: str
    precision: str
    epilogue: Epilogue | None = None


@dataclass(frozen=True)
class Convolved:
    """What a launch computes, as a convolution with channels last.

    Attributes:
        convolution: Which one.
        operands: The numbers of the buffers that are read.
        result: That of what is written.
        dtype: Of all elements.
        precision: In which elements of float32 are multiplied.
        epilogue: What is stored in place of the results; None: these.
    """

    convolution: Convolution
    operands: tuple[int, int]
    result: int
    dtype: str
    precision: str
    epilogue: Epilogue | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether no size varies."""
        c = self.convolution
        return all(isinstance(x, int) for x in (*c.images, *c.filters, *c.results))


@dataclass(eq=False)
class Launch:
    """One run of a kernel over its whole grid.

    Attributes:
        kernel: What runs.
        buffers: The slot of each buffer of the kernel.
        sizes: The value of each size of the kernel, over the symbols of the program's inputs.
        in_place: Pairs (slot read, slot written): the second may take over the memory of the first.
        cost: Seconds that one thread needs for an item of the grid, roughly.
        source: The user's line.
        label: For people.
        operations: Additions and multiplications of the whole launch, where that is known.
        nodes: What of the graph it computes; they are not kept where programs are written.
        made: The name and the line of each of these.
        matrices: The same as a product that a library may compute in its place.
        convolved: The same as a convolution that a library may compute in its place.
        apart: The same as several launches: what runs where the library does not compute it at
            once.
    """

    kernel: Kernel
    buffers: tuple[int, ...]
    sizes: tuple[Extent, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    cost: float = 0.0
    source: str | None = None
    label: str = ""
    operations: Extent | None = None
    nodes: tuple[Node, ...] = ()
    made: tuple[tuple[str, str | None], ...] = ()
    matrices: Matrices | None = None
    convolved: Convolved | None = None
    apart: tuple[Launch, ...] = ()

    @property
    def is_for_library(self) -> bool:
        """Whether a library computes it, as far as the plan tells: its sizes do not vary."""
        if self.convolved is not None:
            return True  # where it does not, others are launched
        return self.matrices is not None and all(isinstance(x, int) for x in self.matrices.sizes)

    @property
    def by_library(self) -> Matrices | Convolved | None:
        """What a library may compute in its place."""
        return self.convolved or self.matrices

    def kernels(self) -> Iterator[Kernel]:
        """What runs, and what may run in its place."""
        yield self.kernel
        for each in self.apart:
            yield from each.kernels()

    def on(self, slot_of: Mapping[int, int]) -> Launch:
        """The same on other slots, in place of those that are named."""
        made = object.__new__(Launch)
        made.__dict__.update(
            self.__dict__,
            buffers=tuple([slot_of.get(x, x) for x in self.buffers]),
            in_place=tuple([(slot_of.get(a, a), slot_of.get(b, b)) for a, b in self.in_place]),
            apart=tuple([each.on(slot_of) for each in self.apart]),
        )
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"nodes": ()}


@dataclass(eq=False)
class HostStep:
    """Something that Python computes.

    Attributes:
        call: From the arrays in `inputs` to those of `outputs`; it keeps none of what it is given.
        inputs: Slots.
        outputs: Slots.
        source: The user's line.
        label: For people.
        shapes: For each input the shape that `call` expects, if that is not the shape of the slot.
        nodes: What of the graph it computes.
        made: The name and the line of each of these.
    """

    call: Callable[[list[Array]], Sequence[Array]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: str | None = None
    label: str = ""
    shapes: tuple[tuple[Extent, ...] | None, ...] = ()
    nodes: tuple[Node, ...] = ()
    made: tuple[tuple[str, str | None], ...] = ()

    def run(self, arrays: list[Array], sizes: Mapping[str, int]) -> Sequence[Array]:
        """The results for arrays in the shapes of their slots, at these sizes."""
        for k, shape in enumerate(self.shapes):
            if shape is not None:
                arrays[k] = arrays[k].reshape([evaluate(extent, sizes) for extent in shape])
        return self.call(arrays)


@dataclass(eq=False)
class GuardStep:
    """The run ends here unless the scalar in `slot` is the one that the graph was made for.

    Attributes:
        slot: What is asked.
        expected: The answer; a bool asks for truth, an int for the integer.
        index: The position of the guard among the guards of the graph.
    """

    slot: int
    expected: bool | int
    index: int


@dataclass(frozen=True)
class Move:
    """`slot` is from now on the memory that lies `by` bytes behind that of `source`.

    Without a source `slot` is the number `by`.
    """

    slot: int
    source: int | None
    by: Extent = 0


@dataclass(frozen=True)
class Copy:
    """`slot` gets what lies in the memory of `source` then."""

    slot: int
    source: int


@dataclass(eq=False)
class Repeat:
    """Launches that run again and again.

    Attributes:
        count: How often; at most, where `going` tells; None: as often as that says.
        steps: What runs.
        counter: The slot that holds the number of the run, from 0.
        before: Moves before the first run.
        between: Moves after each run.
        reads: Slots of others that are read.
        writes: Slots that are written; those that move are in neither.
        source: The user's line.
        label: For people.
        going: The slot of a bool that tells before each run whether there is one.
        after: What is copied at the end.
    """

    count: Extent | None
    steps: list[Launch]
    counter: int
    before: list[Move]
    between: list[Move]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    source: str | None = None
    label: str = ""
    going: int | None = None
    after: Sequence[Copy] = ()

    @property
    def often(self) -> str:
        """How often, in words."""
        if self.going is None:
            return f"{self.count} times"
        return "some times" if self.count is None else f"at most {self.count} times"

    @property
    def expected(self) -> int:
        """How often, roughly."""
        return self.count if self.going is None and isinstance(self.count, int) else UNKNOWN


Step: TypeAlias = "Launch | Repeat | HostStep | GuardStep"


@dataclass(eq=False)
class Program:
    """Steps in their order; the shapes of the inputs give the symbols their values.

    Attributes:
        name: For people.
        slots: All values.
        inputs: Slots that the caller fills, in the order of the arguments.
        steps: What is done.
        outputs: Slots that the caller gets; inputs, constants and repetitions are allowed.
    """

    name: str
    slots: list[Slot]
    inputs: list[int]
    steps: list[Step] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def launches(self) -> Iterator[Launch]:
        """Every launch, once, those of repeated steps included."""
        for step in self.steps:
            yield from step.steps if isinstance(step, Repeat) else ()
            if isinstance(step, Launch):
                yield step

    def kernels(self) -> Iterator[Kernel]:
        """The kernel of every launch, and of those that may run in its place."""
        for launch in self.launches():
            yield from launch.kernels()

    def reads(self, step: Step) -> tuple[int, ...]:
        """The slots that a step reads."""
        if isinstance(step, Launch):
            buffers = step.buffers
            return tuple([buffers[k] for k in step.kernel.read])
        if isinstance(step, Repeat):
            return step.reads
        return step.inputs if isinstance(step, HostStep) else (step.slot,)

    def writes(self, step: Step) -> tuple[int, ...]:
        """The slots that a step writes."""
        if isinstance(step, Launch):
            buffers = step.buffers
            return tuple([buffers[k] for k in step.kernel.written])
        if isinstance(step, Repeat):
            return step.writes
        return step.outputs if isinstance(step, HostStep) else ()

    def __str__(self) -> str:
        numbered = enumerate(self.slots)
        named = [f"  %{k}: {each.type}  # {each.role}" for k, each in numbered if each.role != USED]
        steps = [f"  {line}" for step in self.steps for line in self._lines(step)]
        outputs = ", ".join(f"%{slot}" for slot in self.outputs)
        lines = [f"program {self.name} {{", *named, *steps, f"  return {outputs}".rstrip(), "}"]
        return "\n".join(lines)

    def _lines(self, step: Step) -> list[str]:
        """A step, and below it what it repeats."""
        if not isinstance(step, Repeat):
            return [self._format(step)]
        return [f"{self._format(step)} {{", *[f"  {self._format(x)}" for x in step.steps], "}"]

    def _format(self, step: Step) -> str:
        """`%3 = add_tanh(%0, %1)  # nets.py:7`."""
        written = self.writes(step)  # what a kernel adds to is a result
        reads = ", ".join(f"%{slot}" for slot in self.reads(step) if slot not in written)
        if isinstance(step, GuardStep):
            return f"guard({reads}) == {step.expected}"
        writes = ", ".join(f"%{slot}: {self.slots[slot].type}" for slot in written)
        called = f"host {step.label}" if isinstance(step, HostStep) else step.label
        line = f"  # {step.source}" if step.source else ""
        return f"{writes} = {called}({reads}){line}"


def host_call(host: Callable[..., Any]) -> Callable[[list[Array]], Sequence[Array]]:
    """A host step's function of a list of arrays, which gives as many results as it has."""

    def call(arrays: list[Array]) -> Sequence[Array]:
        out = host(*arrays)
        return out if isinstance(out, tuple) else (out,)

    return call
