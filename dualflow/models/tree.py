"""Nets whose shape is that of their input: a Tree-LSTM, and a net of modules by a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import Linear, Module, ModuleDict
from dualflow.nn.functional import sigmoid
from dualflow.ops.arrange import concat, split
from dualflow.ops.special import tanh


class TreeLSTM(Module):
    """An LSTM over binary trees (Tai et al., 2015).

    Args:
        inputs: Width of the leaves' vectors.
        hidden: Width of the state.
        num_classes: Scores of a tree.

    Example:
        >>> import dualflow as df
        >>> [tree] = df.data.random_trees(1, leaves=(3, 3), width=4)
        >>> df.models.TreeLSTM(4, 8, 2)(tree).shape
        (2,)
    """

    def __init__(self, inputs: int = 64, hidden: int = 64, num_classes: int = 2) -> None:
        self.leaf = Linear(inputs, 3 * hidden)
        self.node = Linear(2 * hidden, 5 * hidden)
        self.head = Linear(hidden, num_classes)

    def state(self, tree: Any) -> tuple[Tensor, Tensor]:
        """Output and memory of a tree: a tensor is a leaf, a pair has two trees."""
        if isinstance(tree, Tensor):
            i, g, o = split(self.leaf(tree), 3, axis=-1)
            memory = sigmoid(i) * tanh(g)
            return sigmoid(o) * tanh(memory), memory
        (left, left_memory), (right, right_memory) = self.state(tree[0]), self.state(tree[1])
        i, f, other, g, o = split(self.node(concat([left, right], axis=-1)), 5, axis=-1)
        memory = sigmoid(i) * tanh(g) + sigmoid(f) * left_memory + sigmoid(other) * right_memory
        return sigmoid(o) * tanh(memory), memory

    def forward(self, tree: Any) -> Tensor:
        """A tree of vectors (inputs,) -> (num_classes,)."""
        return self.head(self.state(tree)[0])


class ModularNet(Module):
    """Modules put together anew for each question (Andreas et al., 2016).

    A plan is a nest of tuples: `("and", ("find", "cat"), ("find", "dog"))`. Its first word names a
    module, which is given what the rest of the plan comes to; words at the end are looked up.

    Args:
        modules: Names and modules.
        head: What is made of the result.

    Example:
        >>> import dualflow as df
        >>> parts = {"not": df.nn.Linear(4, 4), "very": df.nn.Linear(4, 4)}
        >>> net = df.models.ModularNet(parts, df.nn.Linear(4, 2))
        >>> net(("not", ("very", "red")), {"red": df.ones(4)}).shape
        (2,)
    """

    def __init__(self, modules: Mapping[str, Module], head: Module) -> None:
        self.parts = ModuleDict(modules)
        self.head = head

    def follow(self, plan: Any, values: Mapping[str, Any]) -> Any:
        """What a plan comes to."""
        if isinstance(plan, str):
            return values[plan]
        name, *rest = plan
        return self.parts[name](*[self.follow(part, values) for part in rest])

    def forward(self, plan: Any, values: Mapping[str, Any]) -> Tensor:
        """A plan, and the values of its words -> what `head` makes of it."""
        return self.head(self.follow(plan, values))
