"""Hooks: functions that are called around a module's calls, and when its gradients come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from dualflow.autodiff.custom import custom_gradient
from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.tensor import Tensor

if TYPE_CHECKING:
    from dualflow.nn.module import Module


class Hook(NamedTuple):
    """A function, and when it is called: "before", "after", "arriving" or "leaving".

    The last two are about gradients: they arrive at the results, and leave by the arguments.
    """

    function: Callable[..., Any]
    when: str


class Handle:
    """What a hook's registration returns."""

    def __init__(self, module: Module, hook: Hook) -> None:
        self._module, self._hook = module, hook
        module._hooks = (*module._hooks, hook)

    def remove(self) -> None:
        """Ends the hook; once more does nothing."""
        rest = [hook for hook in self._module._hooks if hook is not self._hook]
        self._module._hooks = tuple(rest)


def functions(module: Module, when: str) -> list[Callable[..., Any]]:
    """The hooks of one kind, in the order of their registration."""
    return [hook.function for hook in module._hooks if hook.when == when]


def hooked(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of `forward` with the hooks around it."""
    for function in functions(module, "before"):
        if (given := function(module, args)) is not None:
            args = given if isinstance(given, tuple) else (given,)
    flow = Flow(module) if context.recording else None
    if flow is not None and flow.wanted:
        args = flow.through_arguments(args)
    result = module.forward(*args, **kwargs)
    for function in functions(module, "after"):
        if (other := function(module, args, result)) is not None:
            result = other
    return flow.through_results(result) if flow is not None and flow.wanted else result


class Flow:
    """The way back of gradients through one call of a module.

    Args:
        module: The module.

    Attributes:
        wanted: Whether there are hooks that want to see them.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self._arriving = functions(module, "arriving")
        self._leaving = functions(module, "leaving")
        self.wanted = bool(self._arriving or self._leaving)
        self._arguments: list[Any] = []
        self._outer: tuple[Any, ...] = ()  # what arrived at the results

    def through_arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, with a look at the gradients that leave by them."""
        self._arguments = list(args)
        return tuple(watched(self._arguments, self._leave))

    def through_results(self, result: Any) -> Any:
        """The results, with a look at the gradients that arrive at them."""
        leaves, spec = tree.flatten(result)
        return tree.unflatten(spec, watched(leaves, self._arrive))

    def _arrive(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for function in self._arriving:
            grads = replaced(function(self.module, grads), grads)
        self._outer = grads
        if not any(map(needs_gradient, self._arguments)):  # nothing will leave
            self._leave((None,) * len(self._arguments))
        return grads

    def _leave(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for function in self._leaving:
            grads = replaced(function(self.module, grads, self._outer), grads)
        return grads


def needs_gradient(x: Any) -> bool:
    """Whether gradients flow back through a value."""
    return isinstance(x, Tensor) and x.requires_grad


def replaced(new: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a hook returned in place of the gradients, if it returned something."""
    if new is None:
        return grads
    return tuple(new) if isinstance(new, tuple | list) else (new,)


def watched(values: list[Any], look: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> list[Any]:
    """The same values; `look` is given their gradients, None where none flows, and changes them."""
    places = [k for k, x in enumerate(values) if needs_gradient(x)]
    if not places:
        return values

    @custom_gradient
    def passed(*tensors: Tensor) -> tuple[Any, Callable[..., Any]]:
        def rule(*grads: Any) -> Any:
            given: list[Any] = [None] * len(values)
            for k, g in zip(places, grads, strict=True):
                given[k] = g
            seen = look(tuple(given))
            return tuple(seen[k] for k in places)

        return tensors, rule

    out = list(values)
    for k, x in zip(places, passed(*[values[k] for k in places]), strict=True):
        out[k] = x
    return out
