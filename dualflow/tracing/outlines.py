"""Outlines: what sweeps are, in words that are equal for sweeps that do the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dualflow.autodiff.sweep import by_tick
from dualflow.core.backend import place_of_all
from dualflow.core.kernels import spelled
from dualflow.core.op import Op, registry
from dualflow.core.orders import Order, order_of
from dualflow.core.record import Record
from dualflow.core.tensor import Tensor


class Records(Protocol):
    """Records behind targets: a sweep, or a part of one.

    Attributes:
        targets: Tensors to start from.
        records: In any order.
        outputs: Results of each record that were met, by their numbers.
    """

    @property
    def targets(self) -> list[Tensor]: ...

    @property
    def records(self) -> list[Record]: ...

    @property
    def outputs(self) -> Mapping[Record, Mapping[int, Tensor]]: ...


def is_lasting(op: Any) -> bool:
    """Whether an op is the same for all records; others are made for one call, with their rules."""
    if op.__class__ is Op:
        return registry.get(op.name) is op
    return getattr(op, "lasting", False)


def words_of(record: Record) -> tuple[Any, ...]:
    """The attrs of a record as words."""
    return spelled(record.attrs) if record.op.__class__ is Op else record.op.words(record.attrs)


class Outline:
    """The form of a sweep, in words that are equal for sweeps that do the same, and its tensors.

    Args:
        sweep: The records.
        cotangents: One for each target.
        wanted: The records whose cotangents are asked for.

    Attributes:
        records: In the order of their ticks.
        place: Where all arrays lie; None where they are not regular.
        tensors: All that the rules of the ops may look at, each once; then the cotangents.
        wanted: The records that are wanted and met, in order.
        words: The form.
        regular: Whether the words say all.
    """

    def __init__(self, sweep: Records, cotangents: list[Tensor], wanted: set[Any]) -> None:
        self.sweep = sweep
        self.records = sorted(sweep.records, key=by_tick)
        self.tensors: list[Tensor] = []
        self._orders: dict[int, Order] = {}
        self.wanted: dict[Any, int] = {}
        self.words: list[Any] = [len(cotangents)]
        self._asked = wanted
        self._places: dict[int, int] = {}
        self._numbers: dict[Any, int] = {}
        self._kind = cotangents[0].raw.__class__
        regular = self._note() and self._targets(cotangents)
        self.place = place_of_all([x.raw for x in self.tensors]) if regular else None
        self.words.append(self.place)
        self.regular = self.place is not None

    def _note(self) -> bool:
        """Appends what the records are; whether words can say it.

        Long sweeps are mostly this loop, once they are compiled: a tensor that comes for the first
        time is described, later ones are called by their place, results need none.
        """
        words, places, numbers, asked = self.words, self._places, self._numbers, self._asked
        outputs, new, append, known = self.sweep.outputs, self._new, words.append, set[Any]()
        spelled_out: dict[int, Any] = {}  # attrs that records share are put into words once
        for record in self.records:
            op = record.op
            if op not in known:
                if not is_lasting(op):
                    return False
                known.add(op)
            append(op)
            attrs = record.attrs
            if attrs:
                said = spelled_out.get(id(attrs))
                if said is None:
                    said = spelled_out[id(attrs)] = words_of(record)
                append(said)
            for x in record.inputs or ():
                place = places.get(id(x))
                if place is not None:
                    append(place)
                elif x.__class__ is not Tensor:
                    append((x.__class__, repr(x)))
                elif not new(x):
                    return False
                elif (source := x.record) is not None:
                    words += (numbers.get(source), self._mark(source) if source in asked else None)
            made = outputs[record]
            if record.types is not None:
                append(tuple(made))
            for y in made.values():
                if not new(y):
                    return False
                result = y.record
                numbers[result] = len(numbers)
                if result in asked:
                    append(("wanted", self._mark(result)))
        return True

    def _new(self, x: Tensor) -> bool:
        """Appends what a tensor is that is met for the first time; whether its array is alike."""
        array, tensors = x.raw, self.tensors
        if array is None or array.__class__ is not self._kind:
            return False
        self._places[id(x)] = len(tensors)
        order = None if array.flags.c_contiguous else order_of(array)
        if order is not None:
            self._orders[len(tensors)] = order
        tensors.append(x)
        self.words += (array.dtype, array.shape, order)
        return True

    def _mark(self, record: Any) -> int:
        """The number among those that are wanted."""
        return self.wanted.setdefault(record, len(self.wanted))

    def _targets(self, cotangents: list[Tensor]) -> bool:
        """Appends where the sweep begins; whether the words say it."""
        numbers, targets = self._numbers, self.sweep.targets
        self.words += [numbers.get(target.record) for target in targets]
        self.tensors += cotangents
        return all(target.record in numbers for target in targets)

    def arrays(self, numbers: list[int]) -> list[Any]:
        """The arrays of some tensors, each in its order."""
        tensors, orders = self.tensors, self._orders
        if not orders:
            return [tensors[k].raw for k in numbers]
        given = [(tensors[k].raw, orders.get(k)) for k in numbers]
        return [x if order is None else x.transpose(order) for x, order in given]

    @property
    def orders(self) -> list[Order]:
        """For each tensor the axes in which its array has no gaps, where not its own."""
        return [self._orders.get(k) for k in range(len(self.tensors))]

    def number_of(self, x: Tensor) -> int:
        """Which of `tensors` it is."""
        return self._places[id(x)]
