"""Nets over text, character by character: a plain recurrent one, and an LSTM."""

from __future__ import annotations

from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.gpt2 import chosen
from dualflow.nn import Embedding, Linear, Module
from dualflow.nn.functional import sigmoid
from dualflow.ops.arrange import concat, split, stack
from dualflow.ops.create import zeros
from dualflow.ops.random import Generator
from dualflow.ops.special import tanh


class CharRNN(Module):
    """Tells the next character from all before: h = tanh(W [x, h]).

    Args:
        characters: How many there are.
        hidden: Width of the state.
        embedding: Width of a character's vector.

    Example:
        >>> import dualflow as df
        >>> scores, state = df.models.CharRNN(20, hidden=8)(df.asarray([[1, 2, 3]]))
        >>> scores.shape
        (1, 3, 20)
    """

    states = 1  # tensors in the state
    gates = 1

    def __init__(self, characters: int, hidden: int = 128, embedding: int = 32) -> None:
        self.hidden = hidden
        self.embedding = Embedding(characters, embedding)
        self.cell = Linear(embedding + hidden, self.gates * hidden)
        self.head = Linear(hidden, characters)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after a character's vector."""
        return (tanh(self.cell(concat([x, state[0]], axis=-1))),)

    def forward(self, ids: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Reads a text.

        Args:
            ids: Characters, (n, length).
            state: What reading gave before.

        Returns:
            Scores of the next characters, (n, length, characters), and the state.
        """
        words = self.embedding(as_tensor(ids))
        if state is None:
            state = (zeros((words.shape[0], self.hidden), device=words.device),) * self.states
        outputs = []
        for k in range(int(words.shape[1])):
            state = self.step(words[:, k], state)
            outputs.append(state[0])
        return self.head(stack(outputs, axis=1)), state

    def generate(
        self,
        ids: Any,
        length: int,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Writes on.

        Args:
            ids: Characters to begin with, (n, some).
            length: How many are added.
            temperature: 0 takes the likeliest one.
            generator: Where the chances come from; the default one when None.

        Returns:
            All characters, (n, some + length).
        """
        text = as_tensor(ids)
        with no_grad():
            scores, state = self(text)
            for _ in range(length):
                new = chosen(scores[:, -1], temperature, None, generator)[:, None]
                text = concat([text, new], axis=1)
                scores, state = self(new, state)
        return text


class CharLSTM(CharRNN):
    """Tells the next character by long short-term memory (Hochreiter and Schmidhuber, 1997)."""

    states = 2
    gates = 4

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Output and memory after a character's vector."""
        h, memory = state
        i, f, g, o = split(self.cell(concat([x, h], axis=-1)), 4, axis=-1)
        memory = sigmoid(f + 1.0) * memory + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(memory), memory
