"""Module: what nets are made of. It finds its Variables and submodules among its attributes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from inspect import unwrap
from typing import Any, NamedTuple, Self

from dualflow.core.context import Counted, context
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable, clear_grads, convert
from dualflow.nn import counting, summary
from dualflow.nn.hooks import Handle, Hook, hooked
from dualflow.ops.basic import stop_gradient
from dualflow.ops.elementwise import astype
from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, kind, promote


class Parameter(Variable):
    """A Variable that modules list among their parameters, also while it is frozen.

    Args:
        value: Initial value.
        requires_grad: Whether it learns; a frozen parameter is one with False.
        dtype: Dtype of the cell; the value's own when None.
        name: For messages; modules give names of their own.

    Example:
        >>> import dualflow as df
        >>> scale = df.nn.Parameter(df.ones(3))
        >>> scale.requires_grad
        True
    """

    __slots__ = ()

    def __init__(
        self,
        value: Any,
        requires_grad: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value, dtype, requires_grad, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        copy = Parameter(self.detach(), self.trainable, name=self.name)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        _, (value, _, trainable, name) = super().__reduce__()
        return (_restored, (value, trainable, name))


def _restored(value: Any, requires_grad: bool, name: str | None) -> Parameter:  # noqa: FBT001
    return Parameter(value, requires_grad, name=name)


class Mismatch(NamedTuple):
    """Names that `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Counted):
    """Base of layers and nets: state in attributes, a computation in `forward`.

    Variables and Modules in attributes, also inside lists, tuples and dicts, belong to the module.
    Trainable Variables and every `Parameter` are its parameters, other Variables its buffers.
    Calling `super().__init__()` is welcome and does nothing.

    Attributes:
        training: Whether layers such as dropout behave as in training; see `train` and `eval`.

    Example:
        >>> import dualflow as df
        >>> class Affine(df.nn.Module):
        ...     def __init__(self):
        ...         self.scale = df.nn.Parameter([2.0])
        ...     def forward(self, x):
        ...         return self.scale * x
        >>> Affine()(df.asarray([3.0])).tolist()
        [6.0]
    """

    training: bool = True
    _hooks: tuple[Hook, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a tensor for a buffer is assigned to it, so that it stays one.

        Raises:
            TypeError: A tensor would take a parameter's place, which then were no parameter.
        """
        if isinstance(value, Tensor) and not isinstance(value, Variable):
            variable = self.__dict__.get(name)
            if isinstance(variable, Variable):
                if is_parameter(variable):
                    raise no_parameter(self, name)
                variable.assign(value)
                return
        super().__setattr__(name, value)

    # ----- calling -----

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes; every module defines its own."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no forward(self, ...), so it cannot be called"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `forward`."""
        if context.trace is not None:
            context.trace.saw_module(self)
        if self._hooks:
            return hooked(self, args, kwargs)
        return self.forward(*args, **kwargs)

    def register_forward_pre_hook(self, hook: Callable[[Module, Any], Any]) -> Handle:
        """Calls `hook(module, args)` before each call of the module.

        Args:
            hook: What it returns, if anything, takes the place of the positional arguments.

        Returns:
            A handle, whose `remove()` ends it.
        """
        return Handle(self, Hook(hook, "before"))

    def register_forward_hook(self, hook: Callable[[Module, Any, Any], Any]) -> Handle:
        """Calls `hook(module, args, result)` after each call of the module.

        Args:
            hook: What it returns, if anything, takes the place of the result.

        Returns:
            A handle, whose `remove()` ends it.

        Example:
            >>> import dualflow as df
            >>> layer, seen = df.nn.Linear(3, 2), []
            >>> handle = layer.register_forward_hook(lambda m, args, y: seen.append(y.shape))
            >>> y = layer(df.ones((4, 3)))
            >>> handle.remove()
            >>> seen
            [(4, 2)]
        """
        return Handle(self, Hook(hook, "after"))

    def register_full_backward_pre_hook(self, hook: Callable[[Module, Any], Any]) -> Handle:
        """Calls `hook(module, grad_output)` when gradients arrive at the results of a call.

        Args:
            hook: Is given a tuple of gradients, None where none flows. What it returns, if
                anything, takes their place.

        Returns:
            A handle, whose `remove()` ends it.
        """
        return Handle(self, Hook(hook, "arriving"))

    def register_full_backward_hook(self, hook: Callable[[Module, Any, Any], Any]) -> Handle:
        """Calls `hook(module, grad_input, grad_output)` when gradients leave by the arguments.

        Where no argument needs a gradient, it is called when they arrive at the results, with None
        for each argument.

        Args:
            hook: Is given tuples of gradients, for positional arguments and for results. What it
                returns, if anything, takes the place of `grad_input`.

        Returns:
            A handle, whose `remove()` ends it.

        Example:
            >>> import dualflow as df
            >>> layer, sizes = df.nn.Linear(3, 1, bias=False), []
            >>> def note(module, grad_input, grad_output):
            ...     sizes.append((grad_input[0].shape, grad_output[0].shape))
            >>> handle = layer.register_full_backward_hook(note)
            >>> x = df.Variable(df.ones((2, 3)))
            >>> layer(x).sum().backward()
            >>> sizes
            [((2, 3), (2, 1))]
        """
        return Handle(self, Hook(hook, "leaving"))

    # ----- what belongs to it -----

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules in its attributes, with their names."""
        return ((name, x) for name, x in members(self) if isinstance(x, Module))

    def children(self) -> Iterator[Module]:
        """Modules in its attributes."""
        return (module for _, module in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """The module itself, named "", and every module inside it, each once."""
        seen: set[int] = set()
        for name, module in walk(self, "", ()):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """The module itself and every module inside it, each once."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Module:
        """The module of a name that `named_modules` has, such as "blocks.0.linear".

        Args:
            target: The name; "" is the module itself.

        Raises:
            AttributeError: There is none.
        """
        return named(self, target, dict(self.named_modules()), "module")

    def get_parameter(self, target: str) -> Variable:
        """The parameter of a name, such as "blocks.0.linear.weight"; raises as `get_submodule`."""
        return named(self, target, dict(self.named_parameters()), "parameter")

    def get_buffer(self, target: str) -> Variable:
        """The buffer of a name, such as "norm.running_mean"; raises as `get_submodule`."""
        return named(self, target, dict(self.named_buffers()), "buffer")

    def named_parameters(self) -> Iterator[tuple[str, Variable]]:
        """Parameters with their names, such as `linear1.weight`, each once; they take the names."""
        return ((name, v) for name, v in unique(named_variables(self)) if is_parameter(v))

    def parameters(self) -> Iterator[Variable]:
        """Parameters, each once: what an optimiser takes."""
        return (variable for _, variable in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Variable]]:
        """Variables that no gradient changes, with their names, each once."""
        return ((name, v) for name, v in unique(named_variables(self)) if not is_parameter(v))

    def buffers(self) -> Iterator[Variable]:
        """Variables that no gradient changes, each once."""
        return (variable for _, variable in self.named_buffers())

    def register_buffer(self, name: str, value: Any) -> None:
        """Sets the attribute `name` to a Variable that no gradient changes.

        Tensors that are set later, as in `self.mean = 0.9 * self.mean + 0.1 * x.mean(0)`, are
        assigned to it.
        """
        setattr(self, name, Variable(value, trainable=False))

    @property
    def trainable_variables(self) -> list[Variable]:
        """The parameters that are not frozen: what `tape.gradient` takes."""
        return [variable for variable in self.parameters() if variable.trainable]

    # ----- switches -----

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - PyTorch's position
        """Sets `training` of the module and all modules inside it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """`train(False)`: dropout stops sampling, batch normalisation stops learning."""
        return self.train(mode=False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:  # noqa: FBT001, FBT002 - PyTorch's position
        """Freezes all parameters (False), or lets them learn again."""
        for parameter in list(self.parameters()):
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters.

        Args:
            set_to_none: `.grad` becomes None; otherwise it is filled with zeros where there is one.
        """
        clear_grads(self.parameters(), set_to_none=set_to_none)

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Calls `function` on every module inside, then on itself; for initial values."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def to(self, target: Any) -> Self:
        """Moves all Variables to a device, or converts the floating ones to a dtype, in place.

        Args:
            target: `"cpu"`, `"gpu:0"`, or a dtype such as `df.float64`.
        """
        for _, variable in unique(named_variables(self)):
            convert(variable, target)
        return self

    # ----- values out and in -----

    def state_dict(self) -> dict[str, Tensor]:
        """The values of all parameters and buffers by name, as they are now."""
        return {name: stop_gradient(v) for name, v in named_variables(self)}

    def load_state_dict(self, state_dict: Mapping[str, Any], *, strict: bool = True) -> Mismatch:
        """Sets parameters and buffers to saved values: all of them, or, when some do not fit, none.

        Args:
            state_dict: Names to Tensors or NumPy arrays.
            strict: Raise when names are missing or unexpected; otherwise they are passed over.

        Returns:
            The names that were missing and unexpected.

        Raises:
            ShapeError: Names or shapes do not fit; the message lists them all.
            DTypeError: Values would lose precision in the dtype of the Variable they are for.
        """
        own = dict(named_variables(self))
        values = {name: as_tensor(state_dict[name]) for name in own if name in state_dict}
        missing = [name for name in own if name not in values]
        unexpected = [name for name in state_dict if name not in own]
        shapes = [
            f"{name} is {format_shape(own[name].shape)}, the value is {format_shape(x.shape)}"
            for name, x in values.items()
            if x.shape != own[name].shape
        ]
        if shapes or (strict and (missing or unexpected)):
            raise ShapeError(
                f"load_state_dict: the values do not fit {type(self).__name__}"
                + _listed("missing", missing)
                + _listed("unexpected", unexpected)
                + _listed("misshaped", shapes),
                "the names and shapes of model.state_dict()",
                "build the model with the sizes it was saved with, or strict=False for other names",
            )
        for name, x in values.items():
            if not fits(x, own[name]):
                raise DTypeError(
                    f"load_state_dict: {name} holds {own[name].dtype}, the value is {x.dtype}",
                    f"a dtype that {own[name].dtype} can hold",
                    f"model.to({str(x.dtype)!r}), or value.astype({str(own[name].dtype)!r})",
                )
        for name, x in values.items():
            own[name].assign(astype(x, own[name].dtype).to(own[name].device))
        return Mismatch(missing, unexpected)

    # ----- people -----

    def extra_repr(self) -> str:
        """The settings of a layer, for its line in the table that `print(model)` shows."""
        return ""

    def summary(self, *inputs: Any) -> counting.Summary:
        """Results, parameters, FLOPs and bytes of every module inside, for inputs like these.

        Nothing is computed, and nothing that the module remembers changes.

        Args:
            *inputs: Tensors or arrays, `TensorSpec`s, or shapes of float32 tensors.

        Returns:
            A table that prints, with the figures in attributes.

        Example:
            >>> import dualflow as df
            >>> print(df.nn.Linear(4, 8).summary((32, 4)))
            module        result   parameters  FLOPs
            Linear(4, 8)  (32, 8)          40  2.3 k
            <BLANKLINE>
            40 parameters, 160 B with buffers; 2.3 kFLOP a call, 1.02 kB of results
        """
        return counting.summarized(self, inputs)

    def __repr__(self) -> str:
        return summary.text(rows(self))

    def _repr_html_(self) -> str:
        return summary.html(rows(self))


def named(module: Module, name: str, known: dict[str, Any], what: str) -> Any:
    """What a name stands for in a module.

    Raises:
        AttributeError: It stands for nothing.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or list(known)[:3]
        raise AttributeError(f"{type(module).__name__} has no {what} {name!r}; near it are {near}")
    return known[name]


def members(module: Module) -> Iterator[tuple[str, Any]]:
    """Variables and Modules in the attributes of `module`, with their names."""
    for name, value in vars(unwrap(module)).items():  # it may be decorated
        yield from _members_in(name, value, (id(module),))


def _members_in(name: str, value: Any, inside: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Variable | Module):
        yield name, value
    elif isinstance(value, list | tuple | dict) and id(value) not in inside:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _members_in(f"{name}.{key}", item, (*inside, id(value)))


def walk(module: Module, prefix: str, inside: tuple[int, ...]) -> Iterator[tuple[str, Module]]:
    """All modules from `module` down under their names, shared ones whenever they are reached."""
    if id(module) in inside:  # a child that refers to its parent
        return
    yield prefix, module
    for name, child in members(module):
        if isinstance(child, Module):
            yield from walk(child, f"{prefix}.{name}" if prefix else name, (*inside, id(module)))


def named_variables(module: Module) -> list[tuple[str, Variable]]:
    """All Variables under their names, which they take; shared ones whenever they are reached."""
    found = []
    for prefix, owner in walk(module, "", ()):
        for name, x in members(owner):
            if isinstance(x, Variable):
                full = f"{prefix}.{name}" if prefix else name
                if x.name is None or full.endswith(f".{x.name}"):
                    x.name = full
                found.append((full, x))
    return found


def rows(module: Module, name: str = "", inside: tuple[int, ...] = ()) -> list[summary.Row]:
    """The table of `module` and the modules inside it, from the top."""
    around = (*inside, id(module))
    found = list(members(module))
    shapes = [
        f"{n} {format_shape(x.shape)}{'' if x.trainable else ' frozen'}"
        for n, x in found
        if isinstance(x, Variable) and is_parameter(x)
    ]
    count = sum(int(p.size) for p in module.parameters())
    title = f"{type(module).__name__}({module.extra_repr()})"
    table = [summary.Row(len(inside), name, title, ", ".join(shapes), count)]
    for child_name, child in found:
        if isinstance(child, Module) and id(child) not in around:
            table += rows(child, child_name, around)
    return table


def unique(named: list[tuple[str, Variable]]) -> Iterator[tuple[str, Variable]]:
    """Each Variable once, under its first name."""
    seen: set[int] = set()
    for name, variable in named:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield name, variable


def is_parameter(variable: Variable) -> bool:
    """Whether modules list it among their parameters."""
    return variable.trainable or isinstance(variable, Parameter)


def no_parameter(module: Module, name: str) -> TypeError:
    """The error of a tensor in the place of a parameter."""
    owner = type(module).__name__
    return TypeError(
        f"{owner}.{name} is a parameter, the value a plain Tensor: it would be no parameter any "
        f"more; use {name}.assign(value), or del {name} first"
    )


def fits(value: Tensor, variable: Variable) -> bool:
    """Whether the dtype of `variable` holds every value of the dtype of `value`."""
    if value.dtype == variable.dtype:
        return True
    same_kind = kind(value.dtype) == kind(variable.dtype)
    return same_kind and promote(value.dtype, variable.dtype) == variable.dtype


def _listed(what: str, names: list[str]) -> str:
    shown = names[:8] + ([f"and {len(names) - 8} more"] if len(names) > 8 else [])
    return f"\n  {what}: {'; '.join(shown)}" if names else ""
