"""Optimizer: parameters in groups, state in Variables, and steps that run alike in both modes.

What changes from step to step is data: learning rates, step counts and running means are Variables,
made in the constructor. A compiled step reads them anew at each call, so a new learning rate
neither records again nor goes stale. Other settings are part of the recording, which depends on
`version`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Self, TypeAlias

from dualflow.core.backend import canonical_device
from dualflow.core.context import Epoch, context, no_grad
from dualflow.core.convert import as_tensor, read
from dualflow.core.devices import beside
from dualflow.core.source import warn_user
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable, clear_grads, convert
from dualflow.ops.basic import stop_gradient
from dualflow.ops.create import zeros_like
from dualflow.ops.elementwise import astype
from dualflow.optim import together
from jit.errors import ShapeError, TapeError
from jit.types import float64, format_shape, int64

Params: TypeAlias = Iterable[Any] | float | None  # see `Optimizer`


class ParamGroup(MutableMapping[str, Any]):
    """Parameters that share settings; reads and writes like PyTorch's dict.

    `group["lr"]` is a Tensor, the value at this moment; `group["lr"] = 0.1` sets it.

    Attributes:
        rate: The Variable that holds it.
    """

    def __init__(self, owner: Optimizer, params: list[Variable], settings: dict[str, Any]) -> None:
        self._owner = owner
        with beside(*params):
            self.rate = Variable(float(settings["lr"]), float64, trainable=False, name="lr")
        self._settings = {**settings, "params": params}

    def __getitem__(self, key: str) -> Any:
        return read(self.rate) if key == "lr" else self._settings[key]

    def beside(self, parameter: Variable) -> Any:
        """The settings for a step of a parameter: the learning rate comes to where that lies."""
        place = parameter.device
        return self if place == self.rate.device else {**self, "lr": self["lr"].to(place)}

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "lr":
            with no_grad():
                self.rate.assign(as_tensor(value, float64).to(self.rate.device))
            return
        self._settings[key] = value
        self._owner.changed()

    def __delitem__(self, key: str) -> None:
        raise TypeError(
            f"a parameter group keeps all its settings; {key!r} can be set, not removed"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        settings = {k: float(self["lr"]) if k == "lr" else v for k, v in self._settings.items()}
        settings["params"] = f"{len(self['params'])} Variables"
        return ", ".join(f"{k}={v}" for k, v in settings.items())


class Optimizer:
    """Base of optimisers. A subclass says what state a parameter has and how a step changes both.

    Args:
        params: Variables, or dicts with "params" and settings of their own. None: they are met
            later, by `apply_gradients` or a model; a number in this place is the learning rate, as
            in Keras.
        defaults: Settings of groups that do not say otherwise; "lr" among them.

    Attributes:
        param_groups: Parameters and their settings.
        state: For each parameter its Variables by name.
        version: Counts changes of settings other than the learning rate.
        meets: Whether parameters are met later.

    Raises:
        ValueError: No parameters, or one of them twice.
        TypeError: Something that is no Variable.

    Example:
        >>> import dualflow as df
        >>> w, optimizer = df.Variable(3.0), df.optim.SGD(0.25)
        >>> with df.GradientTape() as tape:
        ...     loss = w * w
        >>> optimizer.apply_gradients(zip(tape.gradient(loss, [w]), [w]))
        >>> w.item()
        1.5
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[ParamGroup] = []
        self.state: dict[Variable, dict[str, Variable]] = {}
        self.version = 0
        self._told = False
        self.meets = False
        if params is None or isinstance(params, float | int):
            self.meets = True
            if params is not None:
                non_negative(type(self).__name__, lr=params)
                defaults["lr"] = params
            self.param_groups.append(ParamGroup(self, [], dict(defaults)))
            return
        if isinstance(params, Tensor | Mapping):
            params = [params]
        given = some(params, type(self).__name__)
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    # ----- what a subclass says -----

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The state of one parameter before its first step."""
        raise NotImplementedError(f"{type(self).__name__} defines no init_state")

    def update(
        self, parameter: Variable, gradient: Tensor, state: dict[str, Variable], group: ParamGroup
    ) -> None:
        """One step of one parameter, by assigning to it and to its state."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    # ----- parameters -----

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters, for instance of layers that are unfrozen later.

        Args:
            group: "params", and settings that differ from the optimiser's.
        """
        settings = dict(group)
        given = settings.pop("params")
        params: list[Any] = [given] if isinstance(given, Tensor) else list(given)
        self._check(params, settings)
        added = ParamGroup(self, params, {**self.defaults, **settings})
        self.param_groups.append(added)
        self.changed()
        self._begin(params, added)

    def meet(self, params: Iterable[Any]) -> None:
        """Takes parameters into the first group that are not known, where they are met later.

        Args:
            params: Variables. An optimiser that was given its parameters keeps to those.
        """
        new = [p for p in params if p not in self.state] if self.meets else []
        if new:
            self._check(new, {})
            self.param_groups[0]["params"].extend(new)
            self.changed()
            self._begin(new, self.param_groups[0])

    def _begin(self, params: list[Variable], group: ParamGroup) -> None:
        """Makes the state of parameters."""
        for parameter in params:
            with no_grad(), beside(parameter):
                self.state[parameter] = self.init_state(parameter, group)

    def to(self, device: str) -> Self:
        """Moves learning rates and state to a device, in place; parameters move with their model.

        Args:
            device: Such as `"gpu"`: where the parameters lie.
        """
        rates = [group.rate for group in self.param_groups]
        for variable in [*rates, *[v for state in self.state.values() for v in state.values()]]:
            convert(variable, canonical_device(device))
        return self

    def changed(self) -> None:
        """Something changed that is no Variable: steps that were recorded before do not hold."""
        self.version += 1
        Epoch.number += 1

    def _check(self, params: list[Any], settings: dict[str, Any]) -> None:
        name = type(self).__name__
        for setting in settings:
            if setting not in self.defaults:
                raise TypeError(
                    f"{name} has no setting {setting!r}; it has {', '.join(self.defaults)}"
                )
        seen = {id(p) for p in self.state}
        for k, p in enumerate(params):
            if not isinstance(p, Variable):
                raise TypeError(
                    f"{name}: parameter {k} is a {type(p).__name__}; "
                    "only Variables can be updated: df.Variable(...)"
                )
            if id(p) in seen:
                raise ValueError(
                    f"{name}: {p.label()} was given twice; a parameter belongs to one group, once"
                )
            seen.add(id(p))

    @property
    def lr(self) -> Tensor:
        """The learning rate of the first group, as it is now; setting it sets all groups'."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    # ----- steps -----

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient.

        Args:
            closure: Computes the loss and calls `backward()`; called first.

        Returns:
            What `closure` returned.

        Raises:
            ValueError: The parameters were never met.
        """
        loss = None if closure is None else closure()
        if not self.state:
            raise ValueError(
                f"{type(self).__name__}.step: no parameters are known; pass model.parameters() to "
                "the constructor, or use apply_gradients(zip(gradients, variables))"
            )
        gradients = {p: g for p in self.state if (g := p.grad) is not None}
        if not gradients and not self._told:
            self._told = True
            warn_user(
                f"{type(self).__name__}.step: no parameter has a gradient, so nothing was done. "
                "Call loss.backward() before it. (Said once.)",
                UserWarning,
            )
        self._update_all(gradients)
        return loss

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """Updates parameters by gradients from a tape: `apply_gradients(zip(grads, variables))`.

        Args:
            grads_and_vars: Pairs; a gradient of None leaves its parameter as it is. An optimiser
                that was made without parameters meets them here.

        Raises:
            ValueError: A Variable that is not among the parameters.
            TapeError: No pair has a gradient.
        """
        gradients = {}
        pairs = list(grads_and_vars)
        self.meet(p for _, p in pairs)
        for g, p in pairs:
            if p not in self.state:
                raise ValueError(
                    f"apply_gradients: {p.label()} is not a parameter of {type(self).__name__}"
                )
            if g is not None:
                gradients[p] = as_tensor(g)
        if pairs and not gradients:
            raise TapeError(
                f"apply_gradients: none of {len(pairs)} Variables has a gradient",
                "at least one gradient that is not None",
                "check that the loss depends on the Variables, and that the tape saw it",
            )
        self._update_all(gradients)

    def _update_all(self, gradients: Mapping[Variable, Tensor]) -> None:
        if context.trace is not None:
            context.trace.relies_on(self, "version")
        with no_grad():
            together.step(self, gradients, self._update_each)

    def _update_each(self, gradients: Mapping[Variable, Tensor]) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if (g := gradients.get(p)) is not None:
                    fitting(p, g)
                    self.update(p, g, self.state[p], group.beside(p))

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters.

        Args:
            set_to_none: `.grad` becomes None; otherwise it is filled with zeros where there is one.
        """
        clear_grads(self.state, set_to_none=set_to_none)

    # ----- saving -----

    def state_dict(self) -> dict[str, Any]:
        """Settings and state, parameters being numbered in order; as in PyTorch.

        Returns:
            "state": number -> name -> Tensor, and "param_groups": settings, numbers in "params".
        """
        numbers = {p: k for k, p in enumerate(self.state)}
        groups = [
            {**group, "lr": float(group["lr"]), "params": [numbers[p] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {
            k: {n: stop_gradient(v) for n, v in self.state[p].items()} for p, k in numbers.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` of an optimiser with the same groups of parameters gave.

        Args:
            state_dict: The saved settings and state; values may be Tensors or NumPy arrays.

        Raises:
            ShapeError: The groups, or the state of a parameter, do not fit; nothing is changed.
        """
        saved = state_dict["param_groups"]
        sizes, own = (
            [len(g["params"]) for g in saved],
            [len(g["params"]) for g in self.param_groups],
        )
        if sizes != own:
            raise ShapeError(
                f"load_state_dict: the saved groups have {sizes} parameters, these have {own}",
                "an optimiser over the same parameters",
                "build it as the saved one was built",
            )
        writes = []
        for group, old in zip(self.param_groups, saved, strict=True):
            for p, k in zip(group["params"], old["params"], strict=True):
                writes += self._writes(p, state_dict["state"].get(k, {}))
        for variable, value in writes:
            variable.assign(value.to(variable.device))
        for group, old in zip(self.param_groups, saved, strict=True):
            group.update({k: v for k, v in old.items() if k != "params"})

    def _writes(
        self, parameter: Variable, saved: Mapping[str, Any]
    ) -> list[tuple[Variable, Tensor]]:
        """Each Variable of a parameter's state with the value that it gets."""
        state = self.state[parameter]
        values = {n: astype(x, state[n].dtype) for n, x in saved.items() if n in state}
        if saved.keys() != state.keys() or any(
            values[n].shape != v.shape for n, v in state.items()
        ):
            found = {n: format_shape(as_tensor(x).shape) for n, x in saved.items()}
            raise ShapeError(
                f"load_state_dict: the state of {parameter.label()} is {found}",
                str({n: format_shape(v.shape) for n, v in state.items()}),
                "load the state of the same kind of optimiser, over the same parameters",
            )
        return [(v, values[n]) for n, v in state.items()]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(map(repr, self.param_groups))})"


class RuleOptimizer(Optimizer):
    """Base of optimisers that are one rule: new values from parameter, gradient and running ones.

    A subclass names the running values and writes the rule as a composite, hence as one kernel.
    """

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """The names of the running values, which have the shape of the parameter, 0 at first."""
        raise NotImplementedError(f"{type(self).__name__} defines no slots")

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """The new parameter, and new running values in the order of `slots`."""
        raise NotImplementedError(f"{type(self).__name__} defines no rule")

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The number of steps, and the running values."""
        running = {name: zeros_for(parameter) for name in self.slots(group)}
        return {"step": step_count(), **running}

    def update(
        self, parameter: Variable, gradient: Tensor, state: dict[str, Variable], group: ParamGroup
    ) -> None:
        """One step by the rule."""
        running = [v for name, v in state.items() if name != "step"]
        step = state["step"].assign_add(1)
        new, *moved = self.rule(parameter, gradient, running, step, group)
        parameter.assign(new)
        for variable, value in zip(running, moved, strict=True):
            variable.assign(value)


def some(params: Any, name: str) -> list[Any]:
    """Parameters as a list of one at least.

    Args:
        params: What the user gave.
        name: Of what is made for them.

    Raises:
        TypeError: A module.
        ValueError: None.
    """
    if hasattr(params, "named_parameters"):
        raise TypeError(f"{name} takes parameters: pass model.parameters(), not the model itself")
    given = list(params)
    if not given:
        raise ValueError(
            f"{name} got no parameters; pass model.parameters(), or a list of Variables"
        )
    return given


def zeros_for(parameter: Variable) -> Variable:
    """Zeros in the shape and dtype of a parameter, as state."""
    return Variable(zeros_like(parameter), trainable=False)


def step_count() -> Variable:
    """The number of steps done so far, as state."""
    return Variable(0, int64, trainable=False)


def non_negative(optimizer: str, **settings: float) -> None:
    """Raises ValueError for a setting below zero."""
    for name, value in settings.items():
        if not value >= 0:
            raise ValueError(f"{optimizer}: {name}={value} is not a number >= 0")


def shares(optimizer: str, **settings: float) -> None:
    """Raises ValueError for a setting outside of [0, 1)."""
    for name, value in settings.items():
        if not 0 <= value < 1:
            raise ValueError(f"{optimizer}: {name}={value} is not a number in [0, 1)")


def fitting(parameter: Variable, gradient: Tensor) -> None:
    """Raises ShapeError unless a gradient has the shape of its parameter."""
    if gradient.shape != parameter.shape:
        raise ShapeError(
            f"{parameter.label()} has shape {format_shape(parameter.shape)}, "
            f"its gradient {format_shape(gradient.shape)}",
            "a gradient of the parameter's shape",
            "check the order of gradients and variables",
        )
