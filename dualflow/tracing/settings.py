"""What a recording relies on in dualflow's own objects.

That is attributes of Modules, settings of optimisers; dtype, device and trainability of Variables.
These objects count their changes in one number, `Epoch.number`. A path looks at its settings again
only when that number has moved since it looked last.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator
from typing import Any

from dualflow.core.context import Epoch
from dualflow.core.variable import Variable
from dualflow.tracing.guards.places import MISSING, Item, Key, Place, Untold

PLAIN = (bool, int, float, complex, str, bytes)


class Settings:
    """The settings that one recording met, and the values that they had.

    Attributes:
        epoch: The number of changes when the settings were last looked at.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[Any, str], Any] = {}
        self._varying: dict[int, set[str]] = {}  # by id of a module
        # By id, with a weak reference: a recording keeps no Module alive that it was made for.
        self._modules: dict[int, tuple[weakref.ref[Any], dict[str, Any]]] = {}
        self._kinds: dict[Variable, tuple[Any, ...]] = {}
        self.epoch, self._start = 0, Epoch.number

    def rely_on(self, owner: Any, attribute: str) -> None:
        """The recording holds while `owner.attribute` equals what it is now."""
        self._values.setdefault((owner, attribute), getattr(owner, attribute))

    def saw_module(self, module: Any, varying: Collection[str] = ()) -> None:
        """A Module was called: the recording holds while its attributes are what they are now.

        Args:
            module: It.
            varying: Attributes that may differ from call to call.
        """
        self._varying.setdefault(id(module), set()).update(varying)
        if id(module) not in self._modules:
            self._modules[id(module)] = (weakref.ref(module), attributes_of(module))

    def saw_variable(self, variable: Variable) -> None:
        """A Variable was read, assigned, or asked whether it is trainable."""
        if variable not in self._kinds:
            self._kinds[variable] = kind_of(variable)

    def forget_temporaries(self) -> None:
        """Modules made inside of the call are gone with it: nobody can change them."""
        gone = [k for k, kept in self._modules.items() if kept[0]() is None]
        for k in gone:
            del self._modules[k]
        if gone:  # they may have held others
            self.forget_temporaries()

    def finish(self) -> None:
        """The recording ends. What changes from here on counts, so it is looked at afterwards."""
        self.epoch = Epoch.number

    def changed(self) -> str | None:
        """Which setting is not what it was when it was met; None if all are."""
        modules = (f"{name} of {type(module).__name__}" for module, name in self._moved())
        return self._others() or next(modules, None)

    def _others(self) -> str | None:
        """The same of what is no Module."""
        for (owner, attribute), value in self._values.items():
            if getattr(owner, attribute) != value:
                return f"a setting of {type(owner).__name__}"
        for variable, was in self._kinds.items():
            if kind_of(variable) != was:
                return f"dtype, device or trainability of {variable.label()}"
        return None

    def _moved(self) -> Iterator[tuple[Any, str]]:
        """Modules with their attributes that are not what they were."""
        for reference, attributes in self._modules.values():
            module = reference()
            if module is None:
                yield None, "an attribute"
                continue
            now, varying = attributes_of(module), self._varying[id(module)]
            for name in attributes.keys() | now.keys():
                if name not in varying and not alike(
                    attributes.get(name, Ellipsis), now.get(name, Ellipsis)
                ):
                    yield module, name

    def exchanged(self) -> Iterator[tuple[Place, str]]:
        """Attributes of Modules that are equal, but other objects; and what people call them."""
        if self._start == Epoch.number:
            return
        for reference, attributes in self._modules.values():
            module: Any = reference()
            for name, x in [] if module is None else [*vars(module).items()]:
                before = attributes.get(name, x)
                if x is not before and name not in self._varying[id(module)] and alike(x, before):
                    yield self.place(module, name), f"{name} of {type(module).__name__}"

    def places(self) -> list[Key]:
        """Where attributes of Modules are not what they were."""
        return [(id(vars(module)), name) for module, name in self._moved() if module is not None]

    def moved(self) -> Iterator[tuple[Key, Any]]:
        """What of Modules is not as it was when it was met: where, and what is there now.

        Raises:
            Untold: Something else is not.
        """
        if self._start == Epoch.number:
            return
        for module, name in self._moved():
            if module is None:
                raise Untold
            yield (id(vars(module)), name), attributes_of(module).get(name, MISSING)
        if self._others():
            raise Untold

    def place(self, module: Any, name: str) -> Setting:
        """Where a Module keeps an attribute."""
        return Setting(vars(module), name, self)

    def hold(self) -> bool:
        """Whether a call may follow what was recorded, although something has changed."""
        number = Epoch.number  # before looking: another thread may change something meanwhile
        if self.changed():
            return False
        self.epoch = number
        return True


class Setting(Item):
    """An attribute of a Module; writing it counts as a change for all but its own recording."""

    __slots__ = ("_settings",)

    def __init__(self, holder: dict[str, Any], name: str, settings: Settings) -> None:
        super().__init__(holder, name)
        self._settings = settings

    def write(self, value: Any) -> None:
        """Puts a value there."""
        knows = self._settings.epoch == Epoch.number
        super().write(value)
        self._changed(knows=knows)

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        knows = self._settings.epoch == Epoch.number
        done = super().swap(before, after)
        if done:
            self._changed(knows=knows)
        return done

    def _changed(self, *, knows: bool) -> None:
        Epoch.number += 1
        if knows:
            self._settings.epoch = Epoch.number


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
    tensor = variable.tensor
    return (tensor.dtype, tensor.device, variable.leaf is not None)
