"""What a recording relies on in dualflow's own objects.

That is attributes of Modules, settings of optimisers; dtype, device and trainability of Variables.
These objects count their changes in one number, `Epoch.number`. A path looks at its settings again
only when that number has moved since it looked last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualflow.core.context import Epoch
from dualflow.core.variable import Variable

PLAIN = (bool, int, float, complex, str, bytes)


class Settings:
    """The settings that one recording met, and the values that they had."""

    def __init__(self) -> None:
        self._values: dict[tuple[Any, str], Any] = {}
        self._modules: dict[Any, dict[str, Any]] = {}
        self._kinds: list[tuple[Variable, tuple[Any, ...]]] = []
        self._epoch = 0

    def rely_on(self, owner: Any, attribute: str) -> None:
        """The recording holds while `owner.attribute` equals what it is now."""
        self._values.setdefault((owner, attribute), getattr(owner, attribute))

    def saw_module(self, module: Any) -> None:
        """A Module was called: the recording holds while its attributes are what they are now."""
        if module not in self._modules:
            self._modules[module] = attributes_of(module)

    def finish(self, variables: Iterable[Variable]) -> None:
        """The recording ends; it read or assigned these Variables."""
        self._kinds = [(v, kind_of(v)) for v in variables]
        self._epoch = Epoch.number

    def changed(self) -> str | None:
        """Which setting is not what it was when it was met; None if all are."""
        for (owner, attribute), value in self._values.items():
            if getattr(owner, attribute) != value:
                return f"a setting of {type(owner).__name__}"
        for module, attributes in self._modules.items():
            now = attributes_of(module)
            for name in attributes.keys() | now.keys():
                if not alike(attributes.get(name, Ellipsis), now.get(name, Ellipsis)):
                    return f"{name} of {type(module).__name__}"
        return None

    def hold(self) -> bool:
        """Whether a call may follow what was recorded."""
        if self._epoch == Epoch.number:
            return True
        if self.changed() or any(kind_of(v) != was for v, was in self._kinds):
            return False
        self._epoch = Epoch.number
        return True


def attributes_of(module: Any) -> dict[str, Any]:
    """The attributes of a Module, with the training flag even where it is the class's."""
    return {**vars(module), "training": module.training}


def alike(a: Any, b: Any) -> bool:
    """Whether two values of an attribute are the same object, or equal plain values."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return isinstance(a, PLAIN) and repr(a) == repr(b)  # tells 0.0 from -0.0; nan equals nan


def kind_of(variable: Variable) -> tuple[Any, ...]:
    """What of a Variable stands in a recording, beside its shape."""
    return (variable.dtype, variable.device, variable.trainable)
