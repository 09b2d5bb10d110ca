"""What is done with tapes where ways join: between stretches, with tapes of the call's own.

To a tape a stretch is one record, as a call is to a tape from outside. So where a question is asked
during the life of a tape, it starts, stops, watches, and is asked for gradients between stretches.
What a sweep back finds is handed to the next stretch, which goes on as Python did with as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from dualflow.autodiff.sweep import Sweep
from dualflow.autodiff.tape import GradientTape
from dualflow.core.context import context, using
from dualflow.core.record import Leaf
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from jit.dataclass import dataclass

Done: TypeAlias = "tuple[Any, list[Tensor]]"  # the answer, and all that the next stretch is given


@dataclass(frozen=True, slots=True)
class Start:
    """A tape begins to record.

    Attributes:
        tape: Its number among those that are handed over.
    """

    tape: int

    def run(self, tensors: list[Tensor], tapes: Sequence[GradientTape]) -> Done:
        """Does it."""
        tapes[self.tape].__enter__()
        return None, tensors


@dataclass(frozen=True, slots=True)
class Stop:
    """A tape stops recording.

    Attributes:
        tape: Its number.
    """

    tape: int

    def run(self, tensors: list[Tensor], tapes: Sequence[GradientTape]) -> Done:
        """Does it."""
        tapes[self.tape].__exit__()
        return None, tensors


@dataclass(frozen=True, slots=True)
class Watch:
    """A tape follows tensors from now on.

    Attributes:
        tape: Its number.
        slots: Which of the tensors that are handed over.
        variables: And which Variables.
    """

    tape: int
    slots: tuple[int, ...]
    variables: tuple[Variable, ...]

    def run(self, tensors: list[Tensor], tapes: Sequence[GradientTape]) -> Done:
        """Does it, to tensors of the call's own: a caller's stay as they are."""
        own = list(tensors)
        for k in self.slots:
            own[k] = Tensor(own[k].raw, None, own[k].record)
        tapes[self.tape].watch([*[own[k] for k in self.slots], *self.variables])
        return None, own


@dataclass(frozen=True, slots=True)
class Ask:
    """Gradients are asked for.

    Attributes:
        tape: The number of the tape that is asked; None for `backward()`.
        targets: Which of the tensors that are handed over are differentiated.
        cotangents: Which ones are theirs.
        sources: By what: such tensors, or Variables, None for what the tape does not know; None
            where it is whatever is behind.
    """

    tape: int | None
    targets: tuple[int, ...]
    cotangents: tuple[int, ...]
    sources: tuple[int | Variable | None, ...] | None

    def run(self, tensors: list[Tensor], tapes: Sequence[GradientTape]) -> Done:
        """Does it; the answer says of which sources there are gradients."""
        inside = everything if self.tape is None else tapes[self.tape].covers
        recording = self.tape is not None and bool(context.tapes) and context.recording
        with using(recording=recording):
            sweep = Sweep([tensors[k] for k in self.targets], inside)
            sources = self.sources
            keys = roots(sweep) if sources is None else [key_of(x, tensors) for x in sources]
            wanted = {key for key in keys if key is not None}
            found = sweep.run([tensors[k] for k in self.cotangents], wanted)
        answer, made = answered(found, keys, by_name=sources is not None)
        return answer, [*tensors, *made]


Action: TypeAlias = "Start | Stop | Watch | Ask"


def everything(_: Any) -> bool:
    """What `backward()` sweeps over."""
    return True


def roots(sweep: Sweep) -> list[Leaf]:
    """The Variables behind the targets of a sweep, in an order that no way to them changes."""
    return sorted((leaf for leaf in sweep.leaves if leaf.rooted), key=id)


def key_of(source: int | Variable | None, tensors: Sequence[Tensor]) -> Any:
    """Under which record the gradient of a source is collected."""
    if source is None:
        return None
    return source.record if isinstance(source, Variable) else tensors[source].record


def answered(
    found: dict[Any, Tensor], keys: Sequence[Any], *, by_name: bool
) -> tuple[Any, list[Tensor]]:
    """What a sweep has found, and how ways are told apart by that.

    Args:
        found: The gradients by record.
        keys: The records of the sources.
        by_name: Whether sources are named; else they are told by what they are.
    """
    given = [found.get(key) for key in keys]
    made = [g for g in given if g is not None]
    if by_name:
        return tuple([g is not None for g in given]), made
    return tuple([id(key) for key, g in zip(keys, given, strict=True) if g is not None]), made
