"""dynamic: recursion over binary trees of random shape, so that no two have the same graph.

A Tree-LSTM of two children (Tai, Socher, Manning 2015): a node reads the states of both of its
subtrees and lets each of them through a forget gate of its own. Both cells are functions that are
decorated as the step is: a recording has a node for each of their calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dualflow as df
from dualflow import data, nn, optim
from dualflow.bench.programs.workload import Training, Workload

sigmoid = nn.functional.sigmoid
TREES, HIDDEN, CLASSES = 50, 64, 5


class TreeNet(nn.Module):
    """Reads a tree from its leaves up, and scores classes at the root."""

    def __init__(self) -> None:
        super().__init__()
        self.leaf = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.node = nn.Linear(2 * HIDDEN, 5 * HIDDEN)
        self.score = nn.Linear(HIDDEN, CLASSES)
        self.decorate(lambda function: function)

    def decorate(self, decorate: Callable[..., Any]) -> None:
        """Decorates what is done at each leaf, and at each node."""
        self.cells = decorate(self.of_leaf), decorate(self.of_node)

    def of_leaf(self, x: df.Tensor) -> tuple[df.Tensor, df.Tensor]:
        """(h, c), each of shape (hidden,), of a leaf's vector."""
        i, o, u = gates(self.leaf(x), 3)
        c = sigmoid(i) * df.tanh(u)
        return sigmoid(o) * df.tanh(c), c

    def of_node(
        self, left: df.Tensor, left_c: df.Tensor, right: df.Tensor, right_c: df.Tensor
    ) -> tuple[df.Tensor, df.Tensor]:
        """The same of the states of two subtrees."""
        i, f, g, o, u = gates(self.node(df.concat([left, right])), 5)
        c = sigmoid(i) * df.tanh(u) + sigmoid(f) * left_c + sigmoid(g) * right_c
        return sigmoid(o) * df.tanh(c), c

    def state(self, tree: Any) -> tuple[df.Tensor, df.Tensor]:
        """The same of a tree: a leaf's vector or a pair of trees."""
        of_leaf, of_node = self.cells
        if isinstance(tree, df.Tensor):
            return of_leaf(tree)
        left, right = tree
        return of_node(*self.state(left), *self.state(right))

    def forward(self, tree: Any) -> df.Tensor:
        """Scores of a tree, shape (1, classes)."""
        h, _ = self.state(tree)
        return df.expand_dims(self.score(h), axis=0)


def gates(x: df.Tensor, count: int) -> list[df.Tensor]:
    """`x` in `count` equal parts."""
    return [x[k * HIDDEN : (k + 1) * HIDDEN] for k in range(count)]


def leaves(tree: Any) -> int:
    """How many leaves a tree has."""
    return 1 if isinstance(tree, df.Tensor) else leaves(tree[0]) + leaves(tree[1])


def make() -> Training:
    """The net with plain gradient descent."""
    model = TreeNet()
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    def step(tree: Any, label: df.Tensor) -> df.Tensor:
        loss = nn.functional.cross_entropy(model(tree), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Training(step, dict(model.named_parameters()), parts=model.decorate)


def batches(batch: int) -> list[tuple[Any, df.Tensor]]:
    """Trees one at a time; the class of a tree is the number of its leaves modulo 5."""
    trees = data.random_trees(TREES, width=HIDDEN)
    return [(tree, df.asarray([leaves(tree) % CLASSES])) for tree in trees]


DYNAMIC = Workload(
    "dynamic",
    f"Tree-LSTM over {TREES} shapes of trees, SGD",
    make,
    batches,
    batch=1,
    epochs=4,
    quick=2,
    options={"max_traces": TREES + 1},
    fixed_batch=True,
)
