"""Modules made of modules or parameters: a chain, lists, dicts; elements are attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dualflow.core.variable import Variable
from dualflow.nn.module import Module, Parameter, members


class Sequential(Module):
    """Modules in a chain: each takes what the one before returned.

    Args:
        *modules: The modules, or one dict of names and modules.

    Example:
        >>> import dualflow as df
        >>> net = df.nn.Sequential(df.nn.Linear(4, 8), df.nn.ReLU(), df.nn.Linear(8, 2))
        >>> net(df.ones((3, 4))).shape
        (3, 2)
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = list(modules[0].items())
        else:
            named = [(str(k), module) for k, module in enumerate(modules)]
        for name, module in named:
            adopt(self, name, module)

    def forward(self, x: Any) -> Any:
        """`x` through all modules in turn."""
        for module in self.children():
            x = module(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Adds a module at the end."""
        name = str(len(self))
        adopt(self, name, module)
        return self

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self.named_children())[index]
        return Sequential(dict(found)) if isinstance(found, list) else found[1]


class ModuleList(Module):
    """Modules in a list; a plain list in an attribute is found just as well.

    Args:
        modules: The modules.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end."""
        name = str(len(self))
        adopt(self, name, module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self.children())[index]
        return ModuleList(found) if isinstance(found, list) else found

    def __setitem__(self, index: int, module: Module) -> None:
        name, _ = list(self.named_children())[index]
        adopt(self, name, module)


class ModuleDict(Module):
    """Modules under names; a plain dict in an attribute is found just as well.

    Args:
        modules: Names and modules.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        adopt(self, name, module)

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in dict(self.named_children())

    def __len__(self) -> int:
        return len(dict(self.named_children()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """The names."""
        return [name for name, _ in self.named_children()]

    def values(self) -> list[Module]:
        """The modules."""
        return list(self.children())

    def items(self) -> list[tuple[str, Module]]:
        """Names and modules."""
        return list(self.named_children())


class ParameterList(Module):
    """Parameters in a list; a plain list in an attribute is found just as well.

    Args:
        values: Parameters, or what they hold at first.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Adds a parameter at the end."""
        name = str(len(self))
        setattr(self, name, as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Adds parameters at the end."""
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return len(own(self))

    def __iter__(self) -> Iterator[Variable]:
        return iter(own(self).values())

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self)[index]
        return ParameterList(found) if isinstance(found, list) else found

    def __setitem__(self, index: int, value: Any) -> None:
        name = list(own(self))[index]
        setattr(self, name, as_parameter(value))


class ParameterDict(Module):
    """Parameters under names; a plain dict in an attribute is found just as well.

    Args:
        values: Names, and parameters or what they hold at first.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        for name, value in (values or {}).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        free(self, name)
        setattr(self, name, as_parameter(value))

    def __getitem__(self, name: str) -> Variable:
        return own(self)[name]

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in own(self)

    def __len__(self) -> int:
        return len(own(self))

    def __iter__(self) -> Iterator[str]:
        return iter(own(self))

    def keys(self) -> list[str]:
        """The names."""
        return list(own(self))

    def values(self) -> list[Variable]:
        """The parameters."""
        return list(own(self).values())

    def items(self) -> list[tuple[str, Variable]]:
        """Names and parameters."""
        return list(own(self).items())


def own(container: Module) -> dict[str, Variable]:
    """The Variables of a container by name."""
    return {name: x for name, x in members(container) if isinstance(x, Variable)}


def as_parameter(value: Any) -> Variable:
    """A Variable as it is, anything else as a Parameter that holds it."""
    return value if isinstance(value, Variable) else Parameter(value)


def adopt(container: Module, name: str, module: Any) -> None:
    """Makes `module` the attribute `name` of a container."""
    title = type(container).__name__
    if not isinstance(module, Module):
        raise TypeError(f"{title}: element {name} is a {type(module).__name__}, not a Module")
    free(container, name)
    setattr(container, name, module)


def free(container: Module, name: str) -> None:
    """Raises ValueError where an element's name is one of the container's own."""
    if hasattr(type(container), name):
        raise ValueError(
            f"{type(container).__name__}: {name!r} is the name of a method; choose another name"
        )
