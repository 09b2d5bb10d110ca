"""Recurrent layers over whole sequences: RNN, LSTM, GRU.

All steps' products with the inputs are one product; the loop over time does what is left. Sequences
of different lengths are padded; beyond its length a sequence keeps its state, and gives zeros.
"""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.functional.recurrent import gru_gates, lstm_gates
from dualflow.nn.layers.cells import bend, known
from dualflow.nn.module import Module, Parameter
from dualflow.nn.utils.rnn import PackedSequence
from dualflow.ops.arrange import concat, stack
from dualflow.ops.choice import where
from dualflow.ops.create import zeros
from dualflow.ops.shape import expand_dims, moveaxis
from jit.errors import ShapeError
from jit.types import format_shape

State = tuple[Tensor, ...]


class RNNBase(Module):
    """What recurrent layers share: their parameters, and the ways over layers, time and directions.

    A subclass says how many gates there are and what a step does.
    """

    gates: int
    states = 1  # tensors that the state is made of

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        batch_first: bool = False,  # noqa: FBT001, FBT002
        dropout: float = 0.0,
        bidirectional: bool = False,  # noqa: FBT001, FBT002
        *,
        proj_size: int = 0,
        dtype: Any = "float32",
    ) -> None:
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.use_bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        for layer in range(num_layers):
            for suffix in self.suffixes(layer):
                self._learn(layer, suffix, dtype)
        self.reset_parameters()

    def _learn(self, layer: int, suffix: str, dtype: Any) -> None:
        """Makes the parameters of one direction of a layer."""
        rows, out = self.gates * self.hidden_size, self.proj_size or self.hidden_size
        width = out * (2 if self.bidirectional else 1) if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
        if self.use_bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (out, self.hidden_size)
        for name, shape in shapes.items():
            setattr(self, name + suffix, Parameter(zeros(shape, dtype=dtype)))

    def suffixes(self, layer: int) -> list[str]:
        """The ends of the names of a layer's parameters, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 2 if self.bidirectional else 1]

    def reset_parameters(self) -> None:
        """Draws new initial values, uniform within `1 / sqrt(hidden_size)`."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    # ----- what a subclass says -----

    def advance(self, x: Tensor, state: State, suffix: str) -> State:
        """One step.

        Args:
            x: The products of the step's input with `weight_ih`, and the bias.
            state: The state before.
            suffix: Names the parameters.

        Returns:
            The state after; its first tensor is the step's output.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no advance")

    def products(self, h: Tensor, suffix: str) -> Tensor:
        """The products of a state with `weight_hh`, and the bias."""
        bias = getattr(self, f"bias_hh{suffix}", None)
        return F.linear(h, getattr(self, f"weight_hh{suffix}"), bias)

    # ----- the ways -----

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        """All steps of all layers.

        Args:
            x: Tensor of shape (time, n, input_size), (n, time, input_size) with `batch_first`, or
                (time, input_size); or a `PackedSequence`.
            hx: The state before, (layers * directions, n, hidden_size), of an LSTM two of them;
                zeros when None.

        Returns:
            The outputs of the last layer, in the form of `x`, and the state after.
        """
        lengths = None
        packed = x if isinstance(x, PackedSequence) else None
        if packed is not None:
            steps, lengths = packed.data, packed.lengths
        else:
            steps = as_tensor(x)
        single = steps.ndim == 2
        if single:
            steps = expand_dims(steps, 1)
        elif self.batch_first and packed is None:
            steps = moveaxis(steps, 0, 1)
        self._check(steps)
        states = self._start(steps, hx, single)
        y, after = self._layers(steps, states, lengths)
        if packed is not None:
            return packed.with_data(y), self._joined(after, single)
        if single:
            y = y[:, 0]
        elif self.batch_first:
            y = moveaxis(y, 0, 1)
        return y, self._joined(after, single)

    def _check(self, steps: Tensor) -> None:
        if steps.ndim != 3 or steps.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: an input of shape {format_shape(steps.shape)}",
                f"(time, n, {self.input_size}), or batch_first=True and (n, time, "
                f"{self.input_size})",
                "check input_size",
            )

    def _start(self, steps: Tensor, hx: Any, single: bool) -> list[State]:  # noqa: FBT001
        """The state of each layer and direction before the first step."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            sizes = [self.proj_size or self.hidden_size, self.hidden_size][: self.states]
            with beside(steps):
                state = tuple(zeros((steps.shape[1], n), dtype=steps.dtype) for n in sizes)
            return [state] * count
        given = [as_tensor(h) for h in (hx if self.states > 1 else (hx,))]
        given = [expand_dims(h, 1) if single else h for h in given]
        return [tuple(h[k] for h in given) for k in range(count)]

    def _joined(self, states: list[State], single: bool) -> Any:  # noqa: FBT001
        """The states of all layers and directions, as one tensor, or a tuple of them."""
        joined = tuple(stack(list(parts), axis=0) for parts in zip(*states))
        joined = tuple(h[:, 0] for h in joined) if single else joined
        return joined if self.states > 1 else joined[0]

    def _layers(
        self, x: Tensor, states: list[State], lengths: Tensor | None
    ) -> tuple[Tensor, list[State]]:
        """Layer upon layer: the outputs of the last one, and all states after."""
        after: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self.suffixes(layer):
                y, state = self._run(x, states[len(after)], lengths, suffix)
                outputs.append(y)
                after.append(state)
            x = outputs[0] if len(outputs) == 1 else concat(outputs, axis=-1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, training=self.training)
        return x, after

    def _run(
        self, x: Tensor, state: State, lengths: Tensor | None, suffix: str
    ) -> tuple[Tensor, State]:
        """One direction of one layer through time."""
        bias = getattr(self, f"bias_ih{suffix}", None)
        inputs = F.linear(x, getattr(self, f"weight_ih{suffix}"), bias)
        times = range(int(x.shape[0]))
        outputs = []
        for t in reversed(times) if suffix.endswith("reverse") else times:
            new = self.advance(inputs[t], state, suffix)
            if lengths is None:
                state = new
                outputs.append(new[0])
            else:
                on = expand_dims(lengths > t, 1)
                state = tuple(where(on, a, b) for a, b in zip(new, state))
                outputs.append(where(on, new[0], 0))
        if suffix.endswith("reverse"):
            outputs.reverse()
        return stack(outputs, axis=0), state

    def extra_repr(self) -> str:
        usual = {
            "num_layers": 1,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
        }
        others = [f"{n}={v}" for n, d in usual.items() if (v := getattr(self, n)) != d]
        no_bias = [] if self.use_bias else ["bias=False"]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *others, *no_bias])


class RNN(RNNBase):
    """Elman's recurrent net: `h = tanh(W x + b + V h + c)`, several layers deep.

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        num_layers: How many layers.
        nonlinearity: "tanh" or "relu".
        bias: Add biases.
        batch_first: Inputs and outputs are (n, time, ...).
        dropout: Share of the outputs between layers that is dropped in training.
        bidirectional: Also go through time backwards.
        dtype: Of the parameters.

    Attributes:
        weight_ih_l0: Shape (hidden_size, input_size); `_l1` and so on for further layers,
            `_l0_reverse` for the way back.
        weight_hh_l0: Shape (hidden_size, hidden_size).
        bias_ih_l0: Shape (hidden_size,).
        bias_hh_l0: Shape (hidden_size,).

    Example:
        >>> import dualflow as df
        >>> y, h = df.nn.RNN(3, 5, num_layers=2)(df.ones((7, 2, 3)))
        >>> y.shape, h.shape
        ((7, 2, 5), (2, 2, 5))
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        batch_first: bool = False,  # noqa: FBT001, FBT002
        dropout: float = 0.0,
        bidirectional: bool = False,  # noqa: FBT001, FBT002
        *,
        dtype: Any = "float32",
    ) -> None:
        self.nonlinearity = known(nonlinearity)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype=dtype,
        )

    def advance(self, x: Tensor, state: State, suffix: str) -> State:
        """`tanh(x + V h + c)`."""
        return (bend(self.nonlinearity)(x + self.products(state[0], suffix)),)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), several layers deep.

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        num_layers: How many layers.
        bias: Add biases.
        batch_first: Inputs and outputs are (n, time, ...).
        dropout: Share of the outputs between layers that is dropped in training.
        bidirectional: Also go through time backwards.
        proj_size: Length that outputs are projected to; 0: they are not.
        dtype: Of the parameters.

    Attributes:
        weight_ih_l0: Shape (4 * hidden_size, input_size): input, forget, cell and output gate.
        weight_hh_l0: Shape (4 * hidden_size, hidden_size).
        bias_ih_l0: Shape (4 * hidden_size,).
        bias_hh_l0: Shape (4 * hidden_size,).

    Example:
        >>> import dualflow as df
        >>> y, (h, c) = df.nn.LSTM(3, 5, batch_first=True)(df.ones((2, 7, 3)))
        >>> y.shape, h.shape, c.shape
        ((2, 7, 5), (1, 2, 5), (1, 2, 5))
    """

    gates, states = 4, 2

    def advance(self, x: Tensor, state: State, suffix: str) -> State:
        """(h, c) after one step."""
        h, c = lstm_gates(x + self.products(state[0], suffix), state[1])
        if self.proj_size:
            h = F.linear(h, getattr(self, f"weight_hr{suffix}"))
        return h, c


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014), several layers deep.

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        num_layers: How many layers.
        bias: Add biases.
        batch_first: Inputs and outputs are (n, time, ...).
        dropout: Share of the outputs between layers that is dropped in training.
        bidirectional: Also go through time backwards.
        dtype: Of the parameters.

    Attributes:
        weight_ih_l0: Shape (3 * hidden_size, input_size): reset, update and new.
        weight_hh_l0: Shape (3 * hidden_size, hidden_size).
        bias_ih_l0: Shape (3 * hidden_size,).
        bias_hh_l0: Shape (3 * hidden_size,).
    """

    gates = 3

    def advance(self, x: Tensor, state: State, suffix: str) -> State:
        """The state after one step."""
        return (gru_gates(x, self.products(state[0], suffix), state[0]),)
