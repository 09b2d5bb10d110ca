"""Sweeps assembled of parts: what is compiled is what keeps coming, however it is put together.

A net whose shape is that of its input has a new sweep for each shape, of the same cells. Records
are cut into parts where parameters come in, so that a cell gives the same parts wherever it
stands. A part is compiled once it has cost what that takes, if all parts of a sweep come in others,
too: what comes in sweeps of one form only is better compiled with all of these. A sweep whose parts
all are compiled is a list of native calls: what has arrived at a tensor goes from one to the next,
added to in the order of the records, with the bits of the sweep op by op.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dualflow.autodiff.sweep import Sweep
from dualflow.core.op import wrap
from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.recurring import Recurring
from dualflow.core.tensor import Tensor
from dualflow.tracing.mirrors import CompiledSweep, Found, compiled
from dualflow.tracing.outlines import Outline
from jit.collector import collector_paused
from jit.config import scoped
from jit.dataclass import dataclass
from jit.types import TensorType

FEWEST = 4  # parts; what has less is soon compiled as a whole
LONGEST = 64  # records of a part
KEPT = 512  # parts that are remembered

Words = tuple[Any, ...]


class PartForm(Recurring[CompiledSweep]):
    """What is known of parts of one form.

    Attributes:
        home: What stands for the form of sweeps that they were first met in.
        shared: Whether they were met in another, too, or twice in one sweep.
    """

    __slots__ = ("home", "shared")

    def __init__(self, home: object) -> None:
        super().__init__()
        self.home, self.shared = home, False


parts: dict[Words, PartForm] = {}


def forget() -> None:
    """Drops all parts, for tests that change ops."""
    parts.clear()


@dataclass(frozen=True)
class Part:
    """Some records of a sweep, one after the other.

    Attributes:
        records: In the order of their ticks.
        outputs: Results of each record that were met, by their numbers.
        targets: Those of their results at which cotangents arrive.
    """

    records: list[Record]
    outputs: Any
    targets: list[Tensor]


@dataclass(frozen=True)
class Step:
    """What a sweep does at one of its parts.

    Attributes:
        form: What is known of such parts.
        outline: Of the records.
        before: Numbers of wanted records at which cotangents have arrived, and their types.
        reads: Where the tensors of the outline lie, then what has arrived.
        makes: Where the cotangents of the wanted records go.
    """

    form: PartForm
    outline: Outline
    before: dict[int, TensorType]
    reads: list[int]
    makes: list[int]


def cut(records: Sequence[Record]) -> list[list[Record]]:
    """Records in their order, cut where parameters come in, and where there are too many."""
    found: list[list[Record]] = []
    comes = False
    for record in records:
        came, comes = (
            comes,
            any(x.__class__ is Tensor and x.record.__class__ is Leaf for x in record.inputs or ()),
        )
        if not found or (comes and not came) or len(found[-1]) == LONGEST:
            found.append([])
        found[-1].append(record)
    return found


class Assembly:
    """The steps of a sweep, in the order in which they are done.

    Args:
        outline: Of the sweep; its wanted records are leaves.
        sweep: The same.
        pieces: Its records.
        home: What stands for its form.

    Attributes:
        steps: They are of use as long as the outline is; empty where it cannot be put together.
        ends: Numbers of wanted records that are reached, and where their cotangents lie.
    """

    def __init__(
        self, outline: Outline, sweep: Sweep, pieces: list[list[Record]], home: object
    ) -> None:
        self._outline, self._home = outline, home
        self.steps: list[Step] = []
        self.ends: dict[int, int] = {}
        targets = sweep.targets
        self._places = len(outline.tensors)
        first = self._places - len(targets)
        self._arrived: dict[Any, int] = {x.record: first + k for k, x in enumerate(targets)}
        self._needed = sweep.needed(set(outline.wanted))
        if len(self._arrived) == len(targets) and all(map(self._add, reversed(pieces))):
            wanted = outline.wanted.items()
            self.ends = {k: self._arrived[x] for x, k in wanted if x in self._arrived}
        else:
            self.steps = []

    def _add(self, records: list[Record]) -> bool:
        """Appends the step for some records, if they are met; whether that can be."""
        outputs, arrived = self._outline.sweep.outputs, self._arrived
        made = [y for record in records for y in outputs[record].values()]
        targets = [y for y in made if y.record in arrived]
        asked = self._asked(records)
        if not targets or not asked:
            return True
        outline = Outline(Part(records, outputs, targets), targets, asked)
        if not outline.regular:
            return False
        count = len(outline.tensors) - len(targets)
        reads = [self._outline.number_of(x) for x in outline.tensors[:count]]
        reads += [arrived.pop(y.record) for y in targets]
        types = {x.record: x.type for x in outline.tensors[:count]}
        wanted = list(outline.wanted)
        before = {k: types[x] for k, x in enumerate(wanted) if x in arrived}
        reads += [arrived[wanted[k]] for k in before]
        makes = list(range(self._places, self._places + len(wanted)))
        self._places += len(wanted)
        arrived.update(zip(wanted, makes))
        form = form_of((scoped.get().precision, *outline.words, tuple(before)), self._home)
        form.shared = form.shared or any(form is step.form for step in self.steps)
        self.steps.append(Step(form, outline, before, reads, makes))
        return not form.hopeless

    def _asked(self, records: list[Record]) -> set[Any]:
        """The records behind some, to which cotangents go on."""
        inside, asked = set(records), set[Any]()
        for record in records:
            for x, leads in zip(record.inputs or (), self._needed.get(record, ())):
                if leads:
                    source = x.record
                    owner = source.bundle if source.__class__ is Pick else source
                    if owner not in inside:
                        asked.add(source)
        return asked

    def code(self) -> AssembledSweep | None:
        """What does all steps; None as long as some are not compiled."""
        if not self.steps or any(step.form.compiled is None for step in self.steps):
            return None
        return AssembledSweep(self)

    def pay(
        self,
        spent: float,
        kinds_of: Callable[[Outline], Counter[Any]],
        price: Callable[[Counter[Any]], float],
    ) -> Counter[Any]:
        """Shares out the seconds that a sweep took, op by op, and compiles what has cost enough.

        Nothing is compiled as long as a part is the sweep's alone.

        Args:
            spent: The seconds.
            kinds_of: How many records of each kind there are.
            price: What it takes to compile such.

        Returns:
            The kinds of what was compiled.
        """
        total = sum([len(step.outline.records) for step in self.steps])
        done = Counter[Any]()
        all_shared = all(step.form.shared for step in self.steps)
        for step in self.steps:
            form = step.form
            form.spent += spent * len(step.outline.records) / total
            if form.compiled is not None or form.hopeless or not all_shared:
                continue
            kinds = kinds_of(step.outline)
            if form.spent > price(kinds):
                with collector_paused():
                    form.compiled = compiled(step.outline, step.before)
                whole = form.compiled is not None and len(form.compiled.found) == len(step.makes)
                form.hopeless = not whole
                done += kinds
        return done


def assembly_of(outline: Outline, sweep: Sweep, home: object) -> Assembly | None:
    """The parts of a sweep and how they go together; None for a sweep that has none.

    Args:
        outline: Of the sweep.
        sweep: The same.
        home: What stands for its form.
    """
    if outline.place != "cpu" or any(x.__class__ is not Leaf for x in outline.wanted):
        return None
    pieces = cut(outline.records)
    if len(pieces) < FEWEST:
        return None
    assembly = Assembly(outline, sweep, pieces, home)
    return assembly if assembly.steps else None


def form_of(words: Words, home: object) -> PartForm:
    """What is known of parts of a form, which are met in a sweep of a form."""
    form = parts.get(words)
    if form is None:
        if len(parts) >= KEPT:
            parts.clear()
        form = parts[words] = PartForm(home)
    elif form.home is not home:
        form.shared = True
    return form


class AssembledSweep:
    """A sweep that runs as a call for each of its parts.

    Args:
        assembly: All parts of it are compiled.

    Attributes:
        read: The numbers of the tensors that it takes.
        found: For each result, which of the wanted records it is the cotangent of.
    """

    def __init__(self, assembly: Assembly) -> None:
        steps = [(step, step.form.compiled) for step in assembly.steps]
        taken = [[step.reads[k] for k in code.read] for step, code in steps if code is not None]
        made = {at for step, _ in steps for at in step.makes}
        self.read = sorted({at for places in taken for at in places} - made)
        self.found = list(assembly.ends)
        places = {at: k for k, at in enumerate(self.read)}
        for step, code in steps:
            assert code is not None
            for k in code.found:
                places[step.makes[k]] = len(places)
        self._results = [places[at] for at in assembly.ends.values()]
        last = {places[at]: k for k, at_once in enumerate(taken) for at in at_once}
        kept = set(self._results)
        self._steps: list[tuple[Callable[..., list[Any]], list[int], list[int]]] = []
        for k, ((_, code), reads) in enumerate(zip(steps, taken, strict=True)):
            assert code is not None
            at_once = [places[at] for at in reads]
            dead = [at for at in dict.fromkeys(at_once) if last[at] == k and at not in kept]
            self._steps.append((code.call, at_once, dead))

    def run(self, outline: Outline) -> Found:
        """The cotangents that a sweep of this form gives."""
        made = self.call(outline.arrays(self.read))
        wanted = list(outline.wanted)
        return {wanted[k]: wrap(array) for k, array in zip(self.found, made, strict=True)}

    def call(self, arrays: list[Any]) -> list[Any]:
        """The cotangents, of arrays for what it reads; none is held longer than it is needed."""
        held = list(arrays)
        for call, reads, dead in self._steps:
            held += call([held[k] for k in reads])
            for k in dead:
                held[k] = None
        return [held[k] for k in self._results]
