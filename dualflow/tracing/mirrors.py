"""Compiled sweeps: the records of a sweep again, on symbolic tensors, as one graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jit
from dualflow.autodiff.sweep import Sweep
from dualflow.core.context import using
from dualflow.core.op import registry, wrap
from dualflow.core.orders import Order, inverse
from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.outlines import Outline
from dualflow.tracing.trace import Trace
from jit.errors import DualflowError
from jit.ir.graph import Graph
from jit.types import TensorType

Found = dict[Any, Tensor]  # cotangents by record


class CompiledSweep:
    """A sweep that runs as one native call.

    Args:
        executable: What runs.
        read: The numbers of the tensors that it takes.
        found: For each result, which of the wanted records it is the cotangent of.
    """

    def __init__(self, executable: jit.Executable, read: list[int], found: list[int]) -> None:
        self._executable = executable
        self.read = read
        self.found = found
        self._direct: Any = None

    def run(self, outline: Outline) -> Found:
        """The cotangents that a sweep of this form gives."""
        made = self.call(outline.arrays(self.read))
        wanted = list(outline.wanted)
        return {wanted[k]: wrap(array) for k, array in zip(self.found, made, strict=True)}

    def call(self, arrays: list[Any]) -> list[Any]:
        """The cotangents, of arrays for what it reads."""
        if self._direct is None:
            self._direct = self._executable.direct(arrays) or (lambda *arrays: None)
        return self._direct(*arrays) or self._executable(arrays)


def compiled(
    outline: Outline, before: Mapping[int, TensorType] | None = None
) -> CompiledSweep | None:
    """The compiled sweep; None if a rule of an op asks for values, or native code cannot do it.

    Args:
        outline: What it does.
        before: The numbers of wanted records at which cotangents have arrived: they are added to.
            It takes them behind the tensors of the outline.
    """
    trace = Trace("sweep", closed=True)
    mirror = Mirror(outline, trace)
    sums = {mirror.wanted[k]: trace.placeholder(t, None) for k, t in (before or {}).items()}
    try:
        with using(trace=trace, recording=False):
            found = mirror.sweep().pull_all(mirror.cotangents, set(mirror.wanted), sums)
        outputs = [trace.value_of(g) for g in found.values()]
    except DualflowError:
        return None
    finally:
        graph = trace.graph
        trace.release()
    if trace.refusals or len(graph.inputs) != len(outline.tensors) + len(sums):
        return None  # more came from outside
    graph.outputs = outputs
    graph, read = pruned(graph)
    executable = jit.compile(graph, outline.place, ops=registry)
    order = [mirror.wanted.index(record) for record in found]
    return CompiledSweep(executable, read, order) if executable.mode == "compiled" else None


def pruned(graph: Graph) -> tuple[Graph, list[int]]:
    """The graph without what nobody reads; which of its inputs are left."""
    nodes = graph.live_nodes()
    read = {value for node in nodes for value in node.inputs}.union(graph.outputs)
    left = [k for k, value in enumerate(graph.inputs) if value in read]
    small = Graph(graph.name)
    names = {v: small.input(v.type) for v in [graph.inputs[k] for k in left]}
    for node in nodes:
        small.append_copy(node, names)
    small.outputs = [names[value] for value in graph.outputs]
    return small, left


def image(trace: Trace, x: Tensor, order: Order) -> Tensor:
    """A symbolic tensor of the type of another, for arrays in an order of their own."""
    if order is None:
        return trace.placeholder(x.type, None)
    laid = trace.placeholder(TensorType(x.raw.transpose(order).shape, x.dtype), None)
    return functions["permute_dims"](laid, inverse(order))


class Mirror:
    """The records and tensors of a sweep again, with symbolic tensors.

    Args:
        outline: Of the sweep.
        trace: Where the tensors are inputs.

    Attributes:
        cotangents: Symbolic ones.
        wanted: The mirrored records whose cotangents are wanted.
    """

    def __init__(self, outline: Outline, trace: Trace) -> None:
        self._outline = outline
        self._records: dict[Any, Any] = {}
        self._images: dict[int, Tensor] = {}
        images = list(map(partial(image, trace), outline.tensors, outline.orders))
        count = len(images) - len(outline.sweep.targets)
        self.cotangents = images[count:]
        self._images = {id(x): y for x, y in zip(outline.tensors[:count], images[:count])}
        for record in outline.records:
            self._reflect(record)
        leaves = [record for record in outline.wanted if record not in self._records]
        self._records.update((leaf, Leaf()) for leaf in leaves)
        for x in outline.tensors[:count]:
            self._images[id(x)].record = self._records.get(x.record)
        self.wanted = [self._records[record] for record in outline.wanted]

    def _reflect(self, record: Record) -> None:
        """Makes the image of a record, and of those of its outputs if it has several."""
        inputs = tuple([self._images.get(id(x), x) for x in record.inputs or ()])
        image = Record(record.op, inputs, record.attrs, rooted=False)
        image.types = record.types
        for y in self._outline.sweep.outputs[record].values():
            pick = y.record
            self._records[pick] = Pick(image, pick.index) if pick.__class__ is Pick else image

    def sweep(self) -> Sweep:
        """The same walk over the images."""
        targets = [self._images[id(x)] for x in self._targets()]
        return Sweep(targets, lambda record: True)

    def _targets(self) -> list[Tensor]:
        """For each target a tensor with its record that has an image."""
        by_record = {x.record: x for x in self._outline.tensors if id(x) in self._images}
        return [by_record[target.record] for target in self._outline.sweep.targets]
